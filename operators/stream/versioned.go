// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// VersionedTable is a table that knows what its rows were: each update is a version, which is the row of its key from its
// time on, until that of the next. A deletion is a version too: from there on there is no row. Of two updates of one
// time the later record counts. It is a small value to copy at will. The zero VersionedTable is not valid.
//
// The history is by how much event time the table looks back behind the watermark of the steps that look it up. What is
// older is forgotten, save what the rows were at that point, and an update that is older comes too late: it is
// dropped and counted.
type VersionedTable[K, V any] struct {
	p     *Pipeline
	n     *versionedNode[K, V]
	key   codec.Codec[K]
	value codec.Codec[V]
	rules rules
}

// History says by how much event time a table of VersionedTableFrom looks back, which needs it. Zero is enough where only
// records within the bound of OutOfOrder look back.
func History(d time.Duration) SourceOption {
	return func(o *sourceOptions) { o.history = &d }
}

// noHistory reports the option of a source that is no versioned table.
func (o *sourceOptions) noHistory(p *Pipeline, label string) {
	if o.history != nil {
		p.fail(label, fmt.Sprintf("it has the option History(%v)", *o.history), "leave it out, or read the topic with VersionedTableFrom")
	}
}

// VersionedTableFrom reads a topic as a versioned table, as TableFrom reads one as a table: each record is a version of
// the row of its key, and one with a null value deletes the row from its time on. The option History says how far back
// versions are kept.
func VersionedTableFrom[K, V any](p *Pipeline, topic string, key codec.Codec[K], value codec.Codec[V], opts ...SourceOption) VersionedTable[K, V] {
	o := newSourceOptions(p, opts)
	src, name := newTableSource(p, topic, key, value, o)
	if o.history == nil {
		p.fail(src.label, "nothing says how far the table looks back", "give VersionedTableFrom the option stream.History(d)")
		o.history = new(time.Duration)
	}
	t := newVersioned(p, p.add("versioned-table", name, src.id), key, value, *o.history)
	t.n.rules = p.stepRules(nil, &p.graph.Nodes[t.n.id])
	src.children = append(src.children, func(tk *task) (emit[K, optional[V]], error) {
		rows, err := t.n.open(tk)
		if err != nil {
			return nil, err
		}
		return guardedStep(rows.guard, rows.put), nil
	})
	return t
}

// VersionedTable makes a versioned table of the stream: each record is a version of the row of its key. Versions are kept
// for the history, in the stores of this name. A value that is null, which only codec.Bytes knows, deletes the row.
func (s Stream[K, V]) VersionedTable[Name ~string](name Name, history time.Duration) VersionedTable[K, V] {
	n := s.p.addNamed("versioned-table", string(name), s.n.id)
	s.keyed(n)
	needKey(s.p, n.Label, "the key", s.key, "add .WithKey(codec) before VersionedTable")
	need(s.p, n.Label, "the value", s.value, "add .WithValue(codec) before VersionedTable")
	t := newVersioned(s.p, n, s.key, s.value, history)
	t.rules, t.n.rules = s.rules, s.p.stepRules(s.rules, &s.p.graph.Nodes[t.n.id])
	s.n.children = append(s.n.children, func(tk *task) (emit[K, V], error) {
		rows, err := t.n.open(tk)
		if err != nil {
			return nil, err
		}
		null := nullOf(s.value)
		return guardedStep(rows.guard, func(k K, v V, at operators.Time) error {
			return rows.put(k, optional[V]{value: v, has: null == nil || !null(v)}, at)
		}), nil
	})
	return t
}

// Latest is the table of the newest versions. Where TableFrom goes by offsets, it goes by times: an update that is older
// than the row is a version among the former ones, and no change.
func (t VersionedTable[K, V]) Latest() Table[K, V] {
	return Table[K, V]{p: t.p, n: t.n.latest, key: t.key, value: t.value, rules: t.rules}
}

func (t VersionedTable[K, V]) side() joinSide[K] {
	return joinSide[K]{"versioned table", t.p, t.n.id, t.key}
}

// The states of a versioned table beside its newest versions.
const (
	versionsState = ".versions" // the older ones
	retiredState  = ".retired"  // what is to be forgotten, by time
)

// versionedNode is the declaration of a versioned table. The newest versions are in a store of their own, where most records
// find their row with one look-up; the older ones are ordered by key and time.
type versionedNode[K, V any] struct {
	id      int
	label   string
	rules   rules
	key     codec.Codec[K]
	history int64 // milliseconds
	readers []int // the nodes that look it up as of a time
	latest  *tableNode[K, V]
	newest  *storeRef[row[optional[V]]]
	older   *mapRef[optional[V]]
}

// newVersioned makes n the node of a versioned table. The codecs are checked already.
func newVersioned[K, V any](p *Pipeline, n *topology.Node, key codec.Codec[K], value codec.Codec[V], history time.Duration) VersionedTable[K, V] {
	n.Timed = true
	if history < 0 {
		p.fail(n.Label, fmt.Sprintf("its history %v is negative", history), "give zero or more")
	}
	value = own(value)
	version := rowVersionCodec[V]{stored(value)}
	v := &versionedNode[K, V]{
		id: n.ID, label: n.Label, key: key, history: ms(history),
		newest: &storeRef[row[optional[V]]]{name: n.Label, codec: rowCodec[optional[V]]{version}},
		older:  &mapRef[optional[V]]{name: n.Label + versionsState, codec: version},
		latest: &tableNode[K, V]{id: n.ID, label: n.Label, key: key},
	}
	v.isLatest()
	st := topology.Store{Name: n.Label, Kind: topology.VersionedTableStore, KeyCodec: idOf(key), ValueCodec: idOf(value), FormerValueCodecs: former(value), Keeps: history}
	p.addStore(n, st)
	st.Name, st.Kind = v.older.name, topology.VersionStore
	p.addStore(n, st)
	retired := dueStore("version-time")
	retired.Name, retired.KeyCodec = n.Label+retiredState, st.KeyCodec
	p.addStore(n, retired)
	return VersionedTable[K, V]{p: p, n: v, key: key, value: value}
}

// isLatest makes the newest versions the rows of the table of them.
func (n *versionedNode[K, V]) isLatest() {
	keptIn(n.latest, n.newest, func(r *row[optional[V]]) (row[V], bool) {
		return row[V]{time: r.time, value: r.value.value}, r.value.has
	})
}

// rowVersionCodec is the codec of a version: nothing for a deletion. A value is never empty, since it is one of
// codec.Stored.
type rowVersionCodec[V any] struct{ value codec.Codec[V] }

func (c rowVersionCodec[V]) ID() string { return c.value.ID() }

func (c rowVersionCodec[V]) Append(dst []byte, o optional[V]) ([]byte, error) {
	if !o.has {
		return dst, nil
	}
	return c.value.Append(dst, o.value)
}

func (c rowVersionCodec[V]) Decode(src []byte) (optional[V], error) {
	if len(src) == 0 {
		return optional[V]{}, nil
	}
	v, err := c.value.Decode(src)
	return optional[V]{value: v, has: true}, err
}
