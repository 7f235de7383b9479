// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"fmt"
	"iter"
	"math"
)

// Window is a store led by time: (time, key, sub-key) → V, for windows by their
// start, timers by their due time, join buffers by their segment. Its entries
// are in the order of time, and within one time those of a key are together, in
// sub-key order. All entries of a time, or before one, go by one range delete;
// new entries ahead of all others are made without reading. It belongs to the
// task's goroutine, and shares values with the cache, both as Value does.
type Window[V any] struct {
	table[V]
	tail []byte // scratch: the entry key of the call
}

// NewWindow declares a window store of the DB; ids as for NewValue.
func NewWindow[V any](db *DB, id StoreID, codec ValueCodec[V]) *Window[V] {
	w := &Window[V]{}
	w.order, w.times = &keyOrder{}, newTimeline()
	w.init(db, id|windowLayout, codec)
	return w
}

func (w *Window[V]) key(t int64, key, sub []byte) []byte {
	w.tail = appendWindowTail(w.tail[:0], WindowKey{t, key, sub})
	return w.tail
}

// Update returns a pointer to the value of (t, key, sub), as Value.Update does.
func (w *Window[V]) Update(t int64, key, sub []byte) (p *V, found bool, err error) {
	tail := w.key(t, key, sub)
	if !w.db.attempt.on {
		if _, e := w.find(w.hash(tail), tail); e != nil && e.meta&(stateDirty|stateAbsent) == stateDirty {
			w.stats.Hits++
			return &e.val, true, nil
		}
	}
	if p, found, err = w.update(tail); err == nil {
		w.times.put(t)
	}
	return p, found, err
}

// Get returns the value of (t, key, sub).
func (w *Window[V]) Get(t int64, key, sub []byte) (v V, found bool, err error) {
	return w.get(w.key(t, key, sub))
}

// Put sets the value of (t, key, sub), without reading the one before.
func (w *Window[V]) Put(t int64, key, sub []byte, v V) error {
	if err := w.put(w.key(t, key, sub), v); err != nil {
		return err
	}
	w.times.put(t)
	return nil
}

// Delete removes (t, key, sub), without reading it.
func (w *Window[V]) Delete(t int64, key, sub []byte) error {
	if err := w.remove(w.key(t, key, sub)); err != nil {
		return err
	}
	w.times.removed(t)
	return nil
}

// Drop removes all entries of a time. It writes one range tombstone whatever the
// number of entries, and none if the time is before the first.
func (w *Window[V]) Drop(t int64) error {
	if t < w.times.first {
		return nil
	}
	if err := w.removeRange(appendTime(nil, t), appendTimeEnd(nil, t)); err != nil {
		return err
	}
	w.times.removed(t)
	if t < math.MaxInt64 {
		w.times.removedRange(t, t+1)
	}
	return nil
}

// DropBefore removes all entries with a time before t, as Drop does.
func (w *Window[V]) DropBefore(t int64) error {
	first, ok, err := w.First()
	if err != nil || !ok || first >= t {
		return err
	}
	// The range starts at the first entry, not at the first possible one: ranges
	// that overlap those of earlier commits would make Pebble's reads dear.
	if err := w.removeRange(appendTime(nil, first), appendTime(nil, t)); err != nil {
		return err
	}
	w.times.removedRange(first, t)
	return nil
}

// First returns the lowest time that has an entry, uncommitted changes included;
// false if there is none. It looks for it only if what was first is gone.
func (w *Window[V]) First() (t int64, ok bool, err error) {
	l := w.times
	if l.certainty == atLeast {
		start := l.first
		l.certainty = none
		err = w.merge(appendTime(nil, start), appendTimeEnd(nil, math.MaxInt64), func(tail []byte, _ V) bool {
			l.first, l.certainty = timeOf(tail), exactly
			return false
		})
		switch {
		case err != nil:
			l.certainty = atLeast
			return 0, false, err
		case l.certainty == none:
			l.first = math.MaxInt64
		}
	}
	return l.first, l.certainty == exactly, nil
}

// Range yields the sub-keys of (t, key) with their values, in sub-key order,
// under the terms of Map.Range.
func (w *Window[V]) Range(t int64, key []byte) iter.Seq2[[]byte, V] {
	return func(yield func([]byte, V) bool) {
		prefix := appendWindowTail(nil, WindowKey{Time: t, Key: key})
		end := mapTailEnd(appendTime(nil, t), key)
		w.yield(prefix, end, func(tail []byte, v V) bool { return yield(tail[len(prefix):], v) })
	}
}

// All yields the entries of a time, under the terms of Map.Range. The order is
// that of encoded keys, as CompareKeys has it.
func (w *Window[V]) All(t int64) iter.Seq2[WindowKey, V] {
	return w.entriesIn(appendTime(nil, t), appendTimeEnd(nil, t))
}

// Between yields the entries with from <= time < to in the order of time, under
// the terms of Map.Range.
func (w *Window[V]) Between(from, to int64) iter.Seq2[WindowKey, V] {
	return w.entriesIn(appendTime(nil, from), appendTime(nil, to))
}

func (w *Window[V]) entriesIn(start, end []byte) iter.Seq2[WindowKey, V] {
	return func(yield func(WindowKey, V) bool) {
		w.yield(start, end, func(tail []byte, v V) bool {
			k, ok := cutWindowTail(tail)
			if !ok {
				w.db.fail(fmt.Errorf("read key of %d bytes in %s: %w", len(tail), w.name(), ErrCorrupt))
				return false
			}
			return yield(k, v)
		})
	}
}

// yield merges; a read error ends it and fails the DB.
func (w *Window[V]) yield(start, end []byte, yield func(tail []byte, v V) bool) {
	if err := w.merge(start, end, yield); err != nil {
		w.db.fail(err)
	}
}
