// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// TableGroup is a table whose rows belong to groups, ready to be aggregated.
type TableGroup[K, V any] struct {
	p     *Pipeline
	n     *node[K, Change[V]]
	key   codec.Codec[K]
	value codec.Codec[V]
	rules rules
}

// GroupBy puts each row of the table into the group that fn names, through the repartition topic of this name. A row
// whose group changes leaves the one before it joins the other; the two happen in different places and at different
// times, but each exactly once. fn must always give a row of equal key and value the same group. The codec is needed
// if K2 has none of its own (see UseCodec).
func (t Table[K, V]) GroupBy[K2 any](name string, fn func(K, V) K2, key ...codec.Codec[K2]) TableGroup[K2, V] {
	t.n.wantOld()
	n := t.p.addNamed(topology.KindRepartition, name, t.n.id)
	r := &regroup[K, K2, V]{
		fn: fn, key: choose(t.p, n.Label, key, carry[K2](t.p, t.key)),
		writer: &writer[[]byte, Change[V]]{label: n.Label, rules: t.p.stepRules(t.rules, n), key: codec.Bytes, value: changeCodec[V]{t.value}},
	}
	src := &sourceNode[K2, Change[V]]{key: r.key, value: changeCodec[V]{t.value}}
	src.keyID = need(t.p, n.Label, "the group", r.key, "give it to GroupBy(name, fn, codec)")
	if need(t.p, n.Label, "the value", t.value, "add .WithValue(codec) before it") != "" {
		src.valueID = src.value.ID()
	}
	through(t.p, n, r.writer, src)
	t.n.children = append(t.n.children, r.open)
	return TableGroup[K2, V]{p: t.p, n: &src.node, key: r.key, value: t.value, rules: t.rules}
}

// regroup sends the sides of a change to the groups that they belong to.
type regroup[K, K2, V any] struct {
	fn     func(K, V) K2
	key    codec.Codec[K2]
	writer *writer[[]byte, Change[V]]
}

func (r *regroup[K, K2, V]) open(t *task) (emitChange[K, V], error) {
	g := t.guard(r.writer.label, r.writer.rules)
	write, err := r.writer.write(t, g)
	if err != nil {
		return nil, err
	}
	c, fn := caller{ctx: t.rt.Context, label: r.writer.label}, r.fn
	olds, news := newKeyEncoder(r.key), newKeyEncoder(r.key)
	return guardedChanges(g, true, func(k K, ch Change[V], tm operators.Time) error {
		c.enter()
		var from, to []byte
		var err error
		if ch.HasOld {
			if from, err = olds.encode(c.ctx, fn(k, ch.Old)); err != nil {
				return err
			}
		}
		if ch.HasNew {
			if to, err = news.encode(c.ctx, fn(k, ch.New)); err != nil {
				return err
			}
		}
		switch {
		case !ch.HasOld || ch.HasNew && bytes.Equal(from, to):
			return write(to, ch, tm)
		case !ch.HasNew:
			return write(from, ch, tm)
		}
		if err := write(from, Change[V]{Old: ch.Old, HasOld: true}, tm); err != nil {
			return err
		}
		return write(to, Change[V]{New: ch.New, HasNew: true}, tm)
	}), nil
}

// Count keeps the number of rows per group, in the store of this name. A group without rows is not counted as 0 but
// deleted.
func (g TableGroup[K, V]) Count[Name ~string](name Name) Table[K, int64] {
	return fold(g, "count", string(name), codec.Int64, folding[V, int64]{
		add:      func(n int64, _ bool, _ V) int64 { return n + 1 },
		subtract: func(n int64, _ V) int64 { return n - 1 },
	})
}

// Reduce keeps per group the value of its first row, then add of what is kept and each further one, in the store of this
// name. subtract takes the value of a row out again: it must undo add, whatever the order in which rows came. A
// group without rows is deleted.
func (g TableGroup[K, V]) Reduce[Name ~string](name Name, add, subtract func(kept, v V) V) Table[K, V] {
	return fold(g, "reduce", string(name), g.value, folding[V, V]{
		add: func(kept V, found bool, v V) V {
			if !found {
				return v
			}
			return add(kept, v)
		},
		subtract: subtract,
	})
}

