// SPDX-License-Identifier: Apache-2.0

package open_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/test/s3/s3server"
)

func TestEachSchemeOpensAStoreThatPassesTheSelfTest(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		filepath.Join(t.TempDir(), "plain"), "file://" + filepath.Join(t.TempDir(), "file"), "mem://self-test",
	} {
		s, err := open.Open(t.Context(), url)
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
	s, err := open.Open(t.Context(), "s3://"+s3server.Bucket+"/some/prefix?region="+s3server.Region+"&endpoint="+endpoint)
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
		first, err := open.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		second, err := open.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := second.Stat(t.Context(), "a"); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	other, err := open.Open(t.Context(), "mem://another-url")
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
		_, err := open.Open(t.Context(), url)
		if !errors.Is(err, open.ErrURL) {
			t.Errorf("%q: error is %v, want ErrURL", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: the error shows the password: %v", url, err)
		}
	}
	for _, url := range []string{"s3://bucket/../x", "s3://b?endpoint=ftp://h", "s3://b?endpoint=http://user:pw@h"} {
		if _, err := open.Open(t.Context(), url); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
}
