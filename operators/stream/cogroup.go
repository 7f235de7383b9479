// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
)

// Cogrouped are streams of one type of key that share an aggregate per key, ready to be aggregated. Each adds to it in
// a way of its own.
type Cogrouped[K, A any] struct {
	p      *Pipeline
	rules  rules
	init   func() A
	inputs []cogroupInput[K, A]
}

// cogroupInput is one of the streams without the type of its values.
type cogroupInput[K, A any] struct {
	p     *Pipeline
	node  int
	key   codec.Codec[K]
	moved string
	hang  func(to *node[K, addition[A]]) // makes the stream's additions go to a node
}

// addition is a record as far as an aggregate is concerned.
type addition[A any] interface{ addTo(kept A) A }

// addend is the addition of a stream. A task has one for each of its streams, which is that of the record in process.
type addend[V, A any] struct {
	fn func(A, V) A
	v  V
}

func (a *addend[V, A]) addTo(kept A) A { return a.fn(kept, a.v) }

// Cogroup begins an aggregate that several streams add to: this one by add, others by Cogrouped.Add. An aggregate
// is init at first. add may change the aggregate it is given in place and return it, so init must return a fresh one each
// time.
func (g Grouped[K, V]) Cogroup[A any](init func() A, add func(A, V) A) Cogrouped[K, A] {
	return Cogrouped[K, A]{p: g.s.p, rules: g.s.rules, init: init}.Add(g, add)
}

// Add has the records of another stream go into the aggregate too, by add. Its keys must be encoded as those of the first
// one. What the streams of a key add comes in the order of processing, which between them is that of time where both wait
// in topics, and no other.
func (c Cogrouped[K, A]) Add[V any](g Grouped[K, V], add func(A, V) A) Cogrouped[K, A] {
	s := g.s
	in := cogroupInput[K, A]{p: s.p, node: s.n.id, key: s.key, moved: s.moved}
	in.hang = func(to *node[K, addition[A]]) {
		s.n.children = append(s.n.children, func(t *task) (emit[K, V], error) {
			next, err := to.open(t)
			if err != nil {
				return nil, err
			}
			a := &addend[V, A]{fn: add}
			return func(k K, v V, tm operators.Time) error {
				a.v = v
				return next(k, a, tm)
			}, nil
		})
	}
	c.inputs = append(slices.Clip(c.inputs), in)
	return c
}

// gather makes one stream of the additions of all.
func (c Cogrouped[K, A]) gather() Stream[K, addition[A]] {
	n := c.p.add("cogroup", "")
	s := Stream[K, addition[A]]{p: c.p, n: &node[K, addition[A]]{id: n.ID}, rules: c.rules}
	for _, in := range c.inputs {
		if in.p != c.p {
			c.p.fail(n.Label, fmt.Sprintf("it has a stream of pipeline %q", in.p.Name()), "cogroup streams of one pipeline")
			continue
		}
		n.Parents = append(n.Parents, in.node)
		in.hang(s.n)
		if s.moved == "" {
			s.moved = in.moved
		}
		if s.moved == "" && s.key != nil && in.key != nil && s.key.ID() != in.key.ID() {
			s.moved = fmt.Sprintf("Cogroup step %q brings together keys encoded as %q and as %q", n.Label, s.key.ID(), in.key.ID())
		}
		if s.key == nil {
			s.key = in.key
		}
	}
	return s
}

// fold adds a record to what is kept.
func (c Cogrouped[K, A]) fold() func(kept A, found bool, a addition[A]) A {
	init, own := c.init, ownerOf[A]()
	return func(kept A, found bool, a addition[A]) A {
		if !found {
			kept = init()
		}
		kept = a.addTo(kept)
		if own != nil {
			kept = own(kept)
		}
		return kept
	}
}

// Aggregate keeps the aggregate of each key in the store of this name. The codec is needed if A has none of its own (see
// UseCodec).
func (c Cogrouped[K, A]) Aggregate[Name ~string](name Name, value ...codec.Codec[A]) Table[K, A] {
	return aggregate(c.gather(), "aggregate", string(name), choose(c.p, string(name), value, codecOf[A](c.p)), c.fold())
}

// Window cuts the records of each key into windows of event time, the same for all of the streams.
func (c Cogrouped[K, A]) Window(w Windows) WindowedCogroup[K, A] {
	return WindowedCogroup[K, A]{c: c, w: w}
}

// WindowedCogroup are streams that share an aggregate per key and window, ready to be aggregated.
type WindowedCogroup[K, A any] struct {
	c Cogrouped[K, A]
	w Windows
}

// Aggregate keeps the aggregate of each key and window in the store of this name. merge makes one aggregate of two and may
// change the first only; session, hopping and sliding windows need it, for others it may be nil. The codec is needed if A
// has none of its own (see UseCodec).
func (c WindowedCogroup[K, A]) Aggregate[Name ~string](name Name, merge func(A, A) A, value ...codec.Codec[A]) WindowedTable[K, A] {
	g := c.c.gather().Group().Window(c.w)
	f := folder[addition[A], A]{init: c.c.init, add: c.c.fold(), merge: merge}
	return windowed(g, "window-aggregate", string(name), choose(c.c.p, string(name), value, codecOf[A](c.c.p)), f)
}
