// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// This file is the end of a worker that was asked to stop: its last epoch is committed, and the next owners of its
// tasks should not have to replay much.

// drainTail is how much changelog a leaving worker lets its successors replay: reading this much takes less time than
// storing and fetching a checkpoint.
const drainTail = 1 << 20 // bytes

// tail is how much of the changelog that this ownership has written is in no stored checkpoint, in bytes.
func (rt *runningTask) tail() int64 { return rt.changelogBytes - rt.cutBytes }

// saveTails begins a round of its own for the tasks that have a long tail. A worker without one starts none, since
// a round makes every worker of the application store checkpoints.
func (w *Worker) saveTails(ids []partition.TaskID) core.Event {
	long := false
	for _, id := range ids {
		long = long || w.tasks[id].tail() > drainTail
	}
	if w.repo == nil || !long {
		return core.Checkpointed{}
	}
	w.routines.Go(func() { w.lastRound <- w.startLastRound() })
	return nil
}

func (w *Worker) startLastRound() error {
	ctx, cancel := context.WithTimeout(w.hard, w.cfg.DrainTimeout/2)
	defer cancel()
	latest, err := w.repo.LatestRound(ctx, w.names.Incarnation)
	if err != nil {
		return err
	}
	if _, err := w.repo.StartRound(ctx, w.names.Incarnation, latest.Number+1); err != nil {
		return err
	}
	w.raiseRound(latest.Number + 1)
	return nil
}

// saveBegun enters the last round with every task that has a long tail.
func (w *Worker) saveBegun(err error) {
	if err != nil {
		w.listener.background("start a checkpoint before leaving", err)
		w.leaveUnsaved()
		return
	}
	w.saving = map[partition.TaskID]bool{}
	for id := range w.tasks {
		w.saving[id] = true
	}
	w.goOnSaving()
}

// goOnSaving is called for each checkpoint that ends. One that was under way when the worker was asked to stop may
// have left a long tail.
func (w *Worker) goOnSaving() {
	if w.saving == nil {
		return
	}
	for id := range w.saving {
		rt := w.tasks[id]
		if w.machine.Running(id) && rt.db != nil && !rt.cutting && rt.tail() > drainTail {
			w.beginCut(rt)
		}
		if rt == nil || !rt.cutting {
			delete(w.saving, id)
		}
	}
	if len(w.saving) == 0 {
		w.leaveUnsaved()
	}
}

// leaveUnsaved goes on with the end, whatever is not stored: it is in the changelog.
func (w *Worker) leaveUnsaved() {
	w.saving = nil
	if w.machine.Phase() == core.Draining {
		w.step(core.Checkpointed{})
	}
}

// raiseRound notes a round that was started. The watcher of rounds and a drain may do so at the same time.
func (w *Worker) raiseRound(n int64) {
	for {
		old := w.round.Load()
		if n <= old || w.round.CompareAndSwap(old, n) {
			return
		}
	}
}
