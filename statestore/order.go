// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"slices"
	"sort"
)

// keyOrder keeps the entries of a map or window store's cache in key order:
// sorted blocks of entry indexes. A block is short enough that inserting is one small memory
// move, and there is one block per ~190 entries, so that inserting a block is
// rare and cheap too.
type keyOrder struct {
	blocks [][]uint32
	// changes counts insertions and removals, so that a cursor knows whether
	// its place is still right.
	changes uint64
}

const orderBlock = 256

// seek returns the place of the first entry whose key is not below k.
func (o *keyOrder) seek(key func(uint32) []byte, k []byte) (block, pos int) {
	b := sort.Search(len(o.blocks), func(i int) bool {
		last := o.blocks[i][len(o.blocks[i])-1]
		return string(key(last)) >= string(k)
	})
	if b == len(o.blocks) {
		return b, 0
	}
	blk := o.blocks[b]
	return b, sort.Search(len(blk), func(i int) bool { return string(key(blk[i])) >= string(k) })
}

func (o *keyOrder) insert(key func(uint32) []byte, entry uint32) {
	o.changes++
	b, p := o.seek(key, key(entry))
	if b == len(o.blocks) {
		if b == 0 {
			o.blocks = append(o.blocks, append(make([]uint32, 0, 8), entry))
			return
		}
		b--
		p = len(o.blocks[b])
	}
	blk := slices.Insert(o.blocks[b], p, entry)
	o.blocks[b] = blk
	if len(blk) >= orderBlock {
		half := len(blk) / 2
		right := slices.Clone(blk[half:])
		o.blocks[b] = blk[:half]
		o.blocks = slices.Insert(o.blocks, b+1, right)
	}
}

// add inserts entries that are in key order.
func (o *keyOrder) add(key func(uint32) []byte, entries []uint32) {
	if len(entries) == 0 {
		return
	}
	first, _ := o.seek(key, key(entries[0]))
	last, _ := o.seek(key, key(entries[len(entries)-1]))
	last = min(last+1, len(o.blocks))
	// Few entries among many are inserted. A new window is appended.
	if len(entries) < 2*(last-first) {
		for _, i := range entries {
			o.insert(key, i)
		}
		return
	}
	o.changes++
	merged := mergeSorted(key, slices.Concat(o.blocks[first:last]...), entries)
	o.blocks = slices.Replace(o.blocks, first, last, slices.Collect(slices.Chunk(merged, orderBlock*3/4))...)
}

func mergeSorted(key func(uint32) []byte, a, b []uint32) []uint32 {
	out := make([]uint32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if string(key(a[0])) < string(key(b[0])) {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// remove takes out an entry whose key can still be read.
func (o *keyOrder) remove(key func(uint32) []byte, entry uint32) {
	o.changes++
	b, p := o.seek(key, key(entry))
	if b == len(o.blocks) || o.blocks[b][p] != entry {
		panic("statestore: entry to be removed is not in key order")
	}
	o.blocks[b] = slices.Delete(o.blocks[b], p, p+1)
	if len(o.blocks[b]) == 0 {
		o.blocks = slices.Delete(o.blocks, b, b+1)
	}
}

// removeRange takes out the entries in [start, end), except those that leave
// tells to keep.
func (o *keyOrder) removeRange(key func(uint32) []byte, start, end []byte, leave func(uint32) (keep bool)) {
	o.changes++
	first, p := o.seek(key, start)
	last := first
	for more := true; more && last < len(o.blocks); last, p = last+1, 0 {
		blk := o.blocks[last]
		n := p + sort.Search(len(blk)-p, func(i int) bool { return string(key(blk[p+i])) >= string(end) })
		more = n == len(blk)
		kept := blk[:p]
		for _, i := range blk[p:n] {
			if leave(i) {
				kept = append(kept, i)
			}
		}
		o.blocks[last] = append(kept, blk[n:]...)
	}
	left := slices.DeleteFunc(o.blocks[first:last:last], func(blk []uint32) bool { return len(blk) == 0 })
	o.blocks = slices.Delete(o.blocks, first+len(left), last)
}
