// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/statestore"
)

// Table is the newest value per key: the output of an aggregation, or a topic or stream whose records replace each
// other. It is a small value to copy at will. The zero Table is not valid.
//
// What flows from a table are changes of its rows. A row that is deleted is a change too: Stream leaves it out, Changes
// and To have it, and every verb of Table and TableGroup takes it into account.
type Table[K, V any] struct {
	p     *Pipeline
	n     *tableNode[K, V]
	key   codec.Codec[K]
	value codec.Codec[V] // nil: none known
	rules rules          // of the steps that hang on it; nil: the pipeline's
}

// WithValue gives the table the codec of its values, where a step after it needs one.
func (t Table[K, V]) WithValue(c codec.Codec[V]) Table[K, V] {
	t.value = c
	return t
}

// UpdateOption is an option of Table.Stream.
type UpdateOption func(*updateOptions)

type updateOptions struct{ perCommit bool }

// EmitPerCommit emits each key that changed once per commit, with its newest value, instead of every update.
// How often that is depends on the load, which makes it right for readers who want the newest value and wrong for those
// who count updates. The records have no headers, since many inputs may be behind one. The table must have a store
// of its own: Filter, Map and the joins have none, Store gives them one.
func EmitPerCommit() UpdateOption {
	return func(o *updateOptions) { o.perCommit = true }
}

// Stream is the flow of the table's updates, each with the new value of its key; deletions are left out (see Changes).
// A record's time is the newest of those that went into the value.
func (t Table[K, V]) Stream(opts ...UpdateOption) Stream[K, V] {
	var o updateOptions
	for _, set := range opts {
		set(&o)
	}
	n := t.p.add("stream", "", t.n.id)
	out := &node[K, V]{id: n.ID}
	switch {
	case !o.perCommit:
		t.n.children = append(t.n.children, func(tk *task) (emitChange[K, V], error) {
			next, err := out.open(tk)
			if err != nil {
				return nil, err
			}
			return func(k K, c Change[V], tm operators.Time) error {
				if !c.HasNew {
					return nil
				}
				return next(k, c.New, tm)
			}, nil
		})
	case t.n.dirty == nil:
		t.p.fail(n.Label, fmt.Sprintf("table %q has no store of its own, so that nothing tells which rows a commit changed", t.n.label),
			"add .Store(name) before .Stream(stream.EmitPerCommit())")
	default:
		t.n.perCommit = append(t.n.perCommit, out.open)
	}
	return Stream[K, V]{p: t.p, n: out, key: t.key, value: t.value, rules: t.rules}
}

// Change is one update of a table's row: it came to be, got another value, or was deleted.
type Change[V any] struct {
	Old, New V
	HasOld   bool // there was a row, and Old is its value
	HasNew   bool // there is a row, and New is its value
}

// Changes is the flow of the table's changes, deletions included. It is a function because a method of Table cannot
// return a type that contains the table's own.
func Changes[K, V any](t Table[K, V]) Stream[K, Change[V]] {
	t.n.wantOld()
	n := t.p.add("changes", "", t.n.id)
	out := &node[K, Change[V]]{id: n.ID}
	t.n.children = append(t.n.children, func(tk *task) (emitChange[K, V], error) {
		next, err := out.open(tk)
		return emitChange[K, V](next), err
	})
	return Stream[K, Change[V]]{p: t.p, n: out, key: t.key, value: codecOf[Change[V]](t.p), rules: t.rules}
}

// emitChange hands one change to the next step. It is called with changes only that have a side.
type emitChange[K, V any] func(k K, c Change[V], t operators.Time) error

// lookup finds a row, by the key and its encoding.
type lookup[K, V any] func(k K, key []byte) (row[V], bool, error)

// tableNode is the typed side of a table's graph node: who takes its changes, and how its rows are found.
type tableNode[K, V any] struct {
	id        int
	label     string
	key       codec.Codec[K]
	children  []func(*task) (emitChange[K, V], error)
	perCommit []func(*task) (emit[K, V], error)

	// old is set where a step after it needs the old side of changes. Then neither side shares memory with a store
	// that changes it in place. Otherwise the old side may be missing.
	old   bool
	above []func() // wantOld of the tables that it is made from
	rules rules    // of the step itself, where it keeps nothing

	rows  func(*task) (lookup[K, V], error)
	dirty func(*task) (func(each func(key []byte, r row[V]) error) error, error) // nil: it has no store of its own
	reads []int                                                                  // the nodes whose stores rows reads
}

// wantOld makes the old side of the table's changes be there and stay as it was.
func (n *tableNode[K, V]) wantOld() {
	if n.old {
		return
	}
	n.old = true
	for _, want := range n.above {
		want()
	}
}

