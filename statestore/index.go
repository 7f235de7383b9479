// SPDX-License-Identifier: Apache-2.0

package statestore

import "math/bits"

// hashIndex maps hashes to entry indexes: open addressing over groups of eight
// slots. A group has one tag byte per slot, compared all at once, so that a hit
// takes a predictable path: the processor then overlaps the cache misses of
// consecutive look-ups, which is worth more than any saving of instructions.
// An entry that finds its group full lies in the next group with room, so a
// search ends at the first group with an empty slot.
type hashIndex struct {
	groups []slotGroup
	mask   uint32
	used   int
}

type slotGroup struct {
	tags uint64 // byte i is the tag of slot i, or 0: empty
	refs [groupSlots]uint32
}

const (
	groupSlots    = 8
	minGroups     = 8
	groupBytes    = 40
	everyByte     = 0x0101010101010101
	everyHighBit  = 0x8080808080808080
	indexLoadNum  = 13 // of 16: fuller groups overflow too often
	indexLoadFrac = 16
)

func (x *hashIndex) init() { x.reset(minGroups) }

func (x *hashIndex) reset(groups int) {
	x.groups = make([]slotGroup, groups)
	x.mask = uint32(groups - 1)
	x.used = 0
}

// tagOf is the part of the hash that the tags hold. Its high bit is set, which
// tells it from an empty slot.
func tagOf(hash uint32) uint64 { return uint64(hash>>24 | 0x80) }

// match returns a mask with the high bit of each byte of tags that equals tag.
// The byte above an equal one may be set by mistake if it differs in the lowest
// bit only; it is never that of an empty slot, and keys are compared anyway.
func match(tags, tag uint64) uint64 {
	x := tags ^ tag*everyByte
	return (x - everyByte) &^ x & everyHighBit
}

// empties returns a mask with the high bit of each empty slot's byte.
func empties(tags uint64) uint64 { return ^tags & everyHighBit }

func firstSlot(m uint64) int { return bits.TrailingZeros64(m) >> 3 }

// full says that an insertion needs the index to be rebuilt larger.
func (x *hashIndex) full() bool {
	return (x.used+1)*indexLoadFrac > len(x.groups)*groupSlots*indexLoadNum
}

// insert adds an entry that is not in the index.
func (x *hashIndex) insert(hash, entry uint32) {
	for g := hash & x.mask; ; g = (g + 1) & x.mask {
		grp := &x.groups[g]
		if m := empties(grp.tags); m != 0 {
			s := firstSlot(m)
			grp.tags |= tagOf(hash) << (8 * s)
			grp.refs[s] = entry
			x.used++
			return
		}
	}
}

// remove takes an entry out. hashOf tells the hash of an entry in the index.
func (x *hashIndex) remove(hash, entry uint32, hashOf func(uint32) uint32) {
	g := hash & x.mask
	s := x.groups[g].slotOf(entry)
	for s < 0 {
		if empties(x.groups[g].tags) != 0 {
			panic("statestore: entry to be removed is not in the index")
		}
		g = (g + 1) & x.mask
		s = x.groups[g].slotOf(entry)
	}
	x.used--
	// Searches go past full groups only. If this one was, an entry further on
	// may have overflowed from it, and takes the place; and so on from there.
	for hole, full := g, empties(x.groups[g].tags) == 0; ; {
		x.groups[hole].tags &^= 0xff << (8 * s)
		if !full {
			return
		}
		from, slot := x.overflowed(hole, hashOf)
		if slot < 0 {
			return
		}
		src, dst := &x.groups[from], &x.groups[hole]
		dst.tags |= src.tags >> (8 * slot) & 0xff << (8 * s)
		dst.refs[s] = src.refs[slot]
		full = empties(src.tags) == 0
		hole, s = from, slot
	}
}

// overflowed finds an entry beyond group hole whose search passes hole.
func (x *hashIndex) overflowed(hole uint32, hashOf func(uint32) uint32) (group uint32, slot int) {
	for g := (hole + 1) & x.mask; g != hole; g = (g + 1) & x.mask {
		grp := &x.groups[g]
		for s := range groupSlots {
			if grp.tags>>(8*s)&0xff == 0 {
				continue
			}
			if home := hashOf(grp.refs[s]) & x.mask; (g-home)&x.mask >= (g-hole)&x.mask {
				return g, s
			}
		}
		if empties(grp.tags) != 0 {
			return 0, -1
		}
	}
	return 0, -1
}

func (g *slotGroup) slotOf(entry uint32) int {
	for s, ref := range g.refs {
		if ref == entry && g.tags>>(8*s)&0xff != 0 {
			return s
		}
	}
	return -1
}
