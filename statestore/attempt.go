// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"fmt"
	"reflect"
	"time"
)

// attempt is what the DB knows of a stretch of changes that may have to be taken
// back, while one is under way.
type attempt struct {
	on    bool
	reads bool
	of    []store // those that have something to take back
}

// Attempt begins a stretch of changes that can be taken back: until Keep or
// Undo, every store remembers what an entry held before its first change. With
// reads it also remembers what a read hands out, if it is of a type that can be
// changed in place: for callers that change what Get returned before they Put
// it. Values that share memory are remembered encoded, others as they are.
//
// Meanwhile ranges are deleted entry by entry, and a blind write reads the entry
// first. Attempts do not nest, and the epoch cannot end within one except by
// Abort. An attempt under which nothing happens costs next to nothing.
func (db *DB) Attempt(reads bool) {
	if db.attempt.on {
		panic("statestore: an attempt was begun within another")
	}
	db.attempt.on, db.attempt.reads = true, reads
	for _, q := range db.quick {
		*q = quickNever
	}
}

// Keep ends the attempt and leaves its changes. If a value that it has changed
// cannot be encoded, which the commit would find out otherwise, that is an error:
// then the attempt goes on, and is to be undone.
func (db *DB) Keep() error {
	for _, s := range db.attempt.of {
		if err := s.encodable(); err != nil {
			return err
		}
	}
	for _, s := range db.attempt.of {
		s.keep()
	}
	db.endAttempt()
	return nil
}

// Undo ends the attempt and takes its changes back: all entries hold what they
// held before, and those that had not changed in this epoch do not count as
// changed. After an error the epoch must be aborted; so it must if the DB has
// failed, which is an error too.
func (db *DB) Undo() error {
	err := db.failed
	for _, s := range db.attempt.of {
		err = firstError(err, s.undo())
	}
	db.endAttempt()
	return err
}

func (db *DB) endAttempt() {
	clear(db.attempt.of)
	db.attempt = attempt{of: db.attempt.of[:0]}
	for _, q := range db.quick {
		*q = quickDirty
	}
}

// tried is what a table remembers in an attempt.
type tried[V any] struct {
	entries []triedEntry[V]
	bytes   []byte // encoded values, one behind the other
	// Of when the first entry was remembered:
	dirty     int // changed entries
	first     int64
	certainty certainty
}

// triedEntry is an entry as it was. It has stateTried and is pinned, so it stays
// where it is.
type triedEntry[V any] struct {
	at    uint32
	state uint32 // stateAbsent and stateDirty
	size  uint32 // of what the value refers to
	end   int    // of the value in tried.bytes, if it is encoded
	val   V      // if it is not
}

// remember notes what an entry holds, once in an attempt.
func (t *table[V]) remember(i uint32, e *entry[V]) error {
	if e.meta&stateTried != 0 {
		return nil
	}
	a := &t.tried
	was := triedEntry[V]{at: i, state: e.meta & (stateAbsent | stateDirty)}
	switch {
	case e.meta&stateAbsent != 0:
	case t.shares:
		bytes, err := t.codec.Append(a.bytes, e.val)
		if err != nil {
			return fmt.Errorf("encode value in %s before it changes: %w", t.name(), err)
		}
		a.bytes = bytes
	default:
		was.val = e.val
	}
	if t.pointers {
		was.size = t.sizes[i>>t.shift][i&(1<<t.shift-1)]
	}
	was.end = len(a.bytes)
	if len(a.entries) == 0 {
		t.db.attempt.of = append(t.db.attempt.of, t)
		a.dirty = len(t.dirty)
		if t.times != nil {
			a.first, a.certainty = t.times.first, t.times.certainty
		}
	}
	a.entries = append(a.entries, was)
	e.meta |= stateTried
	return nil
}

// lend remembers an entry that a read hands out, in an attempt that is to.
func (t *table[V]) lend(i uint32, e *entry[V]) error {
	if !t.shares {
		return nil
	}
	return t.remember(i, e)
}

// encodable says whether all values that the attempt has changed can be encoded.
func (t *table[V]) encodable() error {
	a := &t.tried
	for n := range a.entries {
		e := t.at(a.entries[n].at)
		if e.meta&(stateDirty|stateAbsent) != stateDirty {
			continue
		}
		scratch, err := t.codec.Append(a.bytes, e.val)
		if err != nil {
			return fmt.Errorf("encode value in %s: %w", t.name(), err)
		}
		a.bytes = scratch[:len(a.bytes)]
	}
	return nil
}

// keep forgets what was remembered.
func (t *table[V]) keep() {
	for n := range t.tried.entries {
		t.at(t.tried.entries[n].at).meta &^= stateTried
	}
	t.endAttempt()
}

// undo puts everything back.
func (t *table[V]) undo() error {
	a := &t.tried
	var failed error
	start := 0
	for n := range a.entries {
		was := &a.entries[n]
		failed = firstError(failed, t.putBack(was, a.bytes[start:was.end]))
		start = was.end
	}
	// Entries that had not changed before are at the end of the list, among those
	// which were found to lie in a range delete of this epoch and stay there.
	list := t.dirty[:a.dirty]
	for _, i := range t.dirty[a.dirty:] {
		if t.at(i).meta&(stateDirty|stateFree) != 0 {
			list = append(list, i)
		}
	}
	t.dirty = list
	if t.times != nil {
		t.times.first, t.times.certainty = a.first, a.certainty
	}
	t.endAttempt()
	return failed
}

// putBack makes an entry what it was.
func (t *table[V]) putBack(was *triedEntry[V], encoded []byte) error {
	e := t.at(was.at)
	e.meta &^= stateTried
	if was.state&stateDirty == 0 {
		e.meta &^= stateDirty
	}
	if was.state&stateAbsent != 0 {
		t.vacate(was.at, e)
		return nil
	}
	val := was.val
	if t.shares {
		var err error
		if val, err = t.decode(encoded); err != nil {
			return err
		}
	}
	e.val = val
	e.meta &^= stateAbsent
	t.resize(was.at, int(was.size))
	return nil
}

func (t *table[V]) endAttempt() {
	a := &t.tried
	clear(a.entries)
	if cap(a.entries) > maxSpareEntries || cap(a.bytes) > maxSpareBytes {
		*a = tried[V]{}
		return
	}
	a.entries, a.bytes = a.entries[:0], a.bytes[:0]
}

// removeEach deletes the keys in [start, end) one by one.
func (t *table[V]) removeEach(start, end []byte) error {
	var keys [][]byte
	err := t.merge(start, end, func(tail []byte, _ V) bool {
		keys = append(keys, append([]byte(nil), tail...))
		return true
	})
	for n := 0; n < len(keys) && err == nil; n++ {
		err = t.remove(keys[n])
	}
	return err
}

// SharesMemory says whether two variables of a type can share memory that is changed
// through one of them.
func SharesMemory(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Array:
		return typ.Len() > 0 && SharesMemory(typ.Elem())
	case reflect.Struct:
		if typ == reflect.TypeFor[time.Time]() {
			return false
		}
		for f := range typ.Fields() {
			if SharesMemory(f.Type) {
				return true
			}
		}
		return false
	case reflect.String:
		return false
	default:
		return typ.Kind() < reflect.Bool || typ.Kind() > reflect.Complex128
	}
}
