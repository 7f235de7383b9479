// SPDX-License-Identifier: Apache-2.0

package statestore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// raw are values of bytes.
type raw struct{}

func (raw) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (raw) Decode(b []byte) ([]byte, error)             { return append([]byte{}, b...), nil }

// divided is the state of some tasks on the disk: a value, a map and a window store, and one that all tasks have.
type divided struct {
	t    *testing.T
	dirs []string
}

const (
	valueStore, mapStore, windowStore, sharedStore = 1, 2, 3, 4
)

// divide writes entries over n keys to as many tasks as are asked for.
func divide(t *testing.T, res *statestore.Resources, tasks int32, n int) divided {
	t.Helper()
	d := divided{t: t}
	for p := range tasks {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(p))
		d.dirs = append(d.dirs, dir)
		db, err := statestore.Open(statestore.Options{Dir: dir, Resources: res, Identity: identityOf(p)})
		if err != nil {
			t.Fatal(err)
		}
		values, maps := statestore.NewValue(db, valueStore, raw{}), statestore.NewMap(db, mapStore, raw{})
		windows, shared := statestore.NewWindow(db, windowStore, raw{}), statestore.NewValue(db, sharedStore, raw{})
		check := func(err error) {
			if err != nil {
				t.Helper()
				t.Fatal(err)
			}
		}
		for i := range n {
			key := []byte(fmt.Sprint("key-", i))
			if i < 3 {
				check(shared.Put(key, []byte("shared")))
			}
			if partition.ForKey(key, tasks) != p {
				continue
			}
			check(values.Put(key, []byte(fmt.Sprint("value ", i))))
			for sub := range i % 3 {
				check(maps.Put(key, []byte{byte(sub)}, []byte(fmt.Sprint("map ", i, sub))))
			}
			check(windows.Put(int64(i/10), key, nil, []byte(fmt.Sprint("window ", i))))
		}
		delta, err := db.Prepare(1 << 20)
		check(err)
		_ = delta
		check(db.Confirm(statestore.Position{Epoch: 1, Offset: 7}))
		check(db.Close())
	}
	return d
}

func identityOf(p int32) statestore.Identity {
	return statestore.Identity{App: "app", Incarnation: 1, Task: partition.TaskID{Partition: p}}
}

// entries returns all entries of all tasks, each with its task.
func (d divided) entries() map[string]string {
	d.t.Helper()
	all := map[string]string{}
	for p, dir := range d.dirs {
		r, err := statestore.OpenReadOnly(dir)
		if err != nil {
			d.t.Fatal(err)
		}
		entries, ended := r.Entries()
		for key, value := range entries {
			id, user, _, err := statestore.SplitKey(key)
			if err != nil {
				d.t.Fatal(err)
			}
			name := string(key)
			if id == sharedStore {
				name = fmt.Sprint(p, " has ", name)
			} else if at := partition.ForKey(user, int32(len(d.dirs))); int(at) != p {
				d.t.Errorf("key %q lies in %d, not in %d", user, p, at)
			}
			if _, twice := all[name]; twice {
				d.t.Errorf("entry %q is there twice", name)
			}
			all[name] = string(value)
		}
		if err := errors.Join(ended(), r.Close()); err != nil {
			d.t.Fatal(err)
		}
	}
	return all
}

func (d divided) rescale(res *statestore.Resources, targets int32) divided {
	d.t.Helper()
	split := statestore.Split{Sources: d.dirs, Targets: targets, Everywhere: map[statestore.StoreID]bool{sharedStore: true}, Dir: d.t.TempDir(), Parallel: 2}
	parts, err := split.Write(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	to := divided{t: d.t}
	for p := range targets {
		into := filepath.Join(d.t.TempDir(), "cut")
		o := statestore.Options{Dir: filepath.Join(d.t.TempDir(), "state"), Resources: res, Identity: identityOf(p)}
		files, err := statestore.Join(context.Background(), o, parts[p], statestore.Position{Epoch: 9, Offset: -1, Detail: []byte("here")}, into)
		if err != nil || len(files) == 0 {
			d.t.Fatalf("join of task %d: %d files, %v", p, len(files), err)
		}
		to.dirs = append(to.dirs, into)
	}
	return to
}

func TestARescaledStateHasEveryEntryOnceWhereItsKeyLeads(t *testing.T) {
	t.Parallel()
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	const keys = 500
	at := divide(t, res, 4, keys)
	for _, targets := range []int32{8, 6, 1, 3} {
		at = at.rescale(res, targets)
		if diff := cmp.Diff(divide(t, res, targets, keys).entries(), at.entries()); diff != "" {
			t.Fatalf("%d tasks: entries differ from those of a state that was written so:\n%s", targets, diff)
		}
		r, err := statestore.OpenReadOnly(at.dirs[0])
		if err != nil {
			t.Fatal(err)
		}
		if p, ok, err := r.Position(); err != nil || !ok || p.Epoch != 9 || p.Offset != -1 || string(p.Detail) != "here" {
			t.Errorf("the position is %+v, %v, %v", p, ok, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnEntryThatDoesNotLieWhereItsKeyLeadsIsNotRescaled(t *testing.T) {
	t.Parallel()
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	d := divide(t, res, 3, 50)
	d.dirs[0], d.dirs[1] = d.dirs[1], d.dirs[0]
	_, err = statestore.Split{Sources: d.dirs, Targets: 2, Everywhere: map[statestore.StoreID]bool{sharedStore: true}, Dir: t.TempDir()}.Write(t.Context())
	if !errors.Is(err, statestore.ErrMisplaced) {
		t.Errorf("got %v", err)
	}
}
