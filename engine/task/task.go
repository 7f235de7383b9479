// SPDX-License-Identifier: Apache-2.0

package task

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// ErrStaleRecord marks a record below the task's position: a buffer of before a rewind.
var ErrStaleRecord = errors.New("record below the task's position")

// Batch is a run of records of one input partition, in offset order.
type Batch interface {
	Len() int
	First() int64
	Last() int64
	// TimeAt is the timestamp of record i; operators.MinTime if it is a transaction marker.
	TimeAt(i int) operators.Time
	// Record fills r with record i. False: it is a transaction marker, which has an offset but no content. The offset is
	// filled in any case.
	Record(i int, r *operators.Record) (bool, error)
}

// Options make a Task.
type Options struct {
	ID          partition.TaskID
	SubTopology *topology.SubTopology
	// Inputs has one for each of SubTopology.Sources, in that order; one without a topic where the source has no
	// such partition, as a stateless sub-topology allows.
	Inputs []partition.TopicPartition
	DB     *statestore.DB // nil for a stateless sub-topology
	Output operators.Output
	Now    func() time.Time
	Wait   func(time.Duration) // between the attempts of a step at a record; nil: time.Sleep
	// MaxRecord is how many bytes of key, value and headers an output record may have; 0: any number.
	MaxRecord int
	Listener  *operators.Listener              // may be nil
	Globals   map[string]operators.GlobalStore // by topic

	// Upstream has, for each source that is a repartition topic, the tasks that write it.
	Upstream [][]partition.TaskID
	// Partitions has the number of partitions of each of SubTopology.Outputs.
	Partitions []int32
	// Run names the bounded run that the task is part of; empty: it has no end.
	Run string
	// Timed says that some step of the pipeline acts on event time, so that watermarks are announced downstream.
	Timed bool
	// AnnounceEvery is the least time between two announcements that differ in the watermark only.
	AnnounceEvery time.Duration
	// Go runs what steps call, on another goroutine; Wake is called there when that has ended, and Tick has something to
	// do. They are needed where a step of the pipeline makes calls.
	Go   func(func())
	Wake func()
	// IdleAfter is how long an input must have been processed to its end before it counts as idle.
	IdleAfter time.Duration
	// Break, if not nil, says whether to stop before a record of an input, which is valid during the call. It is asked
	// again when the task goes on.
	Break func(input int, r *operators.Record) bool
}

// Task is one running task.
type Task struct {
	id      partition.TaskID
	db      *statestore.DB
	proc    operators.Processor
	ctx     operators.Context
	inputs  []input
	source  map[partition.TopicPartition]int
	record  operators.Record
	ordered bool // records of several inputs are processed in the order of time
	waiting int  // records enqueued and not yet processed
	counted int64
	calls   calls

	run       string
	out       announcer
	idleAfter time.Duration
	now       func() time.Time
	time      eventTime // of the epoch in progress
	prepared  eventTime // as of Prepare
	confirmed eventTime
	breaks    func(input int, r *operators.Record) bool
	broken    bool           // Process has stopped before a record, as breaks wanted
	acted     bool           // Tick has done something that is not committed yet
	others    operators.Time // how far the other tasks of the sub-topology have come
}

// New builds the processors of a task.
func New(o Options) (*Task, error) {
	t := &Task{id: o.ID, db: o.DB, source: map[partition.TopicPartition]int{}, idleAfter: o.IdleAfter, now: o.Now, run: o.Run, breaks: o.Break, others: operators.MinTime}
	for i, tp := range o.Inputs {
		in := input{tp: tp, source: tp.Topic, end: -1, stop: noStop}
		if i < len(o.SubTopology.Sources) {
			src := o.SubTopology.Sources[i]
			in.source, in.internal, in.outOfOrder, in.clock = src.Topic, src.Internal, src.OutOfOrder, src.ProcessingTime
		}
		if in.internal && i < len(o.Upstream) {
			in.writers = o.Upstream[i]
		}
		t.inputs = append(t.inputs, in)
		if tp.Topic != "" {
			t.source[tp] = i
		}
	}
	t.ordered = len(t.source) > 1 && o.SubTopology.Keyed()
	t.out = newAnnouncer(o)
	t.startTime()
	t.calls.run, t.calls.wake = o.Go, o.Wake
	t.calls.begin()
	proc, err := o.SubTopology.New(&operators.Runtime{
		Task: o.ID, DB: o.DB, Output: o.Output, Partitions: o.Partitions, Context: &t.ctx, Now: o.Now, Wait: o.Wait, MaxRecord: o.MaxRecord,
		Call: t.calls.call, Listener: o.Listener, Globals: o.Globals,
	})
	if err != nil {
		return nil, fmt.Errorf("build task %v: %w", o.ID, err)
	}
	t.proc = proc
	return t, nil
}

