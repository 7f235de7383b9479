// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"iter"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// Range says which entries of a store to select. Fields left empty select all.
type Range struct {
	Store StoreID
	// Key, if not nil, is the user key that entries must have, and Sub the
	// sub-key. Entries of other keys are then not read, in a window store only one
	// or two per time.
	Key, Sub []byte
	// SubFrom is the lowest sub-key, for a map store and together with Key.
	SubFrom []byte
	// Prefix is what user keys begin with; From and To, which is left out, are
	// their bounds. In a value store other entries are not read; elsewhere, where
	// that is not the order of entries, they are passed over.
	Prefix, From, To []byte
	// Times are those of a window store's entries.
	Times *TimeRange
	// After is an entry key: only those behind it are selected.
	After []byte
}

// TimeRange has the times from From to To, both included.
type TimeRange struct{ From, To int64 }

// Selection reads entries as encoded bytes.
type Selection struct {
	open   func(pebble.CloneOptions) (*pebble.Iterator, error)
	held   heldDeltas
	usable func() error // nil: always
	wrap   func(error) error
}

// Select returns an iterator over entries with their encoded values, in the
// order of whole entry keys, which SplitKey takes apart, and a function that
// tells, after the loop, whether it ended early. The slices are valid until the
// next pair.
func (s *Selection) Select(r Range) (iter.Seq2[[]byte, []byte], func() error) {
	var failed error
	seq := func(yield func([]byte, []byte) bool) {
		found := false
		for _, span := range r.spans() {
			goOn, err := s.visit(r, span, func(key, value []byte) bool {
				found = true
				return yield(key, value)
			})
			if err != nil || !goOn || found {
				failed = err
				return
			}
		}
	}
	return seq, func() error { return failed }
}

// span is a range of entry keys of one layout.
type span struct {
	lower, upper []byte
	hops         bool // the entries of Range.Key lie apart, one time after another
}

// spans are where the entries may lie. A store has one layout, which only its
// entry keys tell.
func (r Range) spans() []span {
	value, mapped, window := appendStoreID(nil, r.Store|valueLayout), appendStoreID(nil, r.Store|mapLayout), appendStoreID(nil, r.Store|windowLayout)
	spans := []span{
		{lower: value, upper: keyAfter(nil, value)},
		{lower: mapped, upper: keyAfter(nil, mapped)},
		{lower: window, upper: keyAfter(nil, window), hops: r.Key != nil},
	}
	if r.Key != nil {
		spans[0].lower = append(value, r.Key...)
		spans[0].upper = append(bytes.Clone(spans[0].lower), 0)
		tail := appendMapTail(bytes.Clone(mapped), r.Key, r.Sub)
		spans[1].lower, spans[1].upper = append(bytes.Clone(tail), r.SubFrom...), keyAfter(nil, tail)
		if r.Sub != nil {
			spans[1].upper = append(bytes.Clone(tail), 0)
		}
	} else {
		spans[0].narrow(append(bytes.Clone(value), r.Prefix...), keyAfter(nil, append(bytes.Clone(value), r.Prefix...)))
		if r.From != nil {
			spans[0].narrow(append(bytes.Clone(value), r.From...), nil)
		}
		if r.To != nil {
			spans[0].narrow(nil, append(bytes.Clone(value), r.To...))
		}
	}
	if r.Times != nil {
		spans[2].narrow(appendTime(bytes.Clone(window), r.Times.From), appendTimeEnd(bytes.Clone(window), r.Times.To))
	}
	for i := range spans {
		if r.After != nil {
			spans[i].narrow(append(bytes.Clone(r.After), 0), nil)
		}
	}
	return spans
}

// narrow raises the lower bound and lowers the upper one; nil leaves it.
func (s *span) narrow(lower, upper []byte) {
	if bytes.Compare(lower, s.lower) > 0 {
		s.lower = lower
	}
	if upper != nil && bytes.Compare(upper, s.upper) < 0 {
		s.upper = upper
	}
}

// visit yields the entries of one span; false ends the selection.
func (s *Selection) visit(r Range, sp span, yield func([]byte, []byte) bool) (goOn bool, err error) {
	if bytes.Compare(sp.lower, sp.upper) >= 0 {
		return true, nil
	}
	c, err := s.walker(sp.lower, sp.upper)
	if err != nil {
		return false, err
	}
	defer func() {
		if cerr := c.close(); cerr != nil && err == nil {
			goOn, err = false, cerr
		}
	}()
	for ok := c.first(); ok; {
		_, key, sub, err := SplitKey(c.key)
		if err != nil {
			return false, s.wrap(err)
		}
		if sp.hops {
			if next := hop(c.key, r.Key); next != nil {
				ok = c.seek(next)
				continue
			}
		}
		if r.wants(key, sub) && !yield(c.key, c.value) {
			return false, nil
		}
		ok = c.next()
	}
	return true, nil
}

