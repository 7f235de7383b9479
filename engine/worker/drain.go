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

// stop ends the work, after one more commit. If a task has a long tail, a round is started first, which all tasks of this
// worker enter with that commit. Processing goes on until the round is there. A worker without a long tail starts none,
// since a round makes every worker of the application store checkpoints.
func (w *Worker) stop() {
	long := false
	for _, rt := range w.tasks {
		long = long || rt.tail() > drainTail
	}
	if w.repo == nil || !long || w.haltRound.Load() > 0 {
		w.step(core.Stop{})
		return
	}
	w.routines.Go(func() { w.lastRound <- w.startLastRound() })
}

func (w *Worker) startLastRound() error {
	ctx, cancel := context.WithTimeout(w.hard, w.cfg.DrainTimeout/4)
	defer cancel()
	latest, err := w.repo.LatestRound(ctx, w.names.Incarnation)
	if err != nil {
		return err
	}
	return w.beginRound(ctx, latest.Number+1)
}

// lastRoundBegun enters the last round with all tasks.
func (w *Worker) lastRoundBegun(err error) {
	if err != nil {
		w.listener.background("start a checkpoint before leaving", err)
		w.step(core.Stop{})
		return
	}
	w.noteRound()
	w.stopping = true
	if w.machine.MayProcess() {
		var ids []partition.TaskID
		for id := range w.tasks {
			if w.machine.Running(id) {
				ids = append(ids, id)
			}
		}
		if len(ids) > 0 {
			w.touch(ids)
		}
	}
	w.step(core.Stop{})
}

// saveTails waits for the checkpoints that are being stored.
func (w *Worker) saveTails() core.Event {
	if w.saving() {
		return nil
	}
	return core.Checkpointed{}
}

// saving says whether a checkpoint of any task is being stored.
func (w *Worker) saving() bool {
	for _, rt := range w.tasks {
		if rt.storing > 0 {
			return true
		}
	}
	return false
}

// saved goes on with the end once nothing is being stored any more.
func (w *Worker) saved() {
	if !w.saving() {
		w.leaveUnsaved()
	}
}

// leaveUnsaved goes on with the end, whatever is not stored: it is in the changelog.
func (w *Worker) leaveUnsaved() {
	if w.machine.Phase() == core.Draining {
		w.step(core.Checkpointed{})
	}
}
