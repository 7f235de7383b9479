// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/streamd/streamd/operators/codec"
)

// reference is what is kept beside the left table of a join by foreign key, per key.
type reference struct {
	version uint64 // of the last change
	to      []byte // the encoded foreign key; nil: the row refers to none, or is no more
}

// referenceCodec: the version, a byte that says whether there is a foreign key, the foreign key.
type referenceCodec struct{}

func (referenceCodec) ID() string { return "reference" }

func (referenceCodec) Append(dst []byte, r reference) ([]byte, error) {
	dst = appendBool(binary.AppendUvarint(dst, r.version), r.to != nil)
	return append(dst, r.to...), nil
}

func (referenceCodec) Decode(src []byte) (reference, error) {
	version, has, src, err := cutVersion(src)
	r := reference{version: version}
	if has {
		r.to = append([]byte{}, src...)
	}
	return r, err
}

// versionCodec holds a version.
type versionCodec struct{}

func (versionCodec) Append(dst []byte, v uint64) ([]byte, error) {
	return binary.AppendUvarint(dst, v), nil
}

func (versionCodec) Decode(src []byte) (uint64, error) {
	v, n := binary.Uvarint(src)
	if n <= 0 || n != len(src) {
		return 0, errNoVersion
	}
	return v, nil
}

// requestKind says what a request wants.
type requestKind byte

const (
	match requestKind = 'm' // the row refers to this key: answer now and at every change
	leave requestKind = 'l' // it does no more, and refers to another that answers
	end   requestKind = 'e' // it does no more, and refers to none: answer once
)

// request is what the left side sends to a foreign key.
type request[V any] struct {
	kind    requestKind
	version uint64
	pk      []byte // the encoded key of the row; valid while the record is processed
	row     optional[V]
}

// requestCodec: the kind, the version, a byte that says whether there is a row, the size of the key, the key, the
// row's value.
type requestCodec[V any] struct{ value codec.Codec[V] }

func (c requestCodec[V]) ID() string { return "request:" + c.value.ID() }

func (c requestCodec[V]) Append(dst []byte, q request[V]) ([]byte, error) {
	dst = appendBool(binary.AppendUvarint(append(dst, byte(q.kind)), q.version), q.row.has)
	dst = append(binary.AppendUvarint(dst, uint64(len(q.pk))), q.pk...)
	if !q.row.has {
		return dst, nil
	}
	return c.value.Append(dst, q.row.value)
}

func (c requestCodec[V]) Decode(src []byte) (q request[V], err error) {
	if len(src) == 0 {
		return q, errors.New("request without a kind")
	}
	q.kind = requestKind(src[0])
	if q.kind != match && q.kind != leave && q.kind != end {
		return q, fmt.Errorf("request of the unknown kind %#x", src[0])
	}
	if q.version, q.row.has, src, err = cutVersion(src[1:]); err != nil {
		return q, err
	}
	size, n := binary.Uvarint(src)
	if n <= 0 || size > uint64(len(src)-n) {
		return q, errors.New("request with less of a key than it says")
	}
	src = src[n:]
	q.pk, src = src[:size:size], src[size:]
	if q.row.has {
		q.row.value, err = c.value.Decode(src)
	}
	return q, err
}

// subscription is what is kept beside the right table, per foreign key and key: a row that refers to it.
type subscription[V any] struct {
	version uint64
	row     row[V]
}

// subscriptionCodec: the version, then the row as in topology.TableStore.
type subscriptionCodec[V any] struct{ value codec.Codec[V] }

func (c subscriptionCodec[V]) Append(dst []byte, s subscription[V]) ([]byte, error) {
	return rowCodec[V]{c.value}.Append(binary.AppendUvarint(dst, s.version), s.row)
}

func (c subscriptionCodec[V]) Decode(src []byte) (s subscription[V], err error) {
	version, n := binary.Uvarint(src)
	if n <= 0 {
		return s, errNoVersion
	}
	s.version = version
	s.row, err = rowCodec[V]{c.value}.Decode(src[n:])
	return s, err
}

// answer is what the right side sends to a key: the row of the result at a version, or that there is none.
type answer[W any] struct {
	version uint64
	row     optional[W]
}

// answerCodec: the version, a byte that says whether there is a row, the row's value.
type answerCodec[W any] struct{ value codec.Codec[W] }

func (c answerCodec[W]) ID() string { return "answer:" + c.value.ID() }

func (c answerCodec[W]) Append(dst []byte, a answer[W]) ([]byte, error) {
	dst = appendBool(binary.AppendUvarint(dst, a.version), a.row.has)
	if !a.row.has {
		return dst, nil
	}
	return c.value.Append(dst, a.row.value)
}

func (c answerCodec[W]) Decode(src []byte) (a answer[W], err error) {
	if a.version, a.row.has, src, err = cutVersion(src); err != nil || !a.row.has {
		return a, err
	}
	a.row.value, err = c.value.Decode(src)
	return a, err
}

var errNoVersion = errors.New("no version where one is expected")

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// cutVersion splits off a version and the bool after it.
func cutVersion(src []byte) (version uint64, has bool, rest []byte, err error) {
	version, n := binary.Uvarint(src)
	if n <= 0 || n == len(src) || src[n] > 1 {
		return 0, false, nil, errNoVersion
	}
	return version, src[n] == 1, src[n+1:], nil
}
