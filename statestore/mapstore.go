// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"iter"
)

// Map is a store of two levels: (key, sub-key) → V, with the sub-keys of a key
// in byte order: windows, list elements, timers, join buffers. It belongs to
// the task's goroutine, and shares values with the cache, both as Value does.
type Map[V any] struct {
	table[V]
	tail  []byte // scratch: the entry key of the call
	tail2 []byte // scratch: the end of a range
}

// NewMap declares a map store of the DB; ids as for NewValue.
func NewMap[V any](db *DB, id StoreID, codec ValueCodec[V]) *Map[V] {
	m := &Map[V]{}
	m.order = &keyOrder{}
	m.init(db, id|compositeBit, codec)
	return m
}

func (m *Map[V]) key(key, sub []byte) []byte {
	m.tail = appendMapTail(m.tail[:0], key, sub)
	return m.tail
}

// Update returns a pointer to the value of (key, sub), as Value.Update does.
func (m *Map[V]) Update(key, sub []byte) (p *V, found bool, err error) {
	tail := m.key(key, sub)
	if _, e := m.find(m.hash(tail), tail); e != nil && e.meta&(stateDirty|stateAbsent) == stateDirty {
		m.stats.Hits++
		return &e.val, true, nil
	}
	return m.update(tail)
}

// Get returns the value of (key, sub).
func (m *Map[V]) Get(key, sub []byte) (v V, found bool, err error) {
	_, e, err := m.lookup(m.key(key, sub))
	if err != nil || e.meta&stateAbsent != 0 {
		return v, false, err
	}
	return e.val, true, nil
}

// Put sets the value of (key, sub), without reading the one before.
func (m *Map[V]) Put(key, sub []byte, v V) error { return m.put(m.key(key, sub), v) }

// Delete removes (key, sub), without reading it.
func (m *Map[V]) Delete(key, sub []byte) error { return m.remove(m.key(key, sub)) }

// DeleteRange removes the sub-keys of key in [from, to); to nil means all from
// from on. It writes one range tombstone whatever the number of entries.
func (m *Map[V]) DeleteRange(key, from, to []byte) error {
	if err := m.db.writable(); err != nil {
		return err
	}
	start := bytes.Clone(m.key(key, from))
	var end []byte
	if to != nil {
		end = bytes.Clone(m.key(key, to))
	} else if end = keyAfter(nil, m.key(key, nil)); end == nil {
		panic("statestore: a map key starts with its length, which is never all ones")
	}
	if bytes.Compare(start, end) >= 0 {
		return nil
	}
	c := cursor[V]{table: &m.table}
	for i, ok := c.seek(start); ok && bytes.Compare(m.keyAt(i), end) < 0; i, ok = c.seek(append(c.key, 0)) {
		e := m.at(i)
		if err := m.touch(i, e); err != nil {
			return err
		}
		m.vacate(i, e)
	}
	m.ranges.add(start, end)
	return nil
}

// Range yields the sub-keys of key with their values, in sub-key order.
// Uncommitted changes are seen, also those made to sub-keys further on while
// ranging; deleting while ranging is allowed. The sub-key is valid until the
// next one. Read errors are as for Value.Scan.
func (m *Map[V]) Range(key []byte) iter.Seq2[[]byte, V] {
	return func(yield func([]byte, V) bool) {
		prefix := appendMapTail(nil, key, nil)
		err := m.merge(prefix, func(tail []byte, v V) bool { return yield(tail[len(prefix):], v) })
		if err != nil {
			m.db.fail(err)
		}
	}
}

// merge yields cached entries and Pebble's in key order; a cached entry hides
// Pebble's.
func (m *Map[V]) merge(prefix []byte, yield func([]byte, V) bool) error {
	it, err := m.db.iterate(m.id, prefix)
	if err != nil {
		return err
	}
	defer it.close()
	c := cursor[V]{table: &m.table}
	i, cached := c.seek(prefix)
	key, raw, stored := it.first()
	for {
		cached = cached && bytes.HasPrefix(m.keyAt(i), prefix)
		if !cached && !stored {
			return it.err()
		}
		side := -1 // the cached entry comes first
		if !cached {
			side = 1
		} else if stored {
			side = bytes.Compare(m.keyAt(i), key)
		}
		if side > 0 {
			if !m.ranges.cover(key) && !m.heldRanges.cover(key) {
				v, err := m.decode(raw)
				if err != nil {
					return err
				}
				if !yield(key, v) {
					return nil
				}
			}
			// The loop body may have cached entries between here and the next.
			i, cached = c.seek(append(append(c.key[:0], key...), 0))
			key, raw, stored = it.next()
			continue
		}
		if side == 0 {
			key, raw, stored = it.next()
		}
		c.key = append(c.key[:0], m.keyAt(i)...)
		if e := m.at(i); e.meta&stateAbsent == 0 && !yield(c.key, e.val) {
			return nil
		}
		i, cached = c.next()
	}
}

// cursor walks the cached entries of a map store in key order. Entries may come
// and go between its steps.
type cursor[V any] struct {
	table      *table[V]
	key        []byte // of the entry returned last
	block, pos int
	changes    uint64
}

// seek returns the first entry at or after key. key may share c.key's memory.
func (c *cursor[V]) seek(key []byte) (uint32, bool) {
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
