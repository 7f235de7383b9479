// SPDX-License-Identifier: Apache-2.0

package open_test

import (
	"context"
	"errors"
	"net/url"
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
	for _, rawURL := range []string{
		filepath.Join(t.TempDir(), "plain"), "file://" + filepath.Join(t.TempDir(), "file"), "mem://self-test",
	} {
		s, err := open.Open(t.Context(), rawURL, open.Options{})
		if err != nil {
			t.Errorf("%s: %v", rawURL, err)
			continue
		}
		if err := objstore.SelfTest(t.Context(), s); err != nil {
			t.Errorf("%s: %v", rawURL, err)
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
	for _, rawURL := range []string{t.TempDir(), "mem://one-url"} {
		first, err := open.Open(t.Context(), rawURL, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		second, err := open.Open(t.Context(), rawURL, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := second.Stat(t.Context(), "a"); err != nil {
			t.Errorf("%s: %v", rawURL, err)
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
	for _, rawURL := range []string{
		"", "http://host/bucket", "gs://bucket", "s3://", "s3:///prefix", "s3://bucket?enpoint=http://typo", "s3://b?region=a&region=b",
		"s3://key:canary@bucket/x", "file://host/path", "file://", "file:///tmp/x?y=z", "mem://", "mem://a/b", "s3://b/x#frag", "s3://b%zz",
	} {
		_, err := open.Open(t.Context(), rawURL, open.Options{})
		if !errors.Is(err, open.ErrURL) {
			t.Errorf("%q: error is %v, want ErrURL", rawURL, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: the error shows the password: %v", rawURL, err)
		}
	}
	for _, rawURL := range []string{"s3://bucket/../x", "s3://b?endpoint=ftp://h", "s3://b?endpoint=http://user:pw@h", "s3://b?sse=x", "s3://b?kms-key-id=k"} {
		if _, err := open.Open(t.Context(), rawURL, open.Options{}); err == nil {
			t.Errorf("%q was accepted", rawURL)
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
	without, err := open.Open(t.Context(), folder, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := objstore.ReadAll(t.Context(), without, "a", 1000); !errors.Is(err, crypt.ErrKey) || !strings.Contains(err.Error(), "store.encryption-keys-file") {
		t.Errorf("without keys: error is %v, want ErrKey with the setting", err)
	}
	if _, err := open.Open(t.Context(), folder, open.Options{EncryptionKeys: filepath.Join(folder, "a")}); !errors.Is(err, crypt.ErrKeyFile) {
		t.Errorf("error is %v, want ErrKeyFile", err)
	}
}

func TestADriverThatIsNotLinkedIsNamedByItsImport(t *testing.T) {
	t.Parallel()
	for rawURL, want := range map[string]string{
		"gs://bucket":        `import _ "github.com/streamd/streamd/checkpoint/objstore/gcs"`,
		"azblob://container": `import _ "github.com/streamd/streamd/checkpoint/objstore/azure"`,
	} {
		_, err := open.Open(t.Context(), rawURL, open.Options{})
		if !errors.Is(err, open.ErrURL) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want ErrURL with %s", rawURL, err, want)
		}
	}
}

func TestARegisteredSchemeIsOpenedWithItsParameters(t *testing.T) {
	t.Parallel()
	var opened string
	open.Register("tested", open.Driver{
		Parameters: []string{"colour"},
		Open: func(_ context.Context, u *url.URL) (objstore.Store, error) {
			opened = u.Host + u.Path + "?" + u.Query().Get("colour")
			return objstore.NewMem(), nil
		},
	})
	if _, err := open.Open(t.Context(), "tested://a/b?colour=red", open.Options{}); err != nil || opened != "a/b?red" {
		t.Errorf("opened %q, %v", opened, err)
	}
	if _, err := open.Open(t.Context(), "tested://a?region=x", open.Options{}); !errors.Is(err, open.ErrURL) {
		t.Errorf("an unknown parameter: error is %v, want ErrURL", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a scheme was registered twice")
		}
	}()
	open.Register("tested", open.Driver{})
}