// hop returns where the entries of a key go on, after or at the window entry key given: at
// its time, or else at the next. Nil: at that entry.
func hop(at, key []byte) []byte {
	id, t := at[:storeIDLen], timeOf(at[storeIDLen:])
	target := appendMapTail(appendTime(bytes.Clone(id), t), key, nil)
	switch {
	case bytes.HasPrefix(at, target):
		return nil
	case bytes.Compare(at, target) < 0:
		return target
	}
	return appendTimeEnd(bytes.Clone(id), t)
}

func (r Range) wants(key, sub []byte) bool {
	switch {
	case r.Key != nil && !bytes.Equal(key, r.Key), r.Sub != nil && !bytes.Equal(sub, r.Sub):
		return false
	case r.From != nil && bytes.Compare(key, r.From) < 0, r.To != nil && bytes.Compare(key, r.To) >= 0:
		return false
	}
	return bytes.HasPrefix(key, r.Prefix)
}

// walker walks what Pebble has in a range of entry keys, under what is held.
type walker struct {
	s     *Selection
	it    *pebble.Iterator
	exact bool // the range has one key
	lower []byte
	over  overlay
	at    int  // in over.ops: the first that has not been passed
	valid bool // it stands at an entry
	own   bool // the present entry is the overlay's
	err   error

	key, value []byte
}

func (s *Selection) walker(lower, upper []byte) (*walker, error) {
	if s.usable != nil {
		if err := s.usable(); err != nil {
			return nil, err
		}
	}
	over, err := s.held.over(lower, upper)
	if err != nil {
		return nil, s.wrap(err)
	}
	exact := len(upper) == len(lower)+1 && bytes.HasPrefix(upper, lower) && upper[len(lower)] == 0
	it, err := s.open(pebble.CloneOptions{IterOptions: &pebble.IterOptions{LowerBound: lower, UpperBound: upper, UseL6Filters: exact}})
	if err != nil {
		return nil, s.wrap(err)
	}
	return &walker{s: s, it: it, exact: exact, lower: lower, over: over}, nil
}

func (c *walker) first() bool {
	if c.exact { // which the filters of tables know of
		c.valid = c.it.SeekPrefixGE(c.lower)
	} else {
		c.valid = c.it.First()
	}
	return c.settle()
}

// seek goes on to the first entry at or behind key.
func (c *walker) seek(key []byte) bool {
	if c.valid && bytes.Compare(c.it.Key(), key) < 0 {
		c.valid = c.it.SeekGE(key)
	}
	rest := c.over.ops[c.at:]
	c.at += sort.Search(len(rest), func(i int) bool { return bytes.Compare(rest[i].key, key) >= 0 })
	return c.settle()
}

func (c *walker) next() bool {
	if c.own {
		c.at++
	} else {
		c.valid = c.it.Next()
	}
	return c.settle()
}

// settle finds the entry at which the cursor stands: the lower of what Pebble and
// the overlay have next.
func (c *walker) settle() bool {
	for {
		if c.s.usable != nil {
			if c.err = c.s.usable(); c.err != nil {
				return false
			}
		}
		var op *deltaOp
		if c.at < len(c.over.ops) {
			op = &c.over.ops[c.at]
		}
		if c.valid && (op == nil || bytes.Compare(c.it.Key(), op.key) < 0) {
			if covers(c.over.ranges, c.it.Key()) {
				c.valid = c.it.Next()
				continue
			}
			c.key, c.own = c.it.Key(), false
			c.value, c.err = c.it.ValueAndErr()
			return c.err == nil
		}
		if op == nil {
			c.err = c.it.Error()
			return false
		}
		if c.valid && bytes.Equal(c.it.Key(), op.key) {
			c.valid = c.it.Next()
		}
		if op.kind == opSet {
			c.key, c.value, c.own = op.key, op.arg, true
			return true
		}
		c.at++
	}
}

func (c *walker) close() error {
	err := c.s.wrapped(c.err)
	if cerr := c.it.Close(); cerr != nil && err == nil {
		err = c.s.wrap(cerr)
	}
	return err
}
