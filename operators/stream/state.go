// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"iter"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// stateError marks errors of the store, which are no fault of user code that hands them through.
type stateError struct {
	store string
	err   error
}

func (e *stateError) Error() string { return fmt.Sprintf("state %q: %s", e.store, e.err) }
func (e *stateError) Unwrap() error { return e.err }

// ValueState keeps one value per key. Its methods are about the key of the record in process. It belongs to
// the task's goroutine. Values with slices, maps or pointers are shared with the store: what Get
// returned and what Put was given must not be changed, except by a Put of the changed value.
type ValueState[V any] struct {
	setup *Setup
	name  string
	store *statestore.Value[V] // nil while the pipeline is declared
	codec codec.Codec[V]
	own   func(V) V
}

// Value declares a state of one value per key. The name is its identity within the step.
func (s *Setup) Value[V any](name string, value codec.Codec[V]) *ValueState[V] {
	value = own(value)
	st := &ValueState[V]{setup: s, name: s.stateName(name), codec: value, own: ownerOf[V]()}
	if s.p != nil {
		s.declare(name, topology.Store{Kind: topology.ValueStore, FormerValueCodecs: former(value),
			ValueCodec: need(s.p, s.step, fmt.Sprintf("the value of state %q", name), value, "give Value a codec")})
		return st
	}
	id, err := s.task.store(st.name)
	if err != nil {
		s.fail(err)
		return st
	}
	st.store = statestore.NewValue[V](s.task.rt.DB, id, codec.Stored(value))
	return st
}

func (s *ValueState[V]) check(err error) error {
	if err != nil {
		return &stateError{store: s.name, err: err}
	}
	return nil
}

// Get returns the key's value; found is false if there is none.
func (s *ValueState[V]) Get() (v V, found bool, err error) {
	if s.setup.key == nil {
		return v, false, s.check(errNotRunning)
	}
	v, found, err = s.store.Get(s.setup.key)
	if err == nil && s.setup.undo != nil {
		err = s.setup.undo.remember(s, nil, s.codec, v, found)
	}
	return v, found, s.check(err)
}

// restore implements restorer.
func (s *ValueState[V]) restore(_, value []byte, found bool) error {
	if !found {
		return s.check(s.store.Delete(s.setup.key))
	}
	v, err := s.codec.Decode(value)
	if err != nil {
		return s.check(err)
	}
	return s.check(s.store.Put(s.setup.key, v))
}

// before has a guarded step remember what a write is about to replace.
func (s *ValueState[V]) before() error {
	if s.setup.undo == nil {
		return nil
	}
	_, _, err := s.Get()
	return err
}

// Put sets the key's value.
func (s *ValueState[V]) Put(v V) error {
	if s.setup.key == nil {
		return s.check(errNotRunning)
	}
	if err := s.before(); err != nil {
		return err
	}
	if s.own != nil {
		v = s.own(v)
	}
	return s.check(s.store.Put(s.setup.key, v))
}

// Delete removes the key's value.
func (s *ValueState[V]) Delete() error {
	if s.setup.key == nil {
		return s.check(errNotRunning)
	}
	if err := s.before(); err != nil {
		return err
	}
	return s.check(s.store.Delete(s.setup.key))
}

// MapState keeps values by sub-key, for each key. Its methods are about the key of the record in process. It belongs to
// the task's goroutine, and shares values with the store as ValueState does.
type MapState[S, V any] struct {
	setup *Setup
	name  string
	sub   codec.Codec[S]
	store *statestore.Map[V] // nil while the pipeline is declared
	codec codec.Codec[V]
	own   func(V) V
	buf   []byte // scratch: the encoded sub-key of the call
}

