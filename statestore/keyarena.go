// SPDX-License-Identifier: Apache-2.0

package statestore

import "fmt"

// keyArena keeps keys that are too long to lie within their table entry. Keys
// are in slots of size classes, so that freed slots are used again and no slot
// ever moves; a key is found by a 32-bit reference, so that the table holds no
// pointers.
type keyArena struct {
	classes [arenaClasses]keyClass
	bytes   int64
}

type keyClass struct {
	chunks [][]byte
	next   uint32   // first slot never used
	free   []uint32 // slots to use again
}

const (
	// Classes are 32, 48, 64, 96, 128, … bytes: at most a third is unused.
	arenaMinClass   = 32
	arenaClasses    = 32
	arenaSlotBits   = 27
	arenaChunkBytes = 32 << 10
)

func classSize(c int) int {
	n := arenaMinClass << (c / 2)
	if c%2 == 1 {
		n += n / 2
	}
	return n
}

// slotsPerChunk is at least 1: a long key has a chunk to itself.
func slotsPerChunk(c int) uint32 { return uint32(max(1, arenaChunkBytes/classSize(c))) }

// add stores a copy of key. The table limits keys to maxKeyLen, which the
// largest class exceeds.
func (a *keyArena) add(key []byte) uint32 {
	c := 0
	for classSize(c) < len(key) {
		c++
	}
	k := &a.classes[c]
	var slot uint32
	if n := len(k.free); n > 0 {
		slot, k.free = k.free[n-1], k.free[:n-1]
	} else {
		slot = k.next
		k.next++
		per := slotsPerChunk(c)
		if slot>>arenaSlotBits != 0 {
			panic(fmt.Sprintf("statestore: key class %d is full at %d slots", c, slot))
		}
		if int(slot/per) == len(k.chunks) {
			k.chunks = append(k.chunks, make([]byte, int(per)*classSize(c)))
			a.bytes += int64(per) * int64(classSize(c))
		}
	}
	ref := uint32(c)<<arenaSlotBits | slot
	copy(a.at(ref), key)
	return ref
}

// at returns the slot, which is longer than the key.
func (a *keyArena) at(ref uint32) []byte {
	c := int(ref >> arenaSlotBits)
	slot := ref & (1<<arenaSlotBits - 1)
	per := slotsPerChunk(c)
	size := classSize(c)
	off := int(slot%per) * size
	return a.classes[c].chunks[slot/per][off : off+size]
}

func (a *keyArena) remove(ref uint32) {
	k := &a.classes[ref>>arenaSlotBits]
	k.free = append(k.free, ref&(1<<arenaSlotBits-1))
}
