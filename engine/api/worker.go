// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/partition"
)

// Worker is what the API asks of the worker that it belongs to. All methods may be called from any goroutine.
type Worker interface {
	// Status is the newest moment of the worker.
	Status() Status
	// Life is what the worker knows of its application; false before it has found that out.
	Life() (Life, bool)
	// Members are the workers of the application as of the newest assignment; none before there was one.
	Members() []Member
	// Failures is what has gone wrong in this worker, in a fixed order.
	Failures() []Failure
	// Drain ends the worker as SIGTERM does.
	Drain()
}

// Life is an application's present life, as a worker has found it at its start.
type Life struct {
	Incarnation int
	Created     time.Time // zero: no object store has a record of it
	Origin      *checkpoint.Origin
	Outputs     checkpoint.Outputs
	Tasks       []TaskPlan             // of the application, in order; empty while it is halted
	Repository  *checkpoint.Repository // nil: there is no object store
}

// TaskPlan is what there is to a task, whoever runs it.
type TaskPlan struct {
	ID     partition.TaskID
	Inputs []partition.TopicPartition
	Stores []string
}

// Status is one moment of a worker.
type Status struct {
	App         string `json:"app"`
	Incarnation int    `json:"incarnation"` // 0 before it is known
	Phase       string `json:"phase"`
	Joined      bool   `json:"joined"`
	Generation  int32  `json:"generation"`
	Member      string `json:"member,omitempty"` // transactional id, by which the group's members know each other
	Tasks       []Task `json:"tasks"`
	// Following are the tasks of others whose state this worker keeps near to the present.
	Following []Follower `json:"following,omitempty"`
	// Moves are the tasks of the application that change hands now or are to.
	Moves []Move `json:"moves,omitempty"`
	// Leaving says that the worker hands its tasks over before it ends.
	Leaving bool `json:"leaving,omitempty"`
}

// Follower is a standby or a warm-up at one moment.
type Follower struct {
	Task   string `json:"task"`
	Warm   bool   `json:"warm"`   // it could take the task over at once
	Offset int64  `json:"offset"` // of the changelog, up to which its state has come; -1: it has none yet
	Lag    int64  `json:"lag"`    // changelog offsets to the end; -1: not known yet
}

// Move is a task on its way from one worker to another. These are named by their transactional ids.
type Move struct {
	Task   string    `json:"task"`
	From   string    `json:"from,omitempty"` // empty: nobody had it
	To     string    `json:"to"`
	ToSelf bool      `json:"toSelf"` // it comes to the worker that answers
	Reason string    `json:"reason"` // no owner, owner leaves, owner cannot run it, balance
	State  string    `json:"state"`  // waiting, warming up, moving, moved
	Since  time.Time `json:"since"`  // when the worker that answers has heard of it
	// Lag is how many offsets of the changelog are yet to be applied; of what comes to the worker that answers, which is
	// the only one to know. -1: it does not know yet.
	Lag *int64 `json:"lag,omitempty"`
}

// Task is one task at one moment, as the worker that has it sees it.
type Task struct {
	Task           string    `json:"task"`
	State          string    `json:"state"` // restoring, running, or stuck in user code
	RecordsIn      int64     `json:"recordsIn"`
	RecordsOut     int64     `json:"recordsOut"`
	BytesOut       int64     `json:"bytesOut"`
	ChangelogBytes int64     `json:"changelogBytes"`
	Round          int64     `json:"round"` // newest stored checkpoint; 0: none
	CheckpointedAt time.Time `json:"checkpointedAt,omitzero"`
	Lag            []Lag     `json:"lag,omitempty"`
}

// Lag is how far a task is behind in one input partition.
type Lag struct {
	Topic     string `json:"topic"`
	Partition string `json:"partition"`
	Records   int64  `json:"records"`
}

// Member is a worker of the group.
type Member struct {
	ID       string             `json:"id"`                 // transactional id
	Endpoint string             `json:"endpoint,omitempty"` // of its HTTP API; empty: it has none that others could reach
	Zone     string             `json:"zone,omitempty"`
	Version  string             `json:"version,omitempty"` // of its program
	Leaving  bool               `json:"leaving"`           // it hands its tasks over before it ends
	Self     bool               `json:"self"`              // it is the worker that answers
	Tasks    []partition.TaskID `json:"tasks"`             // that it runs; one that changes hands is nobody's for a generation
	Standbys []partition.TaskID `json:"standbys"`          // whose state it keeps near to the present
	WarmUps  []partition.TaskID `json:"warmUps"`           // that it is to get once their state is here
}

// Failure is what has gone wrong again and again in one place since the worker's start.
type Failure struct {
	// Source is "record" for records that a policy kept from the pipeline, or tried again, and "worker" for what the
	// worker itself could not do.
	Source  string    `json:"source"`
	Step    string    `json:"step"` // of the pipeline, or what the worker did
	Phase   string    `json:"phase,omitempty"`
	Outcome string    `json:"outcome"`
	Count   int64     `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Samples []Sample  `json:"samples"` // the newest, newest first
}

// Sample is one time that something went wrong. It has no keys or values; but the text of an error that user code has
// returned may quote what it likes, so that it is for those only who may look up state.
type Sample struct {
	At              time.Time `json:"at"`
	Topic           string    `json:"topic,omitempty"` // of the record; empty if there was none
	Partition       int32     `json:"partition"`
	Offset          int64     `json:"offset"`
	DeadLetterTopic string    `json:"deadLetterTopic,omitempty"`
	Error           string    `json:"error,omitempty"`
}