// ID returns the task's id.
func (t *Task) ID() partition.TaskID { return t.id }

// Seek sets the task's position and drops what was enqueued. An input that p leaves out keeps its position.
func (t *Task) Seek(p Position) {
	t.waiting, t.broken = 0, false
	for i := range t.inputs {
		in := &t.inputs[i]
		in.queue, in.at = nil, 0
		if at, ok := p[in.tp]; ok {
			in.next = at
		}
	}
}

// Position returns where the task stands: everything below is processed.
func (t *Task) Position() Position {
	p := make(Position, len(t.source))
	for tp, i := range t.source {
		p[tp] = t.inputs[i].next
	}
	return p
}

// At returns the position in one input.
func (t *Task) At(tp partition.TopicPartition) (int64, bool) {
	i, ok := t.source[tp]
	if !ok {
		return 0, false
	}
	return t.inputs[i].next, true
}

// Enqueue takes a batch, to be processed later. ErrStaleRecord: it begins before what the task expects.
func (t *Task) Enqueue(tp partition.TopicPartition, b Batch) error {
	i, ok := t.source[tp]
	if !ok {
		return fmt.Errorf("task %v: %v is none of its inputs", t.id, tp)
	}
	in := &t.inputs[i]
	expected := in.next
	if n := len(in.queue); n > 0 {
		expected = in.queue[n-1].Last() + 1
	}
	if b.Len() == 0 {
		return nil
	}
	if b.First() < expected {
		return fmt.Errorf("task %v: %v at %d, expected %d: %w", t.id, tp, b.First(), expected, ErrStaleRecord)
	}
	b, over := in.cut(b)
	switch {
	case over && b.Len() > 0:
		in.stop = b.Last() + 1 // the offsets up to the end hold nothing
	case over && len(in.queue) == 0:
		in.next = max(in.next, in.stop)
		return nil
	case over:
		in.stop = expected
		return nil
	}
	in.queue = append(in.queue, b)
	in.end = max(in.end, b.Last()+1)
	t.waiting += b.Len()
	t.awake(i)
	return nil
}

// Waiting returns the number of records enqueued and not yet processed.
func (t *Task) Waiting() int { return t.waiting }

// WaitingIn returns the number of records of one input that are enqueued and not yet processed.
func (t *Task) WaitingIn(tp partition.TopicPartition) (n int) {
	if i, ok := t.source[tp]; ok {
		for _, b := range t.inputs[i].queue {
			n += b.Len()
		}
		n -= t.inputs[i].at
	}
	return n
}

// Processed returns the number of records processed since New, markers not counted.
func (t *Task) Processed() int64 { return t.counted }

// Last names the step whose user code ran last, and the input record that was processed last: nil if there is none.
// The record is valid until the next call of Process.
func (t *Task) Last() (step string, r *operators.Record) { return t.ctx.Node, t.ctx.Record }

