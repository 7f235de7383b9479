// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/partition"
)

// storeOfRounds makes a store of an application that nobody runs, with complete rounds, the second under a savepoint.
func storeOfRounds(t *testing.T, rounds int64) (folder string) {
	t.Helper()
	folder = t.TempDir()
	store, err := dir.New(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	repo, task := checkpoint.NewRepository(store, "shop"), partition.TaskID{}
	_, _, err = repo.CreateApplication(t.Context(), checkpoint.Application{App: "shop", Incarnation: 1})
	for n := int64(1); n <= rounds && err == nil; n++ {
		files := t.TempDir()
		if err := os.WriteFile(filepath.Join(files, "state"), bytes.Repeat([]byte{byte(n)}, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		u := checkpoint.Upload{
			Manifest: checkpoint.Manifest{App: "shop", Incarnation: 1, Round: n, Task: task, Generation: "g", Position: checkpoint.Position{ChangelogOffset: -1}},
			Dir:      files, Files: []string{"state"},
		}
		if _, err = repo.StartRound(t.Context(), 1, n, checkpoint.GoOn); err == nil {
			_, _, err = repo.Publish(t.Context(), u)
		}
		if err == nil {
			err = repo.CompleteRound(t.Context(), checkpoint.Completion{Incarnation: 1, Round: n, Tasks: []partition.TaskID{task}, Generation: "g"})
		}
	}
	if err == nil {
		err = repo.CreateSavepoint(t.Context(), 1, checkpoint.Savepoint{Name: "before-release", Round: 2})
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// listing is every file below a folder with its size and time.
func listing(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files[path] = fmt.Sprint(info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// age sets the times of all objects back.
func age(t *testing.T, folder string, by time.Duration) {
	t.Helper()
	for path := range listing(t, folder) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, info.ModTime().Add(-by)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGarbageIsShownAndThenCollected(t *testing.T) {
	t.Parallel()
	folder := storeOfRounds(t, 6)
	gc := func(args ...string) result {
		return execute(t.Context(), nil, nil, append([]string{"gc", "--app-id", "shop", "--store-url", "file://" + folder, "-o", "json"}, args...)...)
	}
	of := func(r result) checkpoint.CollectedLife {
		t.Helper()
		done := decode[checkpoint.Collected](t, r.want(t, 0))
		if len(done.Lives) != 1 {
			t.Fatalf("got %+v", done)
		}
		return done.Lives[0]
	}
	age(t, folder, checkpoint.DefaultGrace+time.Hour)
	before := listing(t, folder)
	planned := of(gc("--dry-run").want(t, 0, "nothing was done"))
	want := checkpoint.CollectedLife{
		Incarnation: 1, Floor: 4, Dropped: []int64{1, 3}, Manifests: 2, Condemned: checkpoint.Tally{Objects: 2, Bytes: 2000},
		Kept: []checkpoint.KeptRound{
			{Round: 2, Why: []string{"savepoint before-release"}},
			{Round: 4, Why: []string{"newest 3"}}, {Round: 5, Why: []string{"newest 3"}}, {Round: 6, Why: []string{"newest 3"}},
		},
	}
	if diff := cmp.Diff(want, planned); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, listing(t, folder)); diff != "" {
		t.Errorf("a dry run has changed the store (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(want, of(gc())); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	if waiting := of(gc("--dry-run").want(t, 0, "wait for 6h")); waiting.Waiting.Bytes != 2000 {
		t.Errorf("got %+v", waiting)
	}
	age(t, folder, checkpoint.DefaultGrace+time.Hour)
	for _, dry := range []string{"--dry-run=true", "--dry-run=false"} {
		if done := of(gc(dry)); done.Deleted != (checkpoint.Tally{Objects: 2, Bytes: 2000}) {
			t.Errorf("%s: got %+v", dry, done)
		}
	}
	if done := of(gc()); done.Deleted.Objects != 0 || done.Condemned.Objects != 0 || len(done.Dropped) != 0 {
		t.Errorf("nothing is left to do: %+v", done)
	}
	execute(t.Context(), nil, nil, "checkpoints", "verify", "2", "--app-id", "shop", "--store-url", "file://"+folder).want(t, 0, "ok")
}

// What workers keep is recorded: whoever collects by hand, with other settings or none, keeps the same.
func TestGarbageIsCollectedByTheRuleOfTheWorkers(t *testing.T) {
	t.Parallel()
	folder := storeOfRounds(t, 6)
	base := []string{"gc", "--app-id", "shop", "--store-url", "file://" + folder}
	execute(t.Context(), counter(), nil, append(base, "--checkpoints-kept", "5")...).want(t, 0, "newest 5")
	r := execute(t.Context(), counter(), nil, append(base, "--dry-run")...).want(t, 0, "newest 5", "savepoint before-release")
	if strings.Contains(r.out, "dropped") {
		t.Errorf("something is dropped:\n%s", r.out)
	}
	execute(t.Context(), nil, nil, append(base, "--checkpoints-kept", "2", "--checkpoints-kept-for", "1h")...).want(t, 0, "newest 2, younger than 1h0m0s")
	execute(t.Context(), nil, nil, append(base, "--checkpoints-kept", "0")...).want(t, exitUsage, "at least 1")
	execute(t.Context(), nil, nil, "gc", "--app-id", "nobody", "--store-url", "file://"+folder).want(t, exitNotFound, "no application nobody")
}
