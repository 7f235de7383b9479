// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Memory of a table. What is accounted is what is allocated: whole chunks, the
// index, long keys, and an estimate of what values refer to. Over budget the
// table stops growing and uses its own entries again, chosen by a clock: an
// entry used since the hand last passed is spared once.

const (
	// sweepStep is how many entries the hand passes per insertion over budget,
	// sweepMax how many when an insertion finds nothing to use again: about
	// 0.1 ms, after which the table grows over its budget instead.
	sweepStep = 16
	sweepMax  = 32 << 10
	// sweepYield ends a sweep: enough for the insertions until the next one.
	sweepYield = 64
	// trimChunks bounds how many chunks are given back at the end of an epoch.
	trimChunks = 8
)

// insert adds a key that is not in the table, as present and clean.
func (t *table[V]) insert(hash uint32, key []byte) (uint32, *entry[V], error) {
	if len(key) > maxKeyLen {
		return 0, nil, fmt.Errorf("insert into %s: the key takes %d bytes, the limit is %d: %w", t.name(), len(key), maxKeyLen, ErrTooLarge)
	}
	i := t.alloc()
	if t.index.full() {
		t.growIndex()
	}
	e := t.at(i)
	e.meta = uint32(len(key)) << keyLenShift
	if len(key) <= inlineKey {
		copy(e.key[:], key)
	} else {
		before := t.arena.bytes
		ref := t.arena.add(key)
		binary.LittleEndian.PutUint32(e.key[:], ref)
		if t.arena.bytes != before {
			t.account()
		}
	}
	t.index.insert(hash, i)
	if t.order != nil {
		t.markFresh(i, e)
	}
	return i, e, nil
}

// growIndex doubles the index. Entries are read in their own order, which is
// sequential in memory.
func (t *table[V]) growIndex() {
	t.index.reset(2 * len(t.index.groups))
	for i, e := range t.entries {
		t.index.insert(t.hash(t.keyOf(e)), i)
	}
	t.account()
}

// alloc returns a free entry. It still counts as free until insert fills it.
func (t *table[V]) alloc() uint32 {
	res := t.db.res
	// What values refer to shrinks by evicting entries; chunks do not, so a
	// table without pointers evicts only when it needs the entry.
	if t.pointers && !res.mayGrow(t.own, 0) {
		t.sweep(sweepStep)
	}
	if len(t.free) == 0 {
		if !res.mayGrow(t.own, t.chunkSize()) {
			t.sweep(sweepMax)
		}
		if len(t.free) == 0 {
			t.addChunk()
		}
	}
	n := len(t.free) - 1
	i := t.free[n]
	t.free = t.free[:n]
	return i
}

func (t *table[V]) chunkSize() int64 {
	size := int64(unsafe.Sizeof(entry[V]{}))
	if t.pointers {
		size += 4
	}
	return size << t.shift
}

func (t *table[V]) addChunk() {
	c := len(t.chunks)
	if t.live < c {
		for c = 0; t.chunks[c] != nil; c++ {
		}
	}
	if c == len(t.chunks) {
		if uint64(c+1)<<t.shift > 1<<32-1 {
			panic(fmt.Sprintf("statestore: store %d has more than 2^32 cached entries", t.stats.Store))
		}
		t.chunks = append(t.chunks, nil)
		t.sizes = append(t.sizes, nil)
	}
	chunk := make([]entry[V], 1<<t.shift)
	for j := len(chunk) - 1; j >= 0; j-- {
		chunk[j].meta = stateFree
		t.free = append(t.free, uint32(c)<<t.shift|uint32(j))
	}
	t.chunks[c] = chunk
	if t.pointers {
		t.sizes[c] = make([]uint32, len(chunk))
	}
	t.live++
	t.account()
}

// sweep moves the clock hand over up to n entries and evicts those not used
// since it last came by.
func (t *table[V]) sweep(n int) {
	end := uint32(len(t.chunks)) << t.shift
	if end == 0 {
		return
	}
	for evicted := 0; n > 0 && evicted < sweepYield; n-- {
		if t.hand >= end {
			t.hand = 0
		}
		chunk := t.chunks[t.hand>>t.shift]
		if chunk == nil {
			t.hand = (t.hand>>t.shift + 1) << t.shift
			continue
		}
		i := t.hand
		e := &chunk[i&(1<<t.shift-1)]
		t.hand++
		switch {
		case e.meta&(stateFree|statePinned) != 0:
		case e.meta&stateUsed != 0:
			e.meta &^= stateUsed
		default:
			t.drop(i, e)
			t.stats.Evictions++
			evicted++
		}
	}
}

