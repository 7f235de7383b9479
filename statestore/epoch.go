// SPDX-License-Identifier: Apache-2.0

package statestore

import "fmt"

// What a table does at the end of an epoch.

// encode appends the epoch's changes to w and marks them in flight. If it
// fails, thaw undoes the marks.
func (t *table[V]) encode(w *deltaWriter) error {
	// Before the first entries of this process reach Pebble.
	if err := t.look(); err != nil {
		return err
	}
	for _, r := range t.ranges {
		end := append(appendStoreID(w.key[:0], t.id), r.end...)
		w.key = end
		if n := len(r.start) + len(end); !w.fits(n) {
			return t.tooLarge(n, w.max)
		}
		w.put(opDeleteRange, t.id, r.start, end)
	}
	t.sortDirty()
	for _, i := range t.dirty {
		e := t.at(i)
		if e.meta&stateFree != 0 {
			continue
		}
		key := t.keyOf(e)
		e.meta ^= stateDirty | stateInflight
		if e.meta&stateAbsent != 0 {
			if !t.ranges.cover(key) {
				if !w.fits(storeIDLen + len(key)) {
					return t.tooLarge(storeIDLen+len(key), w.max)
				}
				w.put(opDelete, t.id, key, nil)
			}
			continue
		}
		value, err := t.codec.Append(w.value[:0], e.val)
		if err != nil {
			return fmt.Errorf("encode value in %s: %w", t.name(), err)
		}
		w.value = value
		if n := storeIDLen + len(key) + len(value); !w.fits(n) {
			return t.tooLarge(n, w.max)
		}
		w.put(opSet, t.id, key, value)
		t.resize(i, len(value))
	}
	return nil
}

// sortFrom is the number of entries from which sorting pays: with 10,000, and a
// state of a million, it takes a sixth off the CPU time of all of a commit,
// flushes included, since inserts into a memtable in key order are cheap. With
// 1,000 it makes no difference. The changelog compresses better, too.
const sortFrom = 2048

// sortDirty brings the changed entries into key order.
func (t *table[V]) sortDirty() {
	if len(t.dirty) >= sortFrom {
		t.sortByKey(t.dirty)
	}
}

func (t *table[V]) tooLarge(n, limit int) error {
	return fmt.Errorf("encode an entry of %s: it takes %d bytes, a changelog record may have %d; split the value or raise the limit: %w",
		t.name(), n+recordOverhead, limit, ErrTooLarge)
}

// thaw makes in-flight entries dirty again, after a failed encode.
func (t *table[V]) thaw() {
	for _, i := range t.dirty {
		if e := t.at(i); e.meta&stateInflight != 0 {
			e.meta ^= stateDirty | stateInflight
		}
	}
}

// confirm makes the in-flight entries clean. With hold they stay pinned until
// release, since Pebble does not have them yet.
func (t *table[V]) confirm(hold bool) {
	for _, i := range t.dirty {
		e := t.at(i)
		if e.meta&stateFree != 0 {
			t.free = append(t.free, i)
			continue
		}
		e.meta &^= stateInflight
		if hold && e.meta&stateHeld == 0 {
			e.meta |= stateHeld
			t.held = append(t.held, i)
		}
	}
	if hold {
		for _, r := range t.ranges {
			t.heldRanges.add(r.start, r.end)
		}
	}
	if t.times != nil {
		t.times.confirm()
	}
	t.endEpoch()
}

// release unpins what was held: it is in Pebble now.
func (t *table[V]) release() {
	for _, i := range t.held {
		t.at(i).meta &^= stateHeld
	}
	t.held = reuse(t.held)
	t.heldRanges = nil
}

// abort drops the epoch's changes. Held entries get their confirmed value back
// from old, all others are read from Pebble when they are next needed.
func (t *table[V]) abort(old heldDeltas) error {
	var failed error
	for _, i := range t.dirty {
		e := t.at(i)
		if e.meta&stateFree != 0 {
			t.free = append(t.free, i)
			continue
		}
		if e.meta&stateHeld == 0 {
			t.drop(i, e)
			continue
		}
		e.meta &^= stateDirty | stateInflight
		raw, ok := old.value(t.id, t.keyOf(e))
		if !ok {
			t.vacate(i, e)
			continue
		}
		val, err := t.decode(raw)
		failed = firstError(failed, err)
		e.val = val
		e.meta &^= stateAbsent
		t.resize(i, len(raw))
	}
	if len(t.ranges) > 0 {
		t.known.partial = true
	}
	if t.times != nil {
		t.times.abort()
	}
	t.endEpoch()
	return failed
}

func (t *table[V]) endEpoch() {
	t.dirty = reuse(t.dirty)
	t.ranges = nil
	t.last = 0
	t.trim()
}

// reuse empties a list of entry indexes, letting go of a large one: after one
// huge epoch it would be held for ever.
func reuse(list []uint32) []uint32 {
	if cap(list) > maxSpareEntries {
		return nil
	}
	return list[:0]
}

// changed says whether the epoch changed anything here.
func (t *table[V]) changed() bool { return len(t.dirty) > 0 || len(t.ranges) > 0 }