// open makes the emit of all changes, once per task; it is nil if nobody takes them one by one.
func (n *tableNode[K, V]) open(t *task) (emitChange[K, V], error) {
	if made, ok := t.made[n]; ok {
		return made.(emitChange[K, V]), nil
	}
	next, err := openAll(t, n.children)
	if err != nil {
		return nil, err
	}
	if err := n.openPerCommit(t); err != nil {
		return nil, err
	}
	var e emitChange[K, V]
	switch len(next) {
	case 0:
	case 1:
		e = next[0]
	default:
		e = func(k K, c Change[V], tm operators.Time) error {
			for _, to := range next {
				if err := to(k, c, tm); err != nil {
					return err
				}
			}
			return nil
		}
	}
	t.made[n] = e
	return e, nil
}

// openPerCommit registers what the table does at commits.
func (n *tableNode[K, V]) openPerCommit(t *task) error {
	next, err := openAll(t, n.perCommit)
	if err != nil || len(next) == 0 {
		return err
	}
	dirty, err := n.dirty(t)
	if err != nil {
		return err
	}
	emitRow := func(stored []byte, r row[V]) error {
		k, err := n.key.Decode(stored)
		if err != nil {
			return fmt.Errorf("step %q: decode a key of its store as %s: %w", n.label, n.key.ID(), err)
		}
		for _, to := range next {
			if err := to(k, r.value, r.time); err != nil {
				return err
			}
		}
		return nil
	}
	t.flushes = append(t.flushes, flush{node: n.id, run: func() error { return dirty(emitRow) }})
	return nil
}

// storeRef is a store of the topology, opened once per task however many steps use it.
type storeRef[R any] struct {
	name  string
	codec statestore.ValueCodec[R]
}

func (s *storeRef[R]) open(t *task) (*statestore.Value[R], error) {
	if made, ok := t.made[s]; ok {
		return made.(*statestore.Value[R]), nil
	}
	id, err := t.store(s.name)
	if err != nil {
		return nil, err
	}
	store := statestore.NewValue(t.rt.DB, id, s.codec)
	t.made[s] = store
	return store, nil
}

// mapRef is storeRef for a map store.
type mapRef[R any] struct {
	name  string
	codec statestore.ValueCodec[R]
}

func (s *mapRef[R]) open(t *task) (*statestore.Map[R], error) {
	if made, ok := t.made[s]; ok {
		return made.(*statestore.Map[R]), nil
	}
	id, err := t.store(s.name)
	if err != nil {
		return nil, err
	}
	store := statestore.NewMap(t.rt.DB, id, s.codec)
	t.made[s] = store
	return store, nil
}

// keptIn makes s the store of the table's rows; rowOf finds the row in an entry, if there is one.
func keptIn[K, V, R any](n *tableNode[K, V], s *storeRef[R], rowOf func(*R) (row[V], bool)) {
	n.reads = []int{n.id}
	n.rows = func(t *task) (lookup[K, V], error) {
		store, err := s.open(t)
		if err != nil {
			return nil, err
		}
		var entry R // what rowOf is given would otherwise be allocated each time
		return func(_ K, key []byte) (row[V], bool, error) {
			kept, found, err := store.Get(key)
			if err != nil {
				return row[V]{}, false, fmt.Errorf("step %q: read its store: %w", n.label, err)
			}
			if !found {
				return row[V]{}, false, nil
			}
			entry = kept
			r, ok := rowOf(&entry)
			return r, ok, nil
		}, nil
	}
	n.dirty = func(t *task) (func(func([]byte, row[V]) error) error, error) {
		store, err := s.open(t)
		if err != nil {
			return nil, err
		}
		return func(each func([]byte, row[V]) error) error {
			return store.Dirty(func(key []byte, p *R) error {
				if p == nil {
					return nil // The row was deleted in this epoch.
				}
				r, ok := rowOf(p)
				if !ok {
					return nil
				}
				return each(key, r)
			})
		}, nil
	}
}

// asIs is the rowOf of a store of rows.
func asIs[V any](r *row[V]) (row[V], bool) { return *r, true }

// row is what a table stores per key.
type row[V any] struct {
	time  operators.Time // the newest of the records that went into value
	value V
}

// rowCodec lays a row out as topology.TableStore says. The value's codec is one of codec.Stored.
type rowCodec[V any] struct{ value codec.Codec[V] }

const timeBytes = 8

func (c rowCodec[V]) Append(dst []byte, r row[V]) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.time)^(1<<63))
	return c.value.Append(dst, r.value)
}

func (c rowCodec[V]) Decode(src []byte) (row[V], error) {
	if len(src) < timeBytes {
		return row[V]{}, fmt.Errorf("row of %d bytes has no time", len(src))
	}
	v, err := c.value.Decode(src[timeBytes:])
	if err != nil {
		return row[V]{}, err
	}
	return row[V]{time: operators.Time(binary.BigEndian.Uint64(src) ^ (1 << 63)), value: v}, nil
}
