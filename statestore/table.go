// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
	"reflect"
	"slices"
	"unsafe"
)

// ValueCodec turns a store's values into bytes and back. Append must give the
// same bytes for the same value at each call. Decode must not keep src.
// codec.Codec satisfies it.
type ValueCodec[V any] interface {
	Append(dst []byte, v V) ([]byte, error)
	Decode(src []byte) (V, error)
}

// Entry states, the low byte of entry.meta; the upper 24 bits are the length of
// the key.
//
//	         write              Prepare            Confirm
//	clean ─────────▶ dirty ────────────▶ inflight ─────────▶ clean, or held
//	  ▲                │ Abort              │ Abort            while a cut is
//	  │                ▼                    ▼                  open, which is
//	  │              dropped, or restored if held              also clean or
//	  └──────────── the held delta reaches Pebble ──────────── dirty again
//
// Only clean entries that are not held may be evicted: all others are newer
// than what Pebble would return. An attempt pins what it remembers, too.
const (
	stateAbsent   = 1 << iota // the key has no value
	stateDirty                // changed in this epoch
	stateInflight             // in the prepared delta
	stateHeld                 // confirmed, but not in Pebble yet
	stateUsed                 // read or written since the clock hand passed
	stateFree                 // not in the table
	stateFresh                // not in key order yet
	stateTried                // remembered by the attempt under way

	statePinned = stateDirty | stateInflight | stateHeld | stateTried
	keyLenShift = 8
)

// entry is one cached key. Short keys lie within it, so that for small values
// a hit touches one cache line of the index and one of the entry.
type entry[V any] struct {
	meta uint32
	key  [inlineKey]byte
	val  V
}

// inlineKey is enough for a time and a key of 8 bytes, or a key and a sub-key.
// The hash is not kept, to make room for that: only growing the index and taking
// entries out need it again.
const inlineKey = 20

// table is the decoded cache of one store and the set of its uncommitted
// changes. Nothing in it is a pointer unless V holds one, so the garbage
// collector does not scan it; entries never move, so pointers to values stay
// valid. It belongs to the task's goroutine.
type table[V any] struct {
	db    *DB
	id    StoreID // as in entry keys, with the layout bits
	codec ValueCodec[V]
	seed  maphash.Seed
	mix   [2]uint64 // secrets of hash8; the second is odd
	quick uint32    // quickDirty, or quickNever

	index  hashIndex
	chunks [][]entry[V] // nil where a chunk was given back
	sizes  [][]uint32   // per chunk, if V has pointers: the encoded lengths
	live   int          // chunks that are not nil
	shift  uint8        // log2 of the entries per chunk
	free   []uint32
	arena  keyArena
	order  *keyOrder // map and window stores only
	fresh  []uint32  // entries with stateFresh; others too, which have left
	times  *timeline // window stores only
	known  known

	dirty      []uint32 // entries with stateDirty or stateInflight, by first change; free ones too, see removeRange
	held       []uint32 // entries with stateHeld
	ranges     keyRanges
	heldRanges keyRanges

	tried    tried[V]
	pointers bool   // V refers to memory of its own
	shares   bool   // V can be changed in place where Go has copied it
	hand     uint32 // of the eviction clock
	last     uint32 // entry that the last Ref returned, plus one
	own      int64  // bytes accounted in Resources.decoded
	extra    int64  // part of own: what values refer to
	stats    CacheStats
}

// chunkBytes is the aim for one chunk of entries: large enough to be found
// through few pointers, small enough that many tiny stores do not add up.
const chunkBytes = 64 << 10

func (t *table[V]) init(db *DB, id StoreID, codec ValueCodec[V]) {
	t.db, t.id, t.codec = db, id, codec
	t.stats.Store = id &^ layoutBits
	db.register(t.stats.Store, t)
	t.quick = quickDirty
	db.quick = append(db.quick, &t.quick)
	t.seed = maphash.MakeSeed()
	t.mix = [2]uint64{maphash.String(t.seed, "a"), maphash.String(t.seed, "b") | 1}
	t.index.init()
	t.pointers, t.shares = hasPointers(reflect.TypeFor[V]()), SharesMemory(reflect.TypeFor[V]())
	size := unsafe.Sizeof(entry[V]{})
	for t.shift = 4; t.shift < 11 && size<<(t.shift+1) <= chunkBytes; t.shift++ {
	}
	t.account()
}

func hasPointers(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Array:
		return typ.Len() > 0 && hasPointers(typ.Elem())
	case reflect.Struct:
		for f := range typ.Fields() {
			if hasPointers(f.Type) {
				return true
			}
		}
		return false
	default:
		return typ.Kind() < reflect.Bool || typ.Kind() > reflect.Complex128
	}
}

// hash is all that the index uses of a key. Both ways depend on secrets of the
// table, so that keys cannot be chosen to collide.
func (t *table[V]) hash(key []byte) uint32 {
	if len(key) == 8 {
		return t.hash8(binary.NativeEndian.Uint64(key))
	}
	return uint32(maphash.Bytes(t.seed, key) >> 32)
}

