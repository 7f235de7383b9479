// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// As names the store of TableFrom and VersionedTableFrom, which otherwise has the topic's name.
func As(name string) SourceOption {
	return func(o *sourceOptions) { o.name = name }
}

// TableFrom reads a topic as a table: each record replaces the one of its key before it, and one with a null value
// deletes the row. Of two records of a key the one with the higher offset is newer, whatever their times. The rows
// are kept in a store, which has the topic's name unless As gives it another. A record without a key follows the policy
// for records that do not decode. EventTime takes the time of a record from its value; one without keeps its timestamp.
func TableFrom[K, V any](p *Pipeline, topic string, key codec.Codec[K], value codec.Codec[V], opts ...SourceOption) Table[K, V] {
	o := newSourceOptions(p, opts)
	o.noHistory(p, fromLabel([]string{topic}))
	src, name := newTableSource(p, topic, key, value, o)
	n := p.add("table", name, src.id)
	keep, table := newKeeper(p, n, key, value, "")
	keep.rules = p.stepRules(nil, n)
	src.children = append(src.children, keep.open)
	return table
}

// newTableSource declares the source of a topic that is read as a table. It returns the name of the table, "" if there
// is none that is valid.
func newTableSource[K, V any](p *Pipeline, topic string, key codec.Codec[K], value codec.Codec[V], o sourceOptions) (src *sourceNode[K, optional[V]], name string) {
	label := fromLabel([]string{topic})
	src = &sourceNode[K, optional[V]]{key: key, value: optionalCodec[V]{value}, rules: o.rules, outOfOrder: outOfOrderOf(p, label, o), processing: processingOf(p, label, o)}
	if of := eventTimeOf[K, V](p, label, o); of != nil {
		src.time = func(k K, v optional[V], timestamp operators.Time) operators.Time {
			if !v.has {
				return timestamp
			}
			return of(k, v.value).UnixMilli()
		}
	}
	src.keyID = need(p, label, "the key", key, "give the table a key codec")
	src.valueID = need(p, label, "the value", value, "give the table a value codec")
	src.read(p, topic)
	if o.name != "" {
		return src, o.name
	}
	if !topology.ValidName(topic) {
		p.fail(label, fmt.Sprintf("its store cannot have the name of the topic %q", topic), "give it another with stream.As(name)")
		return src, ""
	}
	return src, topic
}

// Table makes a table of the stream: each record replaces the one of its key before it. The rows are kept in the store
// of this name. A value that is null, which only codec.Bytes knows, deletes the row.
func (s Stream[K, V]) Table[Name ~string](name Name) Table[K, V] {
	n := s.p.addNamed("table", string(name), s.n.id)
	s.keyed(n)
	keep, table := newKeeper(s.p, n, s.key, s.value, "add .WithValue(codec) before Table")
	keep.rules, table.rules = s.p.stepRules(s.rules, n), s.rules
	s.n.children = append(s.n.children, func(t *task) (emit[K, V], error) {
		set, err := keep.open(t)
		if err != nil {
			return nil, err
		}
		null := nullOf(s.value)
		return func(k K, v V, tm operators.Time) error {
			return set(k, optional[V]{value: v, has: null == nil || !null(v)}, tm)
		}, nil
	})
	return table
}

// Store keeps the table's rows in the store of this name. Aggregations and TableFrom have one already; what Filter, Map
// and the joins return has none, and needs one only to be looked up by name or to emit once per commit.
func (t Table[K, V]) Store[Name ~string](name Name) Table[K, V] {
	n := t.p.addNamed("store", string(name), t.n.id)
	t.n.wantOld() // The store keeps what must not change under it.
	keep, table := newKeeper(t.p, n, t.key, t.value, "add .WithValue(codec) before Store")
	keep.rules, table.rules = t.p.stepRules(t.rules, n), t.rules
	t.n.children = append(t.n.children, func(tk *task) (emitChange[K, V], error) {
		g := tk.guard(n.Label, keep.rules)
		set, err := keep.run(tk, g)
		if err != nil {
			return nil, err
		}
		return guardedChanges(g, true, func(k K, c Change[V], tm operators.Time) error {
			return set(k, optional[V]{value: c.New, has: c.HasNew}, tm)
		}), nil
	})
	return table
}

