// SPDX-License-Identifier: Apache-2.0

package operators

import (
	"context"
	"time"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// Runtime is what one task gives to the Processor it runs. All fields but Listener are required, DB
// only where the sub-topology has stores and Globals where it looks them up.
type Runtime struct {
	Task   partition.TaskID
	DB     *statestore.DB
	Output Output
	// Partitions has the number of partitions of each of topology.SubTopology.Outputs.
	Partitions []int32
	Context    *Context
	Now        func() time.Time    // the wall clock, through the engine so that a run can be repeated
	Wait       func(time.Duration) // between the attempts of a step; nil: time.Sleep
	MaxRecord  int                 // bytes of key, value and headers that an output record may have; 0: any number
	// Call runs f, which does not panic, on a goroutine of its own and afterwards done on the task's, between two records.
	// When an epoch is aborted, ctx ends and done is not called any more. Nil only where no step calls.
	Call     func(f func(ctx context.Context), done func() error)
	Listener *Listener              // may be nil
	Globals  map[string]GlobalStore // by topic: those of topology.Topology.Globals
}

// Context tells what a task is doing right now. There is one per task; Processors write it, and the
// engine reads it after a panic to name the step. It is not safe for concurrent use.
type Context struct {
	// Record is the input record in process; nil while there is none, as in Flush and Advance.
	Record *Record
	// Node is the label of the step whose user code runs now.
	Node string
	// Time is the event time of the record in process, set by its source; MinTime if that has none, since it could
	// not be decoded.
	Time Time
	// Watermark is the task's: no record before it is expected any more. The engine sets it.
	Watermark Time
}

// Listener gets the events of a Processor that are not errors. Any field may be nil. Calls are made on
// the task's goroutine, must not block and must not keep the record's slices.
type Listener struct {
	// Skipped reports a record that a step dropped because its policy is to skip.
	Skipped func(Failure)
	// DeadLettered reports a record that a step dropped and whose input record was sent to a topic.
	DeadLettered func(f Failure, topic string)
	// Retried reports a record that a step will be given again.
	Retried func(Failure)
	// Late reports a record that came too late for all windows of a step, by the step's label.
	Late func(step string)
}

// Opening finds out what a pipeline needs to know of the world before it runs, as the ids of schemas. It may be called
// again.
type Opening func(ctx context.Context) error

// Processor runs the fused steps of one sub-topology for one task.
type Processor interface {
	// Restart says that the task's state and its watermark have been brought to a commit, at first and after an epoch
	// that was aborted: what is kept in memory beside the state is derived from it anew.
	Restart() error
	// Process takes one record of the source with that index in topology.SubTopology.Sources: it decodes
	// the record and runs every step that hangs on it, synchronously. Any error means the epoch must be
	// aborted.
	Process(source int, rec *Record) error
	// Due is the lowest watermark at which Advance has something to do; MaxTime if there is none.
	Due() Time
	// Advance says that event time has reached the watermark: windows close and timers fire. Any error means the
	// epoch must be aborted.
	Advance(watermark Time) error
	// WallDue is the wall-clock time at which AdvanceWall has something to do; MaxTime if there is none.
	WallDue() Time
	// AdvanceWall says that the wall clock has reached now.
	AdvanceWall(now Time) error
	// Held is up to where those downstream may believe the task's watermark, since the processor waits for calls whose
	// results are of that time or later; MaxTime if it does not.
	Held() Time
	// Full says that no record is to be processed until a call has ended.
	Full() bool
	// Flush emits what was held back for the commit (tables that emit once per commit). It is called
	// once per epoch, before statestore.DB.Prepare, and may write state and emit records.
	Flush() error
}
