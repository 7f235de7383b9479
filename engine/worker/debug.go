// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"slices"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// This file lets a replay be watched record by record. A task stops before a record as it does at a barrier: what it has
// processed is committed. Then the record has an epoch of its own, whose deltas are what it has changed, while the store
// still has what was there before. Nobody waits for an answer while a transaction is open.

// Debug says where to stop, and is told what a record has done. A worker with it has one lane, and its loop waits for the
// calls, so that nothing else is processed meanwhile.
type Debug struct {
	// Match says whether to stop before a record, which is valid during the call. source is an index of the
	// sub-topology's Sources.
	Match func(sub *topology.SubTopology, source int, r *operators.Record) bool
	// Step takes what a record before which a task has stopped has done, once that is committed, or its error. It
	// returns whether the task is to stop before its next record, too.
	Step func(s Step) (again bool)
}

// Step is what one record has done.
type Step struct {
	Task   partition.TaskID
	Sub    *topology.SubTopology
	Source int // index in Sub.Sources
	Record operators.Record

	Changes   []statestore.Change // of the task's state
	Left      int                 // changes that there are beside these
	Emitted   []Emitted
	Watermark operators.Time // of the task, afterwards
	Err       error          // of the record's processing: nothing was committed
}

// Emitted is a record that a task has emitted.
type Emitted struct {
	Topic      string // as the topology names it
	Internal   bool   // it is a repartition topic
	Muted      bool   // the record is thrown away
	Time       operators.Time
	Key, Value []byte // nil: null
}

// maxChanges is how many changed entries a Step holds.
const maxChanges = 1000

// debugged is what is watched of one task. It belongs to whoever has the task.
type debugged struct {
	worker *Worker
	id     partition.TaskID
	sub    *topology.SubTopology
	again  bool  // it stops before its next record
	step   *Step // while a record has its epoch
	let    bool  // that record is yet to come
}

// watch has a task that is to be made stop, and its output seen.
func (w *Worker) watch(rt *runningTask, o *task.Options) {
	rt.debug = &debugged{worker: w, id: rt.id, sub: rt.sub}
	o.Break, o.Output = rt.debug.stops, tap{rt.outbox, rt.debug}
}

// stops is asked before each record of the task.
func (d *debugged) stops(source int, r *operators.Record) bool {
	if d.let {
		d.let, d.step.Source, d.step.Record = false, source, cloneRecord(r)
		return false
	}
	return d.again || d.worker.debug.Match(d.sub, source, r)
}

func cloneRecord(r *operators.Record) operators.Record {
	c := *r
	c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = bytes.Clone(c.Headers[i].Value)
	}
	return c
}

// tap is an output that takes note of what passes.
type tap struct {
	*kafka.Outbox
	d *debugged
}

// Emit implements operators.Output.
func (t tap) Emit(e operators.Emission) {
	if s := t.d.step; s != nil && !e.Control {
		out := t.d.sub.Outputs[e.Topic]
		s.Emitted = append(s.Emitted, Emitted{
			Topic: out.Topic, Internal: out.Internal, Muted: t.d.worker.muted(out.Internal),
			Time: e.Time, Key: bytes.Clone(e.Key()), Value: bytes.Clone(e.Value()),
		})
	}
	t.Outbox.Emit(e)
}

// prepared takes what the epoch changes, while the store has what was there before.
func (d *debugged) prepared(rt *runningTask) (err error) {
	if d.step != nil && rt.db != nil {
		d.step.Changes, d.step.Left, err = rt.db.Changes(maxChanges)
	}
	return err
}

// stoppedTask returns a task that stands before a record at which it was to stop.
func (w *Worker) stoppedTask() *runningTask {
	if w.debug == nil {
		return nil
	}
	for _, id := range w.backlog {
		if rt := w.tasks[id]; rt != nil && w.machine.Running(id) && !rt.halted && rt.task.Stopped() {
			return rt
		}
	}
	return nil
}

// stepOver gives the record before which a task has stopped an epoch of its own, and tells what it has done.
func (w *Worker) stepOver(rt *runningTask) {
	if w.machine.Phase() == core.Processing {
		w.step(core.CommitDue{}) // what was processed before
		return
	}
	if !w.begin() {
		return
	}
	d, s, before := rt.debug, &Step{Task: rt.id, Sub: rt.sub}, rt.committed.Epoch
	d.step, d.let = s, true
	n, err := rt.task.Process(1)
	if n == 0 && err == nil {
		d.step, d.let = nil, false // it waits for another input
		return
	}
	w.epoch.records += n
	w.epoch.dry = false
	rt.more = rt.task.Waiting() > 0
	w.noteBacklog([]partition.TaskID{rt.id})
	w.step(core.Touched{Tasks: []partition.TaskID{rt.id}})
	if err != nil {
		s.Err = err
		w.debug.Step(*s)
		d.step, d.let = nil, false
		w.step(core.TaskFailed{Err: err})
		return
	}
	w.step(core.CommitDue{})
	d.step, d.let = nil, false
	if w.tasks[rt.id] == rt && w.machine.Running(rt.id) && rt.committed.Epoch > before {
		s.Watermark = rt.task.Watermark()
		d.again = w.debug.Step(*s)
	} // else nothing was committed, and the task will stop there again
}