// Repartition sends the table's changes to where their keys live, through the repartition topic of this name, and keeps
// the rows there in the store of this name: a copy that belongs to a sub-topology of its own. That is what the join of
// a table with itself by foreign key needs, and a join of tables whose keys are encoded differently.
func (t Table[K, V]) Repartition[Name ~string](name Name, key ...codec.Codec[K]) Table[K, V] {
	t.n.wantOld() // Without the old side, rows that a Filter takes out would be missed.
	n := t.p.addNamed(topology.KindRepartition, string(name), t.n.id)
	c := choose(t.p, n.Label, key, t.key)
	w := &writer[K, optional[V]]{label: n.Label, rules: t.p.stepRules(t.rules, n), key: c, value: optionalCodec[V]{t.value}}
	src := &sourceNode[K, optional[V]]{key: c, value: w.value, keyID: idOf(c)}
	src.valueID = need(t.p, n.Label, "the value", t.value, "add .WithValue(codec) before it")
	through(t.p, n, w, src)
	t.n.children = append(t.n.children, func(tk *task) (emitChange[K, V], error) {
		g := tk.guard(w.label, w.rules)
		write, err := w.write(tk, g)
		if err != nil {
			return nil, err
		}
		return guardedChanges(g, true, func(k K, c Change[V], tm operators.Time) error {
			return write(k, optional[V]{value: c.New, has: c.HasNew}, tm)
		}), nil
	})
	kept := t.p.add("table", "", src.id)
	kept.Label = w.label
	keep, table := newKeeper(t.p, kept, c, t.value, "")
	keep.rules, table.rules = t.p.stepRules(t.rules, kept), t.rules
	src.children = append(src.children, keep.open)
	return table
}

// keeper keeps the newest value per key.
type keeper[K, V any] struct {
	key   codec.Codec[K]
	store *storeRef[row[V]]
	table *tableNode[K, V]
	rules rules
}

// newKeeper makes n the node of a table that is kept. An empty giveValue says that the codecs are checked already.
func newKeeper[K, V any](p *Pipeline, n *topology.Node, key codec.Codec[K], value codec.Codec[V], giveValue string) (*keeper[K, V], Table[K, V]) {
	value = own(value)
	st := topology.Store{Name: n.Label, Kind: topology.TableStore, FormerValueCodecs: former(value)}
	if giveValue != "" {
		st.KeyCodec = needKey(p, n.Label, "the key", key, "add .WithKey(codec) before it")
		st.ValueCodec = need(p, n.Label, "the value", value, giveValue)
	} else if key != nil && value != nil {
		st.KeyCodec, st.ValueCodec = key.ID(), value.ID()
	}
	p.addStore(n, st)
	k := &keeper[K, V]{
		key:   key,
		store: &storeRef[row[V]]{name: n.Label, codec: rowCodec[V]{value: stored(value)}},
		table: &tableNode[K, V]{id: n.ID, label: n.Label, key: key},
	}
	keptIn(k.table, k.store, asIs)
	return k, Table[K, V]{p: p, n: k.table, key: key, value: value}
}

// open makes the keeper as a step.
func (k *keeper[K, V]) open(t *task) (emit[K, optional[V]], error) {
	g := t.guard(k.table.label, k.rules)
	set, err := k.run(t, g)
	return guardedStep(g, set), err
}

// run makes what sets and deletes rows, and emits their changes, within the units of a guard.
func (k *keeper[K, V]) run(t *task, g *guard) (emit[K, optional[V]], error) {
	store, err := k.store.open(t)
	if err != nil {
		return nil, err
	}
	next, err := k.table.open(t)
	if err != nil {
		return nil, err
	}
	if next == nil {
		next = func(K, Change[V], operators.Time) error { return nil }
	}
	next = holdChanges(g, next)
	ctx, label, own := t.rt.Context, k.table.label, ownerOf[V]()
	keys := newKeyEncoder(k.key)
	remove := func(k K, key []byte, tm operators.Time) error {
		r, found, err := store.Get(key)
		if err != nil {
			return fmt.Errorf("step %q: read its store: %w", label, err)
		}
		if !found {
			return nil
		}
		if err := store.Delete(key); err != nil {
			return fmt.Errorf("step %q: delete from its store: %w", label, err)
		}
		return next(k, Change[V]{Old: r.value, HasOld: true}, tm)
	}
	return func(k K, v optional[V], tm operators.Time) error {
		ctx.Node = label
		key, err := keys.encode(ctx, k)
		if err != nil {
			return err
		}
		if !v.has {
			return remove(k, key, tm)
		}
		r, found, err := store.Update(key)
		if err != nil {
			return fmt.Errorf("step %q: update its store: %w", label, err)
		}
		if own != nil {
			v.value = own(v.value)
		}
		c := Change[V]{Old: r.value, New: v.value, HasOld: found, HasNew: true}
		r.value, r.time = v.value, tm
		return next(k, c, tm)
	}, nil
}

// optional is a value or none: a record of a topic that is read or written as a table.
type optional[V any] struct {
	value V
	has   bool
}

// optionalCodec is the codec of a topic of values and tombstones. It has the id of the value's: the two read each
// other's bytes.
type optionalCodec[V any] struct{ value codec.Codec[V] }

func (c optionalCodec[V]) ID() string              { return c.value.ID() }
func (c optionalCodec[V]) null(o optional[V]) bool { return !o.has }

func (c optionalCodec[V]) Append(dst []byte, o optional[V]) ([]byte, error) {
	if !o.has {
		return dst, nil
	}
	return c.value.Append(dst, o.value)
}

func (c optionalCodec[V]) Decode(src []byte) (optional[V], error) {
	if src == nil {
		return optional[V]{}, nil
	}
	v, err := c.value.Decode(src)
	return optional[V]{value: v, has: true}, err
}
