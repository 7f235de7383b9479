// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// This file is what a worker keeps on its machine. The layout below the state directory:
//
//	<app>-<incarnation>/            locked by the one worker that uses it
//	<app>-<incarnation>/0_3         the store of task 0_3
//	<app>-<incarnation>/0_3.next    a whole checkpoint that is about to take its place; 0_3.next.restoring is its download
//	<app>-<incarnation>/cuts        frozen files on their way to the object store

// stateFolder is where the tasks' states of this life of the application lie on this machine.
func (w *Worker) stateFolder() string {
	return filepath.Join(w.cfg.StateDir, w.names.App+"-"+strconv.Itoa(w.names.Incarnation))
}

// stateDir is where a task's state lies on this machine.
func (w *Worker) stateDir(id partition.TaskID) string {
	return filepath.Join(w.stateFolder(), id.String())
}

// channelDir makes an empty folder for what is in flight at the cut of a round.
func (w *Worker) channelDir() (string, error) {
	dir := filepath.Join(w.stateFolder(), "cuts", "channels")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// cutDir is where the files of a checkpoint wait until they are sent.
func (w *Worker) cutDir(id partition.TaskID, round int64) string {
	return filepath.Join(w.stateFolder(), "cuts", fmt.Sprintf("%v-%d", id, round))
}

// lockState takes the state folder for this worker alone, and removes what a killed one has left half-way.
func (w *Worker) lockState() error {
	lock, err := statestore.LockDir(w.stateFolder())
	if err != nil {
		return fmt.Errorf("use the state folder of %s: %w; give each worker a state.dir of its own", w.names.App, err)
	}
	w.stateLock = lock
	if err := os.RemoveAll(filepath.Join(w.stateFolder(), "cuts")); err != nil {
		return fmt.Errorf("use the state folder of %s: %w", w.names.App, err)
	}
	return nil
}

func (w *Worker) storeOptions(id partition.TaskID) statestore.Options {
	return statestore.Options{
		Dir:       w.stateDir(id),
		Identity:  statestore.Identity{App: w.names.App, Incarnation: w.names.Incarnation, Task: id},
		Resources: w.resources,
	}
}

// openLocal opens the task's directory. A corrupt one is deleted and begun anew; one of something else is refused.
func (w *Worker) openLocal(rt *runningTask) error {
	dir := w.stateDir(rt.id)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// A worker was killed between the removal of the old state and its replacement.
		if err := os.Rename(dir+".next", dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put the downloaded state of task %v in place: %w", rt.id, err)
		}
	}
	db, err := statestore.Open(w.storeOptions(rt.id))
	if errors.Is(err, statestore.ErrCorrupt) {
		w.listener.localDiscarded(rt.id, err)
		if err := statestore.Destroy(dir); err != nil {
			return err
		}
		db, err = statestore.Open(w.storeOptions(rt.id))
	}
	if err != nil {
		return err
	}
	rt.db = db
	return nil
}

// download puts a checkpoint in place of the local state, which stays until the checkpoint is there as a whole: it is
// the last resort where the store has failed, or holds something damaged.
func (w *Worker) download(ctx context.Context, rt *runningTask, m checkpoint.Manifest) error {
	next := w.stateDir(rt.id) + ".next"
	if err := os.RemoveAll(next); err != nil {
		return fmt.Errorf("make room for a checkpoint of task %v: %w", rt.id, err)
	}
	var stats checkpoint.Stats
	err := w.askStore(ctx, "download a checkpoint of task "+rt.id.String(), func() (err error) {
		stats, err = w.repo.Restore(ctx, m, next)
		return err
	})
	if err != nil {
		return err
	}
	if m.Position.ChangelogOffset < 0 {
		if err := w.transplant(rt, next); err != nil {
			return err
		}
	}
	if err := w.replaceLocal(rt, next); err != nil {
		return err
	}
	if have, _ := rt.db.Position(); have.Epoch != m.Position.Epoch || have.Offset != m.Position.ChangelogOffset {
		return fmt.Errorf("%w: the files of round %d are at epoch %d, the manifest says %d", checkpoint.ErrCorrupt, m.Round, have.Epoch, m.Position.Epoch)
	}
	rt.restore = restoreStats{source: "checkpoint", round: m.Round, bytes: stats.Bytes}
	rt.basis, rt.durableRound = newBasis(m, nil), m.Round
	return nil
}

// transplant makes the state of another life that of this one: its files name places in a changelog and in repartition
// topics that this life does not have. It is on the disk before the state is put in place, since a worker that is killed
// would find these names there again.
func (w *Worker) transplant(rt *runningTask, dir string) error {
	o := w.storeOptions(rt.id)
	o.Dir = dir
	db, err := statestore.Open(o)
	if err != nil {
		return err
	}
	have, _ := db.Position()
	point, err := task.DecodePoint(have.Detail)
	if err == nil {
		point.Transplant()
		have.Offset, have.Detail = -1, point.AppendTo(nil)
		err = db.Apply(nil, have)
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	return err
}

// replaceLocal closes the store, puts the files of a folder in place of its directory, or nothing if next is empty,
// and opens it again.
func (w *Worker) replaceLocal(rt *runningTask, next string) error {
	dir := w.stateDir(rt.id)
	rt.stopCut()
	err := rt.db.Close()
	rt.db, rt.task, rt.basis = nil, nil, basis{}
	if err != nil {
		return err
	}
	if err := statestore.Destroy(dir); err != nil {
		return err
	}
	if next != "" {
		if err := os.Rename(next, dir); err != nil {
			return fmt.Errorf("put the downloaded state of task %v in place: %w", rt.id, err)
		}
	}
	return w.openLocal(rt)
}
