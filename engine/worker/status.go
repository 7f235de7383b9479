// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/engine/core"
)

// Status is what a worker says of itself. The loop writes it a few times a second; anybody may read it.
type Status struct {
	w  *Worker
	mu struct {
		sync.Mutex
		snap Snapshot
	}
}

// Snapshot is one moment of a worker.
type Snapshot struct {
	App         string         `json:"app"`
	Incarnation int            `json:"incarnation"`
	Phase       string         `json:"phase"`
	Joined      bool           `json:"joined"`
	Generation  int32          `json:"generation"`
	Tasks       []TaskSnapshot `json:"tasks"`
	// Following are the tasks of others whose state this worker keeps near to the present.
	Following []FollowerSnapshot `json:"following,omitempty"`
	// Moves are the tasks of the application that change hands now or are to.
	Moves []MoveSnapshot `json:"moves,omitempty"`
	// Leaving says that the worker hands its tasks over before it ends.
	Leaving bool `json:"leaving,omitempty"`
}

// FollowerSnapshot is a standby or a warm-up at one moment.
type FollowerSnapshot struct {
	Task   string `json:"task"`
	Warm   bool   `json:"warm"`   // it could take the task over at once
	Offset int64  `json:"offset"` // of the changelog, up to which its state has come; -1: it has none yet
	Lag    int64  `json:"lag"`    // changelog offsets to the end; -1: not known yet
}

// MoveSnapshot is a task on its way from one worker to another. These are named by their transactional ids.
type MoveSnapshot struct {
	Task   string `json:"task"`
	From   string `json:"from,omitempty"` // empty: nobody had it
	To     string `json:"to"`
	ToSelf bool   `json:"toSelf"` // it comes to this worker
	Reason string `json:"reason"` // no owner, owner leaves, owner cannot run it, balance
	State  string `json:"state"`  // waiting, warming up, moving, moved
}

// TaskSnapshot is one task at one moment.
type TaskSnapshot struct {
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

func newStatus(app string, w *Worker) *Status {
	s := &Status{w: w}
	s.mu.snap = Snapshot{App: app, Phase: "starting"}
	return s
}

// Snapshot returns the newest moment.
func (s *Status) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.mu.snap
	snap.Tasks = slices.Clone(snap.Tasks)
	return snap
}

// phase notes what changes with each step of the machine.
func (s *Status) phase(m *core.Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.snap.Phase = m.Phase().String()
}

// publish copies what the loop owns. Called by the loop only.
func (s *Status) publish() {
	w := s.w
	snap := Snapshot{App: w.names.App, Incarnation: w.names.Incarnation, Phase: w.machine.Phase().String(), Joined: w.generation > 0, Generation: w.generation}
	for id, rt := range w.tasks {
		t := TaskSnapshot{Task: id.String(), State: "restoring"}
		if w.machine.Held(id) {
			t.State = "stuck"
		}
		if w.machine.Running(id) { // else it is in the hands of its restore
			t.State = "running"
			t.ChangelogBytes, t.Round, t.CheckpointedAt = rt.changelogBytes, rt.durableRound, rt.durableAt
			t.RecordsIn = rt.task.Processed()
			t.RecordsOut, t.BytesOut = rt.outbox.Emitted()
			for tp, n := range rt.lags {
				t.Lag = append(t.Lag, Lag{Topic: tp.Topic, Partition: fmt.Sprint(tp.Partition), Records: n})
			}
			slices.SortFunc(t.Lag, func(a, b Lag) int { return strings.Compare(a.Topic+"/"+a.Partition, b.Topic+"/"+b.Partition) })
		}
		snap.Tasks = append(snap.Tasks, t)
	}
	snap.Leaving = w.leaving.Load()
	for id, f := range w.followers {
		snap.Following = append(snap.Following, FollowerSnapshot{Task: id.String(), Warm: f.warm(), Offset: f.position.Load(), Lag: f.lag.Load()})
	}
	slices.SortFunc(snap.Following, func(a, b FollowerSnapshot) int { return strings.Compare(a.Task, b.Task) })
	own := w.table.Own().TransactionalID
	for _, mv := range w.table.Moves {
		snap.Moves = append(snap.Moves, MoveSnapshot{
			Task: mv.Task.String(), From: mv.From, To: mv.To, ToSelf: mv.To == own, Reason: mv.Reason.String(), State: mv.State.String(),
		})
	}
	slices.SortFunc(snap.Tasks, func(a, b TaskSnapshot) int { return strings.Compare(a.Task, b.Task) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.snap = snap
}
