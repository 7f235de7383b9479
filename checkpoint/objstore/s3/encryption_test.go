// SPDX-License-Identifier: Apache-2.0

package s3_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore/s3"
)

func TestEveryWriteAsksForTheEncryptionThatWasChosen(t *testing.T) {
	anonymous(t)
	const algorithm, key = "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
	for name, test := range map[string]struct {
		encryption, keyID string
		want              [2]string // algorithm and key, empty where the header must not be there
	}{
		"the bucket's own": {"", "", [2]string{}},
		"keys of S3":       {"aes256", "", [2]string{"AES256"}},
		"the default key":  {"kms", "", [2]string{"aws:kms"}},
		"a named key":      {"kms", "arn:aws:kms:eu-west-1:1:key/k", [2]string{"aws:kms", "arn:aws:kms:eu-west-1:1:key/k"}},
	} {
		b, url := newStub(t)
		c := stubConfig(url)
		c.Encryption, c.KMSKeyID, c.PartBytes = test.encryption, test.keyID, 5<<20
		s := open(t, c)
		if err := s.Put(t.Context(), "put", strings.NewReader("x")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Create(t.Context(), "create", strings.NewReader("x")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// The stub knows no uploads in parts, but the request that begins one must ask too.
		if err := s.Put(t.Context(), "parts", bytes.NewReader(make([]byte, 6<<20))); err == nil {
			t.Errorf("%s: the stub took an upload in parts", name)
		}
		var got [][2]string
		for _, h := range b.mu.headers {
			got = append(got, [2]string{h.Get(algorithm), h.Get(key)})
		}
		if diff := cmp.Diff([][2]string{test.want, test.want, test.want}, got); diff != "" {
			t.Errorf("%s: headers of put, create and the beginning of an upload (-want +got):\n%s", name, diff)
		}
	}
}

func TestEncryptionThatIsNotPossibleIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*s3.Config){
		"unknown":         func(c *s3.Config) { c.Encryption = "rot13" },
		"key alone":       func(c *s3.Config) { c.KMSKeyID = "k" },
		"key with aes256": func(c *s3.Config) { c.Encryption, c.KMSKeyID = "aes256", "k" },
	} {
		c := config("http://127.0.0.1:1", "")
		change(&c)
		if _, err := s3.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
