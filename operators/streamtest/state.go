// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// State reads a store with one value per key, as of the last commit: what a task that takes over would find.
type State[K, V any] struct {
	d     *Driver
	store topology.Store
	sub   *topology.SubTopology
	key   codec.Codec[K]
	value codec.Codec[V]
}

// State returns a table's store, by the name of its step (of a versioned table the newest rows), or of a Process step a ValueState, as "step.state", or a
// broadcast, as "step.broadcast".
// The codecs must be those of the pipeline.
func (d *Driver) State[K, V any](store string, key codec.Codec[K], value codec.Codec[V]) *State[K, V] {
	d.t.Helper()
	sub, st := d.store(store, topology.TableStore, topology.VersionedTableStore, topology.GroupStore, topology.ValueStore, topology.BroadcastStore)
	d.sameCodec(store, "keys", st.KeyCodec, key.ID())
	d.sameValues(st, value)
	return &State[K, V]{d: d, store: st, sub: sub, key: key, value: codec.Stored(value)}
}

func (d *Driver) sameCodec(store, part, has, given string) {
	d.t.Helper()
	if has != given {
		d.fail("state %q: its %s are encoded as %q, given is %q", store, part, has, given)
	}
}

func (d *Driver) sameValues[V any](st topology.Store, value codec.Codec[V]) {
	d.t.Helper()
	value = codec.Own(value)
	d.sameCodec(st.Name, "values", st.ValueCodec, value.ID())
	if former := codec.Former(value); !slices.Equal(st.FormerValueCodecs, former) {
		d.fail("state %q: its former codecs are %q, those of the codec given are %q", st.Name, st.FormerValueCodecs, former)
	}
}

// store finds a store that has one of the kinds.
func (d *Driver) store(name string, kinds ...topology.StoreKind) (*topology.SubTopology, topology.Store) {
	d.t.Helper()
	var names []string
	for i := range d.topology.SubTopologies {
		sub := &d.topology.SubTopologies[i]
		for _, st := range sub.Stores {
			for _, kind := range kinds {
				if st.Name == name && st.Kind == kind {
					return sub, st
				}
			}
			names = append(names, fmt.Sprintf("%s (%s)", st.Name, st.Kind))
		}
	}
	d.fail("pipeline %q has no %v state %q; it has %s", d.topology.App, kinds, name, list(names))
	return nil, topology.Store{}
}

// standby returns the copy of the state of one of the sub-topology's tasks, as of its last commit.
func (d *Driver) standby(sub *topology.SubTopology, p int32) *standby {
	d.t.Helper()
	for _, r := range d.tasks {
		if r.sub != sub || r.id.Partition != p {
			continue
		}
		if err := r.follow(); err != nil {
			d.fail("read the state of task %v: %v", r.id, err)
		}
		return r.standby
	}
	d.fail("sub-topology %d has no task for partition %d", sub.ID, p)
	return nil
}

// Get returns the value of a key, which is looked up in the partition where the key belongs.
func (s *State[K, V]) Get(k K) (v V, found bool) {
	s.d.t.Helper()
	key, err := s.key.Append(nil, k)
	if err != nil {
		s.d.fail("state %q: encode key as %s: %v", s.store.Name, s.key.ID(), err)
	}
	sb := s.d.standby(s.sub, partition.ForKey(key, s.d.partitions))
	raw, found, err := sb.values[s.store.ID].Get(key)
	if err == nil && found {
		v, found, err = s.decode(raw)
	}
	if err != nil {
		s.d.fail("state %q: %v", s.store.Name, err)
	}
	return v, found
}

// decode returns the value of an entry; found is false if the entry says that there is none.
func (s *State[K, V]) decode(raw []byte) (v V, found bool, err error) {
	_, _, raw, err = s.store.Split(raw)
	if err != nil || s.store.Kind.Versioned() && len(raw) == 0 {
		return v, false, err
	}
	v, err = s.value.Decode(raw)
	return v, true, err
}

// All yields all keys and values, partition by partition, in the byte order of the encoded keys.
func (s *State[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		s.d.t.Helper()
		partitions := s.d.partitions
		if s.store.Kind == topology.BroadcastStore {
			partitions = 1 // all have the same
		}
		for p := range partitions {
			for rawKey, raw := range s.d.standby(s.sub, p).values[s.store.ID].Scan(nil) {
				k, err := s.key.Decode(rawKey)
				if err != nil {
					s.d.fail("state %q: decode key %s as %s: %v", s.store.Name, show(rawKey), s.key.ID(), err)
				}
				v, found, err := s.decode(raw)
				if err != nil {
					s.d.fail("state %q: decode value %s as %s: %v", s.store.Name, show(raw), s.value.ID(), err)
				}
				if found && !yield(k, v) {
					return
				}
			}
		}
	}
}

