// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"slices"
	"sort"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// Ranked is a value at a rank. The highest rank is 1.
type Ranked[V any] struct {
	Rank  int
	Value V
}

// TopN keeps per key the n values that rank highest, in the store of this name, and emits what changes: when a value takes
// a rank, that rank and those below it, down to the lowest that is taken, each with its new value. above says whether a
// ranks above b; of values that neither ranks above the other, the earlier one ranks higher. The time of what is emitted is
// the newest of the values that have taken a rank. Later steps must not change values in place, since they stay in the
// store. It is a function because a method of Grouped cannot return a type that contains the group's own.
func TopN[K, V any](g Grouped[K, V], name string, n int, above func(a, b V) bool) Stream[K, Ranked[V]] {
	s := g.s
	step := s.p.addNamed("top-n", name, s.n.id)
	s.keyed(step)
	if n < 1 {
		s.p.fail(step.Label, fmt.Sprintf("it keeps the top %d", n), "keep at least one")
	}
	value := own(s.value)
	valueID := need(s.p, step.Label, "the value", value, "add .WithValue(codec) before Group")
	s.p.addStore(step, topology.Store{
		Name: step.Label, Kind: topology.TopStore, ValueCodec: "top:" + valueID, Plain: true,
		KeyCodec: needKey(s.p, step.Label, "the key", s.key, "add .WithKey(codec) before Group"),
	})
	d := &topN[K, V]{
		label: step.Label, rules: s.p.stepRules(s.rules, step), n: n, above: above, key: s.key, value: value, out: &node[K, Ranked[V]]{id: step.ID},
	}
	s.n.children = append(s.n.children, d.open)
	return Stream[K, Ranked[V]]{p: s.p, n: d.out, key: s.key, value: codecOf[Ranked[V]](s.p), rules: s.rules}
}

// topN is the declaration of a TopN.
type topN[K, V any] struct {
	label string
	rules rules
	n     int
	above func(a, b V) bool
	key   codec.Codec[K]
	value codec.Codec[V]
	out   *node[K, Ranked[V]]
}

func (d *topN[K, V]) open(t *task) (emit[K, V], error) {
	next, err := d.out.open(t)
	if err != nil {
		return nil, err
	}
	id, err := t.store(d.label)
	if err != nil {
		return nil, err
	}
	store := statestore.NewValue(t.rt.DB, id, topCodec[V]{d.value})
	return guarded(t.guard(d.label, d.rules), next, func(next emit[K, Ranked[V]]) emit[K, V] {
		return d.run(t.rt.Context, store, next)
	}), nil
}

// run makes the step.
func (d *topN[K, V]) run(ctx *operators.Context, store *statestore.Value[top[V]], next emit[K, Ranked[V]]) emit[K, V] {
	keys, own := newKeyEncoder(d.key), ownerOf[V]()
	return func(k K, v V, tm operators.Time) error {
		ctx.Node = d.label
		key, err := keys.encode(ctx, k)
		if err != nil {
			return err
		}
		kept, found, err := store.Get(key)
		if err != nil {
			return fmt.Errorf("step %q: read its store: %w", d.label, err)
		}
		at := 0
		if found {
			if at = d.place(kept.values, v); at == d.n {
				return nil
			}
		}
		r, found, err := store.Update(key)
		if err != nil {
			return fmt.Errorf("step %q: update its store: %w", d.label, err)
		}
		if own != nil {
			v = own(v)
		}
		r.values = slices.Insert(r.values[:min(len(r.values), d.n-1)], at, v)
		r.time = newer(r.time, found, tm)
		values, newest := r.values, r.time
		for ; at < len(values); at++ {
			if err := next(k, Ranked[V]{Rank: at + 1, Value: values[at]}, newest); err != nil {
				return err
			}
		}
		return nil
	}
}

// place returns the index that a value takes among those that rank highest.
func (d *topN[K, V]) place(values []V, v V) int {
	return sort.Search(len(values), func(i int) bool { return d.above(v, values[i]) })
}

// top is what is kept of a key.
type top[V any] struct {
	time   operators.Time // the newest of those that have taken a rank
	values []V            // the highest first
}

// topCodec lays the values of a key out as topology.TopStore says.
type topCodec[V any] struct{ value codec.Codec[V] }

func (c topCodec[V]) Append(dst []byte, t top[V]) (_ []byte, err error) {
	dst = appendTime(dst, t.time)
	for _, v := range t.values {
		if dst, err = appendSized(dst, c.value, v); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (c topCodec[V]) Decode(src []byte) (t top[V], err error) {
	if len(src) < timeBytes {
		return t, fmt.Errorf("the top values of a key, %d bytes, have no time", len(src))
	}
	t.time, src = timeOf(src), src[timeBytes:]
	for len(src) > 0 {
		var part []byte
		if part, src, err = cutSized(src); err != nil {
			return top[V]{}, err
		}
		v, err := c.value.Decode(part)
		if err != nil {
			return top[V]{}, err
		}
		t.values = append(t.values, v)
	}
	return t, nil
}
