// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// Combiner is how values become partial aggregates, and how two of these become one.
type Combiner[V, A any] struct {
	// Init returns a fresh aggregate of nothing.
	Init func() A
	// Add adds a value. It may change the aggregate it is given in place and return it.
	Add func(kept A, v V) A
	// Merge adds what another aggregate holds. It may change the first in place and return it; it must not change the
	// second, nor keep what can be changed of it. The order in which partial aggregates meet must not matter.
	Merge func(kept, other A) A
	// Codec is needed if A has none of its own (see UseCodec).
	Codec codec.Codec[A]
}

// Counting combines records into their number.
func Counting[V any]() Combiner[V, int64] {
	return Combiner[V, int64]{
		Init:  func() int64 { return 0 },
		Add:   func(n int64, _ V) int64 { return n + 1 },
		Merge: func(n, other int64) int64 { return n + other },
	}
}

// Combined are records under a new key that will be aggregated before they are sent to where the key lives, and again
// there. Aggregate it once.
type Combined[K, A any] struct {
	p       *Pipeline
	init    func() A
	merge   func(A, A) A
	value   codec.Codec[A]
	shuffle func(pane func(operators.Time) operators.Time) Stream[K, A]
}

// giveCombiner is what to do about partial aggregates that have no codec.
const giveCombiner = "give the combiner a Codec"

// CombineBy is KeyBy for records that are only to be aggregated: each task adds up in memory what it has of a key, and
// sends one partial aggregate at the commit instead of every record, through the repartition topic of this name. That
// pays where keys repeat within an epoch. A task that holds 8192 partial aggregates, or a MiB of keys, sends them all at
// once. What it holds belongs to the epoch and is gone with it if it is aborted, so results are exact. A partial aggregate
// has the newest time of its records and no headers, so one that cannot be encoded has no dead letter. The codec is needed if
// K2 has none of its own (see UseCodec).
func (s Stream[K, V]) CombineBy[K2, A any](name string, by func(V) K2, c Combiner[V, A], key ...codec.Codec[K2]) Combined[K2, A] {
	out := Combined[K2, A]{p: s.p, init: c.Init, merge: c.Merge, value: c.Codec}
	if out.value == nil {
		out.value = codecOf[A](s.p)
	}
	out.value = own(out.value)
	out.shuffle = func(pane func(operators.Time) operators.Time) Stream[K2, A] {
		n := s.p.addNamed(topology.KindRepartition, name, s.n.id)
		if c.Init == nil || c.Add == nil || c.Merge == nil {
			s.p.fail(n.Label, "its combiner lacks a function", "give it Init, Add and Merge")
		}
		w := &writer[K2, A]{label: n.Label, rules: s.p.stepRules(s.rules, n), policies: s.p.policies(s.rules), key: choose(s.p, n.Label, key, carry[K2](s.p, s.key)), value: out.value}
		d := &combining[K2, V, A]{id: n.ID, by: by, init: c.Init, add: c.Add, pane: pane, writer: w}
		s.n.children = append(s.n.children, func(t *task) (emit[K, V], error) {
			take, err := d.open(t)
			if err != nil {
				return nil, err
			}
			return func(_ K, v V, tm operators.Time) error { return take(v, tm) }, nil
		})
		shuffled := readBack(s.p, n, w, "give it to CombineBy(name, by, combiner, codec)", giveCombiner)
		shuffled.rules = s.rules
		return shuffled
	}
	return out
}

// fold adds a partial aggregate to what is kept.
func (c Combined[K, A]) fold() func(kept A, found bool, partial A) A {
	init, merge, own := c.init, c.merge, ownerOf[A]()
	return func(kept A, found bool, partial A) A {
		if !found {
			kept = init()
		}
		kept = merge(kept, partial)
		if own != nil {
			kept = own(kept)
		}
		return kept
	}
}

// Aggregate keeps the aggregate of each key in the store of this name.
func (c Combined[K, A]) Aggregate[Name ~string](name Name) Table[K, A] {
	return aggregate(c.shuffle(nil), "combine", string(name), c.value, c.fold())
}

// Window cuts the records of each key into windows of event time. Partial aggregates are then of a pane, the largest stretch
// of time that every window holds whole or not at all. Session and sliding windows have none.
func (c Combined[K, A]) Window(w Windows) WindowedCombined[K, A] {
	return WindowedCombined[K, A]{c: c, w: w}
}

// WindowedCombined is Combined by window.
type WindowedCombined[K, A any] struct {
	c Combined[K, A]
	w Windows
}

