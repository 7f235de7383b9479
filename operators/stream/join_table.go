// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// In all joins a value that may be absent is followed by a bool that says whether it is there.

// Join looks up each record's key in the table and emits fn of the record's value and the row's; a record without a
// row goes nowhere. Changes of the table emit nothing: they count for the records that come after them. Within a
// task, records of the stream and of the table are processed in the order of their times. Both must have the
// same keys, and topics of equal partition counts.
func (s Stream[K, V]) Join[T, W any](t Table[K, T], fn func(v V, t T) W) Stream[K, W] {
	return joinStream(s, t, "join", func(v V, t T, found bool) (w W, ok bool) {
		if !found {
			return w, false
		}
		return fn(v, t), true
	})
}

// LeftJoin is Join for every record: fn is told whether there is a row.
func (s Stream[K, V]) LeftJoin[T, W any](t Table[K, T], fn func(v V, t T, found bool) W) Stream[K, W] {
	return joinStream(s, t, "left-join", func(v V, t T, found bool) (W, bool) { return fn(v, t, found), true })
}

// joinStream declares a step that looks up rows; fn says what it emits.
func joinStream[K, V, T, W any](s Stream[K, V], t Table[K, T], kind topology.Kind, fn func(V, T, bool) (W, bool)) Stream[K, W] {
	n := s.p.add(kind, "", s.n.id)
	out, label := &node[K, W]{id: n.ID}, n.Label
	joined := Stream[K, W]{p: s.p, n: out, key: t.key, value: carry[W](s.p, s.value), rules: s.rules}
	s.keyed(n)
	if !meets(s.p, n, t.side(), s.key) {
		return joined
	}
	policies := s.p.stepRules(s.rules, n)
	s.n.children = append(s.n.children, func(tk *task) (emit[K, V], error) {
		next, err := out.open(tk)
		if err != nil {
			return nil, err
		}
		rows, err := t.n.rows(tk)
		if err != nil {
			return nil, err
		}
		c, keys, g := caller{ctx: tk.rt.Context, label: label}, newKeyEncoder(t.key), tk.guard(label, policies)
		next = hold(g, next)
		return guardedStep(g, func(k K, v V, tm operators.Time) error {
			c.enter()
			key, err := keys.encode(c.ctx, k)
			if err != nil {
				return err
			}
			r, found, err := rows(k, key)
			if err != nil {
				return err
			}
			c.enter()
			w, ok := fn(v, r.value, found)
			if !ok {
				return nil
			}
			return next(k, w, tm)
		}), nil
	})
	return joined
}

// joinSide is a stream or a table that a step joins with its input.
type joinSide[K any] struct {
	what string
	p    *Pipeline
	node int
	key  codec.Codec[K]
}

func (t Table[K, V]) side() joinSide[K]  { return joinSide[K]{"table", t.p, t.n.id, t.key} }
func (s Stream[K, V]) side() joinSide[K] { return joinSide[K]{"stream", s.p, s.n.id, s.key} }

// meets makes the side a parent of node n, which has another parent with keys of this codec, and reports what keeps the
// two from having the same keys in the same tasks.
func meets[K any](p *Pipeline, n *topology.Node, side joinSide[K], key codec.Codec[K]) bool {
	if side.p != p {
		p.fail(n.Label, fmt.Sprintf("it joins a %s of pipeline %q", side.what, side.p.Name()), fmt.Sprintf("join %ss of one pipeline", side.what))
		return false
	}
	n.Parents = append(n.Parents, side.node)
	if key != nil && side.key != nil && key.ID() != side.key.ID() {
		p.fail(n.Label, fmt.Sprintf("its sides encode their keys as %q and %q, so that equal keys may be in several partitions", key.ID(), side.key.ID()),
			"give both topics one key codec, or send one side to its keys again with Repartition(name, codec)")
		return false
	}
	return true
}
