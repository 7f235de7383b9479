// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/statestore"
)

// Table is the newest value per key, kept in a store: the output of an aggregation. It is a small value to copy at
// will. The zero Table is not valid.
type Table[K, V any] struct {
	p     *Pipeline
	n     *tableNode[K, V]
	key   codec.Codec[K]
	value codec.Codec[V]
}

// UpdateOption is an option of Table.Stream.
type UpdateOption func(*updateOptions)

type updateOptions struct{ perCommit bool }

// EmitPerCommit emits each key that changed once per commit, with its newest value, instead of every update.
// How often that is depends on the load, which makes it right for readers who want the newest value and wrong for those
// who count updates. The records have no headers, since many inputs may be behind one.
func EmitPerCommit() UpdateOption {
	return func(o *updateOptions) { o.perCommit = true }
}

// Stream is the flow of the table's updates, each with the new value of its key. A record's time is the newest
// of those that went into the value.
func (t Table[K, V]) Stream(opts ...UpdateOption) Stream[K, V] {
	var o updateOptions
	for _, set := range opts {
		set(&o)
	}
	n := t.p.add("stream", "", t.n.id)
	out := &node[K, V]{id: n.ID}
	if o.perCommit {
		t.n.perCommit = append(t.n.perCommit, out.open)
	} else {
		t.n.children = append(t.n.children, func(tk *task) (emitChange[K, V], error) {
			next, err := out.open(tk)
			if err != nil {
				return nil, err
			}
			return func(k K, c change[V], tm operators.Time) error { return next(k, c.now, tm) }, nil
		})
	}
	return Stream[K, V]{p: t.p, n: out, key: t.key, value: t.value}
}

// change is one update of a table's row. Where the aggregate is a pointer or holds one, old and now
// may share what it points to.
type change[V any] struct {
	old, now V
	existed  bool // old is a value, not the absence of one
}

// emitChange hands one change to the next step.
type emitChange[K, V any] func(k K, c change[V], t operators.Time) error

// tableNode is the typed side of a table's graph node: who takes its changes.
type tableNode[K, V any] struct {
	id        int
	children  []func(*task) (emitChange[K, V], error)
	perCommit []func(*task) (emit[K, V], error)
}

// open makes the emit of all changes; it is nil if nobody takes them one by one.
func (n *tableNode[K, V]) open(t *task) (emitChange[K, V], error) {
	next, err := openAll(t, n.children)
	if err != nil || len(next) == 0 {
		return nil, err
	}
	if len(next) == 1 {
		return next[0], nil
	}
	return func(k K, c change[V], tm operators.Time) error {
		for _, to := range next {
			if err := to(k, c, tm); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// openPerCommit registers what the table does at commits.
func (n *tableNode[K, V]) openPerCommit(t *task, store *statestore.Value[row[V]], key codec.Codec[K], label string) error {
	next, err := openAll(t, n.perCommit)
	if err != nil || len(next) == 0 {
		return err
	}
	emitRow := func(stored []byte, r *row[V]) error {
		if r == nil {
			return nil // The row was deleted in this epoch.
		}
		k, err := key.Decode(stored)
		if err != nil {
			return fmt.Errorf("step %q: decode a key of its store as %s: %w", label, key.ID(), err)
		}
		now := *r
		for _, to := range next {
			if err := to(k, now.value, now.time); err != nil {
				return err
			}
		}
		return nil
	}
	t.flushes = append(t.flushes, flush{node: n.id, run: func() error { return store.Dirty(emitRow) }})
	return nil
}

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
