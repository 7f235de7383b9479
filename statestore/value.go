// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
)

// Value is a keyed store: key → V. It belongs to the task's goroutine, as its
// DB does. Values of a type with slices, maps or pointers are shared with the
// cache: what Get and Scan return must not be changed, and what Put was given
// must not be changed after.
type Value[V any] struct{ table[V] }

// NewValue declares a value store of the DB. It panics if the id is invalid or
// taken: ids come from the compiled topology, which keeps them unique.
func NewValue[V any](db *DB, id StoreID, codec ValueCodec[V]) *Value[V] {
	s := &Value[V]{}
	s.init(db, id, codec)
	return s
}

// Update returns a pointer to the key's value, to be changed in place; the
// entry counts as changed from here on. A key without a value gets the zero
// value, and found is false. The pointer is valid until the next call on the
// store. ErrPrepared between Prepare and its outcome.
func (s *Value[V]) Update(key []byte) (p *V, found bool, err error) {
	if len(key) == 8 {
		if e := s.dirty8(binary.NativeEndian.Uint64(key)); e != nil {
			s.stats.Hits++
			return &e.val, true, nil
		}
	} else if !s.db.attempt.on {
		if _, e := s.find(s.hash(key), key); e != nil && e.meta&(stateDirty|stateAbsent) == stateDirty {
			s.stats.Hits++
			return &e.val, true, nil
		}
	}
	return s.update(key)
}

// Ref returns a pointer to the key's value, or nil and false. To change the
// value, change it and call Touch before any other call on the store. The
// pointer is valid until the next call on the store.
func (s *Value[V]) Ref(key []byte) (p *V, found bool, err error) {
	s.last = 0
	i, e, err := s.lookup(key)
	if err != nil || e.meta&stateAbsent != 0 {
		return nil, false, err
	}
	if s.db.attempt.on {
		if err := s.remember(i, e); err != nil {
			return nil, false, err
		}
	}
	s.last = i + 1
	return &e.val, true, nil
}

// Touch marks the value that the last Ref returned as changed. If it fails, the
// change is lost and the epoch must be aborted.
func (s *Value[V]) Touch() error {
	if s.last == 0 {
		return fmt.Errorf("touch in %s: the last call was not a Ref that found a value", s.name())
	}
	i := s.last - 1
	return s.touch(i, s.at(i))
}

// Get returns the key's value.
func (s *Value[V]) Get(key []byte) (v V, found bool, err error) {
	return s.get(key)
}

// Put sets the key's value, without reading the one before.
func (s *Value[V]) Put(key []byte, v V) error { return s.put(key, v) }

// Delete removes the key, without reading it.
func (s *Value[V]) Delete(key []byte) error { return s.remove(key) }

// Dirty calls fn for each key changed in this epoch, in the order of first
// change; p is nil for a deleted key. The key is valid during the call. fn may
// change *p, but must not call methods of this store.
func (s *Value[V]) Dirty(fn func(key []byte, p *V) error) error {
	for n := 0; n < len(s.dirty); n++ {
		e := s.at(s.dirty[n])
		p := &e.val
		if e.meta&stateAbsent != 0 {
			p = nil
		}
		if err := fn(s.keyOf(e), p); err != nil {
			return err
		}
	}
	return nil
}

// Scan yields the keys that start with prefix and their values, in key order.
// Uncommitted changes are seen; changes made during the scan may be. The key is
// valid until the next one. A read error ends the scan and fails the DB: DB.Err
// tells, and the next Prepare refuses, so that no commit rests on half a scan.
func (s *Value[V]) Scan(prefix []byte) iter.Seq2[[]byte, V] {
	return func(yield func([]byte, V) bool) {
		if err := s.scan(bytes.Clone(prefix), yield); err != nil {
			s.db.fail(err)
		}
	}
}

func (s *Value[V]) scan(prefix []byte, yield func([]byte, V) bool) error {
	newer := s.overlay(prefix)
	it, err := s.db.iterate(s.id, prefix, keyAfter(nil, prefix))
	if err != nil {
		return err
	}
	defer it.close()
	// next yields the overlay's first entry; false ends the scan.
	next := func() bool {
		i, e := newer[0], s.at(newer[0])
		newer = newer[1:]
		if e.meta&stateAbsent != 0 {
			return true
		}
		if s.db.attempt.reads {
			if err := s.lend(i, e); err != nil {
				s.db.fail(err)
				return false
			}
		}
		return yield(s.keyOf(e), e.val)
	}
	for key, raw, ok := it.first(); ok; key, raw, ok = it.next() {
		for len(newer) > 0 && bytes.Compare(s.keyAt(newer[0]), key) < 0 {
			if !next() {
				return nil
			}
		}
		if len(newer) > 0 && bytes.Equal(s.keyAt(newer[0]), key) {
			if !next() {
				return nil
			}
			continue
		}
		v, err := s.decode(raw)
		if err != nil {
			return err
		}
		if !yield(key, v) {
			return nil
		}
	}
	if err := it.err(); err != nil {
		return err
	}
	for len(newer) > 0 {
		if !next() {
			return nil
		}
	}
	return nil
}
