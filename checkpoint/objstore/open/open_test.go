// SPDX-License-Identifier: Apache-2.0

package open_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/crypt"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/test/s3/s3server"
)

func TestEachSchemeOpensAStoreThatPassesTheSelfTest(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		filepath.Join(t.TempDir(), "plain"), "file://" + filepath.Join(t.TempDir(), "file"), "mem://self-test",
	} {
		s, err := open.Open(t.Context(), url, open.Options{})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := objstore.SelfTest(t.Context(), s); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestABucketIsOpenedWithCredentialsOfTheEnvironment(t *testing.T) {
	endpoint := s3server.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s3server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3server.SecretKey)
	s, err := open.Open(t.Context(), "s3://"+s3server.Bucket+"/some/prefix?region="+s3server.Region+"&endpoint="+endpoint, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := objstore.SelfTest(t.Context(), s); err != nil {
		t.Error(err)
	}
}

func TestOneURLIsOneStore(t *testing.T) {
	t.Parallel()
	for _, url := range []string{t.TempDir(), "mem://one-url"} {
		first, err := open.Open(t.Context(), url, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		second, err := open.Open(t.Context(), url, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := second.Stat(t.Context(), "a"); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	other, err := open.Open(t.Context(), "mem://another-url", open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("another name sees the object: %v", err)
	}
}

func TestURLsThatNameNoStoreAreRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "http://host/bucket", "gs://bucket", "s3://", "s3:///prefix", "s3://bucket?enpoint=http://typo", "s3://b?region=a&region=b",
		"s3://key:canary@bucket/x", "file://host/path", "file://", "file:///tmp/x?y=z", "mem://", "mem://a/b", "s3://b/x#frag", "s3://b%zz",
	} {
		_, err := open.Open(t.Context(), url, open.Options{})
		if !errors.Is(err, open.ErrURL) {
			t.Errorf("%q: error is %v, want ErrURL", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: the error shows the password: %v", url, err)
		}
	}
	for _, url := range []string{"s3://bucket/../x", "s3://b?endpoint=ftp://h", "s3://b?endpoint=http://user:pw@h", "s3://b?sse=x", "s3://b?kms-key-id=k"} {
		if _, err := open.Open(t.Context(), url, open.Options{}); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
}

func TestAKeyFileEncryptsWhatIsStored(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("current a\na MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	s, err := open.Open(t.Context(), folder, open.Options{EncryptionKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := objstore.SelfTest(t.Context(), s); err != nil {
		t.Error(err)
	}
	if err := s.Put(t.Context(), "a", strings.NewReader("canary")); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join(folder, "a"))
	if err != nil || strings.Contains(string(stored), "canary") {
		t.Errorf("stored is %q, %v", stored, err)
	}
	if got, err := objstore.ReadAll(t.Context(), s, "a", 10); err != nil || string(got) != "canary" {
		t.Errorf("read back %q, %v", got, err)
	}
	if _, err := open.Open(t.Context(), folder, open.Options{EncryptionKeys: filepath.Join(folder, "a")}); !errors.Is(err, crypt.ErrKeyFile) {
		t.Errorf("error is %v, want ErrKeyFile", err)
	}
}
