// SPDX-License-Identifier: Apache-2.0

package core

import "github.com/streamd/streamd/partition"

// Outcome is what is known of a request that changes something on the broker.
type Outcome uint8

const (
	// Confirmed: the broker said that it is done.
	Confirmed Outcome = iota
	// Refused: the broker said that it is not done (stale generation, unknown member, record too large, …).
	Refused
	// Fenced: another producer has taken over the transactional id; nothing of this transaction will commit.
	Fenced
	// Unknown: no answer, or one that says nothing. It may have been done, or be done later.
	Unknown
	// Outdated: nothing was done, since the group is in a later generation than the one that was named. A membership
	// event will tell of it.
	Outdated
)

var outcomeNames = [...]string{"confirmed", "refused", "fenced", "unknown", "outdated"}

// String gives the word that logs and metrics use.
func (o Outcome) String() string { return outcomeNames[o] }

// Event is something that has happened to the worker.
type Event interface{ event() }

type (
	// Assigned is a completed rebalance: the member holds Added in addition to what it held.
	Assigned struct {
		MemberID   string
		Generation int32
		Added      []partition.TaskID
		Live       []string // transactional ids of the members of this generation
	}
	// Revoked asks for tasks back. The group waits for the Ack effect with the same number.
	Revoked struct {
		Generation int32
		Tasks      []partition.TaskID
		Ack        uint64
	}
	// Lost says that tasks are already someone else's, or will be without our consent.
	Lost struct{ Tasks []partition.TaskID }
	// Restored ends a Restore effect. Err is final: the shell has retried what can be retried.
	Restored struct {
		Task    partition.TaskID
		Attempt int
		Err     error
	}
	// Touched says that the epoch now holds work of these tasks, or that it shall commit their unchanged positions.
	Touched struct{ Tasks []partition.TaskID }
	// Overdue says that lanes have not come back with these tasks for so long that the transaction would time out.
	Overdue struct{ Tasks []partition.TaskID }
	// Returned says that a lane has come back with a task that was overdue.
	Returned struct{ Task partition.TaskID }
	// CommitDue says that the epoch is old or large enough, that the input has run dry, or that restored tasks have
	// waited long enough for others.
	CommitDue struct{}
	// Prepared ends a Prepare effect.
	Prepared struct{ Err error }
	// Flushed ends a Flush effect. Err is set where a record can never be written (too large, not authorized,
	// unknown topic): the worker ends with it.
	Flushed struct {
		Outcome Outcome
		Err     error
	}
	// OffsetsCommitted ends a CommitOffsets effect.
	OffsetsCommitted struct{ Outcome Outcome }
	// NoGeneration says that no membership event has come for so long after an Outdated that the transaction would time
	// out.
	NoGeneration struct{}
	// Ended ends an EndTransaction effect.
	Ended struct{ Outcome Outcome }
	// ProducerReady ends a NewProducer effect: a new producer epoch is held and the old transaction has ended.
	ProducerReady struct{}
	// TaskFailed is an error of a task that no retry heals: user code, an undecodable or an oversized record.
	TaskFailed struct{ Err error }
	// Stop asks for a clean end: commit what is processed, give the tasks back.
	Stop struct{}
	// Checkpointed ends a Checkpoint effect, whether or not everything could be stored.
	Checkpointed struct{}
)

func (Assigned) event()         {}
func (Revoked) event()          {}
func (Lost) event()             {}
func (Restored) event()         {}
func (Touched) event()          {}
func (Overdue) event()          {}
func (Returned) event()         {}
func (CommitDue) event()        {}
func (Prepared) event()         {}
func (Flushed) event()          {}
func (OffsetsCommitted) event() {}
func (NoGeneration) event()     {}
func (Ended) event()            {}
func (ProducerReady) event()    {}
func (TaskFailed) event()       {}
func (Stop) event()             {}
func (Checkpointed) event()     {}

// Effect is something that the shell must do.
type Effect interface{ effect() }

type (
	// Fence aborts the open transactions of this application whose ids are not in Live, before the stable
	// offsets of newly assigned tasks are fetched.
	Fence struct{ Live []string }
	// Restore brings a task to the position that its committed offsets name. Answered by Restored, with the
	// same attempt; an answer to an older attempt is ignored.
	Restore struct {
		Task    partition.TaskID
		Attempt int
	}
	// Start lets a task read its inputs from its committed position.
	Start struct{ Tasks []partition.TaskID }
	// Prepare flushes operators, encodes the dirty state of the tasks and appends it, with a position record
	// each, to the transaction. Answered by Prepared.
	Prepare struct{ Tasks []partition.TaskID }
	// Flush waits for the acknowledgement of every record produced in this epoch. Answered by Flushed.
	Flush struct{}
	// CommitOffsets adds the positions of the tasks to the transaction (or commits them, at least once).
	// Answered by OffsetsCommitted.
	CommitOffsets struct {
		MemberID   string
		Generation int32
		Tasks      []partition.TaskID
	}
	// EndTransaction commits or aborts. Answered by Ended.
	EndTransaction struct{ Commit bool }
	// Apply makes the prepared state of the tasks the confirmed one.
	Apply struct{ Tasks []partition.TaskID }
	// Rewind stops the inputs of the tasks, drops fetched records and all uncommitted state. A Restore follows.
	Rewind struct{ Tasks []partition.TaskID }
	// NewProducer takes a new producer epoch; the shell retries until it has one. Answered by ProducerReady.
	NewProducer struct{}
	// Close ends tasks: uncommitted state is dropped, the stores are closed, a restore in progress is cancelled.
	Close struct{ Tasks []partition.TaskID }
	// Ack lets the group go on with a rebalance that waits for a revocation.
	Ack struct{ Ack uint64 }
	// Checkpoint stores the state of tasks of a worker that is about to leave, as far as that is worth it and there is
	// time. Answered by Checkpointed.
	Checkpoint struct{ Tasks []partition.TaskID }
	// Rejoin leaves the group and enters it with a new transactional id.
	Rejoin struct{}
	// Leave leaves the group and ends the worker, with Err where it failed.
	Leave struct{ Err error }
)

func (Fence) effect()          {}
func (Restore) effect()        {}
func (Start) effect()          {}
func (Prepare) effect()        {}
func (Flush) effect()          {}
func (CommitOffsets) effect()  {}
func (EndTransaction) effect() {}
func (Apply) effect()          {}
func (Rewind) effect()         {}
func (NewProducer) effect()    {}
func (Close) effect()          {}
func (Ack) effect()            {}
func (Checkpoint) effect()     {}
func (Rejoin) effect()         {}
func (Leave) effect()          {}