// hash8 hashes an 8-byte key inline: integers are the most common keys.
func (t *table[V]) hash8(key uint64) uint32 {
	hi, lo := bits.Mul64(key^t.mix[0], t.mix[1])
	hi, lo = bits.Mul64(hi^lo^t.mix[0], t.mix[1])
	return uint32((hi ^ lo) >> 32)
}

func (t *table[V]) at(i uint32) *entry[V] {
	return &t.chunks[i>>t.shift][i&(1<<t.shift-1)]
}

// keyOf returns the bytes after the store id; they alias the table.
func (t *table[V]) keyOf(e *entry[V]) []byte {
	n := e.meta >> keyLenShift
	if n <= inlineKey {
		return e.key[:n:n]
	}
	return t.arena.at(e.keyRef())[:n:n]
}

func (t *table[V]) keyAt(i uint32) []byte { return t.keyOf(t.at(i)) }

// keyRef is where the arena has a key that does not lie within the entry.
func (e *entry[V]) keyRef() uint32 { return binary.LittleEndian.Uint32(e.key[:]) }

func (t *table[V]) hashOf(i uint32) uint32 { return t.hash(t.keyAt(i)) }

// find returns the entry of a cached key, or nil.
func (t *table[V]) find(hash uint32, key []byte) (uint32, *entry[V]) {
	tag := tagOf(hash)
	for g := hash & t.index.mask; ; g = (g + 1) & t.index.mask {
		grp := &t.index.groups[g]
		for m := match(grp.tags, tag); m != 0; m &= m - 1 {
			i := grp.refs[firstSlot(m)%groupSlots]
			if e := t.at(i); t.holds(e, key) {
				return i, e
			}
		}
		if empties(grp.tags) != 0 {
			return 0, nil
		}
	}
}

// holds says whether the entry is the key's.
func (t *table[V]) holds(e *entry[V], key []byte) bool {
	if e.meta>>keyLenShift != uint32(len(key)) {
		return false
	}
	if len(key) == 8 {
		return binary.NativeEndian.Uint64(e.key[:8]) == binary.NativeEndian.Uint64(key)
	}
	return string(t.keyOf(e)) == string(key)
}

// What dirty8 wants of an entry: that it is dirty and present, and in an attempt
// what no entry is, so that each goes where it is remembered.
const (
	quickDirty = 8<<keyLenShift | stateDirty
	quickNever = 8<<keyLenShift | stateFree
)

// dirty8 returns the entry of an 8-byte key if it lies where it should and is
// dirty and present, which is the common case of Update; else nil, which says
// nothing. Fewer instructions than find: look-ups overlap their cache misses.
func (t *table[V]) dirty8(key uint64) *entry[V] {
	hash := t.hash8(key)
	grp := &t.index.groups[hash&t.index.mask]
	m := match(grp.tags, tagOf(hash))
	if m == 0 {
		return nil
	}
	e := t.at(grp.refs[firstSlot(m)%groupSlots])
	if e.meta&^(stateUsed|stateHeld) != t.quick || binary.NativeEndian.Uint64(e.key[:8]) != key {
		return nil
	}
	return e
}

// lookup returns the entry of the key, reading it from Pebble if it is not
// cached. Keys without a value get an entry too, with stateAbsent.
func (t *table[V]) lookup(key []byte) (uint32, *entry[V], error) {
	hash := t.hash(key)
	if i, e := t.find(hash, key); e != nil {
		t.stats.Hits++
		if e.meta&stateUsed == 0 {
			e.meta |= stateUsed
		}
		return i, e, nil
	}
	t.stats.Misses++
	var val V
	state, size := uint32(stateAbsent), 0
	deleted := t.ranges.cover(key)
	read := !deleted && !t.heldRanges.cover(key)
	if read {
		var err error
		if read, err = t.mayBeStored(key); err != nil {
			return 0, nil, err
		}
	}
	if read {
		raw, found, err := t.db.get(t.id, key)
		if err != nil {
			return 0, nil, err
		}
		if found {
			if val, err = t.decode(raw); err != nil {
				return 0, nil, err
			}
			state, size = 0, len(raw)
		}
	}
	i, e, err := t.insert(hash, key)
	if err != nil {
		return 0, nil, err
	}
	e.val = val
	e.meta |= state
	t.resize(i, size)
	if deleted {
		// That there is no value is itself uncommitted: an abort must drop it.
		e.meta |= t.db.epochState()
		t.dirty = append(t.dirty, i)
	}
	return i, e, nil
}

