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
	TimeAt(i int) int64
	// Record fills r with record i. False: it has an offset but no content (a transaction marker).
	Record(i int, r *operators.Record) bool
}

// Options make a Task.
type Options struct {
	ID          partition.TaskID
	SubTopology *topology.SubTopology
	// Inputs has one for each of SubTopology.Sources, in that order; one without a topic where the source has no
	// such partition, as a stateless sub-topology allows.
	Inputs   []partition.TopicPartition
	DB       *statestore.DB // nil for a stateless sub-topology
	Output   operators.Output
	Now      func() time.Time
	Listener *operators.Listener              // may be nil
	Globals  map[string]operators.GlobalStore // by topic
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
	waiting int // records enqueued and not yet processed
	counted int64
}

// input is one partition with what waits of it.
type input struct {
	tp    partition.TopicPartition
	next  int64 // the task's position: offset of the next record to process
	queue []Batch
	at    int // index of the next record in queue[0]
}

// New builds the processors of a task.
func New(o Options) (*Task, error) {
	t := &Task{id: o.ID, db: o.DB, source: map[partition.TopicPartition]int{}}
	for i, tp := range o.Inputs {
		t.inputs = append(t.inputs, input{tp: tp})
		if tp.Topic != "" {
			t.source[tp] = i
		}
	}
	proc, err := o.SubTopology.New(&operators.Runtime{Task: o.ID, DB: o.DB, Output: o.Output, Context: &t.ctx, Now: o.Now, Listener: o.Listener, Globals: o.Globals})
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
	t.waiting = 0
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
	in.queue = append(in.queue, b)
	t.waiting += b.Len()
	return nil
}

// Waiting returns the number of records enqueued and not yet processed.
func (t *Task) Waiting() int { return t.waiting }

// Processed returns the number of records processed since New, markers not counted.
func (t *Task) Processed() int64 { return t.counted }

// Process processes up to limit waiting records. Of several inputs the one with the earliest record goes first.
func (t *Task) Process(limit int) (n int, err error) {
	defer t.contain(&err)
	for n < limit && t.waiting > 0 {
		i := t.earliest()
		done, err := t.run(i, limit-n)
		n += done
		t.waiting -= done
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// run processes records of input i: all of its first batch where it is the only input with records, else one,
// so that inputs interleave by time.
func (t *Task) run(i, limit int) (n int, err error) {
	in := &t.inputs[i]
	b := in.queue[0]
	end := min(b.Len(), in.at+limit)
	if t.others(i) {
		end = in.at + 1
	}
	for in.at < end {
		if b.Record(in.at, &t.record) {
			if err := t.proc.Process(i, &t.record); err != nil {
				return n, err
			}
			t.counted++
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

// earliest returns the input whose next record has the lowest time; the first of them where times are equal.
func (t *Task) earliest() int {
	best, bestTime := -1, int64(0)
	for i := range t.inputs {
		in := &t.inputs[i]
		if len(in.queue) == 0 {
			continue
		}
		if len(t.inputs) == 1 {
			return i
		}
		if at := in.queue[0].TimeAt(in.at); best < 0 || at < bestTime {
			best, bestTime = i, at
		}
	}
	return best
}

func (t *Task) others(i int) bool {
	for j := range t.inputs {
		if j != i && len(t.inputs[j].queue) > 0 {
			return true
		}
	}
	return false
}

// contain turns a panic of user code into an error that names the step and the record's place.
func (t *Task) contain(err *error) {
	if p := recover(); p != nil {
		*err = newPanicError(t.id, &t.ctx, p, debug.Stack())
	}
}

// Prepare ends the epoch's processing: operators emit what they have held back, and every state entry changed
// is encoded once. Each delta is at most maxRecordBytes long and stays valid until Confirm or Abort.
func (t *Task) Prepare(maxRecordBytes int) (deltas [][]byte, err error) {
	defer t.contain(&err)
	t.ctx.Record = nil
	if err := t.proc.Flush(); err != nil {
		return nil, err
	}
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
	if t.db == nil {
		return nil
	}
	if err := t.db.Confirm(p); err != nil {
		return fmt.Errorf("task %v: apply commit %d: %w", t.id, p.Epoch, err)
	}
	return nil
}

// Abort drops everything uncommitted, and what was enqueued. Seek comes next.
func (t *Task) Abort() {
	if t.db != nil {
		t.db.Abort()
	}
	t.Seek(nil)
}
