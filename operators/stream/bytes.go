// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"

	"github.com/streamd/streamd/operators/codec"
)

// chunkBytes is small enough that a slice which user code keeps pins little memory, and large enough that
// typical values share an allocation.
const chunkBytes = 16 << 10

// chunk copies records' bytes out of the fetch buffer, many to an allocation. Copies are never
// overwritten: user code may keep them.
type chunk struct{ free []byte }

func (c *chunk) copy(src []byte) ([]byte, error) {
	switch {
	case src == nil:
		return nil, nil
	case len(src) == 0:
		return []byte{}, nil // empty is not null
	}
	if len(src) > chunkBytes/4 {
		return bytes.Clone(src), nil
	}
	if len(src) > len(c.free) {
		c.free = make([]byte, chunkBytes)
	}
	dst := c.free[:len(src):len(src)]
	c.free = c.free[len(src):]
	copy(dst, src)
	return dst, nil
}

// isBytes says whether c is the codec that knows null.
func isBytes[T any](c codec.Codec[T]) bool { return any(c) == any(codec.Bytes) }

// decoder returns the decode function of c. That of Bytes shares allocations.
func decoder[T any](c codec.Codec[T]) func([]byte) (T, error) {
	if isBytes(c) {
		return any((&chunk{}).copy).(func([]byte) (T, error))
	}
	return c.Decode
}

// nullable is a codec besides that of Bytes whose type has a null. Its Decode gets nil for it.
type nullable[T any] interface{ null(T) bool }

// nullOf returns what tells a null of c, or nil if c has none.
func nullOf[T any](c codec.Codec[T]) func(T) bool {
	if isBytes(c) {
		return any(func(b []byte) bool { return b == nil }).(func(T) bool)
	}
	if n, ok := c.(nullable[T]); ok {
		return n.null
	}
	return nil
}

// ownerOf returns what makes a value fit to stay in a store, or nil if it is as it is: a slice from a
// record would pin its whole chunk for as long as it is cached.
func ownerOf[T any]() func(T) T {
	own, _ := any(bytes.Clone).(func(T) T)
	return own
}

// unversioned decodes the values of an internal topic, which are as codec.Stored has them, or null.
func unversioned[T any](c codec.Codec[T], decode func([]byte) (T, error)) func([]byte) (T, error) {
	now, stored := len(codec.Former(c)), codec.Stored(c)
	return func(src []byte) (T, error) {
		if src == nil {
			return decode(nil)
		}
		if version, value, err := codec.SplitStored(src); err == nil && version == now {
			return decode(value)
		}
		return stored.Decode(src)
	}
}
