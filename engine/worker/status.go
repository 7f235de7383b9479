// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// Status is what a worker says of itself. The loop writes it a few times a second; anybody may read it.
type Status struct {
	w     *Worker
	moves map[partition.TaskID]time.Time // since when each is known; the loop's own
	mu    struct {
		sync.Mutex
		snap api.Status
	}
}

func newStatus(app string, w *Worker) *Status {
	s := &Status{w: w}
	s.mu.snap = api.Status{App: app, Phase: "starting"}
	return s
}

// Snapshot returns the newest moment.
func (s *Status) Snapshot() api.Status {
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
	table := w.Placement()
	own := table.Own().TransactionalID
	snap := api.Status{App: w.names.App, Incarnation: w.names.Incarnation, Phase: w.machine.Phase().String(), Joined: w.generation > 0, Generation: w.generation, Member: own}
	for id, rt := range w.tasks {
		t := api.Task{Task: id.String(), State: "restoring"}
		if w.machine.Held(id) {
			t.State = "stuck"
		}
		if w.machine.Running(id) { // else it is in the hands of its restore
			t.State = "running"
			t.ChangelogBytes, t.Round, t.CheckpointedAt = rt.changelogBytes, rt.durableRound, rt.durableAt
			t.RecordsIn = rt.task.Processed()
			t.RecordsOut, t.BytesOut = rt.outbox.Emitted()
			for tp, n := range rt.lags {
				t.Lag = append(t.Lag, api.Lag{Topic: tp.Topic, Partition: fmt.Sprint(tp.Partition), Records: n})
			}
			slices.SortFunc(t.Lag, func(a, b api.Lag) int { return strings.Compare(a.Topic+"/"+a.Partition, b.Topic+"/"+b.Partition) })
		}
		snap.Tasks = append(snap.Tasks, t)
	}
	snap.Leaving = w.leaving.Load()
	for id, f := range w.followers {
		snap.Following = append(snap.Following, api.Follower{Task: id.String(), Warm: f.warm(), Offset: f.position.Load(), Lag: f.lag.Load()})
	}
	slices.SortFunc(snap.Following, func(a, b api.Follower) int { return strings.Compare(a.Task, b.Task) })
	since := map[partition.TaskID]time.Time{}
	for _, mv := range table.Moves {
		if since[mv.Task] = s.moves[mv.Task]; since[mv.Task].IsZero() {
			since[mv.Task] = w.now()
		}
		m := api.Move{
			Task: mv.Task.String(), From: mv.From, To: mv.To, ToSelf: mv.To == own, Reason: mv.Reason.String(), State: mv.State.String(),
			Since: since[mv.Task].UTC(),
		}
		if f := w.followers[mv.Task]; f != nil && m.ToSelf {
			m.Lag = new(f.lag.Load())
		}
		snap.Moves = append(snap.Moves, m)
	}
	s.moves = since
	slices.SortFunc(snap.Tasks, func(a, b api.Task) int { return strings.Compare(a.Task, b.Task) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.snap = snap
}
