// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/binary"
	"fmt"
)

// StoreID names a store within a task's database. The topology gives the ids
// and keeps them stable; 1 to MaxStoreID are valid.
type StoreID uint16

// MaxStoreID is the largest id a store can have. The bit above it marks
// composite entry keys, see below.
const MaxStoreID StoreID = 0x7fff

// Entry keys. All entries of a task share one ordered key space:
//
//	value store   id (2 bytes, big-endian)          user key
//	map store     id | 0x8000 (2 bytes, big-endian) uvarint len(user key)  user key  sub-key
//	meta          0x0000                            name
//
// A value store's entries are in the order of their user keys. A map store's
// entries are in sub-key order within one user key. The high bit makes a key
// tell its own layout, so that a rescale recovers the partition key of any
// entry without knowing the topology.
const (
	metaStore    StoreID = 0
	compositeBit StoreID = 0x8000
	storeIDLen           = 2
)

// maxKeyLen bounds the bytes of an entry key after the store id. It is above
// what a changelog record can carry and far below what the table can address.
const maxKeyLen = 1 << 20

// positionKey holds the encoded Position, in the same batch as the entries.
var positionKey = []byte{0, 0, 'p'}

func appendStoreID(dst []byte, id StoreID) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(id))
}

// appendMapTail appends what follows the store id in a map store's entry key.
func appendMapTail(dst, key, sub []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	return append(dst, sub...)
}

// SplitKey takes an entry key, as found in deltas and yielded by
// Reader.Entries, apart into the store's id, the user key (which decides the
// partition) and the sub-key, which is nil for value stores. The results alias
// entryKey. A key of no valid layout gives ErrCorrupt.
func SplitKey(entryKey []byte) (id StoreID, key, sub []byte, err error) {
	if len(entryKey) < storeIDLen {
		return 0, nil, nil, fmt.Errorf("split entry key of %d bytes: store id missing: %w", len(entryKey), ErrCorrupt)
	}
	id = StoreID(binary.BigEndian.Uint16(entryKey))
	tail := entryKey[storeIDLen:]
	if id&^compositeBit == metaStore {
		return 0, nil, nil, fmt.Errorf("split entry key: store id 0 is reserved: %w", ErrCorrupt)
	}
	if id&compositeBit == 0 {
		return id, tail, nil, nil
	}
	n, w := binary.Uvarint(tail)
	if w <= 0 || n > uint64(len(tail)-w) {
		return 0, nil, nil, fmt.Errorf("split entry key of store %d: bad key length: %w", id&^compositeBit, ErrCorrupt)
	}
	end := w + int(n)
	return id &^ compositeBit, tail[w:end:end], tail[end:], nil
}

// keyAfter appends the smallest key above every key with the prefix, or
// returns nil if there is none.
func keyAfter(dst, prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			dst = append(dst, prefix[:i+1]...)
			dst[len(dst)-1]++
			return dst
		}
	}
	return nil
}
