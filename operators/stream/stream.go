// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// Stream is a flow of records with keys and values of these types: the output of a step. It is a small
// value to copy at will; steps hung on two copies both get every record. The zero Stream is not valid.
type Stream[K, V any] struct {
	p     *Pipeline
	n     *node[K, V]
	key   codec.Codec[K] // nil: none known
	value codec.Codec[V] // nil: none known
	moved string         // why records are not where their key belongs; "": they are
	rules rules          // of the steps that hang on it; nil: the pipeline's
}

// WithKey gives the stream the codec of its keys. It changes no record: where the key already has another
// codec, records stay in the partitions that this gave them, and a step that relies on keys needs a Repartition.
func (s Stream[K, V]) WithKey(c codec.Codec[K]) Stream[K, V] {
	if s.key != nil && c != nil && s.key.ID() != c.ID() && s.moved == "" {
		s.moved = fmt.Sprintf("WithKey changed the key's codec from %q to %q", s.key.ID(), c.ID())
	}
	s.key = c
	return s
}

// WithValue gives the stream the codec of its values.
func (s Stream[K, V]) WithValue(c codec.Codec[V]) Stream[K, V] {
	s.value = c
	return s
}

// link declares a step without state between two streams. fuse gets what comes after the step.
func link[K2, V2, K, V any](s Stream[K, V], kind topology.Kind, fuse func(c caller, next emit[K2, V2]) emit[K, V]) Stream[K2, V2] {
	n := s.p.add(kind, "", s.n.id)
	out, label, policies := &node[K2, V2]{id: n.ID}, n.Label, s.p.stepRules(s.rules, n)
	s.n.children = append(s.n.children, func(t *task) (emit[K, V], error) {
		next, err := out.open(t)
		if err != nil {
			return nil, err
		}
		c := caller{ctx: t.rt.Context, label: label}
		return guarded(t.guard(label, policies), next, func(next emit[K2, V2]) emit[K, V] { return fuse(c, next) }), nil
	})
	return Stream[K2, V2]{p: s.p, n: out, key: carry[K2](s.p, s.key), value: carry[V2](s.p, s.value), moved: s.moved, rules: s.rules}
}

// caller calls user code in the name of a step.
type caller struct {
	ctx   *operators.Context
	label string
}

// enter is called before every user function, so that a panic can be attributed.
func (c caller) enter() { c.ctx.Node = c.label }

// Map replaces each value by fn of it. Keys stay, and so does the partitioning.
func (s Stream[K, V]) Map[W any](fn func(V) W) Stream[K, W] {
	return link(s, "map", func(c caller, next emit[K, W]) emit[K, V] {
		return func(k K, v V, t operators.Time) error {
			c.enter()
			return next(k, fn(v), t)
		}
	})
}

// TryMap is Map by a function that can fail. What becomes of the record then is a matter of OnError; without one the
// epoch fails with an *operators.UserError.
func (s Stream[K, V]) TryMap[W any](fn func(V) (W, error)) Stream[K, W] {
	return link(s, "try-map", func(c caller, next emit[K, W]) emit[K, V] {
		return func(k K, v V, t operators.Time) error {
			c.enter()
			w, err := fn(v)
			if err != nil {
				return operators.NewUserError(c.ctx, err)
			}
			return next(k, w, t)
		}
	})
}

// MapWithKey replaces each value by fn of key and value. Keys stay, and so does the partitioning.
func (s Stream[K, V]) MapWithKey[W any](fn func(K, V) W) Stream[K, W] {
	return link(s, "map", func(c caller, next emit[K, W]) emit[K, V] {
		return func(k K, v V, t operators.Time) error {
			c.enter()
			return next(k, fn(k, v), t)
		}
	})
}

// MapKV replaces each key and value. The records stay in the partition of the former key: add a Repartition before
// a step that relies on keys.
func (s Stream[K, V]) MapKV[K2, W any](fn func(K, V) (K2, W)) Stream[K2, W] {
	out := link(s, "map-kv", func(c caller, next emit[K2, W]) emit[K, V] {
		return func(k K, v V, t operators.Time) error {
			c.enter()
			k2, w := fn(k, v)
			return next(k2, w, t)
		}
	})
	return out.rekeyed("MapKV")
}

// rekeyed marks the stream as having keys of a new meaning.
func (s Stream[K, V]) rekeyed(verb string) Stream[K, V] {
	s.moved = fmt.Sprintf("%s step %q changed the key", verb, s.p.graph.Nodes[s.n.id].Label)
	return s
}

// Filter keeps the records whose value satisfies keep.
func (s Stream[K, V]) Filter(keep func(V) bool) Stream[K, V] {
	return link(s, "filter", func(c caller, next emit[K, V]) emit[K, V] {
		return func(k K, v V, t operators.Time) error {
			c.enter()
			if !keep(v) {
				return nil
			}
			return next(k, v, t)
		}
	})
}

// FilterKV keeps the records that satisfy keep.
func (s Stream[K, V]) FilterKV(keep func(K, V) bool) Stream[K, V] {
	return link(s, "filter", func(c caller, next emit[K, V]) emit[K, V] {
		return func(k K, v V, t operators.Time) error {
			c.enter()
			if !keep(k, v) {
				return nil
			}
			return next(k, v, t)
		}
	})
}

