// SPDX-License-Identifier: Apache-2.0

package statestore

import "bytes"

// merge yields the cached entries and Pebble's in [start, end), in key order; a
// cached entry hides Pebble's. Changes made meanwhile are seen if they are
// further on. The key is valid until yield returns.
func (t *table[V]) merge(start, end []byte, yield func(tail []byte, v V) bool) error {
	s := storedSide{db: t.db, id: t.id, end: end}
	defer s.close()
	if err := t.open(&s, start); err != nil {
		return err
	}
	c := cursor[V]{table: t}
	i, cached := c.seek(start)
	for {
		cached = cached && bytes.Compare(t.keyAt(i), end) < 0
		if !cached && !s.ok {
			return s.err()
		}
		side := -1 // the cached entry comes first
		if !cached {
			side = 1
		} else if s.ok {
			side = bytes.Compare(t.keyAt(i), s.key)
		}
		if side > 0 {
			if after := t.deletedUntil(s.key); after != nil {
				s.seek(after)
				continue
			}
			v, err := t.decode(s.raw)
			if err != nil {
				return err
			}
			if !yield(s.key, v) {
				return nil
			}
			// The loop body may have cached entries between here and the next.
			i, cached = c.seek(append(append(c.key[:0], s.key...), 0))
			s.next()
			continue
		}
		if side == 0 {
			s.next()
		}
		c.key = append(c.key[:0], t.keyAt(i)...)
		if e := t.at(i); e.meta&stateAbsent == 0 {
			if t.db.attempt.reads {
				if err := t.lend(i, e); err != nil {
					return err
				}
			}
			if !yield(c.key, e.val) {
				return nil
			}
			// The loop body may have evicted what only Pebble has now.
			if err := t.open(&s, append(c.key, 0)); err != nil {
				return err
			}
		}
		i, cached = c.next()
	}
}

// open starts Pebble's side of a merge at key, unless it has been started or the
// cache is known to have all that Pebble has from there on.
func (t *table[V]) open(s *storedSide, key []byte) error {
	if s.open {
		return nil
	}
	has, err := t.mayBeStored(key)
	if err != nil || !has {
		return err
	}
	return s.start(key)
}

// deletedUntil returns the end of the range delete that hides what Pebble has
// under the key, or nil.
func (t *table[V]) deletedUntil(key []byte) []byte {
	if end := t.ranges.covering(key); end != nil {
		return end
	}
	return t.heldRanges.covering(key)
}

// removeRange deletes the keys in [start, end), whose memory it keeps. Entries
// leave the cache at once, since the range says all about them, but for held
// ones, of which Pebble has an older value. In an attempt they are deleted one by
// one instead.
func (t *table[V]) removeRange(start, end []byte) error {
	if err := t.db.writable(); err != nil {
		return err
	}
	if bytes.Compare(start, end) >= 0 {
		return nil
	}
	if t.db.attempt.on {
		return t.removeEach(start, end)
	}
	t.settleOrder()
	t.order.removeRange(t.keyAt, start, end, func(i uint32) (keep bool) {
		e := t.at(i)
		if e.meta&stateHeld != 0 {
			t.mark(i, e)
			t.vacate(i, e)
			return true
		}
		if t.times != nil {
			t.times.dropped = max(t.times.dropped, timeOf(t.keyOf(e)))
		}
		dirty := e.meta&stateDirty != 0
		t.unlink(i, e)
		if !dirty {
			t.free = append(t.free, i)
		} // else the list of dirty entries names it until the end of the epoch
		return false
	})
	t.ranges.add(start, end)
	return nil
}

// storedSide is Pebble's side of a merge, from key on.
type storedSide struct {
	db   *DB
	id   StoreID
	end  []byte
	it   storedIter
	open bool

	key, raw []byte
	ok       bool
}

func (s *storedSide) start(key []byte) (err error) {
	if s.it, err = s.db.iterate(s.id, key, s.end); err != nil {
		return err
	}
	s.open = true
	s.key, s.raw, s.ok = s.it.first()
	return nil
}

func (s *storedSide) next() { s.key, s.raw, s.ok = s.it.next() }

func (s *storedSide) seek(key []byte) { s.key, s.raw, s.ok = s.it.seek(key) }

func (s *storedSide) err() error {
	if !s.open {
		return nil
	}
	return s.it.err()
}

func (s *storedSide) close() {
	if s.open {
		s.it.close()
	}
}

// cursor walks the cached entries of a table in key order. Entries may come
// and go between its steps.
type cursor[V any] struct {
	table      *table[V]
	key        []byte // of the entry returned last
	block, pos int
	changes    uint64
}

// seek returns the first entry at or after key. key may share c.key's memory.
func (c *cursor[V]) seek(key []byte) (uint32, bool) {
	c.table.settleOrder()
	o := c.table.order
	c.block, c.pos = o.seek(c.table.keyAt, key)
	return c.here()
}

// next returns the entry after the one returned last.
func (c *cursor[V]) next() (uint32, bool) {
	if c.changes != c.table.order.changes {
		return c.seek(append(c.key, 0))
	}
	c.pos++
	return c.here()
}

func (c *cursor[V]) here() (uint32, bool) {
	o := c.table.order
	c.changes = o.changes
	if c.block < len(o.blocks) && c.pos == len(o.blocks[c.block]) {
		c.block, c.pos = c.block+1, 0
	}
	if c.block >= len(o.blocks) {
		return 0, false
	}
	i := o.blocks[c.block][c.pos]
	c.key = append(c.key[:0], c.table.keyAt(i)...)
	return i, true
}
