// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"errors"

	"github.com/streamd/streamd/operators/codec"
)

// joinRowsCodec holds the records of one key and time: for each the length of its value, doubled, plus one if it has met
// another, as a uvarint, then the value.
type joinRowsCodec[V any] struct{ value codec.Codec[V] }

var errNoJoinRows = errors.New("not the records of a join")

func (c joinRowsCodec[V]) Append(dst []byte, rows []joinRow[V]) ([]byte, error) {
	var value []byte
	for _, r := range rows {
		var err error
		if value, err = c.value.Append(value[:0], r.value); err != nil {
			return dst, err
		}
		head := uint64(len(value)) << 1
		if r.met {
			head |= 1
		}
		dst = append(binary.AppendUvarint(dst, head), value...)
	}
	return dst, nil
}

func (c joinRowsCodec[V]) Decode(src []byte) ([]joinRow[V], error) {
	var rows []joinRow[V]
	for len(src) > 0 {
		head, width := binary.Uvarint(src)
		if width <= 0 || head>>1 > uint64(len(src)-width) {
			return nil, errNoJoinRows
		}
		end := width + int(head>>1)
		v, err := c.value.Decode(src[width:end])
		if err != nil {
			return nil, err
		}
		rows = append(rows, joinRow[V]{v, head&1 == 1})
		src = src[end:]
	}
	return rows, nil
}
