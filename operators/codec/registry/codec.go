// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/streamd/streamd/operators/codec"
)

// Format is a codec whose values follow a schema. Those of packages avro and protobuf are, and JSON.
type Format[T any] interface {
	codec.Codec[T]
	// Schema returns what Append writes by.
	Schema() (codec.Schema, error)
	// Prefix returns what stands between the schema's id and what Append writes; it may be empty.
	Prefix() []byte
	// Reader returns what decodes, from the prefix on, values that were written by another version of the schema. It
	// must be safe for concurrent use, as the codec is.
	Reader(codec.Schema) (func(src []byte) (T, error), error)
}

// Key returns the codec of a topic's keys, under the subject "topic-key".
func Key[T any](r *Registry, topic string, f Format[T]) codec.Codec[T] {
	return Subject(r, topic+"-key", f)
}

// Value returns the codec of a topic's values, under the subject "topic-value".
func Value[T any](r *Registry, topic string, f Format[T]) codec.Codec[T] {
	return Subject(r, topic+"-value", f)
}

// Subject returns the codec of values under a subject of any name.
func Subject[T any](r *Registry, subject string, f Format[T]) codec.Codec[T] {
	c := &registered[T]{registry: r, subject: subject, format: f}
	c.readers.Store(&map[uint32]reader[T]{})
	return c
}

// magic begins what the wire format frames.
const magic = 0

// headerLen is the length of magic and schema id.
const headerLen = 5

// fetchTimeout is for the schema of one id, which the records behind wait for.
const fetchTimeout = 10 * time.Second

// An id that the registry does not know is asked for again after missFor: registries are replicated, and a
// follower may be behind. More than maxMisses of them are foreign bytes rather than schemas.
const (
	missFor   = 30 * time.Second
	maxMisses = 1000
)

var (
	errHeader    = errors.New("it does not begin with the five bytes of a schema registry's wire format")
	errNotOpened = errors.New("the schema's id is not known yet; the process that uses the codec must open the pipeline's codecs first")
)

type registered[T any] struct {
	registry *Registry
	subject  string
	format   Format[T]
	header   atomic.Pointer[[]byte]               // magic, schema id and prefix; nil until opened for writing
	readers  atomic.Pointer[map[uint32]reader[T]] // by schema id; replaced, not changed
}

// reader is what is known of one schema id.
type reader[T any] struct {
	read  func([]byte) (T, error)
	err   error     // why there is no read
	until time.Time // when err is to be doubted; zero: never
}

// ID is "registry:" and the subject.
func (c *registered[T]) ID() string { return "registry:" + c.subject }

// Own implements codec.Own.
func (c *registered[T]) Own() codec.Codec[T] { return c.format }

// Ambiguous implements codec.Ambiguous.
func (c *registered[T]) Ambiguous() bool { return codec.Ambiguous[T](c.format) }

// Err implements codec.Err.
func (c *registered[T]) Err() error {
	if c.registry.err != nil {
		return fmt.Errorf("describe a schema registry: %w", c.registry.err)
	}
	return codec.Err[T](c.format)
}

// OpenWriter implements codec.Opener: it learns the id of the schema to write by.
func (c *registered[T]) OpenWriter(ctx context.Context) error {
	s, err := c.format.Schema()
	if err != nil {
		return fmt.Errorf("schema of subject %q: %w", c.subject, err)
	}
	id, _, err := c.registry.register(ctx, c.subject, s)
	if err != nil {
		return err
	}
	header := binary.BigEndian.AppendUint32([]byte{magic}, uint32(id))
	header = append(header, c.format.Prefix()...)
	c.header.Store(&header)
	return nil
}

// asking makes a context of requests for schemas. Protobuf's are wanted as descriptors: their text would need a parser.
func (c *registered[T]) asking(ctx context.Context) context.Context {
	if s, err := c.format.Schema(); err == nil && s.Kind == codec.ProtobufSchema {
		return sr.WithParams(ctx, sr.Format("serialized"))
	}
	return ctx
}

// OpenReader implements codec.Opener: it makes sure that the newest schema can be read.
func (c *registered[T]) OpenReader(ctx context.Context) error {
	newest, found, err := c.registry.newest(c.asking(ctx), c.subject)
	if err != nil || !found {
		return err
	}
	r, err := c.resolve(c.asking(ctx), newest.Schema)
	if err != nil {
		return err
	}
	if r.err != nil {
		return fmt.Errorf("subject %q: version %d, schema id %d, cannot be read: %w; change the type or its schema so that it can",
			c.subject, newest.Version, newest.ID, r.err)
	}
	c.learn(uint32(newest.ID), r)
	return nil
}

// Append writes the header, then the value.
func (c *registered[T]) Append(dst []byte, v T) ([]byte, error) {
	header := c.header.Load()
	if header == nil {
		return dst, errNotOpened
	}
	return c.format.Append(append(dst, *header...), v)
}

// Decode reads a value by the schema that its header names.
func (c *registered[T]) Decode(src []byte) (T, error) {
	var none T
	if len(src) < headerLen || src[0] != magic {
		return none, errHeader
	}
	id := binary.BigEndian.Uint32(src[1:])
	r, ok := (*c.readers.Load())[id]
	if !ok || !r.until.IsZero() && time.Now().After(r.until) {
		var err error
		if r, err = c.fetch(id); err != nil {
			return none, err
		}
	}
	if r.err != nil {
		return none, r.err
	}
	return r.read(src[headerLen:])
}

// fetch asks the registry for a schema. An error is that of an absent registry; all else is an answer.
func (c *registered[T]) fetch(id uint32) (reader[T], error) {
	ctx, cancel := context.WithTimeout(c.asking(context.Background()), fetchTimeout)
	defer cancel()
	s, err := c.registry.client.SchemaByID(ctx, int(id))
	var r reader[T]
	switch {
	case err == nil:
		if r, err = c.resolve(ctx, s); err != nil {
			return r, err
		}
	case unavailable(err):
		return r, c.registry.failed(err, "fetch the schema of id %d", id)
	default:
		r.err = c.registry.failed(err, "fetch the schema of id %d", id)
		r.until = time.Now().Add(missFor)
	}
	c.learn(id, r)
	return r, nil
}

// resolve finds out how values of a schema are read.
func (c *registered[T]) resolve(ctx context.Context, s sr.Schema) (reader[T], error) {
	full, err := c.registry.complete(ctx, s)
	if err != nil {
		return reader[T]{}, err
	}
	var r reader[T]
	r.read, r.err = c.format.Reader(full)
	return r, nil
}

// learn keeps what is known of an id. Of two that learn at once the later one wins; both have the same to say.
func (c *registered[T]) learn(id uint32, r reader[T]) {
	for {
		was := c.readers.Load()
		now := maps.Clone(*was)
		misses := 0
		for _, known := range now {
			if !known.until.IsZero() {
				misses++
			}
		}
		if misses >= maxMisses {
			maps.DeleteFunc(now, func(_ uint32, known reader[T]) bool { return !known.until.IsZero() })
		}
		now[id] = r
		if c.readers.CompareAndSwap(was, &now) {
			return
		}
	}
}