// Aggregate keeps an aggregate per group, in the store of this name: init with add of each row. subtract takes
// a row out again, as for Reduce. Both may change the aggregate in place and return it, so init must return a fresh
// one each time. A group without rows is deleted. The codec is needed if A has none of its own (see UseCodec).
func (g TableGroup[K, V]) Aggregate[A any](name string, init func() A, add, subtract func(A, V) A, value ...codec.Codec[A]) Table[K, A] {
	return fold(g, "aggregate", name, choose(g.p, name, value, codecOf[A](g.p)), folding[V, A]{
		add: func(kept A, found bool, v V) A {
			if !found {
				kept = init()
			}
			return add(kept, v)
		},
		subtract: subtract,
	})
}

// folding is what takes rows into an aggregate and out of it.
type folding[V, A any] struct {
	add      func(kept A, found bool, v V) A
	subtract func(kept A, v V) A
}

// fold declares a step that keeps aggregates of groups.
func fold[K, V, A any](g TableGroup[K, V], kind topology.Kind, name string, value codec.Codec[A], f folding[V, A]) Table[K, A] {
	n := g.p.addNamed(kind, name, g.n.id)
	value = own(value)
	st := topology.Store{Name: n.Label, Kind: topology.GroupStore, FormerValueCodecs: former(value)}
	if g.key != nil {
		st.KeyCodec = g.key.ID()
	}
	st.ValueCodec = need(g.p, n.Label, "the aggregate", value, "give it as the last argument")
	g.p.addStore(n, st)
	s := &groups[K, V, A]{
		rules: g.p.stepRules(g.rules, n), key: g.key, value: value, folding: f,
		store: &storeRef[group[A]]{name: n.Label, codec: groupCodec[A]{rowCodec[A]{stored(value)}}},
		table: &tableNode[K, A]{id: n.ID, label: n.Label, key: g.key},
	}
	keptIn(s.table, s.store, func(g *group[A]) (row[A], bool) { return g.row, true })
	g.n.children = append(g.n.children, s.open)
	return Table[K, A]{p: g.p, n: s.table, key: g.key, value: value, rules: g.rules}
}

// groups keeps the aggregates of groups of rows.
type groups[K, V, A any] struct {
	rules   rules
	key     codec.Codec[K]
	value   codec.Codec[A]
	folding folding[V, A]
	store   *storeRef[group[A]]
	table   *tableNode[K, A]
}

var errNotInGroup = errors.New("a row leaves a group that has no rows; the function of GroupBy must always give " +
	"equal rows the same group, in every release that goes on from this state")

func (s *groups[K, V, A]) open(t *task) (emit[K, Change[V]], error) {
	store, err := s.store.open(t)
	if err != nil {
		return nil, err
	}
	next, err := s.table.open(t)
	if err != nil {
		return nil, err
	}
	if next == nil {
		next = func(K, Change[A], operators.Time) error { return nil }
	}
	ctx, label, f, g := t.rt.Context, s.table.label, s.folding, t.guard(s.table.label, s.rules)
	next = holdChanges(g, next)
	keys, own := newKeyEncoder(s.key), ownerOf[A]()
	var apart func(A) (A, error)
	if s.table.old {
		apart = snapshots(s.value)
	}
	return emit[K, Change[V]](guardedChanges(g, true, func(k K, ch Change[V], tm operators.Time) error {
		ctx.Node = label
		key, err := keys.encode(ctx, k)
		if err != nil {
			return err
		}
		g, found, err := store.Update(key)
		if err != nil {
			return fmt.Errorf("step %q: update its store: %w", label, err)
		}
		c := Change[A]{Old: g.row.value, HasOld: found}
		if apart != nil && found {
			if g.row.value, err = apart(g.row.value); err != nil {
				return operators.NewUserError(ctx, err)
			}
		}
		if err := f.apply(g, ch); err != nil {
			return operators.NewUserError(ctx, err)
		}
		if own != nil {
			g.row.value = own(g.row.value)
		}
		g.row.time = newer(g.row.time, found, tm)
		c.New, c.HasNew, tm = g.row.value, g.rows > 0, g.row.time
		if !c.HasNew {
			if err := store.Delete(key); err != nil {
				return fmt.Errorf("step %q: delete from its store: %w", label, err)
			}
		}
		if !c.HasOld && !c.HasNew {
			return nil
		}
		return next(k, c, tm)
	})), nil
}

