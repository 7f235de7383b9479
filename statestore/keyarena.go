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
	arenaChunkShift = 10 // a chunk of the smallest class has 32 KiB
)

func classSize(c int) int {
	n := arenaMinClass << (c / 2)
	if c%2 == 1 {
		n += n / 2
	}
	return n
}

// chunkShift is the binary logarithm of a chunk's slots; a long key has a chunk
// to itself.
func chunkShift(c int) int { return max(0, arenaChunkShift-c/2-c%2) }

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
		if slot>>arenaSlotBits != 0 {
			panic(fmt.Sprintf("statestore: key class %d is full at %d slots", c, slot))
		}
		if int(slot>>chunkShift(c)) == len(k.chunks) {
			chunk := make([]byte, classSize(c)<<chunkShift(c))
			k.chunks = append(k.chunks, chunk)
			a.bytes += int64(len(chunk))
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
	size, shift := classSize(c), chunkShift(c)
	off := int(slot&(1<<shift-1)) * size
	return a.classes[c].chunks[slot>>shift][off : off+size]
}

func (a *keyArena) remove(ref uint32) {
	k := &a.classes[ref>>arenaSlotBits]
	k.free = append(k.free, ref&(1<<arenaSlotBits-1))
}
