// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// Grouped is a stream seen by key, ready to be aggregated.
type Grouped[K, V any] struct{ s Stream[K, V] }

// Group sees the stream by its key. Its records must be where their keys live: a stream whose key was changed
// needs KeyBy or Repartition first.
func (s Stream[K, V]) Group() Grouped[K, V] { return Grouped[K, V]{s: s} }

// Count keeps the number of records per key, in the store of this name.
func (g Grouped[K, V]) Count[Name ~string](name Name) Table[K, int64] {
	return aggregate(g.s, "count", string(name), codec.Int64, func(n int64, _ bool, _ V) int64 { return n + 1 })
}

// Reduce keeps per key the first value, then fn of what is kept and the next, in the store of this name.
func (g Grouped[K, V]) Reduce[Name ~string](name Name, fn func(kept, v V) V) Table[K, V] {
	return aggregate(g.s, "reduce", string(name), g.s.value, reducing(fn))
}

// Aggregate keeps per key an aggregate: add of each value and what is kept, which is init at first, in the store of
// this name. add may change the aggregate it is given in place and return it, so init must return a
// fresh one each time. The codec is needed if A has none of its own (see UseCodec).
func (g Grouped[K, V]) Aggregate[A any](name string, init func() A, add func(A, V) A, value ...codec.Codec[A]) Table[K, A] {
	c := choose(g.s.p, name, value, codecOf[A](g.s.p))
	return aggregate(g.s, "aggregate", name, c, adding(init, add))
}

// reducing folds values into what is kept of them: the first, then fn of what is kept and the next.
func reducing[V any](fn func(kept, v V) V) func(V, bool, V) V {
	own := ownerOf[V]()
	return func(kept V, found bool, v V) V {
		if found {
			v = fn(kept, v)
		}
		if own != nil {
			v = own(v)
		}
		return v
	}
}

// adding folds values into an aggregate, which is init at first.
func adding[V, A any](init func() A, add func(A, V) A) func(A, bool, V) A {
	own := ownerOf[A]()
	return func(kept A, found bool, v V) A {
		if !found {
			kept = init()
		}
		kept = add(kept, v)
		if own != nil {
			kept = own(kept)
		}
		return kept
	}
}

// aggregate declares a step that folds records into the rows of a table.
func aggregate[K, V, A any](s Stream[K, V], kind topology.Kind, name string, value codec.Codec[A], fold func(A, bool, V) A) Table[K, A] {
	n := s.p.addNamed(kind, name, s.n.id)
	s.keyed(n)
	giveValue := "give it as the last argument"
	switch kind {
	case "reduce":
		giveValue = "add .WithValue(codec) before Group"
	case "combine":
		giveValue = giveCombiner
	}
	value = own(value)
	s.p.addStore(n, topology.Store{
		Name: n.Label, Kind: topology.TableStore,
		KeyCodec:          needKey(s.p, n.Label, "the key", s.key, "add .WithKey(codec) before Group"),
		ValueCodec:        need(s.p, n.Label, "the aggregate", value, giveValue),
		FormerValueCodecs: former(value),
	})
	a := &aggregation[K, V, A]{
		rules: s.p.stepRules(s.rules, n), key: s.key, value: value, fold: fold,
		store: &storeRef[row[A]]{name: n.Label, codec: rowCodec[A]{value: stored(value)}},
		table: &tableNode[K, A]{id: n.ID, label: n.Label, key: s.key},
	}
	keptIn(a.table, a.store, asIs)
	s.n.children = append(s.n.children, a.open)
	return Table[K, A]{p: s.p, n: a.table, key: s.key, value: value, rules: s.rules}
}

// keyed reports a stream that a step relying on keys cannot use.
func (s Stream[K, V]) keyed(n *topology.Node) {
	if s.moved != "" {
		s.p.fail(n.Label, s.moved+", so records of one key may be in several partitions",
			"add .Repartition(name) after it, or use KeyBy(name, fn)")
	}
}

type aggregation[K, V, A any] struct {
	key   codec.Codec[K]
	value codec.Codec[A]
	fold  func(kept A, found bool, v V) A
	store *storeRef[row[A]]
	table *tableNode[K, A]
	rules rules
}

func (a *aggregation[K, V, A]) open(t *task) (emit[K, V], error) {
	store, err := a.store.open(t)
	if err != nil {
		return nil, err
	}
	next, err := a.table.open(t)
	if err != nil {
		return nil, err
	}
	ctx, label, fold := t.rt.Context, a.table.label, a.fold
	keys := newKeyEncoder(a.key)
	var apart func(A) (A, error)
	if a.table.old {
		apart = snapshots(a.value)
	}
	return guarded(t.guard(label, a.rules), emit[K, Change[A]](next), func(next emit[K, Change[A]]) emit[K, V] {
		return func(k K, v V, tm operators.Time) error {
			ctx.Node = label
			key, err := keys.encode(ctx, k)
			if err != nil {
				return err
			}
			r, found, err := store.Update(key)
			if err != nil {
				return fmt.Errorf("step %q: update its store: %w", label, err)
			}
			c := Change[A]{Old: r.value, HasOld: found, HasNew: true}
			kept := r.value
			if apart != nil && found {
				if kept, err = apart(kept); err != nil {
					return operators.NewUserError(ctx, err)
				}
			}
			c.New = fold(kept, found, v)
			if !found || tm > r.time {
				r.time = tm
			}
			r.value = c.New
			if next == nil {
				return nil
			}
			return next(k, c, r.time)
		}
	}), nil
}

// keyEncoder encodes keys for a store into a buffer of its own.
type keyEncoder[K any] struct {
	codec codec.Codec[K]
	null  func(K) bool
	buf   []byte
}

func newKeyEncoder[K any](c codec.Codec[K]) *keyEncoder[K] {
	return &keyEncoder[K]{codec: c, null: nullOf(c), buf: make([]byte, 0, 32)} // never nil, even for an empty key
}

// encode returns the bytes of k, valid until the next call. A null key is refused: records without a
// key are spread over partitions, so that no task could keep their state.
func (e *keyEncoder[K]) encode(ctx *operators.Context, k K) ([]byte, error) {
	if e.null != nil && e.null(k) {
		return nil, operators.NewUserError(ctx, errNullGroupKey)
	}
	var err error
	if e.buf, err = e.codec.Append(e.buf[:0], k); err != nil {
		return nil, operators.NewSerializeError(ctx, fmt.Errorf("encode key as %s: %w", e.codec.ID(), err))
	}
	return e.buf, nil
}
