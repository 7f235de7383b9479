// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// queue stands for Pebble's side: a database that has compactions to run and
// takes them up as Pebble does.
type queue struct {
	seat    *compactionSeat
	running *atomic.Int32
	limit   int32
	t       *testing.T
	wg      *sync.WaitGroup

	mu      sync.Mutex
	pending int
	waiting bool
}

// more is Pebble's maybeScheduleCompaction.
func (q *queue) more() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.waiting && q.pending > 0 {
		ok, grant := q.seat.TrySchedule()
		if !ok {
			q.waiting = true
			return
		}
		q.runLocked(grant)
	}
}

func (q *queue) runLocked(grant pebble.CompactionGrantHandle) {
	q.pending--
	go func() {
		if n := q.running.Add(1); n > q.limit {
			q.t.Errorf("%d compactions run at once, the limit is %d", n, q.limit)
		}
		q.running.Add(-1)
		grant.Done()
		q.more()
		q.wg.Done()
	}()
}

// GetAllowedWithoutPermission implements pebble.DBForCompaction.
func (q *queue) GetAllowedWithoutPermission() int { return 1 }

// GetWaitingCompaction implements pebble.DBForCompaction.
func (q *queue) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = q.waiting && q.pending > 0
	return q.waiting, pebble.WaitingCompaction{}
}

// Schedule implements pebble.DBForCompaction.
func (q *queue) Schedule(grant pebble.CompactionGrantHandle) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.waiting || q.pending == 0 {
		q.waiting = false
		return false
	}
	q.runLocked(grant)
	return true
}

func TestCompactionsOfAllDatabasesRunWithinTheLimit(t *testing.T) {
	t.Parallel()
	const databases, each, limit = 5, 400, 2
	slots := newCompactionSlots(limit)
	var running atomic.Int32
	var wg sync.WaitGroup
	wg.Add(databases * each)
	for range databases {
		q := &queue{seat: &compactionSeat{slots: slots}, running: &running, limit: limit, t: t, wg: &wg}
		q.seat.Register(1, q)
		go func() {
			for range each {
				q.mu.Lock()
				q.pending++
				q.mu.Unlock()
				q.more()
			}
		}()
	}
	wg.Wait() // a database that is forgotten never ends
	slots.mu.Lock()
	defer slots.mu.Unlock()
	if slots.mu.running != 0 {
		t.Errorf("%d slots are still taken", slots.mu.running)
	}
}

func TestClosedDatabaseGetsNoCompactions(t *testing.T) {
	t.Parallel()
	slots := newCompactionSlots(1)
	q := &queue{seat: &compactionSeat{slots: slots}, pending: 1, waiting: true, t: t}
	q.seat.Register(1, q)
	q.seat.Unregister()
	slots.take()
	(&compactionGrant{slots: slots}).Done()
	if q.pending != 1 {
		t.Error("a compaction was scheduled in a closed database")
	}
}