// Peek calls fn with each record, which goes on as it is. A record is seen again when its epoch was aborted.
func (s Stream[K, V]) Peek(fn func(K, V)) Stream[K, V] {
	return link(s, "peek", func(c caller, next emit[K, V]) emit[K, V] {
		return func(k K, v V, t operators.Time) error {
			c.enter()
			fn(k, v)
			return next(k, v, t)
		}
	})
}

// FlatMap replaces each value by any number of values: those that fn gives to yield, during its call. Keys stay.
func (s Stream[K, V]) FlatMap[W any](fn func(v V, yield func(W))) Stream[K, W] {
	return link(s, "flat-map", func(c caller, next emit[K, W]) emit[K, V] {
		y := yielder[K, W]{caller: c, next: next}
		yield := func(w W) { y.yield(y.k, w) }
		return func(k K, v V, t operators.Time) error {
			y.begin(k, t)
			fn(v, yield)
			return y.err
		}
	})
}

// FlatMapKV replaces each record by any number of records: those that fn gives to yield, during its call. They stay
// in the partition of the former key: add a Repartition before a step that relies on keys.
func (s Stream[K, V]) FlatMapKV[K2, W any](fn func(k K, v V, yield func(K2, W))) Stream[K2, W] {
	out := link(s, "flat-map-kv", func(c caller, next emit[K2, W]) emit[K, V] {
		y := yielder[K2, W]{caller: c, next: next}
		yield := y.yield
		return func(k K, v V, t operators.Time) error {
			var none K2
			y.begin(none, t)
			fn(k, v, yield)
			return y.err
		}
	})
	return out.rekeyed("FlatMapKV")
}

// yielder is where a step's user function puts records. The first error of a later step stays with it and is
// returned when the function has ended: user code has nothing to do with it.
type yielder[K, V any] struct {
	caller
	next emit[K, V]
	k    K
	t    operators.Time
	err  error
}

func (y *yielder[K, V]) begin(k K, t operators.Time) {
	y.enter()
	y.k, y.t, y.err = k, t, nil
}

func (y *yielder[K, V]) yield(k K, v V) {
	if y.err == nil {
		y.err = y.next(k, v, y.t)
		y.enter()
	}
}

// Branch splits the stream: records whose value satisfies match, and the rest. Branch the rest again for more
// ways. Either may be left unused.
func (s Stream[K, V]) Branch(match func(V) bool) (matched, rest Stream[K, V]) {
	n := s.p.add("branch", "", s.n.id)
	yes, no, label, policies := &node[K, V]{id: n.ID}, &node[K, V]{id: n.ID}, n.Label, s.p.stepRules(s.rules, n)
	s.n.children = append(s.n.children, func(t *task) (emit[K, V], error) {
		next, err := yes.open(t)
		if err != nil {
			return nil, err
		}
		other, err := no.open(t)
		if err != nil {
			return nil, err
		}
		c, g := caller{ctx: t.rt.Context, label: label}, t.guard(label, policies)
		// The side is decided under the guard, and taken outside of it.
		matches := false
		take := func(k K, v V, tm operators.Time) error {
			if matches {
				return next(k, v, tm)
			}
			return other(k, v, tm)
		}
		return guarded(g, take, func(next emit[K, V]) emit[K, V] {
			return func(k K, v V, tm operators.Time) error {
				c.enter()
				matches = match(v)
				return next(k, v, tm)
			}
		}), nil
	})
	matched, rest = s, s
	matched.n, rest.n = yes, no
	return matched, rest
}

// Merge makes one stream of several. Records of each keep their order; between them there is none.
func (s Stream[K, V]) Merge(others ...Stream[K, V]) Stream[K, V] {
	n := s.p.add("merge", "", s.n.id)
	out := Stream[K, V]{p: s.p, n: &node[K, V]{id: n.ID}, key: s.key, value: s.value, moved: s.moved, rules: s.rules}
	s.n.children = append(s.n.children, out.n.open)
	for _, o := range others {
		if o.p != s.p {
			s.p.fail(n.Label, fmt.Sprintf("it merges a stream of pipeline %q", o.p.Name()), "merge streams of one pipeline")
			continue
		}
		n.Parents = append(n.Parents, o.n.id)
		o.n.children = append(o.n.children, out.n.open)
		out = out.joined(o, n.Label)
	}
	return out
}

// joined takes over what a merged stream brings along.
func (s Stream[K, V]) joined(o Stream[K, V], label string) Stream[K, V] {
	if s.moved == "" {
		s.moved = o.moved
	}
	if s.moved == "" && s.key != nil && o.key != nil && s.key.ID() != o.key.ID() {
		s.moved = fmt.Sprintf("Merge step %q brings together keys encoded as %q and as %q", label, s.key.ID(), o.key.ID())
	}
	if s.key == nil {
		s.key = o.key
	}
	if s.value == nil {
		s.value = o.value
	}
	return s
}