// Map declares a state of many values per key, by sub-key. The name is its identity within the step.
func (s *Setup) Map[S, V any](name string, sub codec.Codec[S], value codec.Codec[V]) *MapState[S, V] {
	value = own(value)
	st := &MapState[S, V]{setup: s, name: s.stateName(name), sub: sub, codec: value, own: ownerOf[V]()}
	if s.p != nil {
		s.declare(name, topology.Store{Kind: topology.MapStore, FormerValueCodecs: former(value),
			SubKeyCodec: needKey(s.p, s.step, fmt.Sprintf("the sub-key of state %q", name), sub, "give Map a codec"),
			ValueCodec:  need(s.p, s.step, fmt.Sprintf("the value of state %q", name), value, "give Map a codec")})
		return st
	}
	id, err := s.task.store(st.name)
	if err != nil {
		s.fail(err)
		return st
	}
	st.store = statestore.NewMap[V](s.task.rt.DB, id, codec.Stored(value))
	return st
}

func (s *MapState[S, V]) check(err error) error {
	if err != nil {
		return &stateError{store: s.name, err: err}
	}
	return nil
}

// subKey encodes a sub-key, valid until the next call.
func (s *MapState[S, V]) subKey(sub S) ([]byte, error) {
	if s.setup.key == nil {
		return nil, s.check(errNotRunning)
	}
	var err error
	if s.buf, err = s.sub.Append(s.buf[:0], sub); err != nil {
		return nil, fmt.Errorf("state %q: encode sub-key as %s: %w", s.name, s.sub.ID(), err)
	}
	return s.buf, nil
}

// Get returns the value of a sub-key; found is false if there is none.
func (s *MapState[S, V]) Get(sub S) (v V, found bool, err error) {
	raw, err := s.subKey(sub)
	if err != nil {
		return v, false, err
	}
	return s.get(raw)
}

// get returns the value of an encoded sub-key, which a guarded step remembers.
func (s *MapState[S, V]) get(raw []byte) (v V, found bool, err error) {
	v, found, err = s.store.Get(s.setup.key, raw)
	if err == nil && s.setup.undo != nil {
		err = s.setup.undo.remember(s, raw, s.codec, v, found)
	}
	return v, found, s.check(err)
}

// restore implements restorer.
func (s *MapState[S, V]) restore(sub, value []byte, found bool) error {
	if !found {
		return s.check(s.store.Delete(s.setup.key, sub))
	}
	v, err := s.codec.Decode(value)
	if err != nil {
		return s.check(err)
	}
	return s.check(s.store.Put(s.setup.key, sub, v))
}

// before has a guarded step remember what a write is about to replace.
func (s *MapState[S, V]) before(raw []byte) error {
	if s.setup.undo == nil {
		return nil
	}
	_, _, err := s.get(raw)
	return err
}

// Put sets the value of a sub-key.
func (s *MapState[S, V]) Put(sub S, v V) error {
	raw, err := s.subKey(sub)
	if err == nil {
		err = s.before(raw)
	}
	if err != nil {
		return err
	}
	if s.own != nil {
		v = s.own(v)
	}
	return s.check(s.store.Put(s.setup.key, raw, v))
}

// Delete removes a sub-key.
func (s *MapState[S, V]) Delete(sub S) error {
	raw, err := s.subKey(sub)
	if err == nil {
		err = s.before(raw)
	}
	if err != nil {
		return err
	}
	return s.check(s.store.Delete(s.setup.key, raw))
}

// All yields the key's sub-keys and values, in the byte order of the encoded sub-keys. Sub-keys may be put and
// deleted on the way. An error ends it early and the epoch with it, so that no result rests on half a scan.
func (s *MapState[S, V]) All() iter.Seq2[S, V] {
	return func(yield func(S, V) bool) {
		if s.setup.key == nil {
			s.setup.fail(s.check(errNotRunning))
			return
		}
		for raw, v := range s.store.Range(s.setup.key) {
			sub, err := s.sub.Decode(raw)
			if err != nil {
				s.setup.fail(s.check(fmt.Errorf("decode sub-key as %s: %w", s.sub.ID(), err)))
				return
			}
			if s.setup.undo != nil {
				if err := s.setup.undo.remember(s, raw, s.codec, v, true); err != nil {
					s.setup.fail(s.check(err))
					return
				}
			}
			if !yield(sub, v) {
				return
			}
		}
	}
}