// Version is what a row of a versioned table was from a time on.
type Version[V any] struct {
	Time    time.Time
	Value   V
	Deleted bool // there was no row, and Value is the zero value
}

// Versions returns the versions that a versioned table keeps of a row, as of the last commit, the newest first. The table is
// named by its step. The codecs must be those of the pipeline.
func (d *Driver) Versions[K, V any](table string, key codec.Codec[K], value codec.Codec[V], k K) []Version[V] {
	d.t.Helper()
	sub, newest := d.store(table, topology.VersionedTableStore)
	_, older := d.store(table+".versions", topology.VersionStore)
	d.sameCodec(table, "keys", newest.KeyCodec, key.ID())
	d.sameValues(newest, value)
	raw, err := key.Append(nil, k)
	if err != nil {
		d.fail("versioned table %q: encode key as %s: %v", table, key.ID(), err)
	}
	var all []Version[V]
	add := func(at operators.Time, entry []byte, err error) {
		version := Version[V]{Time: time.UnixMilli(at).UTC(), Deleted: len(entry) == 0}
		if err == nil && !version.Deleted {
			version.Value, err = codec.Stored(value).Decode(entry)
		}
		if err != nil {
			d.fail("versioned table %q: decode version %s: %v", table, show(entry), err)
		}
		all = append(all, version)
	}
	sb := d.standby(sub, partition.ForKey(raw, d.partitions))
	entry, found, err := sb.values[newest.ID].Get(raw)
	if err != nil {
		d.fail("versioned table %q: %v", table, err)
	}
	if found {
		at, _, rest, err := newest.Split(entry)
		add(at, rest, err)
	}
	for s, entry := range sb.maps[older.ID].Range(raw) {
		at, err := topology.VersionTime(s)
		add(at, entry, err)
	}
	return all
}

// Timer returns the time that the timer of a key is set to, as of the last commit; set is false if the key has none. It
// is named "step.timer".
func (d *Driver) Timer[K any](timer string, key codec.Codec[K], k K) (at time.Time, set bool) {
	d.t.Helper()
	sub, st := d.store(timer, topology.ValueStore)
	d.sameCodec(timer, "keys", st.KeyCodec, key.ID())
	s := &State[K, time.Time]{d: d, store: st, sub: sub, key: key, value: codec.New(st.ValueCodec, nil, timerTime)}
	return s.Get(k)
}

// timerTime reads the time that a stored timer begins with.
func timerTime(src []byte) (time.Time, error) {
	at, n := binary.Varint(src)
	if n <= 0 {
		return time.Time{}, fmt.Errorf("no timer has %d bytes", len(src))
	}
	return time.UnixMilli(at), nil
}

// MapState reads a store with many values per key, as of the last commit.
type MapState[K, S, V any] struct {
	d     *Driver
	store topology.Store
	topo  *topology.SubTopology
	key   codec.Codec[K]
	sub   codec.Codec[S]
	value codec.Codec[V]
}

// MapState returns a MapState of a Process step, named "step.state". The codecs must be those of the pipeline.
func (d *Driver) MapState[K, S, V any](store string, key codec.Codec[K], sub codec.Codec[S], value codec.Codec[V]) *MapState[K, S, V] {
	d.t.Helper()
	topo, st := d.store(store, topology.MapStore)
	d.sameCodec(store, "keys", st.KeyCodec, key.ID())
	d.sameCodec(store, "sub-keys", st.SubKeyCodec, sub.ID())
	d.sameValues(st, value)
	return &MapState[K, S, V]{d: d, store: st, topo: topo, key: key, sub: sub, value: codec.Stored(value)}
}

// Get returns the value of a sub-key of a key.
func (s *MapState[K, S, V]) Get(k K, sub S) (v V, found bool) {
	s.d.t.Helper()
	rawSub, err := s.sub.Append(nil, sub)
	if err != nil {
		s.d.fail("state %q: encode sub-key as %s: %v", s.store.Name, s.sub.ID(), err)
	}
	store, key := s.at(k)
	raw, found, err := store.Get(key, rawSub)
	if err == nil && found {
		v, err = s.decode(raw)
	}
	if err != nil {
		s.d.fail("state %q: %v", s.store.Name, err)
	}
	return v, found
}

