// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// Migrate is the codec now, for stores whose values were written by the codec old in a former release: such a value is
// read by old and upgraded. Values are written by now, so that a store is upgraded as its values change. Migrations
// form a chain: give the next release the whole of this one as its old.
//
//	v2 := codec.Migrate(codec.JSON[OrderV1](), codec.JSON[OrderV2](), func(o OrderV1) OrderV2 { … })
//	v3 := codec.Migrate(v2, codec.JSON[OrderV3](), func(o OrderV2) OrderV3 { … })
//
// upgrade must depend on nothing but its argument, which is its to keep. It holds for stores and for what is in flight in
// repartition topics. A key cannot be migrated, since it says where a record is, and topics of the user's do not tell
// versions apart: there the codec is now and nothing else.
func Migrate[Old, New any](old Codec[Old], now Codec[New], upgrade func(Old) New) Codec[New] {
	old = Own(old)
	m := migrated[New]{Codec: now, former: append(Former(old), old.ID())}
	if len(Former(now)) > 0 {
		m.err = errors.New("the new codec of a migration has former ones itself; migrate one step at a time")
	}
	m.err = errors.Join(m.err, Err(old), Err(now))
	m.decode = func(version int, src []byte) (New, error) {
		v, err := decodeVersion(old, version, src)
		if err != nil {
			var zero New
			return zero, err
		}
		return upgrade(v), nil
	}
	return m
}

// migrated is a codec with former ones.
type migrated[T any] struct {
	Codec[T]
	former []string // ids, oldest first
	decode func(version int, src []byte) (T, error)
	err    error
}

func (m migrated[T]) Err() error                                  { return m.err }
func (m migrated[T]) Ambiguous() bool                             { return Ambiguous(m.Codec) }
func (m migrated[T]) history() []string                           { return m.former }
func (m migrated[T]) formerly(version int, src []byte) (T, error) { return m.decode(version, src) }
func (m migrated[T]) Own() Codec[T]                               { m.Codec = Own(m.Codec); return m }
func (m migrated[T]) OpenReader(ctx context.Context) error        { return openReader(ctx, m.Codec) }
func (m migrated[T]) OpenWriter(ctx context.Context) error        { return openWriter(ctx, m.Codec) }

func openReader[T any](ctx context.Context, c Codec[T]) error {
	if o, ok := c.(Opener); ok {
		return o.OpenReader(ctx)
	}
	return nil
}

func openWriter[T any](ctx context.Context, c Codec[T]) error {
	if o, ok := c.(Opener); ok {
		return o.OpenWriter(ctx)
	}
	return nil
}

// versioned is a codec with former ones.
type versioned[T any] interface {
	history() []string
	formerly(version int, src []byte) (T, error)
}

// Former returns the ids of the codecs that Migrate put before c, oldest first.
func Former[T any](c Codec[T]) []string {
	if v, ok := c.(versioned[T]); ok {
		return v.history()[:len(v.history()):len(v.history())]
	}
	return nil
}

// decodeVersion reads what was written when the codec with that number was the newest.
func decodeVersion[T any](c Codec[T], version int, src []byte) (T, error) {
	v, ok := c.(versioned[T])
	if ok && version < len(v.history()) {
		return v.formerly(version, src)
	}
	return c.Decode(src)
}

// Stored is the codec of values that a pipeline keeps: c.Own, behind the number of the codec that wrote the value, which is
// 0 for the first one and grows by one with each Migrate. It is written as an unsigned varint: one byte.
func Stored[T any](c Codec[T]) Codec[T] {
	c = Own(c)
	return stored[T]{codec: c, version: len(Former(c))}
}

type stored[T any] struct {
	codec   Codec[T]
	version int
}

func (s stored[T]) ID() string { return s.codec.ID() }

func (s stored[T]) Append(dst []byte, v T) ([]byte, error) {
	return s.codec.Append(binary.AppendUvarint(dst, uint64(s.version)), v)
}

func (s stored[T]) Decode(src []byte) (T, error) {
	version, value, err := SplitStored(src)
	if err == nil && version == s.version {
		return s.codec.Decode(value)
	}
	if err == nil && version > s.version {
		err = fmt.Errorf("the value was written by version %d of its codec, and this release has versions up to %d; use the release that wrote it or a later one", version, s.version)
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return decodeVersion(s.codec, version, value)
}

var errVersion = errors.New("the value does not begin with the version of its codec")

// SplitStored splits what Stored wrote into the number of the codec and the value. The value aliases src and is not nil.
func SplitStored(src []byte) (version int, value []byte, err error) {
	if len(src) > 0 && src[0] < 0x80 {
		return int(src[0]), src[1:], nil
	}
	const most = 1 << 20 // More than anybody migrates, and an int everywhere.
	v, n := binary.Uvarint(src)
	if n <= 0 || v > most {
		return 0, nil, errVersion
	}
	return int(v), src[n:], nil
}
