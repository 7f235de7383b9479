// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"iter"
)

// Map is a store of two levels: (key, sub-key) → V, with the sub-keys of a key
// in byte order: fields, list elements, versions. It belongs to the
// task's goroutine, and shares values with the cache, both as Value does.
type Map[V any] struct {
	table[V]
	tail []byte // scratch: the entry key of the call
}

// NewMap declares a map store of the DB; ids as for NewValue.
func NewMap[V any](db *DB, id StoreID, codec ValueCodec[V]) *Map[V] {
	m := &Map[V]{}
	m.order = &keyOrder{}
	m.init(db, id|mapLayout, codec)
	return m
}

func (m *Map[V]) key(key, sub []byte) []byte {
	m.tail = appendMapTail(m.tail[:0], key, sub)
	return m.tail
}

// Update returns a pointer to the value of (key, sub), as Value.Update does.
func (m *Map[V]) Update(key, sub []byte) (p *V, found bool, err error) {
	tail := m.key(key, sub)
	if m.db.attempt.on {
		return m.update(tail)
	}
	if _, e := m.find(m.hash(tail), tail); e != nil && e.meta&(stateDirty|stateAbsent) == stateDirty {
		m.stats.Hits++
		return &e.val, true, nil
	}
	return m.update(tail)
}

// Get returns the value of (key, sub).
func (m *Map[V]) Get(key, sub []byte) (v V, found bool, err error) {
	return m.get(m.key(key, sub))
}

// Put sets the value of (key, sub), without reading the one before.
func (m *Map[V]) Put(key, sub []byte, v V) error { return m.put(m.key(key, sub), v) }

// Delete removes (key, sub), without reading it.
func (m *Map[V]) Delete(key, sub []byte) error { return m.remove(m.key(key, sub)) }

// DeleteRange removes the sub-keys of key in [from, to); to nil means all from
// from on. It writes one range tombstone whatever the number of entries.
func (m *Map[V]) DeleteRange(key, from, to []byte) error {
	start := bytes.Clone(m.key(key, from))
	end := bytes.Clone(m.key(key, to))
	if to == nil {
		end = mapTailEnd(nil, key)
	}
	return m.removeRange(start, end)
}

// Range yields the sub-keys of key with their values, in sub-key order.
// Uncommitted changes are seen, also those made to sub-keys further on while
// ranging; deleting while ranging is allowed. The sub-key is valid until the
// next one. Read errors are as for Value.Scan.
func (m *Map[V]) Range(key []byte) iter.Seq2[[]byte, V] { return m.Between(key, nil, nil) }

// Between is Range for the sub-keys in [from, to); to nil means all from from
// on.
func (m *Map[V]) Between(key, from, to []byte) iter.Seq2[[]byte, V] {
	return func(yield func([]byte, V) bool) {
		start := appendMapTail(nil, key, from)
		prefix := len(start) - len(from)
		var end []byte
		if to != nil {
			end = appendMapTail(nil, key, to)
		} else {
			end = mapTailEnd(nil, key)
		}
		if bytes.Compare(start, end) >= 0 {
			return
		}
		if err := m.merge(start, end, func(tail []byte, v V) bool { return yield(tail[prefix:], v) }); err != nil {
			m.db.fail(err)
		}
	}
}