// newer is the time of a row after a change at tm.
func newer(was operators.Time, found bool, tm operators.Time) operators.Time {
	if found && was > tm {
		return was
	}
	return tm
}

// apply takes the old side of a change out of a group and the new side into it.
func (f *folding[V, A]) apply(g *group[A], c Change[V]) error {
	if c.HasOld {
		switch g.rows {
		case 0:
			return errNotInGroup
		case 1: // What was added to begin with needs no undoing.
			var none A
			g.row.value = none
		default:
			g.row.value = f.subtract(g.row.value, c.Old)
		}
		g.rows--
	}
	if c.HasNew {
		g.row.value = f.add(g.row.value, g.rows > 0, c.New)
		g.rows++
	}
	return nil
}

// group is what is kept of a group.
type group[A any] struct {
	rows uint64 // how many rows are in it
	row  row[A]
}

// groupCodec lays a group out as topology.GroupStore says.
type groupCodec[A any] struct{ row rowCodec[A] }

const countBytes = 8

func (c groupCodec[A]) Append(dst []byte, g group[A]) ([]byte, error) {
	return c.row.Append(binary.BigEndian.AppendUint64(dst, g.rows), g.row)
}

func (c groupCodec[A]) Decode(src []byte) (group[A], error) {
	if len(src) < countBytes {
		return group[A]{}, fmt.Errorf("group of %d bytes has no number of rows", len(src))
	}
	r, err := c.row.Decode(src[countBytes:])
	return group[A]{rows: binary.BigEndian.Uint64(src), row: r}, err
}

// changeCodec is the codec of changes on a repartition topic: a byte of flags, then the old value, preceded by its
// length if there is a new one too, then the new value.
type changeCodec[V any] struct{ value codec.Codec[V] }

const (
	changeHasOld = 1 << iota
	changeHasNew
)

func (c changeCodec[V]) ID() string { return "change:" + c.value.ID() }

func (c changeCodec[V]) Append(dst []byte, ch Change[V]) ([]byte, error) {
	switch {
	case !ch.HasOld:
		return c.value.Append(append(dst, changeHasNew), ch.New)
	case !ch.HasNew:
		return c.value.Append(append(dst, changeHasOld), ch.Old)
	}
	dst = append(dst, changeHasOld|changeHasNew)
	dst, err := appendSized(dst, c.value, ch.Old)
	if err != nil {
		return dst, err
	}
	return c.value.Append(dst, ch.New)
}

func (c changeCodec[V]) Decode(src []byte) (ch Change[V], err error) {
	if len(src) == 0 {
		return ch, errors.New("change without flags")
	}
	flags, src := src[0], src[1:]
	ch.HasOld, ch.HasNew = flags&changeHasOld != 0, flags&changeHasNew != 0
	old := src
	if ch.HasOld && ch.HasNew {
		if old, src, err = cutSized(src); err != nil {
			return Change[V]{}, err
		}
	}
	if ch.HasOld {
		if ch.Old, err = c.value.Decode(old); err != nil {
			return Change[V]{}, err
		}
	}
	if ch.HasNew {
		if ch.New, err = c.value.Decode(src); err != nil {
			return Change[V]{}, err
		}
	}
	return ch, nil
}

// sizeBytes is the room for the length of a part of a record.
const sizeBytes = 4

// appendSized appends a value preceded by its length.
func appendSized[V any](dst []byte, c codec.Codec[V], v V) ([]byte, error) {
	at := len(dst)
	dst, err := c.Append(append(dst, make([]byte, sizeBytes)...), v)
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-sizeBytes))
	return dst, nil
}

// cutSized splits off what appendSized wrote.
func cutSized(src []byte) (part, rest []byte, err error) {
	if len(src) < sizeBytes {
		return nil, nil, fmt.Errorf("%d bytes are too few for a length", len(src))
	}
	n := binary.BigEndian.Uint32(src)
	if src = src[sizeBytes:]; uint64(n) > uint64(len(src)) {
		return nil, nil, fmt.Errorf("a part of %d bytes is said to have %d", len(src), n)
	}
	return src[:n:n], src[n:], nil
}