// Aggregate keeps the aggregate of each key and window in the store of this name. On update, it emits a result for each
// partial aggregate, and not for each record. A partial aggregate that comes too late for its windows is counted as one
// late record.
func (c WindowedCombined[K, A]) Aggregate[Name ~string](name Name) WindowedTable[K, A] {
	if c.w.kind == session || c.w.kind == sliding {
		c.c.p.fail(string(name), fmt.Sprintf("%s windows have no panes, which records could be combined by", c.w.kind), "use KeyBy instead of CombineBy")
	}
	g := c.c.shuffle(c.w.pane()).Group().Window(c.w)
	return windowed(g, "window-combine", string(name), c.c.value, folder[A, A]{init: c.c.init, add: c.c.fold(), merge: c.c.merge})
}

// pane returns what gives the start of the pane that a time is in.
func (w Windows) pane() func(operators.Time) operators.Time {
	if w.kind == calendar {
		return w.calendarStart
	}
	width := max(1, gcd(w.size, w.every))
	return func(t operators.Time) operators.Time { return floor(t, width) }
}

// combining is the declaration of a step that sends partial aggregates.
type combining[K, V, A any] struct {
	id     int
	by     func(V) K
	init   func() A
	add    func(A, V) A
	pane   func(operators.Time) operators.Time // nil: there is one for all times
	writer *writer[K, A]
}

// partial is the aggregate of the records that a task has had of a key, and pane, since it sent the last one.
type partial[K, A any] struct {
	key   K
	value A
	time  operators.Time // the newest
	any   bool           // a record has gone into it; none has if the first one failed
}

// partials are those that a task holds.
type partials[K, V, A any] struct {
	*combining[K, V, A]
	ctx    *operators.Context
	keys   *keyEncoder[K]
	places *places
	all    []partial[K, A] // by place: in the order in which the first record of each came
	write  emit[K, A]
	// apart copies what a record of a guarded step may change in place before it fails; nil: there is no need.
	apart func(A) (A, error)
}

// open makes what takes records.
func (d *combining[K, V, A]) open(t *task) (func(v V, tm operators.Time) error, error) {
	g := t.guard(d.writer.label, d.writer.rules)
	write, err := d.writer.write(t, g)
	if err != nil {
		return nil, err
	}
	p := &partials[K, V, A]{combining: d, ctx: t.rt.Context, keys: newKeyEncoder(d.writer.key), places: newPlaces(), write: guardedStep(g, write)}
	t.flushes = append(t.flushes, flush{node: d.id, run: p.send})
	t.atRestart(func() error { p.drop(); return nil })
	take := p.take
	if g != nil {
		p.apart = snapshots(d.writer.value)
		one := guardedStep(g, func(_ none, v V, tm operators.Time) error { return p.take(v, tm) })
		take = func(v V, tm operators.Time) error { return one(none{}, v, tm) }
	}
	return func(v V, tm operators.Time) error {
		if err := take(v, tm); err != nil || !p.places.full() {
			return err
		}
		return p.spill()
	}, nil
}

func (p *partials[K, V, A]) take(v V, tm operators.Time) error {
	p.ctx.Node = p.writer.label
	k := p.by(v)
	key, err := p.keys.encode(p.ctx, k)
	if err != nil {
		return err
	}
	if p.pane != nil {
		p.keys.buf = appendTime(key, p.pane(tm))
		key = p.keys.buf
	}
	i, found := p.places.of(key)
	if !found {
		p.all = append(p.all, partial[K, A]{key: k})
	}
	held := &p.all[i]
	kept := held.value
	switch {
	case !held.any:
		kept, held.time = p.init(), tm
	case p.apart != nil:
		if kept, err = p.apart(kept); err != nil {
			return operators.NewSerializeError(p.ctx, err)
		}
	}
	held.value = p.add(kept, v)
	held.time, held.any = max(held.time, tm), true
	return nil
}

// spill sends all in the middle of an epoch, as a commit would.
func (p *partials[K, V, A]) spill() error {
	rec := p.ctx.Record
	p.ctx.Record = nil // It is not the only one that went into them.
	err := p.send()
	p.ctx.Record, p.ctx.Node = rec, p.writer.label
	return err
}

func (p *partials[K, V, A]) send() error {
	for i := range p.all {
		if !p.all[i].any {
			continue
		}
		if err := p.write(p.all[i].key, p.all[i].value, p.all[i].time); err != nil {
			return err
		}
	}
	p.drop()
	return nil
}

func (p *partials[K, V, A]) drop() {
	clear(p.all)
	p.all = p.all[:0]
	p.places.reset()
}