// Process processes up to limit waiting records. Of several inputs the one with the earliest record goes first; where
// one has more that is not here yet, the task may stop and wait for it. It also stops at a Barrier, and where it Stopped.
func (t *Task) Process(limit int) (n int, err error) {
	defer t.contain(&err)
	t.broken = false
	for n < limit && t.waiting > 0 && t.time.barrier == 0 && !t.broken {
		if t.Full() {
			if !t.calls.waiting() {
				return n, nil
			}
			if err := t.collect(); err != nil {
				return n, err
			}
			continue
		}
		i, until := t.earliest()
		if i < 0 {
			return n, nil
		}
		done, err := t.take(i, limit-n, until)
		n += done
		t.waiting -= done
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// take processes records of the first batch of input i: those before the time until and up to a barrier, and at least one,
// unless it is to stop before it.
func (t *Task) take(i, limit int, until operators.Time) (n int, err error) {
	in := &t.inputs[i]
	b := in.queue[0]
	end := min(b.Len(), in.at+limit)
	for in.at < end {
		if n > 0 && (until != operators.MaxTime && b.TimeAt(in.at) > until || t.Full() || t.time.barrier > 0) {
			break
		}
		ok, err := b.Record(in.at, &t.record)
		if err == nil && ok {
			if t.breaks != nil && t.breaksAt(i) {
				break
			}
			err = t.one(i)
		}
		if err != nil {
			return n, err
		}
		in.next = t.record.Offset + 1
		in.at++
		n++
	}
	if in.at == b.Len() {
		in.queue[0] = nil
		in.queue = in.queue[1:]
		in.at = 0
	}
	return n, nil
}

// breaksAt says whether to stop before t.record.
func (t *Task) breaksAt(i int) bool {
	t.broken = (!t.inputs[i].internal || !isControl(&t.record)) && t.breaks(i, &t.record)
	return t.broken
}

// Stopped says whether the last Process has stopped before a record since Options.Break wanted it.
func (t *Task) Stopped() bool { return t.broken }

// one processes t.record, of input i, and lets event time follow.
func (t *Task) one(i int) error {
	in := &t.inputs[i]
	if in.internal && isControl(&t.record) {
		return t.hear(i)
	}
	if t.out.quiet {
		// Not the watermark that this epoch has come to: what closed by then may be held back until the commit.
		t.out.announce(t, reading{watermark: min(t.outward().watermark, t.confirmed.now.watermark)})
	}
	if err := t.proc.Process(i, &t.record); err != nil {
		return err
	}
	t.counted++
	if in.internal || t.ctx.Time <= t.time.inputs[i].newest {
		return nil
	}
	t.time.inputs[i].newest = t.ctx.Time
	t.time.inputs[i].now.watermark = operators.Later(t.ctx.Time, -in.outOfOrder)
	return t.advance()
}

// earliest returns the input whose next record has the lowest time, the first of them where times are equal, and the
// time up to which it may go on. -1: an input has more that is not here yet, and its next record may be earlier.
func (t *Task) earliest() (best int, until operators.Time) {
	best, until = -1, operators.MaxTime
	if len(t.inputs) == 1 {
		return 0, until
	}
	bestTime := operators.MaxTime
	for i := range t.inputs {
		in := &t.inputs[i]
		if len(in.queue) == 0 {
			if t.ordered && in.next < min(in.end, in.stop) {
				return -1, until
			}
			continue
		}
		if at := in.queue[0].TimeAt(in.at); best < 0 || at < bestTime {
			best, bestTime = i, at
		}
	}
	for i := range t.inputs {
		if in := &t.inputs[i]; i != best && len(in.queue) > 0 {
			at := in.queue[0].TimeAt(in.at)
			if i < best && at > operators.MinTime {
				at-- // of equal times the first input's comes first
			}
			until = min(until, at)
		}
	}
	return best, until
}

// contain turns a panic of user code into an error that names the step and the record's place.
func (t *Task) contain(err *error) {
	if p := recover(); p != nil {
		*err = newPanicError(t.id, &t.ctx, p, debug.Stack())
	}
}

// Prepare ends the epoch's processing: operators emit what they have held back, event time and a round just entered are
// announced, and every state entry changed is encoded once. Each delta is at most maxRecordBytes long and stays valid until Confirm or
// Abort.
func (t *Task) Prepare(maxRecordBytes int) (deltas [][]byte, err error) {
	defer t.contain(&err)
	t.ctx.Record = nil
	if err := t.proc.Flush(); err != nil {
		return nil, err
	}
	if t.time.round > t.confirmed.round || t.out.due(t, t.now()) {
		t.out.announce(t, t.outward())
	}
	t.prepared, t.acted = t.time.clone(), false
	if t.db == nil {
		return nil, nil
	}
	delta, err := t.db.Prepare(maxRecordBytes)
	if err != nil {
		return nil, fmt.Errorf("task %v: encode state: %w", t.id, err)
	}
	return delta.Records, nil
}

// Confirm makes the prepared state the confirmed one: the transaction that covers it is known to be committed.
func (t *Task) Confirm(p statestore.Position) error {
	t.confirmed = t.prepared // which the next Prepare replaces, and nothing changes
	if t.db == nil {
		return nil
	}
	if err := t.db.Confirm(p); err != nil {
		return fmt.Errorf("task %v: apply commit %d: %w", t.id, p.Epoch, err)
	}
	return nil
}

// Abort drops everything uncommitted, and what was enqueued. Restart comes next.
func (t *Task) Abort() {
	if t.db != nil {
		t.db.Abort()
	}
	t.calls.abort()
	t.time, t.acted = t.confirmed.clone(), false
	t.out.quiet = true
	t.ctx.Watermark = t.time.now.watermark
	t.Seek(nil)
}
