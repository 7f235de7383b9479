// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"errors"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
)

// windowRow is what is stored per key and window: what a table stores per key, and whether it is still to be emitted.
type windowRow[A any] struct {
	row[A]
	pending bool
}

// windowRowCodec lays a window's row out as topology.WindowTableStore says.
type windowRowCodec[A any] struct{ row rowCodec[A] }

func newWindowRowCodec[A any](value codec.Codec[A]) windowRowCodec[A] {
	return windowRowCodec[A]{rowCodec[A]{value: value}}
}

var errNoRow = errors.New("the row of a window is empty")

func (c windowRowCodec[A]) Append(dst []byte, r windowRow[A]) ([]byte, error) {
	flags := byte(0)
	if r.pending {
		flags = 1
	}
	return c.row.Append(append(dst, flags), r.row)
}

func (c windowRowCodec[A]) Decode(src []byte) (windowRow[A], error) {
	if len(src) == 0 {
		return windowRow[A]{}, errNoRow
	}
	r, err := c.row.Decode(src[1:])
	return windowRow[A]{row: r, pending: src[0] == 1}, err
}

// appendTime and timeOf hold a time as a sub-key, in the order of time.
func appendTime(dst []byte, t operators.Time) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^(1<<63))
}

func timeOf(sub []byte) operators.Time {
	return operators.Time(binary.BigEndian.Uint64(sub) ^ (1 << 63))
}
