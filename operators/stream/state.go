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

// state is what all kinds of states have.
type state struct {
	scope *scope
	name  string // of the store
}

func (s *state) check(err error) error {
	if err != nil {
		return &stateError{store: s.name, err: err}
	}
	return nil
}

// usable refuses calls while there is no key.
func (s *state) usable() error {
	if s.scope.key == nil {
		return s.check(errNotRunning)
	}
	return nil
}

// ValueState keeps one value per key. Its methods are about the key of the record or timer in process. It belongs to
// the task's goroutine. Values with slices, maps or pointers are shared with the store: what Get
// returned and what Put was given must not be changed, except by a Put of the changed value.
type ValueState[V any] struct {
	state
	store *statestore.Value[V] // nil while the pipeline is declared, and with a TTL
	aging *aging[V]            // with a TTL
	own   func(V) V
}

// Value declares a state of one value per key. The name is its identity within the step.
func (s *Setup) Value[V any](name string, value codec.Codec[V], opts ...StateOption) *ValueState[V] {
	s.checkName("state", name)
	return valueState(s, name, value, s.options(name, opts))
}

func valueState[V any](s *Setup, name string, value codec.Codec[V], o stateOptions) *ValueState[V] {
	value = own(value)
	st := &ValueState[V]{state: state{scope: s.scope, name: s.stateName(name)}, own: ownerOf[V]()}
	if s.p != nil {
		s.declareState(name, topology.Store{Kind: topology.ValueStore, FormerValueCodecs: former(value),
			ValueCodec: need(s.p, s.step, fmt.Sprintf("the value of state %q", name), value, "give Value a codec")}, o)
		return st
	}
	db := s.scope.task.rt.DB
	var err error
	if o.ttl != "" {
		st.aging, err = newAging(s, name, o, func(id statestore.StoreID) entries[row[V]] {
			return valueEntries[row[V]]{statestore.NewValue(db, id, rowCodec[V]{codec.Stored(value)})}
		})
	} else if id, e := s.scope.task.store(st.name); e != nil {
		err = e
	} else {
		st.store = statestore.NewValue[V](db, id, codec.Stored(value))
	}
	s.scope.fail(err)
	return st
}

// Get returns the key's value; found is false if there is none.
func (s *ValueState[V]) Get() (v V, found bool, err error) {
	if err := s.usable(); err != nil {
		return v, false, err
	}
	if s.aging != nil {
		v, found, err = s.aging.get(s.scope.key, nil)
	} else {
		v, found, err = s.store.Get(s.scope.key)
	}
	return v, found, s.check(err)
}

// Put sets the key's value.
func (s *ValueState[V]) Put(v V) error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.own != nil {
		v = s.own(v)
	}
	if s.aging != nil {
		return s.check(s.aging.put(s.scope.key, nil, v))
	}
	return s.check(s.store.Put(s.scope.key, v))
}

// Delete removes the key's value.
func (s *ValueState[V]) Delete() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.aging != nil {
		return s.check(s.aging.entries.Delete(s.scope.key, nil))
	}
	return s.check(s.store.Delete(s.scope.key))
}

// MapState keeps values by sub-key, for each key. Its methods are about the key of the record or timer in process. It
// belongs to the task's goroutine, and shares values with the store as ValueState does. With a TTL each sub-key's value
// expires for itself.
type MapState[S, V any] struct {
	state
	sub   codec.Codec[S]
	store *statestore.Map[V]      // nil while the pipeline is declared, and with a TTL
	rows  *statestore.Map[row[V]] // with a TTL
	aging *aging[V]               // with a TTL
	own   func(V) V
	buf   []byte // scratch: the encoded sub-key of the call
}

// Map declares a state of many values per key, by sub-key. The name is its identity within the step.
func (s *Setup) Map[S, V any](name string, sub codec.Codec[S], value codec.Codec[V], opts ...StateOption) *MapState[S, V] {
	s.checkName("state", name)
	return mapState(s, name, sub, value, s.options(name, opts))
}

func mapState[S, V any](s *Setup, name string, sub codec.Codec[S], value codec.Codec[V], o stateOptions) *MapState[S, V] {
	value = own(value)
	st := &MapState[S, V]{state: state{scope: s.scope, name: s.stateName(name)}, sub: sub, own: ownerOf[V]()}
	if s.p != nil {
		s.declareState(name, topology.Store{Kind: topology.MapStore, FormerValueCodecs: former(value),
			SubKeyCodec: needKey(s.p, s.step, fmt.Sprintf("the sub-key of state %q", name), sub, "give Map a codec"),
			ValueCodec:  need(s.p, s.step, fmt.Sprintf("the value of state %q", name), value, "give Map a codec")}, o)
		return st
	}
	db := s.scope.task.rt.DB
	var err error
	if o.ttl != "" {
		st.aging, err = newAging(s, name, o, func(id statestore.StoreID) entries[row[V]] {
			st.rows = statestore.NewMap(db, id, rowCodec[V]{codec.Stored(value)})
			return st.rows
		})
	} else if id, e := s.scope.task.store(st.name); e != nil {
		err = e
	} else {
		st.store = statestore.NewMap[V](db, id, codec.Stored(value))
	}
	s.scope.fail(err)
	return st
}

