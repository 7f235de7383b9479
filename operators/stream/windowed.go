// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// WindowedGroup is a stream seen by key and window, ready to be aggregated.
type WindowedGroup[K, V any] struct {
	s    Stream[K, V]
	w    Windows
	late *lateRecords[K, V]
}

// lateRecords is where the aggregations of a group leave the records that come too late for all of their windows.
type lateRecords[K, V any] struct {
	steps []int // nodes of the aggregations
	out   *node[K, V]
}

// Window cuts the records of each key into windows of event time.
func (g Grouped[K, V]) Window(w Windows) WindowedGroup[K, V] {
	return WindowedGroup[K, V]{s: g.s, w: w, late: &lateRecords[K, V]{out: &node[K, V]{}}}
}

// Late is the flow of the records that came too late for every window they belong to. They are counted in any case. Call
// it after the aggregation.
func (g WindowedGroup[K, V]) Late() Stream[K, V] {
	n := g.s.p.add("late", "", g.late.steps...)
	if len(g.late.steps) == 0 {
		g.s.p.fail(n.Label, "there is no aggregation whose late records it could take", "call Late after Count, Reduce or Aggregate, on the group that they were called on")
	}
	g.late.out.id = n.ID
	out := g.s
	out.n = g.late.out
	return out
}

// Count counts the records per key and window, in the store of this name.
func (g WindowedGroup[K, V]) Count[Name ~string](name Name) WindowedTable[K, int64] {
	return windowed(g, "window-count", string(name), codec.Int64, folder[V, int64]{
		init:  func() int64 { return 0 },
		add:   func(n int64, _ bool, _ V) int64 { return n + 1 },
		merge: func(a, b int64) int64 { return a + b },
	})
}

// Reduce keeps per key and window the first value, then fn of what is kept and the next, in the store of this name. fn
// must not care for the order of its arguments where windows overlap or merge, and must change neither.
func (g WindowedGroup[K, V]) Reduce[Name ~string](name Name, fn func(kept, v V) V) WindowedTable[K, V] {
	return windowed(g, "window-reduce", string(name), g.s.value, folder[V, V]{add: reducing(fn), merge: fn})
}

// Aggregate keeps per key and window an aggregate: add of what is kept, which is init at first, and each value, in the
// store of this name. add may change the aggregate that it is given and return it. merge makes one aggregate of two
// and may change the first only; session, hopping and sliding windows need it, for others it may be nil. The codec is
// needed if A has none of its own (see UseCodec).
func (g WindowedGroup[K, V]) Aggregate[A any](name string, init func() A, add func(A, V) A, merge func(A, A) A, value ...codec.Codec[A]) WindowedTable[K, A] {
	f := folder[V, A]{init: init, merge: merge, add: adding(init, add)}
	return windowed(g, "window-aggregate", name, choose(g.s.p, name, value, codecOf[A](g.s.p)), f)
}

// folder is how records become an aggregate.
type folder[V, A any] struct {
	init  func() A // nil: the first value stands for itself
	add   func(kept A, found bool, v V) A
	merge func(a, b A) A // nil: there is none
}

// windowed declares an aggregation by window.
func windowed[K, V, A any](g WindowedGroup[K, V], kind topology.Kind, name string, value codec.Codec[A], f folder[V, A]) WindowedTable[K, A] {
	p := g.s.p
	n := p.addNamed(kind, name, g.s.n.id)
	n.Timed, n.Hold = true, g.w.grace
	if g.w.kind == session {
		n.Hold++ // it closes a millisecond after its end
	}
	id, label := n.ID, n.Label
	g.s.keyed(n)
	g.late.steps = append(g.late.steps, id)
	if g.w.wrong != "" {
		p.fail(label, "its windows are not valid", g.w.wrong)
	}
	if f.merge == nil && (g.w.kind == session || g.w.kind == sliding || g.w.kind == hopping) {
		p.fail(label, fmt.Sprintf("%s windows bring aggregates together, and there is no merge", g.w.kind), "give Aggregate one")
	}
	if g.w.kind == sliding && g.w.emit == emitEvery {
		p.fail(label, "sliding windows cannot be emitted at intervals, since each record has one of its own", "use EmitOnUpdate or EmitOnClose")
	}
	policies := p.timedRules(g.s.rules, n)
	value = own(value)
	keyID := needKey(p, label, "the key", g.s.key, "add .WithKey(codec) before Group")
	valueID := need(p, label, "the aggregate", value, "give it a codec")
	table := &windowNode[K, A]{id: id}
	a := windowAggregation[K, V, A]{windowing[K, V, A]{
		id: id, label: label, rules: policies, windows: g.w, key: g.s.key, value: value, folder: f, table: table, late: g.late,
	}}
	for _, st := range a.stores(keyID, valueID) {
		p.addStore(&p.graph.Nodes[id], st)
	}
	g.s.n.children = append(g.s.n.children, a.open)
	return WindowedTable[K, A]{p: p, n: table, key: g.s.key, value: value, rules: g.s.rules}
}

