// SPDX-License-Identifier: Apache-2.0

package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/streamd/streamd/partition"
)

// ErrPosition marks bytes that are not an encoded Position.
var ErrPosition = errors.New("not a task position of this version")

// Position is where a task stands in its inputs: for each partition the offset of the next record to process.
type Position map[partition.TopicPartition]int64

const positionFormat = 1

// AppendTo encodes the position: format, count, then topic, partition and offset of each, in order.
func (p Position) AppendTo(dst []byte) []byte {
	tps := make([]partition.TopicPartition, 0, len(p))
	for tp := range p {
		tps = append(tps, tp)
	}
	slices.SortFunc(tps, partition.TopicPartition.Compare)
	dst = append(dst, positionFormat)
	dst = binary.AppendUvarint(dst, uint64(len(tps)))
	for _, tp := range tps {
		dst = binary.AppendUvarint(dst, uint64(len(tp.Topic)))
		dst = append(dst, tp.Topic...)
		dst = binary.AppendUvarint(dst, uint64(tp.Partition))
		dst = binary.AppendVarint(dst, p[tp])
	}
	return dst
}

// DecodePosition reads what AppendTo has written.
func DecodePosition(b []byte) (Position, error) {
	if len(b) == 0 || b[0] != positionFormat {
		return nil, fmt.Errorf("decode position of %d bytes: %w", len(b), ErrPosition)
	}
	r := reader{b: b[1:]}
	n := r.uvarint()
	if n > uint64(len(b)) {
		return nil, fmt.Errorf("decode position: %d inputs in %d bytes: %w", n, len(b), ErrPosition)
	}
	p := make(Position, n)
	for range n {
		tp := partition.TopicPartition{Topic: string(r.take(r.uvarint())), Partition: int32(r.uvarint())}
		p[tp] = r.varint()
	}
	if r.bad || len(r.b) > 0 || uint64(len(p)) != n {
		return nil, fmt.Errorf("decode position of %d bytes: %w", len(b), ErrPosition)
	}
	return p, nil
}

// reader takes values off the front of b; bad is set once b was too short.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
