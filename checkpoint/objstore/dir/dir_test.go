// SPDX-License-Identifier: Apache-2.0

package dir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
)

func open(t *testing.T, folder string) *dir.Store {
	t.Helper()
	s, err := dir.New(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestFolderKeepsTheContractBetweenHandles(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() objstore.Store {
		folder := t.TempDir()
		return func() objstore.Store { return open(t, folder) }
	})
}

func TestRetriesGetThroughTroubles(t *testing.T) {
	t.Parallel()
	storetest.RunTroubled(t, func(t *testing.T) (objstore.Store, func(storetest.Trouble, int)) {
		return storetest.ThroughCalls(open(t, t.TempDir()))
	})
}

func TestSymbolicLinksDoNotLeadOutOfTheFolder(t *testing.T) {
	t.Parallel()
	outside, folder := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, folder)
	if err := errors.Join(os.Symlink(outside, filepath.Join(folder, "link")), os.Symlink(secret, filepath.Join(folder, "file"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link/secret", "file"} {
		if body, err := s.Get(t.Context(), name); err == nil {
			body.Close()
			t.Errorf("%s was read", name)
		}
		if _, err := s.Stat(t.Context(), name); err == nil {
			t.Errorf("%s was found", name)
		}
	}
	if err := s.Put(t.Context(), "link/other", strings.NewReader("x")); err == nil {
		t.Error("an object was written outside")
	}
	for info, err := range s.List(t.Context(), "") {
		t.Errorf("listed %v, %v", info, err)
	}
}

func TestLeftoversOfCrashedWritersAreClearedWhenOld(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	open(t, folder)
	stale, fresh := filepath.Join(folder, ".tmp", "stale"), filepath.Join(folder, ".tmp", "fresh")
	for _, name := range []string{stale, fresh} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	s := open(t, folder)
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stale file is still there: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("a file that a writer may still use was removed: %v", err)
	}
	for info := range s.List(t.Context(), "") {
		t.Errorf("a temporary file is listed: %v", info)
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, folder)
	if err := s.Put(t.Context(), "a/b", shortBody{strings.NewReader("xyz")}); err == nil {
		t.Fatal("a body that ends early was accepted")
	}
	if _, err := s.Stat(t.Context(), "a/b"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("an object is there: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(folder, ".tmp"))
	if err != nil || len(entries) > 0 {
		t.Errorf("temporary files are left: %v, %v", entries, err)
	}
}

// shortBody says that it is longer than it is.
type shortBody struct{ *strings.Reader }

func (b shortBody) Size() int64 { return b.Reader.Size() + 1 }

func TestDeletingTheLastObjectRemovesEmptyFolders(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, folder)
	for _, name := range []string{"a/b/c", "a/d"} {
		if err := s.Put(t.Context(), name, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "a", "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty folder is still there: %v", err)
	}
	if _, err := s.Stat(t.Context(), "a/d"); err != nil {
		t.Error(err)
	}
}
