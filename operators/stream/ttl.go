// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// StateOption is an option of a state that a Process step declares.
type StateOption func(*stateOptions)

type stateOptions struct {
	ttl    topology.TTL // empty: what is put stays
	after  time.Duration
	onRead bool
}

// TTL makes values expire once event time has passed since they were last put: when the record in process, or the
// watermark, is that much later than the newest record that put the value. An expired value is not found any more and
// is removed soon afterwards. The duration may change from one release to the next and holds for what is there, too;
// whether a state has a TTL, and in which time, may not.
func TTL(d time.Duration) StateOption {
	return func(o *stateOptions) { o.ttl, o.after = topology.EventTimeTTL, d }
}

// ProcessingTTL is TTL by the wall clock.
func ProcessingTTL(d time.Duration) StateOption {
	return func(o *stateOptions) { o.ttl, o.after = topology.ProcessingTimeTTL, d }
}

// RefreshOnRead makes a value that is read live as long as one that is put.
func RefreshOnRead() StateOption {
	return func(o *stateOptions) { o.onRead = true }
}

// options checks the options of a state while the pipeline is declared.
func (s *Setup) options(state string, opts []StateOption) (o stateOptions) {
	for _, set := range opts {
		set(&o)
	}
	if s.p == nil {
		return o
	}
	switch {
	case o.ttl == "" && o.onRead:
		s.p.fail(s.step, fmt.Sprintf("state %q has RefreshOnRead and no TTL", state), "give it a TTL")
	case o.ttl != "" && o.after < time.Millisecond:
		s.p.fail(s.step, fmt.Sprintf("state %q has a TTL of %v", state, o.after), "give a millisecond or more")
	}
	s.timed = s.timed || o.ttl == topology.EventTimeTTL
	return o
}

// declareState notes the store of a state, and with a TTL that of what expires when.
func (s *Setup) declareState(name string, st topology.Store, o stateOptions) {
	st.TTL, st.Keeps = o.ttl, o.after
	s.declare(name, st)
	if o.ttl != "" {
		s.declare(name+".ttl", dueStore(st.SubKeyCodec))
	}
}

// entries is what a store with a TTL needs of its layout.
type entries[V any] interface {
	Get(key, sub []byte) (V, bool, error)
	Update(key, sub []byte) (*V, bool, error)
	Delete(key, sub []byte) error
}

// valueEntries are the entries of a store without sub-keys.
type valueEntries[V any] struct{ *statestore.Value[V] }

func (e valueEntries[V]) Get(key, _ []byte) (V, bool, error)     { return e.Value.Get(key) }
func (e valueEntries[V]) Update(key, _ []byte) (*V, bool, error) { return e.Value.Update(key) }
func (e valueEntries[V]) Delete(key, _ []byte) error             { return e.Value.Delete(key) }

// aging is a state with a TTL. Each value has the time of its last use. What expires is found by an entry per value in
// the order of time, made with the value: when its time comes and the value has been used since, it moves to where the
// value expires now. So use costs no write there, and a policy that has changed is followed.
type aging[V any] struct {
	entries entries[row[V]]
	scope   *scope
	expires *dueList
	after   int64 // milliseconds
	wall    bool
	onRead  bool
}

// newAging opens what a state with a TTL needs beside its entries; nil without one.
func newAging[V any](s *Setup, name string, o stateOptions, open func(statestore.StoreID) entries[row[V]]) (*aging[V], error) {
	id, err := s.scope.task.store(s.stateName(name))
	if err != nil {
		return nil, err
	}
	a := &aging[V]{
		entries: open(id), scope: s.scope, after: o.after.Milliseconds(),
		wall: o.ttl == topology.ProcessingTimeTTL, onRead: o.onRead,
	}
	a.expires = &dueList{patient: true, do: a.expire}
	of := s.scope.events()
	if a.wall {
		of = s.scope.walls()
	}
	return a, of.addList(s.scope.task, s.stateName(name+".ttl"), a.expires)
}

func (a *aging[V]) now() operators.Time {
	if a.wall {
		return a.scope.now().UnixMilli()
	}
	return a.scope.reached()
}

func (a *aging[V]) due(used operators.Time) operators.Time { return operators.Later(used, a.after) }

func (a *aging[V]) get(key, sub []byte) (v V, found bool, err error) {
	r, found, err := a.entries.Get(key, sub)
	if err != nil || !found {
		return v, false, err
	}
	now := a.now()
	if a.due(r.time) <= now {
		return v, false, nil
	}
	return r.value, true, a.read(key, sub, r.time, now)
}

// read notes that a value was read.
func (a *aging[V]) read(key, sub []byte, used, now operators.Time) error {
	if !a.onRead || now <= used {
		return nil
	}
	r, _, err := a.entries.Update(key, sub)
	if err == nil {
		r.time = now
	}
	return err
}

func (a *aging[V]) put(key, sub []byte, v V) error {
	r, found, err := a.entries.Update(key, sub)
	if err != nil {
		return err
	}
	now := a.now()
	r.value = v
	if found {
		r.time = max(r.time, now)
		return nil
	}
	r.time = now
	return a.expires.add(a.due(now), key, sub)
}

// expire removes a value, unless it was used since.
func (a *aging[V]) expire(at operators.Time, key, sub []byte) error {
	r, found, err := a.entries.Get(key, sub)
	switch {
	case err != nil || !found:
		return err
	case a.due(r.time) > at:
		return a.expires.add(a.due(r.time), key, sub)
	}
	return a.entries.Delete(key, sub)
}