// drop takes an entry out of the table and frees it.
func (t *table[V]) drop(i uint32, e *entry[V]) {
	if t.order != nil && e.meta&stateFresh == 0 {
		t.order.remove(t.keyAt, i)
	}
	if e.meta&(statePinned|stateAbsent) != stateAbsent {
		t.left(t.keyOf(e))
	}
	t.unlink(i, e)
	t.free = append(t.free, i)
}

// unlink makes an entry that is in no order free, without offering it for reuse.
func (t *table[V]) unlink(i uint32, e *entry[V]) {
	key := t.keyOf(e)
	t.index.remove(t.hash(key), i, t.hashOf)
	if len(key) > inlineKey {
		t.arena.remove(e.keyRef())
	}
	t.resize(i, 0)
	var zero V
	e.val = zero
	e.meta = stateFree
	if t.last == i+1 {
		t.last = 0
	}
}

// trim gives memory back at the end of an epoch, a little at a time, if all
// stores together are over the budget and this one is above its fair share.
func (t *table[V]) trim() {
	res := t.db.res
	for n := 0; n < trimChunks && res.decoded.Load() > res.shares.Decoded && t.own > res.fairShare(); n++ {
		if t.pointers && len(t.free) < 2<<t.shift {
			t.sweep(4 << t.shift)
			continue
		}
		if !t.dropChunk() {
			return
		}
	}
}

// dropChunk gives the last chunk back that has no pinned entries.
func (t *table[V]) dropChunk() bool {
	t.settleOrder() // which still may name what leaves here
	const tries = 4
	for c, n := len(t.chunks)-1, 0; c > 0 && n < tries; c-- {
		chunk := t.chunks[c]
		if chunk == nil {
			continue
		}
		n++
		if !chunkIsIdle(chunk) {
			continue
		}
		first := uint32(c) << t.shift
		for j := range chunk {
			if chunk[j].meta&stateFree == 0 {
				t.drop(first|uint32(j), &chunk[j])
				t.stats.Evictions++
			}
		}
		kept := t.free[:0]
		for _, i := range t.free {
			if i>>t.shift != uint32(c) {
				kept = append(kept, i)
			}
		}
		t.free = kept
		t.chunks[c], t.sizes[c] = nil, nil
		t.live--
		for n := len(t.chunks); n > 0 && t.chunks[n-1] == nil; n-- {
			t.chunks, t.sizes = t.chunks[:n-1], t.sizes[:n-1]
		}
		t.account()
		return true
	}
	return false
}

func chunkIsIdle[V any](chunk []entry[V]) bool {
	for j := range chunk {
		if chunk[j].meta&statePinned != 0 {
			return false
		}
	}
	return true
}

// resize records what an entry's value refers to.
func (t *table[V]) resize(i uint32, size int) {
	if !t.pointers {
		return
	}
	have := &t.sizes[i>>t.shift][i&(1<<t.shift-1)]
	d := int64(size) - int64(*have)
	*have = uint32(size)
	t.extra += d
	t.own += d
	t.db.res.decoded.Add(d)
}

// account brings the bytes of the table's own structures up to date.
func (t *table[V]) account() {
	own := int64(t.live)*t.chunkSize() + int64(len(t.index.groups))*groupBytes + t.arena.bytes + t.extra
	t.db.res.decoded.Add(own - t.own)
	t.own = own
}

// discard gives all memory back, at the end of the DB's life.
func (t *table[V]) discard() {
	t.chunks, t.sizes, t.free, t.dirty, t.held = nil, nil, nil, nil, nil
	t.tried = tried[V]{}
	t.fresh, t.ranges, t.heldRanges = nil, nil, nil
	t.index.init()
	t.arena = keyArena{}
	if t.order != nil {
		*t.order = keyOrder{}
	}
	t.live, t.extra, t.last = 0, 0, 0
	t.account()
	t.db.res.decoded.Add(-t.own)
	t.own = 0
}