// WindowedTable is the newest aggregate per key and window: the output of an aggregation by window.
type WindowedTable[K, V any] struct {
	p     *Pipeline
	n     *windowNode[K, V]
	key   codec.Codec[K]
	value codec.Codec[V]
	rules rules
}

// Stream is the flow of the results, as often as the windows emit them. The time of a result is the last instant of its
// window if it is emitted on close, else that of the newest record that went into it.
func (t WindowedTable[K, V]) Stream() WindowedStream[K, V] {
	n := t.p.add("stream", "", t.n.id)
	out := &windowNode[K, V]{id: n.ID}
	t.n.children = append(t.n.children, out.open)
	return WindowedStream[K, V]{p: t.p, n: out, key: t.key, value: t.value, rules: t.rules}
}

// WindowedStream is a flow of results of windows. Map turns it into a stream of anything else.
type WindowedStream[K, V any] struct {
	p     *Pipeline
	n     *windowNode[K, V]
	key   codec.Codec[K]
	value codec.Codec[V]
	rules rules
}

// Map makes a stream of fn of each result, under the key of the window's records.
func (s WindowedStream[K, V]) Map[W any](fn func(Windowed[K], V) W) Stream[K, W] {
	n := s.p.add("map", "", s.n.id)
	out, label, policies := &node[K, W]{id: n.ID}, n.Label, s.p.stepRules(s.rules, n)
	s.n.children = append(s.n.children, func(t *task) (emitWindow[K, V], error) {
		next, err := out.open(t)
		if err != nil {
			return nil, err
		}
		c, g := caller{ctx: t.rt.Context, label: label}, t.guard(label, policies)
		next = hold(g, next)
		return guardedWindows(g, func(k K, w Window, v V, tm operators.Time) error {
			c.enter()
			return next(k, fn(Windowed[K]{k, w}, v), tm)
		}), nil
	})
	return Stream[K, W]{p: s.p, n: out, key: s.key, value: codecOf[W](s.p), rules: s.rules}
}

// Filter keeps the results that satisfy keep.
func (s WindowedStream[K, V]) Filter(keep func(Windowed[K], V) bool) WindowedStream[K, V] {
	n := s.p.add("filter", "", s.n.id)
	out, label, policies := &windowNode[K, V]{id: n.ID}, n.Label, s.p.stepRules(s.rules, n)
	s.n.children = append(s.n.children, func(t *task) (emitWindow[K, V], error) {
		next, err := out.open(t)
		if err != nil {
			return nil, err
		}
		c, g := caller{ctx: t.rt.Context, label: label}, t.guard(label, policies)
		next = holdWindows(g, next)
		return guardedWindows(g, func(k K, w Window, v V, tm operators.Time) error {
			c.enter()
			if !keep(Windowed[K]{k, w}, v) {
				return nil
			}
			return next(k, w, v, tm)
		}), nil
	})
	s.n = out
	return s
}

// emitWindow hands one result to the next step.
type emitWindow[K, V any] func(k K, w Window, v V, t operators.Time) error

// windowNode is the typed side of the graph node of windows: who takes their results.
type windowNode[K, V any] struct {
	id       int
	children []func(*task) (emitWindow[K, V], error)
}

func (n *windowNode[K, V]) open(t *task) (emitWindow[K, V], error) {
	if made, ok := t.made[n]; ok {
		return made.(emitWindow[K, V]), nil
	}
	next, err := openAll(t, n.children)
	if err != nil {
		return nil, err
	}
	e := func(k K, w Window, v V, tm operators.Time) error {
		for _, to := range next {
			if err := to(k, w, v, tm); err != nil {
				return err
			}
		}
		return nil
	}
	if len(next) == 1 {
		e = next[0]
	}
	t.made[n] = emitWindow[K, V](e)
	return e, nil
}
