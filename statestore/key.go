// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// StoreID names a store within a task's database. The topology gives the ids
// and keeps them stable; 1 to MaxStoreID are valid.
type StoreID uint16

// MaxStoreID is the largest id a store can have. The two bits above it tell the
// layout of entry keys, see below.
const MaxStoreID StoreID = 0x3fff

// Entry keys. All entries of a task share one ordered key space:
//
//	value store   id (2 bytes, big-endian)           user key
//	map store     id | 0x8000 (2 bytes, big-endian)  uvarint len(user key)  user key  sub-key
//	window store  id | 0xc000 (2 bytes, big-endian)  time  uvarint len(user key)  user key  sub-key
//	meta          0x0000                             name
//
// Time takes 8 bytes, big-endian with the sign bit flipped. A value store's
// entries are in the order of their user keys. A map store's entries are in
// sub-key order within one user key. A window store's entries are in the order
// of time, and as a map store's within one time. The two high bits make a key
// tell its own layout, so that a rescale recovers the partition key of any
// entry without knowing the topology.
const (
	metaStore    StoreID = 0
	layoutBits   StoreID = 0xc000
	valueLayout  StoreID = 0
	mapLayout    StoreID = 0x8000
	windowLayout StoreID = 0xc000
	storeIDLen           = 2
	timeLen              = 8
)

// maxKeyLen bounds the bytes of an entry key after the store id. It is above
// what a changelog record can carry and far below what the table can address.
const maxKeyLen = 1 << 20

// positionKey holds the encoded Position, in the same batch as the entries.
var positionKey = []byte{0, 0, 'p'}

// firstStore is above the meta keys and below all others.
var firstStore = []byte{0, 1}

func appendStoreID(dst []byte, id StoreID) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(id))
}

// validStoreID says whether the id of an entry key, with its layout bits, can be
// that of a store.
func validStoreID(id StoreID) bool {
	layout := id & layoutBits
	return id&^layoutBits != metaStore && (layout == valueLayout || layout == mapLayout || layout == windowLayout)
}

// appendMapTail appends what follows the store id in a map store's entry key.
func appendMapTail(dst, key, sub []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	return append(dst, sub...)
}

// mapTailEnd appends the smallest key above all those of the user key.
func mapTailEnd(dst, key []byte) []byte {
	tail := appendMapTail(dst, key, nil)
	return keyAfter(tail[:0], tail) // there is one: the length is not all ones
}

// appendTime appends the time that leads a window store's entry keys.
func appendTime(dst []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^1<<63)
}

// appendTimeEnd appends the smallest key above all keys of the time.
func appendTimeEnd(dst []byte, t int64) []byte {
	if t < math.MaxInt64 {
		return appendTime(dst, t+1)
	}
	// The length of a key takes at most three bytes, the last below 0x80.
	return append(appendTime(dst, t), 0xff, 0xff, 0xff)
}

// timeOf returns the time that leads a window store's key.
func timeOf(tail []byte) int64 { return int64(binary.BigEndian.Uint64(tail) ^ 1<<63) }

// WindowKey is the place of an entry in a window store.
type WindowKey struct {
	// Time is in Unix milliseconds wherever event time is meant; the store only
	// orders by it.
	Time int64
	// Key is the user key, which decides the partition.
	Key []byte
	// Sub tells apart entries of one time and key; often empty.
	Sub []byte
}

func appendWindowTail(dst []byte, k WindowKey) []byte {
	return appendMapTail(appendTime(dst, k.Time), k.Key, k.Sub)
}

// CompareKeys compares two user keys as the entries of one time in a window store, or of a map store, are ordered by them:
// by their encoded length first. Who walks several times at once needs it to tell which key comes next.
func CompareKeys(a, b []byte) int {
	if len(a) == len(b) {
		return bytes.Compare(a, b)
	}
	var x, y [binary.MaxVarintLen64]byte
	return bytes.Compare(binary.AppendUvarint(x[:0], uint64(len(a))), binary.AppendUvarint(y[:0], uint64(len(b))))
}

// cutWindowTail takes apart what appendWindowTail made; the slices alias tail.
func cutWindowTail(tail []byte) (k WindowKey, ok bool) {
	if len(tail) < timeLen {
		return k, false
	}
	k.Time = timeOf(tail)
	k.Key, k.Sub, ok = cutBytes(tail[timeLen:])
	return k, ok
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
	if !validStoreID(id) {
		return 0, nil, nil, fmt.Errorf("split entry key: %#04x is the id of no store: %w", uint16(id), ErrCorrupt)
	}
	tail, ok := entryKey[storeIDLen:], true
	switch id & layoutBits {
	case valueLayout:
		key = tail
	case mapLayout:
		key, sub, ok = cutBytes(tail)
	case windowLayout:
		var k WindowKey
		k, ok = cutWindowTail(tail)
		key, sub = k.Key, k.Sub
	}
	if !ok {
		return 0, nil, nil, fmt.Errorf("split entry key of store %d: bad key length: %w", id&^layoutBits, ErrCorrupt)
	}
	return id &^ layoutBits, key, sub, nil
}

// EntryTime returns the time in the entry key of a window store, and false for a key of another store.
func EntryTime(entryKey []byte) (int64, bool) {
	if len(entryKey) < storeIDLen+timeLen || StoreID(binary.BigEndian.Uint16(entryKey))&layoutBits != windowLayout {
		return 0, false
	}
	return timeOf(entryKey[storeIDLen:]), true
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
