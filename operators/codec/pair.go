// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"errors"
	"fmt"
)

// Pair is a composite key. Nest pairs for more than two parts, or give a struct of your own its codec with Convert.
type Pair[A, B any] struct {
	First  A
	Second B
}

// PairOf is the codec of pairs whose parts have the codecs given. Where the parts order as their bytes do, pairs
// order by the first part, then by the second, and no two pairs have the same bytes. If values of the first part's
// codec have one length, as numbers have, it takes no bytes more than the parts do; else two more, and one more for
// each zero byte of the first part. A part that has null loses it: null is read as empty.
func PairOf[A, B any](first Codec[A], second Codec[B]) Codec[Pair[A, B]] {
	return pairCodec[A, B]{id: fmt.Sprintf("pair(%s,%s)", first.ID(), second.ID()), first: first, second: second, split: Width(first)}
}

// Width returns the length in bytes that all values of a codec have, 0 if there is no such length.
func Width[T any](c Codec[T]) int {
	if fixed, ok := c.(interface{ width() int }); ok {
		return fixed.width()
	}
	return 0
}

type pairCodec[A, B any] struct {
	id     string
	first  Codec[A]
	second Codec[B]
	split  int // where the second part begins; 0: behind the end mark of the first
}

// A first part of no fixed length has each zero byte followed by escaped and ends with a zero byte followed by
// ended, which is lower: so that a part orders before those that it is a prefix of.
const (
	ended   = 0x01
	escaped = 0xff
)

var (
	errNoEnd  = errors.New("the first part of the pair has no end")
	errEscape = errors.New("the first part of the pair has a zero byte that is neither its end nor escaped")
)

func (c pairCodec[A, B]) ID() string { return c.id }
func (c pairCodec[A, B]) Err() error { return errors.Join(Err(c.first), Err(c.second)) }

func (c pairCodec[A, B]) width() int {
	if second := Width(c.second); c.split > 0 && second > 0 {
		return c.split + second
	}
	return 0
}

func (c pairCodec[A, B]) Append(dst []byte, v Pair[A, B]) ([]byte, error) {
	start := len(dst)
	dst, err := c.first.Append(dst, v.First)
	if err != nil {
		return dst, fmt.Errorf("first of a pair: %w", err)
	}
	if c.split == 0 {
		dst = escape(dst, start)
	}
	if dst, err = c.second.Append(dst, v.Second); err != nil {
		return dst, fmt.Errorf("second of a pair: %w", err)
	}
	return dst, nil
}

// escape ends the part that begins at start, and escapes it in place: from the back, so that nothing is overwritten
// before it has moved.
func escape(dst []byte, start int) []byte {
	from := len(dst)
	dst = append(dst, make([]byte, bytes.Count(dst[start:], []byte{0})+2)...)
	to := len(dst) - 2
	dst[to], dst[to+1] = 0, ended
	for from > start {
		from--
		if dst[from] == 0 {
			to--
			dst[to] = escaped
		}
		to--
		dst[to] = dst[from]
	}
	return dst
}

func (c pairCodec[A, B]) Decode(src []byte) (Pair[A, B], error) {
	var p Pair[A, B]
	first, second, err := c.parts(src)
	if err != nil {
		return p, err
	}
	if p.First, err = c.first.Decode(first); err != nil {
		return Pair[A, B]{}, fmt.Errorf("first of a pair: %w", err)
	}
	if p.Second, err = c.second.Decode(second); err != nil {
		return Pair[A, B]{}, fmt.Errorf("second of a pair: %w", err)
	}
	return p, nil
}

// parts returns the encoded parts, neither of them nil.
func (c pairCodec[A, B]) parts(src []byte) (first, second []byte, err error) {
	if c.split > 0 {
		if len(src) < c.split {
			return nil, nil, fmt.Errorf("the first part of the pair takes %d bytes, found %d", c.split, len(src))
		}
		return src[:c.split:c.split], src[c.split:], nil
	}
	first = []byte{}
	for {
		i := bytes.IndexByte(src, 0)
		if i < 0 || i+1 == len(src) {
			return nil, nil, errNoEnd
		}
		switch mark := src[i+1]; {
		case mark == ended && len(first) == 0:
			return src[:i:i], src[i+2:], nil // The common part without a zero byte is not copied.
		case mark == ended:
			return append(first, src[:i]...), src[i+2:], nil
		case mark != escaped:
			return nil, nil, errEscape
		}
		first = append(first, src[:i+1]...)
		src = src[i+2:]
	}
}
