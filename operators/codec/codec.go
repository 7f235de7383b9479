// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"encoding/binary"
	"fmt"
)

// Codec turns values of T into bytes and back. Implementations must hold the invariants of the package
// and be safe for concurrent use.
type Codec[T any] interface {
	// ID is the stable identity of the encoding, such as "string" or "json:Order". Two codecs with one
	// ID must read each other's bytes.
	ID() string
	// Append appends the encoding of v to dst and returns the grown slice.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads a value from all of src. It must not retain src.
	Decode(src []byte) (T, error)
}

// The codecs of the basic types.
var (
	// String holds the bytes of the string as they are.
	String Codec[string] = stringCodec{}
	// Bytes holds the bytes as they are. It is the one codec that knows null: a nil slice is a null key
	// or value of a record.
	Bytes Codec[[]byte] = bytesCodec{}
	// Int64 takes 8 bytes, big-endian with the sign bit flipped, so that bytes order as numbers do.
	Int64 Codec[int64] = int64Codec{}
	// Uint64 takes 8 bytes, big-endian.
	Uint64 Codec[uint64] = uint64Codec{}
)

// For returns the codec that a type has without being asked: String, Bytes, Int64 or Uint64. Others
// have none; JSON is never a silent choice. It is meant for build time.
func For[T any]() (Codec[T], bool) {
	for _, known := range []any{String, Bytes, Int64, Uint64} {
		if c, ok := known.(Codec[T]); ok {
			return c, true
		}
	}
	return nil, false
}

// New makes a codec of two functions, which must hold the invariants of the package. The id names the
// encoding; change it when the bytes change.
func New[T any](id string, appendTo func(dst []byte, v T) ([]byte, error), decode func(src []byte) (T, error)) Codec[T] {
	return custom[T]{id: id, appendTo: appendTo, decode: decode}
}

type custom[T any] struct {
	id       string
	appendTo func([]byte, T) ([]byte, error)
	decode   func([]byte) (T, error)
}

func (c custom[T]) ID() string                             { return c.id }
func (c custom[T]) Append(dst []byte, v T) ([]byte, error) { return c.appendTo(dst, v) }
func (c custom[T]) Decode(src []byte) (T, error)           { return c.decode(src) }

type stringCodec struct{}

func (stringCodec) ID() string                                  { return "string" }
func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (stringCodec) Decode(src []byte) (string, error)           { return string(src), nil }

type bytesCodec struct{}

func (bytesCodec) ID() string                                  { return "bytes" }
func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }

func (bytesCodec) Decode(src []byte) ([]byte, error) {
	if src == nil {
		return nil, nil
	}
	return append(make([]byte, 0, len(src)), src...), nil
}

const signBit = 1 << 63

type int64Codec struct{}

func (int64Codec) ID() string { return "int64" }

func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^signBit), nil
}

func (int64Codec) Decode(src []byte) (int64, error) {
	if len(src) != 8 {
		return 0, lengthError("int64", len(src))
	}
	return int64(binary.BigEndian.Uint64(src) ^ signBit), nil
}

type uint64Codec struct{}

func (uint64Codec) ID() string { return "uint64" }

func (uint64Codec) Append(dst []byte, v uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, v), nil
}

func (uint64Codec) Decode(src []byte) (uint64, error) {
	if len(src) != 8 {
		return 0, lengthError("uint64", len(src))
	}
	return binary.BigEndian.Uint64(src), nil
}

func lengthError(codec string, got int) error {
	return fmt.Errorf("%s takes 8 bytes, found %d", codec, got)
}
