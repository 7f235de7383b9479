// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"hash/maphash"
)

const (
	maxPlaces     = 8192
	maxPlaceBytes = 1 << 20
)

// places numbers keys from 0 in the order in which they come, until it is full. It is a hash table that
// allocates nothing once it has grown, which a map with keys of bytes does for each.
type places struct {
	seed  maphash.Seed
	slots [2 * maxPlaces]uint16 // 1 + the place of a key with this hash, or of one before it; 0: none
	ends  []int                 // of the keys, by place
	keys  []byte                // one behind the other
}

func newPlaces() *places { return &places{seed: maphash.MakeSeed()} }

// full says that no further key should be added.
func (p *places) full() bool { return len(p.ends) == maxPlaces || len(p.keys) >= maxPlaceBytes }

// of returns the place of a key, and whether it had one before.
func (p *places) of(key []byte) (i int, found bool) {
	slot := maphash.Bytes(p.seed, key) % uint64(len(p.slots))
	for ; p.slots[slot] != 0; slot = (slot + 1) % uint64(len(p.slots)) {
		if i = int(p.slots[slot]) - 1; bytes.Equal(p.key(i), key) {
			return i, true
		}
	}
	p.keys = append(p.keys, key...)
	p.ends = append(p.ends, len(p.keys))
	p.slots[slot] = uint16(len(p.ends))
	return len(p.ends) - 1, false
}

func (p *places) key(i int) []byte {
	start := 0
	if i > 0 {
		start = p.ends[i-1]
	}
	return p.keys[start:p.ends[i]]
}

// reset forgets all keys.
func (p *places) reset() {
	if len(p.ends) == 0 {
		return
	}
	clear(p.slots[:])
	p.ends, p.keys = p.ends[:0], p.keys[:0]
}
