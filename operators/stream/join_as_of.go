// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
)

// JoinAsOf looks up each record's key in the table as it was at the record's time, and emits fn of the record's value and
// the row's; a record without a row goes nowhere. The row is that of the versions that have come before the record:
// one that comes later, be its time earlier, counts for the records after it. A record that is older than the table's
// history reaches is dropped and counted as late. Both must have the same keys, and topics of equal partition counts.
func (s Stream[K, V]) JoinAsOf[T, W any](t VersionedTable[K, T], fn func(v V, t T) W) Stream[K, W] {
	return joinAsOf(s, t, "join-as-of", func(v V, t T, found bool) (w W, ok bool) {
		if !found {
			return w, false
		}
		return fn(v, t), true
	})
}

// LeftJoinAsOf is JoinAsOf for every record that is not late: fn is told whether there was a row.
func (s Stream[K, V]) LeftJoinAsOf[T, W any](t VersionedTable[K, T], fn func(v V, t T, found bool) W) Stream[K, W] {
	return joinAsOf(s, t, "left-join-as-of", func(v V, t T, found bool) (W, bool) { return fn(v, t, found), true })
}

// joinAsOf declares a step that looks up rows as of the times of its records; fn says what it emits.
func joinAsOf[K, V, T, W any](s Stream[K, V], t VersionedTable[K, T], kind topology.Kind, fn func(V, T, bool) (W, bool)) Stream[K, W] {
	n := s.p.add(kind, "", s.n.id)
	n.Timed = true
	out, label := &node[K, W]{id: n.ID}, n.Label
	joined := Stream[K, W]{p: s.p, n: out, key: t.key, value: carry[W](s.p, s.value), rules: s.rules}
	s.keyed(n)
	if !meets(s.p, n, t.side(), s.key) {
		return joined
	}
	t.n.readers = append(t.n.readers, out.id)
	policies := s.p.stepRules(s.rules, n)
	s.n.children = append(s.n.children, func(tk *task) (emit[K, V], error) {
		next, err := out.open(tk)
		if err != nil {
			return nil, err
		}
		rows, err := t.n.open(tk)
		if err != nil {
			return nil, err
		}
		c, keys, late := caller{ctx: tk.rt.Context, label: label}, newKeyEncoder(t.key), rows.lateFor(out.id)
		g := tk.guard(label, policies)
		next = hold(g, next)
		return guardedStep(g, func(k K, v V, tm operators.Time) error {
			c.enter()
			if late(tm) {
				rows.drop(label)
				return nil
			}
			key, err := keys.encode(c.ctx, k)
			if err != nil {
				return err
			}
			row, found, err := rows.asOf(key, tm)
			if err != nil {
				return err
			}
			w, ok := fn(v, row, found)
			if !ok {
				return nil
			}
			return next(k, w, tm)
		}), nil
	})
	return joined
}