// subKey encodes a sub-key, valid until the next call.
func (s *MapState[S, V]) subKey(sub S) ([]byte, error) {
	if err := s.usable(); err != nil {
		return nil, err
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
	if s.aging != nil {
		v, found, err = s.aging.get(s.scope.key, raw)
	} else {
		v, found, err = s.store.Get(s.scope.key, raw)
	}
	return v, found, s.check(err)
}

// Put sets the value of a sub-key.
func (s *MapState[S, V]) Put(sub S, v V) error {
	raw, err := s.subKey(sub)
	if err != nil {
		return err
	}
	if s.own != nil {
		v = s.own(v)
	}
	if s.aging != nil {
		return s.check(s.aging.put(s.scope.key, raw, v))
	}
	return s.check(s.store.Put(s.scope.key, raw, v))
}

// Delete removes a sub-key.
func (s *MapState[S, V]) Delete(sub S) error {
	raw, err := s.subKey(sub)
	if err != nil {
		return err
	}
	if s.aging != nil {
		return s.check(s.aging.entries.Delete(s.scope.key, raw))
	}
	return s.check(s.store.Delete(s.scope.key, raw))
}

// Clear removes all sub-keys of the key, at the cost of one.
func (s *MapState[S, V]) Clear() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.rows != nil {
		return s.check(s.rows.DeleteRange(s.scope.key, nil, nil))
	}
	return s.check(s.store.DeleteRange(s.scope.key, nil, nil))
}

// All yields the key's sub-keys and values, in the byte order of the encoded sub-keys, which for String, Int64 and
// Uint64 is their own. Sub-keys may be put and deleted on the way. An error ends it early and the epoch with it, so that
// no result rests on half a scan.
func (s *MapState[S, V]) All() iter.Seq2[S, V] {
	return func(yield func(S, V) bool) { s.scan(nil, nil, yield) }
}

// Range is All for the sub-keys from one up to another, which is left out.
func (s *MapState[S, V]) Range(from, to S) iter.Seq2[S, V] {
	return func(yield func(S, V) bool) {
		// The bounds have buffers of their own: the loop's body may use the state.
		first, err := s.sub.Append([]byte{}, from)
		if err == nil {
			var end []byte
			if end, err = s.sub.Append([]byte{}, to); err == nil {
				s.scan(first, end, yield)
				return
			}
		}
		s.scope.fail(fmt.Errorf("state %q: encode sub-key as %s: %w", s.name, s.sub.ID(), err))
	}
}

// scan yields the sub-keys in [from, to); a nil to is the end.
func (s *MapState[S, V]) scan(from, to []byte, yield func(S, V) bool) {
	if err := s.usable(); err != nil {
		s.scope.fail(err)
		return
	}
	if s.rows != nil {
		s.scanRows(from, to, yield)
		return
	}
	for raw, v := range s.store.Between(s.scope.key, from, to) {
		if !s.yield(raw, v, yield) {
			return
		}
	}
}

// scanRows is scan where there is a TTL.
func (s *MapState[S, V]) scanRows(from, to []byte, yield func(S, V) bool) {
	now := s.aging.now()
	for raw, r := range s.rows.Between(s.scope.key, from, to) {
		if s.aging.due(r.time) <= now {
			continue
		}
		if err := s.aging.read(s.scope.key, raw, r.time, now); err != nil {
			s.scope.fail(s.check(err))
			return
		}
		if !s.yield(raw, r.value, yield) {
			return
		}
	}
}

func (s *MapState[S, V]) yield(raw []byte, v V, yield func(S, V) bool) bool {
	sub, err := s.sub.Decode(raw)
	if err != nil {
		s.scope.fail(s.check(fmt.Errorf("decode sub-key as %s: %w", s.sub.ID(), err)))
		return false
	}
	return yield(sub, v)
}

// ListState keeps values per key in the order in which they were appended. Its methods are about the key of the record
// or timer in process. It belongs to the task's goroutine, and shares values with the store as ValueState does. An append costs
// the same however long the list is. With a TTL each value expires for itself.
type ListState[V any] struct {
	items *MapState[uint64, V]
	next  *ValueState[uint64] // index of the next item
}

// List declares a state of a list of values per key. The name is its identity within the step.
func (s *Setup) List[V any](name string, value codec.Codec[V], opts ...StateOption) *ListState[V] {
	s.checkName("state", name)
	o := s.options(name, opts)
	return &ListState[V]{
		items: mapState(s, name, codec.Uint64, value, o),
		next:  valueState(s, name+".next", codec.Uint64, o),
	}
}

// Append adds a value to the end of the key's list.
func (s *ListState[V]) Append(v V) error {
	i, err := s.index()
	if err != nil {
		return err
	}
	if err := s.items.Put(i, v); err != nil {
		return err
	}
	return s.next.Put(i + 1)
}

// index returns where the next item goes. With a TTL it is removed with the last item or later, and counts until then,
// so that no item takes the place of one that a late record still sees.
func (s *ListState[V]) index() (uint64, error) {
	if err := s.next.usable(); err != nil {
		return 0, err
	}
	if s.next.aging == nil {
		i, _, err := s.next.Get()
		return i, err
	}
	r, _, err := s.next.aging.entries.Get(s.next.scope.key, nil)
	return r.value, s.next.check(err)
}

// All yields the key's values in the order in which they were appended, under the terms of MapState.All.
func (s *ListState[V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		if _, _, err := s.next.Get(); err != nil { // which may be a use of the state
			s.next.scope.fail(err)
			return
		}
		for _, v := range s.items.All() {
			if !yield(v) {
				return
			}
		}
	}
}

// Clear removes all values of the key, at the cost of one.
func (s *ListState[V]) Clear() error {
	if err := s.items.Clear(); err != nil {
		return err
	}
	return s.next.Delete()
}
