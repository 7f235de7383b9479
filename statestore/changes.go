// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Change is an entry that an epoch changes, as it is stored.
type Change struct {
	Key    []byte // the entry's, which SplitKey takes apart
	Before []byte // nil: there was no entry
	After  []byte // nil: there will be none
}

// Changes returns, between Prepare and Confirm, the entries that the epoch changes, in the order in which the delta names
// them, up to limit of them, and how many it leaves out. An entry that is set to what it was is none. It reads the
// confirmed values from the disk and waits for an open cut: it is for debugging.
func (db *DB) Changes(limit int) (changes []Change, left int, err error) {
	if !db.prepared {
		return nil, 0, fmt.Errorf("look at the changes of %s: no epoch is prepared", db.id)
	}
	if err := db.awaitCut(); err != nil {
		return nil, 0, err
	}
	c := changeSet{db: db, at: map[string]int{}, limit: limit}
	for _, record := range db.writer.records {
		if err := decodeDelta(record, c.add); err != nil {
			return nil, 0, fmt.Errorf("look at the changes of %s: %w", db.id, err)
		}
	}
	left = c.left
	for _, ch := range c.list {
		switch {
		case ch.After != nil && ch.Before != nil && bytes.Equal(ch.Before, ch.After), ch.After == nil && ch.Before == nil:
		case len(changes) < limit:
			changes = append(changes, ch)
		default:
			left++
		}
	}
	return changes, left, nil
}

// changeSet gathers the changes of a delta.
type changeSet struct {
	db   *DB
	list []Change
	at   map[string]int // by entry key, an index of list

	limit, left int // of entries that go with a range
}

func (c *changeSet) add(op deltaOp) error {
	switch op.kind {
	case opDeleteRange:
		return c.removeRange(op.key, op.arg)
	case opSet:
		return c.set(op.key, append([]byte{}, op.arg...))
	}
	return c.set(op.key, nil)
}

func (c *changeSet) set(key, after []byte) error {
	i, known := c.at[string(key)]
	if known {
		c.list[i].After = after
		return nil
	}
	ch := Change{Key: bytes.Clone(key), After: after}
	raw, found, err := c.db.get(StoreID(binary.BigEndian.Uint16(key)), key[storeIDLen:])
	if err != nil {
		return err
	}
	if found {
		ch.Before = append([]byte{}, raw...)
	}
	c.at[string(key)] = len(c.list)
	c.list = append(c.list, ch)
	return nil
}

func (c *changeSet) removeRange(from, to []byte) (err error) {
	it, err := c.db.pebble.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return c.db.wrap("scan state of "+c.db.id.String(), err)
	}
	defer func() { err = firstError(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if len(c.list) >= c.limit {
			c.left++ // a range may be any part of the state
			continue
		}
		if err := c.set(it.Key(), nil); err != nil {
			return err
		}
	}
	return it.Error()
}
