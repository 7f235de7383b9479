// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
)

// Filter is the table of the rows whose value satisfies keep. A row that no longer does is deleted from it. It keeps
// nothing itself.
func (t Table[K, V]) Filter(keep func(V) bool) Table[K, V] {
	return derive(t, "filter", func(_ K, v V) (kept V, ok bool) {
		if !keep(v) {
			return kept, false
		}
		return v, true
	})
}

// FilterKV is the table of the rows that satisfy keep, as Filter.
func (t Table[K, V]) FilterKV(keep func(K, V) bool) Table[K, V] {
	return derive(t, "filter", func(k K, v V) (kept V, ok bool) {
		if !keep(k, v) {
			return kept, false
		}
		return v, true
	})
}

// Map is the table with each value replaced by fn of it. It keeps nothing itself: fn is called for the old and the
// new value of a change and must give equal results for equal values.
func (t Table[K, V]) Map[W any](fn func(V) W) Table[K, W] {
	return derive(t, "map", func(_ K, v V) (W, bool) { return fn(v), true })
}

// MapWithKey is the table with each value replaced by fn of key and value, as Map.
func (t Table[K, V]) MapWithKey[W any](fn func(K, V) W) Table[K, W] {
	return derive(t, "map", func(k K, v V) (W, bool) { return fn(k, v), true })
}

// derive declares a table whose rows are computed from those of another; fn returns none as the zero value.
func derive[K, V, W any](t Table[K, V], kind topology.Kind, fn func(K, V) (W, bool)) Table[K, W] {
	n := t.p.add(kind, "", t.n.id)
	out := &tableNode[K, W]{id: n.ID, label: n.Label, key: t.key, reads: t.n.reads, above: []func(){t.n.wantOld}}
	out.rules = t.p.stepRules(t.rules, n)
	t.n.children = append(t.n.children, func(tk *task) (emitChange[K, V], error) {
		next, err := out.open(tk)
		if err != nil {
			return nil, err
		}
		if next == nil {
			next = func(K, Change[W], operators.Time) error { return nil }
		}
		c, g := caller{ctx: tk.rt.Context, label: out.label}, tk.guard(out.label, out.rules)
		next = holdChanges(g, next)
		return guardedChanges(g, out.old, func(k K, ch Change[V], tm operators.Time) error {
			var d Change[W]
			c.enter()
			if out.old && ch.HasOld {
				d.Old, d.HasOld = fn(k, ch.Old)
			}
			if ch.HasNew {
				d.New, d.HasNew = fn(k, ch.New)
			}
			if !d.HasOld && !d.HasNew {
				return nil
			}
			return next(k, d, tm)
		}), nil
	})
	out.rows = func(tk *task) (lookup[K, W], error) {
		rows, err := t.n.rows(tk)
		if err != nil {
			return nil, err
		}
		c, g := caller{ctx: tk.rt.Context, label: out.label}, tk.guard(out.label, out.rules)
		return func(k K, key []byte) (row[W], bool, error) {
			r, found, err := rows(k, key)
			if err != nil || !found {
				return row[W]{}, false, err
			}
			c.enter()
			w, ok, err := rowOrNone(g, fn, k, r.value)
			return row[W]{time: r.time, value: w}, ok, err
		}, nil
	}
	return Table[K, W]{p: t.p, n: out, key: t.key, value: carry[W](t.p, t.value), rules: t.rules}
}
