// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
)

// sizes are three releases of one codec: a text, its length, and the length as a struct.
var (
	sizeV1 = codec.String
	sizeV2 = codec.Migrate(sizeV1, codec.Int64, func(s string) int64 { return int64(len(s)) })
	sizeV3 = codec.Migrate(sizeV2, codec.JSON[size](), func(n int64) size { return size{N: n} })
)

type size struct{ N int64 }

func TestStoredValueOfEveryVersionIsUpgraded(t *testing.T) {
	t.Parallel()
	v1 := roundTrip(t, codec.Stored(sizeV1), "four")
	v2 := roundTrip(t, codec.Stored(sizeV2), 4)
	v3 := roundTrip(t, codec.Stored(sizeV3), size{4})
	for i, b := range [][]byte{v1, v2, v3} {
		if int(b[0]) != i {
			t.Fatalf("value of version %d is % x", i, b)
		}
		if got, err := codec.Stored(sizeV3).Decode(b); err != nil || got != (size{4}) {
			t.Errorf("version %d became %+v, %v", i, got, err)
		}
	}
	if got, err := codec.Stored(sizeV2).Decode(v1); err != nil || got != 4 {
		t.Errorf("version 0 became %d, %v", got, err)
	}
	if _, err := codec.Stored(sizeV2).Decode(v3); err == nil || !strings.Contains(err.Error(), "versions up to 1; use the release that wrote it") {
		t.Errorf("a later version became %v", err)
	}
	want := []string{"string", "int64"}
	if diff := gocmp.Diff(want, codec.Former(sizeV3)); diff != "" || sizeV3.ID() != "json:size" || len(codec.Former(sizeV1)) != 0 {
		t.Errorf("id %s after (-want +got):\n%s", sizeV3.ID(), diff)
	}
	if b := roundTrip(t, sizeV3, size{4}); string(b) != `{"N":4}` {
		t.Errorf("in a topic of the user's the codec writes %q", b)
	}
}

func TestLongHistoryTakesMoreBytes(t *testing.T) {
	t.Parallel()
	c := codec.String
	for n := range 200 {
		c = codec.Migrate(c, codec.String, func(s string) string { return s + "," + strconv.Itoa(n) })
	}
	if b := roundTrip(t, codec.Stored(c), "x"); len(b) != 3 {
		t.Fatalf("% x", b)
	}
	got, err := codec.Stored(c).Decode(append(binary.AppendUvarint(nil, 197), 'x'))
	if err != nil || got != "x,197,198,199" {
		t.Fatalf("version 197 became %q, %v", got, err)
	}
}

func TestMigrationThatCannotBeIsABuildError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	identity := func(s string) string { return s }
	if err := codec.Err(codec.Migrate(codec.Invalid[string]("x", broken), codec.String, identity)); !errors.Is(err, broken) {
		t.Errorf("from a codec that cannot be used: %v", err)
	}
	if err := codec.Err(codec.Migrate(codec.String, codec.Migrate(codec.String, codec.String, identity), identity)); err == nil {
		t.Error("two histories were joined")
	}
	if err := codec.Err(sizeV3); err != nil {
		t.Error(err)
	}
}

func FuzzForeignStoredValues(f *testing.F) {
	f.Add([]byte{0x00, 'a'})
	f.Add([]byte{0x80, 0x00})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	c := codec.Stored(sizeV3)
	f.Fuzz(func(t *testing.T, src []byte) {
		kept := bytes.Clone(src)
		_, _ = c.Decode(src)
		if !bytes.Equal(kept, src) {
			t.Fatal("decode changed its source")
		}
	})
}
