// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"time"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
)

// This file stops an application at a cut: a round may be a halt. A task that enters it processes nothing more. A worker
// whose tasks have all stored their parts of it ends, and workers that start wait, until somebody lets the application
// go on. Nothing is emitted beyond the cut, and the application goes on exactly there.

// haltPoll is how often a worker looks whether it may begin.
const haltPoll = time.Second

// halt keeps a task that has just entered a round from going on, if the round is a halt.
func (w *Worker) halt(rt *runningTask) {
	if n := w.haltRound.Load(); n == 0 || rt.committed.Entered < n {
		return
	}
	rt.halted = true
	w.consumer.Pause(rt.inputs)
}

// noteHalt lets the loop know whether a round that was just seen is a halt, before it lets it know of the round.
func (w *Worker) noteHalt(ctx context.Context, n int64) error {
	if n == 0 || n <= w.round.Load() {
		return nil
	}
	halts, err := w.repo.Halted(ctx, w.names.Incarnation, n)
	if err == nil && halts {
		w.haltRound.Store(n)
	}
	return err
}

// watchHalt looks whether a halt is over: all tasks stand at their cuts, and what they were is stored.
func (w *Worker) watchHalt(n int64) error {
	if n == 0 || n != w.haltRound.Load() || w.halted.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(w.hard, storeCallTimeout)
	defer cancel()
	over, err := w.repo.Over(ctx, w.names.Incarnation, n)
	w.halted.Store(over)
	return err
}

// endIfHalted stops the worker once a halt is over.
func (w *Worker) endIfHalted() {
	n := w.haltRound.Load()
	if n == 0 || w.stopping || !w.machine.MayProcess() {
		return
	}
	if !w.halted.Load() {
		return
	}
	w.listener.halted(n)
	w.stopping = true
	w.step(core.Stop{})
}

// awaitResume waits while the application is halted. It loads the application anew each time: what ends the wait may be
// another life.
func (w *Worker) awaitResume(ctx context.Context) error {
	if w.repo == nil {
		return nil
	}
	for said := false; ; {
		n, over, err := w.currentHalt(ctx)
		if err != nil || n == 0 {
			return err
		}
		if !over { // its tasks have to get there
			w.haltRound.Store(n)
			w.raiseRound(n)
			return nil
		}
		if !said {
			said = true
			w.listener.waitsForResume(n)
		}
		if err := kafka.Pause(ctx, haltPoll); err != nil {
			return err
		}
		if err := w.loadApplication(ctx); err != nil {
			return err
		}
	}
}

// currentHalt returns the round at which the application is to halt, 0 if there is none, and whether it has.
func (w *Worker) currentHalt(ctx context.Context) (n int64, over bool, err error) {
	if n, err = w.repo.CurrentHalt(ctx, w.names.Incarnation); err != nil || n == 0 {
		return 0, false, err
	}
	over, err = w.repo.Over(ctx, w.names.Incarnation, n)
	return n, over, err
}
