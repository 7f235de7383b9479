// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// storedIter walks what Pebble has of one store in a range of keys.
type storedIter struct {
	db    *DB
	it    *pebble.Iterator
	cache bool // it is the DB's reusable iterator
}

// iterate opens an iterator over the store's keys in [start, end); end nil is the
// store's end. An iterator is kept for reuse until Pebble changes: a range per
// record would otherwise pay for a new one each time.
func (db *DB) iterate(id StoreID, start, end []byte) (storedIter, error) {
	if db.closed {
		return storedIter{}, fmt.Errorf("scan %s of %s: %w", db.storeName(id&^layoutBits), db.id, ErrClosed)
	}
	// Pebble copies the bounds.
	db.lower = append(appendStoreID(db.lower[:0], id), start...)
	if end != nil {
		db.upper = append(appendStoreID(db.upper[:0], id), end...)
	} else {
		db.upper = keyAfter(db.upper[:0], db.lower[:storeIDLen])
	}
	lower, upper := db.lower, db.upper
	s := storedIter{db: db}
	if !db.iterBusy && db.iter != nil {
		db.iter.SetBounds(lower, upper)
		s.it, s.cache = db.iter, true
		db.iterBusy = true
		return s, nil
	}
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return s, db.wrap("scan "+db.storeName(id&^layoutBits)+" of "+db.id.String(), err)
	}
	s.it = it
	if !db.iterBusy {
		db.iter, db.iterBusy, s.cache = it, true, true
	}
	return s, nil
}

func (s storedIter) first() (tail, raw []byte, ok bool) { return s.entry(s.it.First()) }

func (s storedIter) last() (tail, raw []byte, ok bool) { return s.entry(s.it.Last()) }

// seek skips to the first key at or after tail.
func (s storedIter) seek(tail []byte) (key, raw []byte, ok bool) {
	s.db.key = append(append(s.db.key[:0], s.it.Key()[:storeIDLen]...), tail...)
	return s.entry(s.it.SeekGE(s.db.key))
}

func (s storedIter) next() (tail, raw []byte, ok bool) { return s.entry(s.it.Next()) }

func (s storedIter) entry(ok bool) (tail, raw []byte, valid bool) {
	if !ok {
		return nil, nil, false
	}
	raw, err := s.it.ValueAndErr()
	if err != nil {
		return nil, nil, false // err tells
	}
	return s.it.Key()[storeIDLen:], raw, true
}

func (s storedIter) err() error {
	if err := s.it.Error(); err != nil {
		return s.db.wrap("scan state of "+s.db.id.String(), err)
	}
	return nil
}

func (s storedIter) close() {
	if s.cache {
		s.db.iterBusy = false
		if s.it.Error() == nil {
			return
		}
		s.db.iter = nil
	}
	if err := s.it.Close(); err != nil {
		s.db.fail(s.db.wrap("scan state of "+s.db.id.String(), err))
	}
}

// closeIterators drops the iterators kept for reuse: they show Pebble as of when
// they were opened.
func (db *DB) closeIterators() error {
	if err := db.closePoints(); err != nil {
		return db.wrap("read state of "+db.id.String(), err)
	}
	if db.iter == nil {
		return nil
	}
	if db.iterBusy {
		panic("statestore: state was committed within a Scan or Range")
	}
	it := db.iter
	db.iter = nil
	if err := it.Close(); err != nil {
		return db.wrap("scan state of "+db.id.String(), err)
	}
	return nil
}

// Entries yields all confirmed entries of all stores with their encoded values, in
// key order, except those that an open cut holds back. SplitKey takes the keys
// apart. Both are valid until the next ones. A read error ends it and fails the
// DB, as that of a Scan does.
func (db *DB) Entries() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: firstStore})
		if err != nil {
			db.fail(db.wrap("scan state of "+db.id.String(), err))
			return
		}
		s := storedIter{db: db, it: it}
		defer s.close()
		for ok := it.First(); ok; ok = it.Next() {
			raw, err := it.ValueAndErr()
			if err != nil || !yield(it.Key(), raw) {
				break
			}
		}
		if err := s.err(); err != nil {
			db.fail(err)
		}
	}
}
