// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
)

// Join is the table of the keys that both tables have, each with fn of the two values. Each change of either table is
// at most one change of the result. Nothing is kept beside the tables themselves. fn must give equal results
// for equal values. Both tables must have topics of equal partition counts.
func (t Table[K, V]) Join[R, W any](right Table[K, R], fn func(v V, r R) W) Table[K, W] {
	return joinTables(t, right, "join", func(v V, hasV bool, r R, hasR bool) (w W, ok bool) {
		if !hasV || !hasR {
			return w, false
		}
		return fn(v, r), true
	})
}

// LeftJoin is Join for every key of t: fn is told whether right has it too.
func (t Table[K, V]) LeftJoin[R, W any](right Table[K, R], fn func(v V, r R, found bool) W) Table[K, W] {
	return joinTables(t, right, "left-join", func(v V, hasV bool, r R, hasR bool) (w W, ok bool) {
		if !hasV {
			return w, false
		}
		return fn(v, r, hasR), true
	})
}

// OuterJoin is Join for every key of either table: fn is told which of the two have it.
func (t Table[K, V]) OuterJoin[R, W any](right Table[K, R], fn func(v V, hasV bool, r R, hasR bool) W) Table[K, W] {
	return joinTables(t, right, "outer-join", func(v V, hasV bool, r R, hasR bool) (w W, ok bool) {
		if !hasV && !hasR {
			return w, false
		}
		return fn(v, hasV, r, hasR), true
	})
}

// pairing says what two values, each of which may be absent, are together; false: no row.
type pairing[L, R, W any] func(l L, hasL bool, r R, hasR bool) (W, bool)

// joinTables declares a table whose rows are computed from those of two others.
func joinTables[K, L, R, W any](l Table[K, L], r Table[K, R], kind topology.Kind, pair pairing[L, R, W]) Table[K, W] {
	n := l.p.add(kind, "", l.n.id)
	out := &tableNode[K, W]{id: n.ID, label: n.Label, key: l.key, above: []func(){l.n.wantOld, r.n.wantOld}}
	out.reads = slices.Concat(l.n.reads, r.n.reads)
	joined := Table[K, W]{p: l.p, n: out, key: l.key, value: carry[W](l.p, l.value), rules: l.rules}
	if !meets(l.p, n, r.side(), l.key) || !separate(l.p, n, l.n, r.n) {
		return joined
	}
	out.rules = l.p.stepRules(l.rules, n)
	swapped := func(r R, hasR bool, l L, hasL bool) (W, bool) { return pair(l, hasL, r, hasR) }
	l.n.children = append(l.n.children, func(t *task) (emitChange[K, L], error) { return openSide(t, l, r, out, pair) })
	r.n.children = append(r.n.children, func(t *task) (emitChange[K, R], error) { return openSide(t, r, l, out, swapped) })
	out.rows = func(t *task) (lookup[K, W], error) {
		left, err := l.n.rows(t)
		if err != nil {
			return nil, err
		}
		right, err := r.n.rows(t)
		if err != nil {
			return nil, err
		}
		c, g := caller{ctx: t.rt.Context, label: out.label}, t.guard(out.label, out.rules)
		both := func(a optional[L], b optional[R]) (W, bool) { return pair(a.value, a.has, b.value, b.has) }
		return func(k K, key []byte) (row[W], bool, error) {
			a, hasA, err := left(k, key)
			if err != nil {
				return row[W]{}, false, err
			}
			b, hasB, err := right(k, key)
			if err != nil {
				return row[W]{}, false, err
			}
			c.enter()
			w, ok, err := rowOrNone(g, both, optional[L]{a.value, hasA}, optional[R]{b.value, hasB})
			return row[W]{time: latest(a.time, hasA, b.time, hasB), value: w}, ok, err
		}, nil
	}
	return joined
}

// openSide makes what takes the changes of one table and pairs them with the row of the other.
func openSide[K, V, O, W any](t *task, side Table[K, V], other Table[K, O], out *tableNode[K, W], pair pairing[V, O, W]) (emitChange[K, V], error) {
	next, err := out.open(t)
	if err != nil {
		return nil, err
	}
	if next == nil {
		next = func(K, Change[W], operators.Time) error { return nil }
	}
	rows, err := other.n.rows(t)
	if err != nil {
		return nil, err
	}
	c, keys, g := caller{ctx: t.rt.Context, label: out.label}, newKeyEncoder(side.key), t.guard(out.label, out.rules)
	next = holdChanges(g, next)
	join := guardedChanges(g, out.old, func(k K, ch Change[met[V, O]], tm operators.Time) error {
		var d Change[W]
		c.enter()
		if out.old && ch.HasOld {
			d.Old, d.HasOld = pair(ch.Old.value, ch.Old.has, ch.Old.other, ch.Old.found)
		}
		if ch.HasNew {
			d.New, d.HasNew = pair(ch.New.value, ch.New.has, ch.New.other, ch.New.found)
		}
		if !d.HasOld && !d.HasNew {
			return nil
		}
		return next(k, d, tm)
	})
	return func(k K, ch Change[V], tm operators.Time) error {
		c.enter()
		key, err := keys.encode(c.ctx, k)
		if err != nil {
			return err
		}
		o, found, err := rows(k, key)
		if err != nil {
			return err
		}
		return join(k, Change[met[V, O]]{
			Old: met[V, O]{ch.Old, ch.HasOld, o.value, found}, HasOld: ch.HasOld || found,
			New: met[V, O]{ch.New, ch.HasNew, o.value, found}, HasNew: ch.HasNew || found,
		}, latest(tm, true, o.time, found))
	}, nil
}

// met are two rows that a join makes one of. Either may be absent.
type met[V, O any] struct {
	value V
	has   bool
	other O
	found bool
}

// latest is the newer of two times, of which only those count that are there.
func latest(a operators.Time, hasA bool, b operators.Time, hasB bool) operators.Time {
	if !hasA || hasB && b > a {
		return b
	}
	return a
}

// separate reports two tables of which one is made from the other, or both from a third. A change of what they share would reach the
// join twice, and the first time find the second already in the store: it would emit a row that never was.
func separate[K, L, R any](p *Pipeline, n *topology.Node, l *tableNode[K, L], r *tableNode[K, R]) bool {
	for _, side := range []struct {
		reads []int
		other int
	}{{l.reads, r.id}, {r.reads, l.id}} {
		above := p.graph.Above(side.other)
		for _, id := range side.reads {
			if above[id] {
				p.fail(n.Label, fmt.Sprintf("both of its sides come from table %q, so that one change of it is two changes here", p.graph.Nodes[id].Label),
					"compute both from the one table with Map")
				return false
			}
		}
	}
	return true
}
