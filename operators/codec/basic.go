// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// The codecs of the basic types. Those of numbers and times order as their bytes do.
var (
	// String holds the bytes of the string as they are.
	String Codec[string] = stringCodec{}
	// Bytes holds the bytes as they are. It is the one codec that knows null: a nil slice is a null key
	// or value of a record.
	Bytes Codec[[]byte] = bytesCodec{}
	// Int64 takes 8 bytes, big-endian with the sign bit flipped, so that bytes order as numbers do.
	Int64 Codec[int64] = int64Codec{}
	// Int is Int64 for the type int.
	Int Codec[int] = Convert(Int64, func(v int) int64 { return int64(v) }, toInt)
	// Int32 takes 4 bytes, big-endian with the sign bit flipped.
	Int32 Codec[int32] = int32Codec{}
	// Uint64 takes 8 bytes, big-endian.
	Uint64 Codec[uint64] = uint64Codec{}
	// Float64 takes 8 bytes, IEEE 754 big-endian with the sign bit flipped, or all bits for negative numbers. Negative
	// zero is written as zero, and every NaN as the same one, which orders behind the numbers.
	Float64 Codec[float64] = float64Codec{}
	// Bool takes a byte: 0 or 1.
	Bool Codec[bool] = boolCodec{}
	// Time takes 12 bytes: the seconds since 1970 as Int64 has them, then the nanoseconds. It keeps the instant: what
	// is read is in UTC.
	Time Codec[time.Time] = timeCodec{}
)

// UUID is the codec of any type that is an array of 16 bytes, as UUID libraries have it. It holds the bytes as they
// are.
func UUID[T ~[16]byte]() Codec[T] { return uuidCodec[T]{} }

// For returns the codec that a type has without being asked: that of a basic type. Others have none; JSON is never a
// silent choice. It is meant for build time.
func For[T any]() (Codec[T], bool) {
	for _, known := range []any{String, Bytes, Int64, Int, Int32, Uint64, Float64, Bool, Time} {
		if c, ok := known.(Codec[T]); ok {
			return c, true
		}
	}
	return nil, false
}

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
func (int64Codec) width() int { return 8 }

func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^signBit), nil
}

func (int64Codec) Decode(src []byte) (int64, error) {
	if len(src) != 8 {
		return 0, lengthError("int64", 8, len(src))
	}
	return int64(binary.BigEndian.Uint64(src) ^ signBit), nil
}

func toInt(v int64) (int, error) {
	if int64(int(v)) != v {
		return 0, errors.New("the number takes 64 bits, which an int of this machine has not")
	}
	return int(v), nil
}

type int32Codec struct{}

func (int32Codec) ID() string { return "int32" }
func (int32Codec) width() int { return 4 }

func (int32Codec) Append(dst []byte, v int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, uint32(v)^(signBit>>32)), nil
}

func (int32Codec) Decode(src []byte) (int32, error) {
	if len(src) != 4 {
		return 0, lengthError("int32", 4, len(src))
	}
	return int32(binary.BigEndian.Uint32(src) ^ (signBit >> 32)), nil
}

type uint64Codec struct{}

func (uint64Codec) ID() string { return "uint64" }
func (uint64Codec) width() int { return 8 }

func (uint64Codec) Append(dst []byte, v uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, v), nil
}

func (uint64Codec) Decode(src []byte) (uint64, error) {
	if len(src) != 8 {
		return 0, lengthError("uint64", 8, len(src))
	}
	return binary.BigEndian.Uint64(src), nil
}

type float64Codec struct{}

func (float64Codec) ID() string { return "float64" }
func (float64Codec) width() int { return 8 }

func (float64Codec) Append(dst []byte, v float64) ([]byte, error) {
	switch {
	case v == 0:
		v = 0 // of both zeros the positive one
	case math.IsNaN(v):
		v = math.NaN()
	}
	b := math.Float64bits(v)
	if b&signBit != 0 {
		b = ^b
	} else {
		b ^= signBit
	}
	return binary.BigEndian.AppendUint64(dst, b), nil
}

func (float64Codec) Decode(src []byte) (float64, error) {
	if len(src) != 8 {
		return 0, lengthError("float64", 8, len(src))
	}
	b := binary.BigEndian.Uint64(src)
	if b&signBit != 0 {
		b ^= signBit
	} else {
		b = ^b
	}
	return math.Float64frombits(b), nil
}

type boolCodec struct{}

func (boolCodec) ID() string { return "bool" }
func (boolCodec) width() int { return 1 }

func (boolCodec) Append(dst []byte, v bool) ([]byte, error) {
	if v {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

func (boolCodec) Decode(src []byte) (bool, error) {
	if len(src) != 1 {
		return false, lengthError("bool", 1, len(src))
	}
	if src[0] > 1 {
		return false, errors.New("bool is neither 0 nor 1")
	}
	return src[0] == 1, nil
}

type timeCodec struct{}

const timeWidth = 12

func (timeCodec) ID() string { return "time" }
func (timeCodec) width() int { return timeWidth }

func (timeCodec) Append(dst []byte, v time.Time) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.Unix())^signBit)
	return binary.BigEndian.AppendUint32(dst, uint32(v.Nanosecond())), nil
}

func (timeCodec) Decode(src []byte) (time.Time, error) {
	if len(src) != timeWidth {
		return time.Time{}, lengthError("time", timeWidth, len(src))
	}
	nanos := binary.BigEndian.Uint32(src[8:])
	if nanos >= uint32(time.Second) {
		return time.Time{}, errors.New("time has a second or more of nanoseconds")
	}
	return time.Unix(int64(binary.BigEndian.Uint64(src)^signBit), int64(nanos)).UTC(), nil
}

const uuidWidth = 16

type uuidCodec[T ~[16]byte] struct{}

func (uuidCodec[T]) ID() string { return "uuid" }
func (uuidCodec[T]) width() int { return uuidWidth }

func (uuidCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b := [uuidWidth]byte(v)
	return append(dst, b[:]...), nil
}

func (uuidCodec[T]) Decode(src []byte) (T, error) {
	if len(src) != uuidWidth {
		return T{}, lengthError("uuid", uuidWidth, len(src))
	}
	return T(src), nil
}

func lengthError(codec string, want, got int) error {
	return fmt.Errorf("%s takes %d bytes, found %d", codec, want, got)
}
