// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/statestore"
)

// restored compares a restore with a copy.
type restored struct {
	Bytes          int64   `json:"bytes"`
	Files          int     `json:"files"`
	MiBPerSec      float64 `json:"mibPerSecond"`      // downloaded, verified, and open
	PlainMiBPerSec float64 `json:"plainMiBPerSecond"` // the same objects into files, and synced
}

// plainParallel is how many objects are copied at once, and how many tasks are restored at once.
const plainParallel = 8

// measureRestore copies and then restores the newest complete checkpoint, each into an empty folder.
func measureRestore(ctx context.Context, store objstore.Store, repo *checkpoint.Repository, dir string) (r restored, err error) {
	var newest int64
	for round, err := range repo.Rounds(ctx, 1) { // oldest first
		if err != nil {
			return r, err
		}
		if round.Complete {
			newest = round.Number
		}
	}
	cut, err := repo.LoadCut(ctx, 1, newest)
	if err != nil {
		return r, err
	}
	for _, m := range cut.Manifests {
		r.Bytes += m.Bytes()
		r.Files += len(m.Files)
	}
	say("copying and restoring %d MiB", r.Bytes>>20)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, err
	}
	began := time.Now()
	if err := plainCopy(ctx, store, cut, dir); err != nil {
		return r, err
	}
	r.PlainMiBPerSec = float64(r.Bytes) / (1 << 20) / time.Since(began).Seconds()
	if err := os.RemoveAll(dir); err != nil {
		return r, err
	}
	resources, err := statestore.NewResources(1 << 30)
	if err != nil {
		return r, err
	}
	began = time.Now()
	dbs, err := restoreAll(ctx, repo, cut, dir, resources)
	r.MiBPerSec = float64(r.Bytes) / (1 << 20) / time.Since(began).Seconds()
	for _, db := range dbs { // its compactions go on until here
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}
	return r, errors.Join(err, resources.Close(), os.RemoveAll(dir))
}

func plainCopy(ctx context.Context, store objstore.Store, cut checkpoint.Cut, dir string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(plainParallel)
	for _, m := range cut.Manifests {
		for _, f := range m.Files {
			group.Go(func() error {
				return objstore.Read(ctx, store, f.Object, func(body io.Reader) (err error) {
					file, err := os.Create(filepath.Join(dir, m.Task.String()+"-"+f.Name))
					if err != nil {
						return err
					}
					defer file.Close()
					if _, err := io.Copy(file, body); err != nil {
						return err
					}
					return file.Sync()
				})
			})
		}
	}
	return group.Wait()
}

// restoreAll does what workers do that have lost their disks, up to the position of the checkpoint. It returns what it has
// opened, also with an error.
func restoreAll(ctx context.Context, repo *checkpoint.Repository, cut checkpoint.Cut, dir string, resources *statestore.Resources) (dbs []*statestore.DB, err error) {
	opened := make([]*statestore.DB, len(cut.Manifests))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(plainParallel)
	for i, m := range cut.Manifests {
		group.Go(func() error {
			o := statestore.Options{
				Dir: filepath.Join(dir, m.Task.String()), Resources: resources,
				Identity: statestore.Identity{App: m.App, Incarnation: m.Incarnation, Task: m.Task},
			}
			if _, err := repo.Restore(ctx, m, o.Dir); err != nil {
				return err
			}
			db, err := statestore.Open(o)
			if err != nil {
				return err
			}
			opened[i] = db
			if pos, _ := db.Position(); pos.Epoch != m.Position.Epoch {
				return fmt.Errorf("task %v was restored to epoch %d, its manifest says %d", m.Task, pos.Epoch, m.Position.Epoch)
			}
			return nil
		})
	}
	err = group.Wait()
	return slices.DeleteFunc(opened, func(db *statestore.DB) bool { return db == nil }), err
}
