// SPDX-License-Identifier: Apache-2.0

package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/checkpoint/objstore/s3"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
	"github.com/streamd/streamd/test/s3/s3server"
)

func config(endpoint, prefix string) s3.Config {
	return s3.Config{
		Bucket: s3server.Bucket, Prefix: prefix, Endpoint: endpoint, Region: s3server.Region,
		AccessKey: s3server.AccessKey, SecretKey: s3server.SecretKey,
	}
}

func open(t *testing.T, c s3.Config) *s3.Store {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	if c.Transport == nil {
		c.Transport = transport
	}
	s, err := s3.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestARealServerKeepsTheContract(t *testing.T) {
	t.Parallel()
	endpoint := s3server.Start(t)
	t.Run("Suite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) func() objstore.Store {
			prefix := strings.NewReplacer("/", "-").Replace(t.Name())
			return func() objstore.Store { return open(t, config(endpoint, prefix)) }
		})
	})
	t.Run("LargeObjectsGoInParts", func(t *testing.T) {
		c := config(endpoint, "parts")
		c.PartBytes = 5 << 20
		s := open(t, c)
		content := bytes.Repeat([]byte("0123456789abcdef"), 12<<20/16)
		if err := s.Put(t.Context(), "big", bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		got, err := objstore.ReadAll(t.Context(), s, "big", 1<<30)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("read back %d bytes, %v; want %d", len(got), err, len(content))
		}
	})
	t.Run("WrongCredentialsAreRefusedAtOnce", func(t *testing.T) {
		c := config(endpoint, "")
		c.SecretKey = "canary-secret"
		err := open(t, c).Put(t.Context(), "a", strings.NewReader("x"))
		if err == nil || errors.Is(err, objstore.ErrTransient) {
			t.Errorf("error is %v, want a permanent one", err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, c, c), "canary") {
			t.Error("the secret is in an error or in the printed configuration")
		}
	})
	t.Run("AMissingBucketIsNotAMissingObject", func(t *testing.T) {
		c := config(endpoint, "")
		c.Bucket = "nobodys-bucket"
		_, err := open(t, c).Get(t.Context(), "a")
		if err == nil || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrTransient) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("ADroppedReadIsTransient", func(t *testing.T) {
		c := config(endpoint, "dropped")
		if err := open(t, c).Put(t.Context(), "a", strings.NewReader(strings.Repeat("x", 1<<20))); err != nil {
			t.Fatal(err)
		}
		transport := fault.NewTransport(http.DefaultTransport)
		transport.SetHook(func(r *http.Request) fault.Wire {
			if r.Method != http.MethodGet {
				return fault.Wire{}
			}
			return fault.Wire{Break: 1000}
		})
		c.Transport = transport
		err := objstore.Read(t.Context(), open(t, c), "a", func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if !errors.Is(err, objstore.ErrTransient) {
			t.Errorf("error is %v, want a transient one", err)
		}
	})
}
