// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// GlobalTable is a topic of which every worker holds all rows in memory, whatever its tasks: for small tables that streams
// look up by any key, without being sent to where it lives. It is a small value to copy at will.
type GlobalTable[K, V any] struct {
	p     *Pipeline
	topic string
	key   codec.Codec[K]
}

// GlobalTableFrom reads a topic as a global table, as TableFrom reads one: the newest record of a key is its row, and null
// deletes it. Records are decoded before the first task begins, and as they come from then on. A record that is processed
// again after a failure may find newer rows than the first time: what must not be so needs a Table. Policies for records that
// do not decode are Fail and Skip.
func GlobalTableFrom[K, V any](p *Pipeline, topic string, key codec.Codec[K], value codec.Codec[V], opts ...SourceOption) GlobalTable[K, V] {
	o, label := newSourceOptions(p, opts), "global:"+topic
	if o.name != "" {
		p.fail(label, fmt.Sprintf("it has the option As(%q)", o.name), "leave it out: a global table has no store")
	}
	o.noHistory(p, label)
	decode := o.rules.within(operators.PhaseDecode)
	skips := len(decode) == 1 && decode[0].policy == Skip && decode[0].match == nil
	if len(decode) > 0 && !skips {
		p.fail(label, fmt.Sprintf("the policy %q is not for global tables", decode), "use Fail or Skip, without conditions")
	}
	if o.eventTime != nil || o.outOfOrder != 0 || o.processing {
		p.fail(label, "it has an option of event time", "leave EventTime, ProcessingTime and OutOfOrder out: the rows of a global table have no time")
	}
	g := topology.Global{Topic: topic, OnDecodeError: decode.String(),
		KeyCodec:   need(p, label, "the key", key, "give GlobalTableFrom a key codec"),
		ValueCodec: need(p, label, "the value", value, "give GlobalTableFrom a value codec"),
	}
	g.New = func(l *operators.Listener) operators.GlobalStore {
		s := &globalStore[K, V]{skips: skips, global: &g, label: label, key: key, value: value, rows: map[string]V{}}
		if l != nil {
			s.skipped = l.Skipped
		}
		return s
	}
	p.graph.Globals = append(p.graph.Globals, g)
	return GlobalTable[K, V]{p: p, topic: topic, key: key}
}

// JoinGlobal looks up a row for each record, by the key that key takes from it, and emits fn of the record's value and the
// row's; a record without a row goes nowhere.
func (s Stream[K, V]) JoinGlobal[G, T, W any](t GlobalTable[G, T], key func(K, V) G, fn func(v V, t T) W) Stream[K, W] {
	return joinGlobal(s, t, "join-global", key, func(v V, t T, found bool) (w W, ok bool) {
		if !found {
			return w, false
		}
		return fn(v, t), true
	})
}

// LeftJoinGlobal is JoinGlobal for every record: fn is told whether there is a row.
func (s Stream[K, V]) LeftJoinGlobal[G, T, W any](t GlobalTable[G, T], key func(K, V) G, fn func(v V, t T, found bool) W) Stream[K, W] {
	return joinGlobal(s, t, "left-join-global", key, func(v V, t T, found bool) (W, bool) { return fn(v, t, found), true })
}

// joinGlobal declares a step that looks up rows of a global table; fn says what it emits.
func joinGlobal[K, V, G, T, W any](s Stream[K, V], t GlobalTable[G, T], kind topology.Kind, key func(K, V) G, fn func(V, T, bool) (W, bool)) Stream[K, W] {
	n := s.p.add(kind, "", s.n.id)
	if t.p != s.p {
		s.p.fail(n.Label, fmt.Sprintf("it joins a table of pipeline %q", t.p.Name()), "join tables of one pipeline")
	}
	n.Globals = []string{t.topic}
	out, label, policies := &node[K, W]{id: n.ID}, n.Label, s.p.stepRules(s.rules, n)
	s.n.children = append(s.n.children, func(tk *task) (emit[K, V], error) {
		next, err := out.open(tk)
		if err != nil {
			return nil, err
		}
		store, ok := tk.rt.Globals[t.topic].(interface{ table() map[string]T })
		if !ok {
			return nil, fmt.Errorf("open step %q: the runtime has no global table of topic %q", label, t.topic)
		}
		rows, c, keys, g := store.table(), caller{ctx: tk.rt.Context, label: label}, newKeyEncoder(t.key), tk.guard(label, policies)
		next = hold(g, next)
		return guardedStep(g, func(k K, v V, tm operators.Time) error {
			c.enter()
			raw, err := keys.encode(c.ctx, key(k, v))
			if err != nil {
				return err
			}
			row, found := rows[string(raw)]
			w, ok := fn(v, row, found)
			if !ok {
				return nil
			}
			return next(k, w, tm)
		}), nil
	})
	return Stream[K, W]{p: s.p, n: out, key: s.key, value: carry[W](s.p, s.value), moved: s.moved, rules: s.rules}
}

// globalStore is the operators.GlobalStore of a topic. Keys stay encoded.
type globalStore[K, V any] struct {
	global  *topology.Global
	label   string
	key     codec.Codec[K]
	value   codec.Codec[V]
	skips   bool                    // what does not decode
	skipped func(operators.Failure) // may be nil
	rows    map[string]V
}

func (s *globalStore[K, V]) table() map[string]V { return s.rows }

// Apply implements operators.GlobalStore.
func (s *globalStore[K, V]) Apply(rec *operators.Record) error {
	if rec.Key == nil {
		return s.reject(rec, operators.PartKey, s.global.KeyCodec, operators.ErrNullKey)
	}
	if _, err := s.key.Decode(rec.Key); err != nil {
		return s.reject(rec, operators.PartKey, s.global.KeyCodec, err)
	}
	if rec.Value == nil {
		delete(s.rows, string(rec.Key))
		return nil
	}
	v, err := s.value.Decode(rec.Value)
	if err != nil {
		return s.reject(rec, operators.PartValue, s.global.ValueCodec, err)
	}
	s.rows[string(rec.Key)] = v
	return nil
}

func (s *globalStore[K, V]) reject(rec *operators.Record, part operators.Part, codec string, err error) error {
	e := &operators.DecodeError{
		Step: s.label, Part: part, Codec: codec,
		Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Err: err,
	}
	if !s.skips {
		return e
	}
	if s.skipped != nil {
		s.skipped(operators.Failure{
			Step: s.label, Phase: operators.PhaseDecode, Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Err: e,
		})
	}
	return nil
}
