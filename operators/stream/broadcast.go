// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"iter"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// Broadcast is a small stream of which every task of a step keeps the newest value per key, such as rules or settings.
// It is given to ProcessWith. The zero Broadcast is not valid.
type Broadcast[K, V any] struct{ of *broadcast[K, V] }

type broadcast[K, V any] struct {
	name    string
	from    Stream[K, V] // what comes back from the topic
	rules   rules        // of the step that takes it
	removed func(V) bool
	used    bool
}

// Broadcast writes each record to every partition of an internal topic of this name, so that each task of the step
// that it is given to gets all of them, in order. Where it is given, removed says that a value takes its key away.
//
// Records of the step are not held back for what is still on its way through the topic: one that comes at about the
// time of a change may see the value before it. What is in the topic already is taken in the order of time together
// with them. Each task follows the policy for a record that it fails on, so that a dead letter comes from all of them.
func (s Stream[K, V]) Broadcast[Name ~string](name Name, removed ...func(V) bool) Broadcast[K, V] {
	n := s.p.addNamed(topology.KindBroadcast, string(name), s.n.id)
	w := &writer[K, V]{label: n.Label, rules: s.p.stepRules(s.rules, n), policies: s.p.policies(s.rules), key: s.key, value: own(s.value), everywhere: true}
	s.n.children = append(s.n.children, w.open)
	b := &broadcast[K, V]{name: string(name)}
	b.from = readBack(s.p, n, w, "add .WithKey(codec) before Broadcast", valueBefore)
	b.from.rules = s.rules
	switch {
	case len(removed) > 1:
		s.p.fail(string(name), fmt.Sprintf("Broadcast is given %d functions", len(removed)), "give one")
	case len(removed) == 1:
		b.removed = removed[0]
	}
	return Broadcast[K, V]{b}
}

// ProcessWith is Process with a broadcast, whose values its handler and timers look up. They are kept in a state of the
// step, so records need not be where their keys live unless the step has other states. A broadcast is
// given to one step.
func (s Stream[K, V]) ProcessWith[BK, BV, W any](
	name string, with Broadcast[BK, BV], open func(*Setup, *BroadcastState[BK, BV]) Handler[K, V, W], value ...codec.Codec[W],
) Stream[K, W] {
	b := with.of
	n := s.p.addNamed("process", name, s.n.id)
	switch {
	case b.from.p != s.p:
		s.p.fail(n.Label, fmt.Sprintf("its broadcast %q is of pipeline %q", b.name, b.from.p.Name()), "use one of the same pipeline")
	case b.used:
		s.p.fail(n.Label, fmt.Sprintf("its broadcast %q is given to another step, too", b.name), "call Broadcast again, under another name")
	}
	b.used = true
	n.Parents = append(n.Parents, b.from.n.id)
	b.rules = b.from.p.stepRules(b.from.rules, &b.from.p.graph.Nodes[b.from.n.id])
	store := n.Label + "." + b.name
	b.from.n.children = append(b.from.n.children, func(t *task) (emit[BK, BV], error) { return b.update(t, store) })
	return s.process(n, func(setup *Setup) Handler[K, V, W] {
		st := &BroadcastState[BK, BV]{state: state{scope: setup.scope, name: store}, key: b.from.key}
		if setup.p != nil {
			setup.declare(b.name, topology.Store{Kind: topology.BroadcastStore, KeyCodec: idOf(b.from.key), ValueCodec: idOf(b.from.value), FormerValueCodecs: former(b.from.value)})
		} else {
			var err error
			st.store, err = b.open(setup.scope.task, store)
			setup.scope.fail(err)
		}
		return open(setup, st)
	}, value)
}

// open returns the store of a task, which has two users: those who look up and those who update.
func (b *broadcast[K, V]) open(t *task, name string) (*statestore.Value[V], error) {
	if made, ok := t.made[b]; ok {
		return made.(*statestore.Value[V]), nil
	}
	id, err := t.store(name)
	if err != nil {
		return nil, err
	}
	store := statestore.NewValue[V](t.rt.DB, id, codec.Stored(b.from.value))
	t.made[b] = store
	return store, nil
}

// update returns what takes the records of the broadcast.
func (b *broadcast[K, V]) update(t *task, name string) (emit[K, V], error) {
	store, err := b.open(t, name)
	if err != nil {
		return nil, err
	}
	c, keys, own := caller{ctx: t.rt.Context, label: b.name}, newKeyEncoder(b.from.key), ownerOf[V]()
	null := nullOf(b.from.value)
	return guardedStep(t.guard(b.name, b.rules), func(k K, v V, _ operators.Time) error {
		c.enter()
		key, err := keys.encode(c.ctx, k)
		if err != nil {
			return err
		}
		if null != nil && null(v) || b.removed != nil && b.removed(v) {
			err = store.Delete(key)
		} else {
			if own != nil {
				v = own(v)
			}
			err = store.Put(key, v)
		}
		if err != nil {
			return fmt.Errorf("step %q: update its store: %w", b.name, err)
		}
		return nil
	}), nil
}

// BroadcastState looks up the newest values of a broadcast. It is usable while a record or a timer is in process, belongs
// to the task's goroutine, and shares values with the store as ValueState does.
type BroadcastState[K, V any] struct {
	state
	key   codec.Codec[K]
	store *statestore.Value[V] // nil while the pipeline is declared
	buf   []byte               // scratch: the encoded key of the call
}

// Get returns the newest value of a key; found is false if there is none.
func (s *BroadcastState[K, V]) Get(k K) (v V, found bool, err error) {
	if s.store == nil {
		return v, false, s.check(errNotRunning)
	}
	if s.buf, err = s.key.Append(s.buf[:0], k); err != nil {
		return v, false, fmt.Errorf("state %q: encode key as %s: %w", s.name, s.key.ID(), err)
	}
	v, found, err = s.store.Get(s.buf)
	return v, found, s.check(err)
}

// All yields all keys and their newest values, in the byte order of the encoded keys. An error ends it early and the
// epoch with it, so that no result rests on half a scan.
func (s *BroadcastState[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if s.store == nil {
			s.scope.fail(s.check(errNotRunning))
			return
		}
		for raw, v := range s.store.Scan(nil) {
			k, err := s.key.Decode(raw)
			if err != nil {
				s.scope.fail(s.check(fmt.Errorf("decode key as %s: %w", s.key.ID(), err)))
				return
			}
			if !yield(k, v) {
				return
			}
		}
	}
}
