// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// Distinct lets a record pass unless one of its key has passed already whose time is less than within away from its own,
// before or after: of records that repeat each other, the one that is processed first passes. Records that come out of
// order are compared with the same care. The times of those that have passed are kept in the store of this name, until
// event time is between two and three times within past them; a record that comes later than within behind event
// time could not be compared with all of them, and is dropped and counted as late.
func (s Stream[K, V]) Distinct[Name ~string](name Name, within time.Duration) Stream[K, V] {
	return distinct(s, s.p.addNamed("distinct", string(name), s.n.id), within, identity[V]{})
}

// DistinctBy is Distinct for the records of a key that have the same id, which id takes from the value. The codec is needed
// if T has none of its own (see UseCodec).
func (s Stream[K, V]) DistinctBy[T any](name string, within time.Duration, id func(V) T, ids ...codec.Codec[T]) Stream[K, V] {
	c := choose(s.p, name, ids, codecOf[T](s.p))
	return distinct(s, s.p.addNamed("distinct-by", name, s.n.id), within, identity[V]{
		codec: needKey(s.p, name, "the id", c, "give it as the last argument"),
		encode: func(dst []byte, v V) ([]byte, error) {
			dst, err := c.Append(dst, id(v))
			if err != nil {
				return dst, fmt.Errorf("encode id as %s: %w", c.ID(), err)
			}
			return dst, nil
		},
	})
}

// identity is what tells the records of a key apart; nothing if encode is nil.
type identity[V any] struct {
	codec  string
	encode func(dst []byte, v V) ([]byte, error)
}

// distinct makes n a step that drops repetitions.
func distinct[K, V any](s Stream[K, V], n *topology.Node, within time.Duration, of identity[V]) Stream[K, V] {
	n.Timed = true
	s.keyed(n)
	if within < time.Millisecond || within%time.Millisecond != 0 {
		s.p.fail(n.Label, fmt.Sprintf("within, %v, is not a positive number of milliseconds", within), "choose another")
	}
	s.p.addStore(n, topology.Store{
		Name: n.Label, Kind: topology.WindowStore, SubKeyCodec: of.codec, ValueCodec: codec.Int64.ID(), Plain: true,
		KeyCodec: needKey(s.p, n.Label, "the key", s.key, "add .WithKey(codec) before it"),
	})
	d := &distinction[K, V]{
		id: n.ID, label: n.Label, rules: s.p.stepRules(s.rules, n), key: s.key, within: ms(within), identify: of.encode, out: &node[K, V]{id: n.ID},
	}
	s.n.children = append(s.n.children, d.open)
	s.n = d.out
	return s
}

// distinction is the declaration of a step that drops repetitions.
type distinction[K, V any] struct {
	id       int
	label    string
	rules    rules
	key      codec.Codec[K]
	within   int64
	identify func(dst []byte, v V) ([]byte, error)
	out      *node[K, V]
}

// passed is what a task knows of the records that have passed. Their times are kept by the stretch, within long, that
// they lie in: two records of an id in one stretch are less than within apart, so there is at most one time per stretch
// and id, and a stretch that is no longer needed is dropped as a whole.
type passed[K, V any] struct {
	*distinction[K, V]
	ctx   *operators.Context
	keys  *keyEncoder[K]
	times *statestore.Window[operators.Time]
	clock *clock
	next  emit[K, V]
	late  func(step string)
	sub   []byte // scratch: the encoded id of the call
}

func (d *distinction[K, V]) open(t *task) (emit[K, V], error) {
	next, err := d.out.open(t)
	if err != nil {
		return nil, err
	}
	id, err := t.store(d.label)
	if err != nil {
		return nil, err
	}
	p := &passed[K, V]{distinction: d, ctx: t.rt.Context, keys: newKeyEncoder(d.key), late: func(string) {}}
	p.times = statestore.NewWindow(t.rt.DB, id, codec.Int64)
	if l := t.rt.Listener; l != nil && l.Late != nil {
		p.late = l.Late
	}
	p.clock = t.eventClock(d.id, p.forget)
	t.atRestart(func() error { return p.forget(operators.MinTime) })
	return guarded(t.guard(d.label, d.rules), next, func(next emit[K, V]) emit[K, V] {
		p.next = next
		return p.process
	}), nil
}

func (p *passed[K, V]) process(k K, v V, t operators.Time) error {
	p.ctx.Node = p.label
	if operators.Later(t, p.within) < p.clock.watermark() {
		p.late(p.label)
		return nil
	}
	key, err := p.keys.encode(p.ctx, k)
	if err != nil {
		return err
	}
	if p.identify != nil {
		if p.sub, err = p.identify(p.sub[:0], v); err != nil {
			return operators.NewSerializeError(p.ctx, err)
		}
	}
	repeats, err := p.repeats(key, t)
	if err != nil || repeats {
		return err
	}
	stretch := floor(t, p.within)
	if err := p.times.Put(stretch, key, p.sub, t); err != nil {
		return fmt.Errorf("step %q: update its store: %w", p.label, err)
	}
	p.clock.set(p.until(stretch))
	return p.next(k, v, t)
}

// repeats says whether a record near enough has passed.
func (p *passed[K, V]) repeats(key []byte, t operators.Time) (bool, error) {
	stretch := floor(t, p.within)
	for _, near := range [...]operators.Time{stretch, stretch - p.within, stretch + p.within} {
		at, found, err := p.times.Get(near, key, p.sub)
		if err != nil {
			return false, fmt.Errorf("step %q: read its store: %w", p.label, err)
		}
		if found && at > t-p.within && at < t+p.within {
			return true, nil
		}
	}
	return false, nil
}

// until is the watermark at which no record that is taken can be near to one of the stretch.
func (p *passed[K, V]) until(stretch operators.Time) operators.Time {
	return operators.Later(stretch, 3*p.within)
}

// forget drops the stretches that are not needed at a watermark.
func (p *passed[K, V]) forget(watermark operators.Time) error {
	for {
		stretch, ok, err := p.times.First()
		if err != nil || !ok {
			return err
		}
		if until := p.until(stretch); until > watermark {
			p.clock.set(until)
			return nil
		}
		if err := p.times.Drop(stretch); err != nil {
			return fmt.Errorf("step %q: forget what passed from %d: %w", p.label, stretch, err)
		}
	}
}