// claim returns the key's entry, marked as changed, without reading Pebble unless
// in an attempt: for blind writes. The caller then sets the value, or makes the
// entry absent.
func (t *table[V]) claim(key []byte) (uint32, *entry[V], error) {
	// An entry inserted here says nothing about Pebble, so it must not be left
	// behind clean.
	if err := t.db.writable(); err != nil {
		return 0, nil, err
	}
	if t.db.attempt.on {
		i, e, err := t.lookup(key)
		if err == nil {
			err = t.touch(i, e)
		}
		return i, e, err
	}
	hash := t.hash(key)
	i, e := t.find(hash, key)
	if e == nil {
		var err error
		if i, e, err = t.insert(hash, key); err != nil {
			return 0, nil, err
		}
	}
	t.mark(i, e)
	return i, e, nil
}

// touch marks an entry as changed in this epoch, and has an attempt remember it.
func (t *table[V]) touch(i uint32, e *entry[V]) error {
	if t.db.attempt.on {
		if err := t.remember(i, e); err != nil {
			return err
		}
	}
	if e.meta&stateDirty == 0 {
		if err := t.db.writable(); err != nil {
			return err
		}
		t.mark(i, e)
	}
	return nil
}

func (t *table[V]) mark(i uint32, e *entry[V]) {
	if e.meta&stateDirty == 0 {
		e.meta |= stateDirty | stateUsed
		t.dirty = append(t.dirty, i)
	}
}

func (t *table[V]) get(key []byte) (v V, found bool, err error) {
	i, e, err := t.lookup(key)
	if err != nil || e.meta&stateAbsent != 0 {
		return v, false, err
	}
	if t.db.attempt.reads {
		if err := t.lend(i, e); err != nil {
			return v, false, err
		}
	}
	return e.val, true, nil
}

func (t *table[V]) put(key []byte, v V) error {
	_, e, err := t.claim(key)
	if err != nil {
		return err
	}
	e.val = v
	e.meta &^= stateAbsent
	return nil
}

func (t *table[V]) remove(key []byte) error {
	i, e, err := t.claim(key)
	if err != nil {
		return err
	}
	t.vacate(i, e)
	return nil
}

// vacate makes the entry absent.
func (t *table[V]) vacate(i uint32, e *entry[V]) {
	var zero V
	e.val = zero
	e.meta |= stateAbsent
	t.resize(i, 0)
}

// update is the slow path of Update: a miss, the first change in an epoch, or an
// attempt.
func (t *table[V]) update(key []byte) (*V, bool, error) {
	i, e, err := t.lookup(key)
	if err != nil {
		return nil, false, err
	}
	if err := t.touch(i, e); err != nil {
		return nil, false, err
	}
	found := e.meta&stateAbsent == 0
	e.meta &^= stateAbsent
	return &e.val, found, nil
}

func (t *table[V]) decode(raw []byte) (V, error) {
	v, err := t.codec.Decode(raw)
	if err != nil {
		return v, fmt.Errorf("decode value of %d bytes in %s: %w: %w", len(raw), t.name(), err, ErrCorrupt)
	}
	return v, nil
}

func (t *table[V]) entryID() StoreID { return t.id }

func (t *table[V]) name() string { return t.db.storeName(t.stats.Store) }

// forget drops a cached key whose value in Pebble is about to change.
func (t *table[V]) forget(key []byte) {
	t.known.partial = true
	if t.times != nil {
		t.times.applied(timeOf(key))
	}
	if i, e := t.find(t.hash(key), key); e != nil {
		t.drop(i, e)
	}
}

// forgetRange drops the cached keys in [start, end).
func (t *table[V]) forgetRange(start, end []byte) {
	t.known.partial = true
	if t.times != nil {
		t.times.unsure()
	}
	for i, e := range t.entries {
		if k := t.keyOf(e); bytes.Compare(k, start) >= 0 && bytes.Compare(k, end) < 0 {
			t.drop(i, e)
		}
	}
}

// entries yields all entries in the table.
func (t *table[V]) entries(yield func(uint32, *entry[V]) bool) {
	for c := range t.chunks {
		for j := range t.chunks[c] {
			if e := &t.chunks[c][j]; e.meta&stateFree == 0 && !yield(uint32(c)<<t.shift|uint32(j), e) {
				return
			}
		}
	}
}

// cacheStats returns the counters and starts them anew.
func (t *table[V]) cacheStats() CacheStats {
	s := t.stats
	s.Entries, s.Bytes = t.index.used, t.own
	t.stats = CacheStats{Store: s.Store}
	return s
}

// overlay lists the entries with the prefix that are newer than Pebble, in key
// order.
func (t *table[V]) overlay(prefix []byte) []uint32 {
	var list []uint32
	add := func(from []uint32, skip uint32) {
		for _, i := range from {
			if e := t.at(i); e.meta&skip == 0 && bytes.HasPrefix(t.keyOf(e), prefix) {
				list = append(list, i)
			}
		}
	}
	add(t.dirty, 0)
	add(t.held, stateDirty|stateInflight)
	slices.SortFunc(list, func(a, b uint32) int { return bytes.Compare(t.keyAt(a), t.keyAt(b)) })
	return list
}
