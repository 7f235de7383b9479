// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactionSlots bounds the compactions that run at once in all DBs of the
// process. Pebble's own scheduler knows one DB only; with a DB per task, each
// allowed its own compaction, a worker with many tasks and few cores would
// spend them all on compactions.
type compactionSlots struct {
	limit int
	mu    struct {
		sync.Mutex
		running int
		refused uint64
		dbs     []*compactionSeat
		next    int // where the search for a waiting DB starts, for fairness
	}
}

func newCompactionSlots(limit int) *compactionSlots {
	return &compactionSlots{limit: limit}
}

// compactionSeat is one DB's view of the slots; it implements
// pebble.CompactionScheduler. Lock order: Pebble's DB locks before slots.mu;
// so DB methods that take DB locks are called without slots.mu.
type compactionSeat struct {
	slots *compactionSlots
	db    pebble.DBForCompaction

	// busy is held while the scheduler calls into the DB, so that Unregister
	// can wait for the last such call.
	busy sync.Mutex
	gone bool // guarded by busy
}

// Register implements pebble.CompactionScheduler.
func (c *compactionSeat) Register(_ int, db pebble.DBForCompaction) {
	c.db = db
	c.slots.mu.Lock()
	defer c.slots.mu.Unlock()
	c.slots.mu.dbs = append(c.slots.mu.dbs, c)
}

// Unregister implements pebble.CompactionScheduler.
func (c *compactionSeat) Unregister() {
	s := c.slots
	s.mu.Lock()
	for i, d := range s.mu.dbs {
		if d == c {
			s.mu.dbs = append(s.mu.dbs[:i:i], s.mu.dbs[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	c.busy.Lock()
	c.gone = true
	c.busy.Unlock()
}

// TrySchedule implements pebble.CompactionScheduler. Pebble calls it with its
// own locks held.
func (c *compactionSeat) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !c.slots.take() {
		return false, nil
	}
	return true, &compactionGrant{slots: c.slots}
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler. The
// limit does not depend on a DB's wishes.
func (c *compactionSeat) UpdateGetAllowedWithoutPermission() {}

// offer hands a slot, already taken, to the DB if it has work.
func (c *compactionSeat) offer(g *compactionGrant) bool {
	c.busy.Lock()
	defer c.busy.Unlock()
	if c.gone {
		return false
	}
	if waiting, _ := c.db.GetWaitingCompaction(); !waiting {
		return false
	}
	return c.db.Schedule(g)
}

// take claims a slot. A refusal is counted, so that pass does not miss a DB
// that was refused only because a slot was on offer to another.
func (s *compactionSlots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.running >= s.limit {
		s.mu.refused++
		return false
	}
	s.mu.running++
	return true
}

// pass gives free slots to the DBs that wait for one.
func (s *compactionSlots) pass() {
	for again := true; again; {
		s.mu.Lock()
		refused := s.mu.refused
		seats := make([]*compactionSeat, 0, len(s.mu.dbs))
		for i := range s.mu.dbs {
			seats = append(seats, s.mu.dbs[(s.mu.next+i)%len(s.mu.dbs)])
		}
		s.mu.next++
		s.mu.Unlock()
		for _, c := range seats {
			if !s.take() {
				return // whoever holds the slots passes them on
			}
			if !c.offer(&compactionGrant{slots: s}) {
				s.give()
			}
		}
		s.mu.Lock()
		again = s.mu.refused != refused
		s.mu.Unlock()
	}
}

func (s *compactionSlots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.running--
}

// compactionGrant is the permission for one compaction.
type compactionGrant struct{ slots *compactionSlots }

// Started implements pebble.CompactionGrantHandle.
func (g *compactionGrant) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (g *compactionGrant) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (g *compactionGrant) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (g *compactionGrant) Done() {
	g.slots.give()
	g.slots.pass()
}
