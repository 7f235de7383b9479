// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"sync"
)

// heldDelta is a confirmed epoch that waits for the cut to end. It does not
// change, and is read by any goroutine.
type heldDelta struct {
	records  [][]byte
	position Position

	once   sync.Once
	sets   []deltaOp // sets and deletes, in the order of keys
	ranges []keyRange
	err    error
}

// index sorts what the delta does, once.
func (d *heldDelta) index() error {
	d.once.Do(func() {
		for _, r := range d.records {
			if err := decodeDelta(r, d.add); err != nil {
				d.err = fmt.Errorf("read held delta of epoch %d: %w", d.position.Epoch, err)
				return
			}
		}
		slices.SortStableFunc(d.sets, func(a, b deltaOp) int { return bytes.Compare(a.key, b.key) })
	})
	return d.err
}

// add notes an op. Range deletes come before what is set in them, see delta.go.
func (d *heldDelta) add(op deltaOp) error {
	if op.kind == opDeleteRange {
		d.ranges = append(d.ranges, keyRange{op.key, op.arg})
	} else {
		d.sets = append(d.sets, op)
	}
	return nil
}

// from returns where sets begins to have keys at or above the one given.
func (d *heldDelta) from(key []byte) int {
	return sort.Search(len(d.sets), func(i int) bool { return bytes.Compare(d.sets[i].key, key) >= 0 })
}

// heldDeltas are the held epochs of a DB, oldest first.
type heldDeltas []*heldDelta

func (h heldDeltas) index() error {
	for _, d := range h {
		if err := d.index(); err != nil {
			return err
		}
	}
	return nil
}

// value returns the newest value that the epochs, indexed before, give a key; false if
// they delete it or leave it alone.
func (h heldDeltas) value(id StoreID, tail []byte) ([]byte, bool) {
	key := append(appendStoreID(nil, id), tail...)
	for _, d := range slices.Backward(h) {
		if i := d.from(key); i < len(d.sets) && bytes.Equal(d.sets[i].key, key) {
			return d.sets[i].arg, d.sets[i].kind == opSet
		}
		if covers(d.ranges, key) {
			return nil, false
		}
	}
	return nil, false
}

// overlay is what held epochs change in a range of whole entry keys.
type overlay struct {
	ops    []deltaOp  // the newest of each key, in the order of keys; a delete hides what Pebble has
	ranges []keyRange // hide what Pebble has
}

// over returns what the epochs change in [lower, upper); upper nil is the end.
func (h heldDeltas) over(lower, upper []byte) (overlay, error) {
	var o overlay
	if len(h) == 0 {
		return o, nil
	}
	if err := h.index(); err != nil {
		return o, err
	}
	seen := map[string]bool{}
	for _, d := range slices.Backward(h) {
		for _, op := range d.sets[d.from(lower):] {
			if upper != nil && bytes.Compare(op.key, upper) >= 0 {
				break
			}
			if !seen[string(op.key)] && !covers(o.ranges, op.key) {
				seen[string(op.key)] = true
				o.ops = append(o.ops, op)
			}
		}
		for _, r := range d.ranges {
			if (upper == nil || bytes.Compare(r.start, upper) < 0) && bytes.Compare(r.end, lower) > 0 {
				o.ranges = append(o.ranges, r)
			}
		}
	}
	slices.SortFunc(o.ops, func(a, b deltaOp) int { return bytes.Compare(a.key, b.key) })
	return o, nil
}

func covers(ranges []keyRange, key []byte) bool {
	return slices.ContainsFunc(ranges, func(r keyRange) bool {
		return bytes.Compare(key, r.start) >= 0 && bytes.Compare(key, r.end) < 0
	})
}
