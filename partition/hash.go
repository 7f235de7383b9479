// SPDX-License-Identifier: Apache-2.0

package partition

import "encoding/binary"

// Constants of murmur2 as Kafka's Java client has used them since its first release. They decide where every
// existing record lies, so they can never change.
const (
	murmurSeed  uint32 = 0x9747b28c
	murmurM     uint32 = 0x5bd1e995
	murmurShift        = 24
)

// Murmur2 is the 32-bit hash that Kafka's own clients use for keys. It does not allocate and does not keep b.
func Murmur2(b []byte) uint32 {
	h := murmurSeed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * murmurM
		k ^= k >> murmurShift
		h = h*murmurM ^ k*murmurM
	}
	if len(b) > 0 {
		var tail uint32
		for i, c := range b {
			tail |= uint32(c) << (8 * i)
		}
		h = (h ^ tail) * murmurM
	}
	h ^= h >> 13
	h *= murmurM
	return h ^ h>>15
}

// ForKey returns the partition of a topic with that many partitions (> 0) in which a record with this key lives:
// the choice of Kafka's default partitioner, which streamd shares so that a key has one place whoever produced it.
// It is not for null keys, which have no place of their own; an empty key has one.
func ForKey(key []byte, partitions int32) int32 {
	// Kafka strips the sign bit instead of taking the absolute value, which would overflow on the smallest integer.
	return int32(Murmur2(key)&0x7fffffff) % partitions
}