func (s *MapState[K, S, V]) decode(raw []byte) (V, error) {
	_, _, raw, err := s.store.Split(raw)
	if err != nil {
		var none V
		return none, err
	}
	return s.value.Decode(raw)
}

// at returns the store that holds a key, and the encoded key.
func (s *MapState[K, S, V]) at(k K) (*statestore.Map[[]byte], []byte) {
	s.d.t.Helper()
	key, err := s.key.Append(nil, k)
	if err != nil {
		s.d.fail("state %q: encode key as %s: %v", s.store.Name, s.key.ID(), err)
	}
	return s.d.standby(s.topo, partition.ForKey(key, s.d.partitions)).maps[s.store.ID], key
}

// All yields the sub-keys of a key and their values, in the byte order of the encoded sub-keys.
func (s *MapState[K, S, V]) All(k K) iter.Seq2[S, V] {
	return func(yield func(S, V) bool) {
		s.d.t.Helper()
		store, key := s.at(k)
		for rawSub, raw := range store.Range(key) {
			sub, err := s.sub.Decode(rawSub)
			if err != nil {
				s.d.fail("state %q: decode sub-key %s as %s: %v", s.store.Name, show(rawSub), s.sub.ID(), err)
			}
			v, err := s.decode(raw)
			if err != nil {
				s.d.fail("state %q: decode value %s as %s: %v", s.store.Name, show(raw), s.value.ID(), err)
			}
			if !yield(sub, v) {
				return
			}
		}
	}
}

// Contents returns all entries of all stores, as of the last commit, in text that says what is stored where: for tests
// that compare the states of two runs. An entry is "store key" with its encoded value.
func (d *Driver) Contents() map[string]string {
	d.t.Helper()
	all := map[string]string{}
	for _, r := range d.tasks {
		if !r.sub.Stateful() {
			continue
		}
		db := d.standby(r.sub, r.id.Partition).db
		for key, value := range db.Entries() {
			id, _, _, err := statestore.SplitKey(key)
			if err != nil {
				d.fail("read the state of task %v: %v", r.id, err)
			}
			i := slices.IndexFunc(r.sub.Stores, func(s topology.Store) bool { return statestore.StoreID(s.ID) == id })
			all[r.sub.Stores[i].Name+" "+show(key[2:])] = show(value)
		}
		if err := db.Err(); err != nil {
			d.fail("read the state of task %v: %v", r.id, err)
		}
	}
	return all
}

// standby is a copy of a task's state that follows its changelog. The task's own database belongs to its
// processors.
type standby struct {
	db     *statestore.DB
	values map[uint16]*statestore.Value[[]byte]
	maps   map[uint16]*statestore.Map[[]byte]
}

// follow brings the task's standby to the last commit.
func (r *runner) follow() error {
	if r.standby == nil {
		db, err := r.openBase(r.d.standbys)
		if err != nil {
			return err
		}
		r.standby = newStandby(db, r.sub.Stores)
	}
	from := int64(0)
	if have, ok := r.standby.db.Position(); ok {
		from = have.Offset + 1
	}
	return r.replay(r.standby.db, from)
}

func newStandby(db *statestore.DB, stores []topology.Store) *standby {
	s := &standby{db: db, values: map[uint16]*statestore.Value[[]byte]{}, maps: map[uint16]*statestore.Map[[]byte]{}}
	for _, st := range stores {
		switch id := statestore.StoreID(st.ID); st.Kind {
		case topology.MapStore, topology.VersionStore:
			s.maps[st.ID] = statestore.NewMap[[]byte](db, id, encoded{})
		case topology.TableStore, topology.VersionedTableStore, topology.GroupStore, topology.ValueStore, topology.BroadcastStore:
			s.values[st.ID] = statestore.NewValue[[]byte](db, id, encoded{})
		}
	}
	return s
}

func (s *standby) close() error {
	if s == nil {
		return nil
	}
	return s.db.Close()
}

// encoded leaves values as they are stored.
type encoded struct{}

// Append implements statestore.ValueCodec.
func (encoded) Append([]byte, []byte) ([]byte, error) {
	return nil, errors.New("a standby is not written")
}

// Decode implements statestore.ValueCodec.
func (encoded) Decode(src []byte) ([]byte, error) { return cloneBytes(src), nil }
