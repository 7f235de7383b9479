// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/streamd/streamd/partition"
)

// The key of a record in a repartition topic begins with its origin, the task that wrote it: the records that are in
// flight at a cut of the pipeline are told apart by it. It takes two bytes for most tasks.
//
//	uvarint sub-topology<<1 | 1 if the key is null    uvarint partition    key
//
// The partition of the record goes by the key alone.

// ErrNotRepartition marks a record that no task has written, in a topic that only tasks write to.
var ErrNotRepartition = errors.New("the record was not written by this application; only its tasks may write to a repartition topic")

// appendOrigin gives what the keys of a task's repartition records begin with.
func appendOrigin(dst []byte, id partition.TaskID) []byte {
	dst = binary.AppendUvarint(dst, uint64(id.SubTopology)<<1)
	return binary.AppendUvarint(dst, uint64(id.Partition))
}

// markNullKey sets or clears the bit for a null key.
func markNullKey(framed []byte, null bool) {
	framed[0] &^= 1
	if null {
		framed[0] |= 1
	}
}

// cutOrigin takes the key of a repartition record apart. A null key comes back as nil, an empty one is not nil.
func cutOrigin(framed []byte) (id partition.TaskID, key []byte, err error) {
	sub, n := binary.Uvarint(framed)
	part, m := uint64(0), 0
	if n > 0 {
		part, m = binary.Uvarint(framed[n:])
	}
	if n <= 0 || m <= 0 || sub>>1 > 1<<31-1 || part > 1<<31-1 {
		return id, nil, fmt.Errorf("%w: its key begins with no task: %.20q", ErrNotRepartition, framed)
	}
	id = partition.TaskID{SubTopology: int32(sub >> 1), Partition: int32(part)}
	if sub&1 == 1 {
		return id, nil, nil
	}
	return id, framed[n+m:], nil
}
