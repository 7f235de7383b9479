// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// What the workers' logs say of tasks.
const (
	logAssigned     = "tasks assigned"
	logRunning      = "task running"
	logAborted      = "aborted the open transactions of dead workers"
	logFenced       = "fenced: another worker took this one for dead; rejoining"
	logAbandoned    = "checkpoint round abandoned"
	logNotCommitted = "epoch not committed; going back to what is"
)

// move is a task that runs on another worker than before.
type move struct {
	Task     string
	From, To string
	At       time.Time
	Source   string // of its state
}

// warm says whether the new owner had followed the task before.
func (m move) warm() bool { return m.Source == "follower" }

// moves finds the moves in an incident. Entries are those of all workers from the beginning on.
func moves(entries []fleet.Entry, s span) (found []move) {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e fleet.Entry) bool { return e.Message != logRunning })
	slices.SortStableFunc(entries, func(a, b fleet.Entry) int { return a.At.Compare(b.At) })
	owner := map[string]string{}
	for _, e := range entries {
		before := owner[e.Task]
		owner[e.Task] = e.Worker
		inside := e.At.After(s.From) && !e.At.After(s.To)
		if before != "" && before != e.Worker && inside {
			found = append(found, move{e.Task, before, e.Worker, e.At, e.Source})
		}
	}
	return found
}

// unknown is how many tasks must move where nobody can say.
const unknown = -1

// change is what happens to the workers of an application in one step.
type change struct {
	workers int // afterwards
	joining int
	leaving int // tasks of the workers that leave
}

// fewest is how many tasks must move at least in a change, so that each of the workers has its share afterwards, which is
// rounded down or up: those of the workers that leave, or what those that join are to get. What a worker that leaves has
// goes to one that joins.
func (c change) fewest(tasks int) int {
	if c.workers == 0 {
		return 0
	}
	return max(c.leaving, c.joining*(tasks/c.workers))
}
