// SPDX-License-Identifier: Apache-2.0

package crypt_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/crypt"
)

// The envelope of an object that was encrypted with key "one", and Tink's view of the rest.
var envelope = append([]byte("streamd-crypt-1\none"), make([]byte, 29)...)

func tink(t *testing.T) *subtle.AESGCMHKDF {
	t.Helper()
	stream, err := subtle.NewAESGCMHKDF(bytes.Repeat([]byte{1}, 32), "SHA256", 32, 64<<10, len(envelope))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestTinkOpensWhatWasSealed(t *testing.T) {
	t.Parallel()
	inner := objstore.NewMem()
	s := crypt.New(inner, oneKey(t))
	for _, size := range edges {
		put(t, s, "some/name", content(size))
		sealed, err := read(t, inner, "some/name")
		if err != nil || !bytes.HasPrefix(sealed, envelope) {
			t.Fatalf("the object begins with %q, %v", sealed[:min(len(sealed), 48)], err)
		}
		stream, err := tink(t).NewDecryptingReader(bytes.NewReader(sealed[len(envelope):]), append(bytes.Clone(envelope), "some/name"...))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(stream); err != nil || !bytes.Equal(got, content(size)) {
			t.Errorf("size %d: Tink reads %d bytes, %v", size, len(got), err)
		}
	}
}

func TestWhatTinkSealedIsOpened(t *testing.T) {
	t.Parallel()
	inner := objstore.NewMem()
	s := crypt.New(inner, oneKey(t))
	for _, size := range edges {
		sealed := bytes.NewBuffer(bytes.Clone(envelope))
		stream, err := tink(t).NewEncryptingWriter(sealed, append(bytes.Clone(envelope), "some/name"...))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write(content(size)); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		put(t, inner, "some/name", sealed.Bytes())
		if got, err := read(t, s, "some/name"); err != nil || !bytes.Equal(got, content(size)) {
			t.Errorf("size %d: %d bytes, %v", size, len(got), err)
		}
	}
}

func TestObjectsOfTheFirstFormatStayReadable(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/object-format-1")
	if err != nil {
		t.Fatal(err)
	}
	inner := objstore.NewMem()
	put(t, inner, "golden/object", golden)
	if got, err := read(t, crypt.New(inner, oneKey(t)), "golden/object"); err != nil || string(got) != "kept in testdata" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzNoObjectBreaksTheReader(f *testing.F) {
	golden, err := os.ReadFile("testdata/object-format-1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden, int64(0))
	f.Add(golden[:100], int64(3))
	f.Add([]byte("streamd-crypt-1\none"), int64(70_000))
	f.Fuzz(func(t *testing.T, object []byte, offset int64) {
		inner := objstore.NewMem()
		put(t, inner, "golden/object", object)
		s := crypt.New(inner, oneKey(t))
		if got, err := read(t, s, "golden/object"); err == nil && !bytes.Equal(object, golden) {
			t.Errorf("another object was read as %q", got)
		}
		if body, err := s.GetRange(t.Context(), "golden/object", offset, -1); err == nil {
			_, _ = io.Copy(io.Discard, body)
		}
	})
}
