// SPDX-License-Identifier: Apache-2.0

package avro

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/avro"

	"github.com/streamd/streamd/operators/codec"
)

// Codec is the codec of values of T by one schema. Of and With make it.
type Codec[T any] struct {
	id     string
	schema *avro.Schema
	mapped bool // a map is somewhere in the schema
	err    error
}

// Of returns the codec by the schema that the struct T has: its name is that of the type, field names can be set by
// tags such as `avro:"name"`, pointers are optional, and time.Time is in milliseconds. See avro.SchemaFor of
// github.com/twmb/avro for the rest, options among them.
func Of[T any](opts ...avro.SchemaOpt) Codec[T] {
	schema, err := avro.SchemaFor[T](opts...)
	if err != nil {
		return Codec[T]{id: "avro", err: fmt.Errorf("derive an Avro schema from a type: %w", err)}
	}
	return of[T](schema)
}

// With returns the codec by a schema in JSON. T must have a field for each one of a record.
func With[T any](schema string) Codec[T] {
	parsed, err := avro.Parse(schema)
	if err != nil {
		return Codec[T]{id: "avro", err: fmt.Errorf("parse an Avro schema: %w", err)}
	}
	return of[T](parsed)
}

func of[T any](schema *avro.Schema) Codec[T] {
	root, h := schema.Root(), sha256.New()
	_, _ = h.Write(schema.Canonical()) // A hash never returns an error.
	c := Codec[T]{schema: schema, mapped: walk(h, root)}
	name := root.Name
	if name == "" {
		name = root.Type
	}
	c.id = fmt.Sprintf("avro:%s:%s", name, hex.EncodeToString(h.Sum(nil)[:8]))
	return c
}

// walk adds to the fingerprint what Avro's canonical form leaves out although the bytes depend on it, and says
// whether the schema has a map.
func walk(w io.Writer, n *avro.SchemaNode) (mapped bool) {
	fmt.Fprintf(w, "%s %s %d %d\n", n.Type, n.LogicalType, n.Precision, n.Scale)
	mapped = n.Type == "map"
	for i := range n.Fields {
		mapped = walk(w, &n.Fields[i].Type) || mapped
	}
	for i := range n.Branches {
		mapped = walk(w, &n.Branches[i]) || mapped
	}
	for _, inner := range []*avro.SchemaNode{n.Items, n.Values} {
		if inner != nil {
			mapped = walk(w, inner) || mapped
		}
	}
	return mapped
}

// ID is "avro:", the schema's name, and the first 8 bytes of a fingerprint.
func (c Codec[T]) ID() string { return c.id }

// Err returns why there is no schema, or why T does not fit it.
func (c Codec[T]) Err() error { return c.err }

// Ambiguous says whether a value may have several encodings, as one with a map has.
func (c Codec[T]) Ambiguous() bool { return c.mapped }

// Append appends the value by the codec's schema.
func (c Codec[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.err != nil {
		return dst, c.err
	}
	out, err := c.schema.AppendEncode(dst, &v)
	if err != nil {
		return dst, describe(err)
	}
	return out, nil
}

// Decode reads a value that was written by the codec's schema.
func (c Codec[T]) Decode(src []byte) (T, error) {
	if c.err != nil {
		var zero T
		return zero, c.err
	}
	return decode[T](c.schema, src)
}

func decode[T any](schema *avro.Schema, src []byte) (T, error) {
	var v, zero T
	rest, err := schema.Decode(src, &v)
	if err != nil {
		return zero, describe(err)
	}
	if len(rest) > 0 {
		return zero, fmt.Errorf("avro: %d bytes behind the value", len(rest))
	}
	return v, nil
}

// Schema returns the schema as registries take it.
func (c Codec[T]) Schema() (codec.Schema, error) {
	if c.err != nil {
		return codec.Schema{}, c.err
	}
	return codec.Schema{Kind: codec.AvroSchema, Text: c.schema.String()}, nil
}

// Prefix returns what stands between a schema's id and the value in the wire format of registries: nothing.
func (c Codec[T]) Prefix() []byte { return nil }

// Reader returns what decodes values that were written by another schema, by Avro's rules: fields that the codec's schema
// lacks are skipped, those that the other one lacks get their default, numbers are widened.
func (c Codec[T]) Reader(s codec.Schema) (func(src []byte) (T, error), error) {
	if c.err != nil {
		return nil, c.err
	}
	if s.Kind != codec.AvroSchema {
		return nil, fmt.Errorf("the schema is of kind %s, not %s", s.Kind, codec.AvroSchema)
	}
	writer, err := parse(&avro.SchemaCache{}, s)
	if err != nil {
		return nil, fmt.Errorf("parse the schema: %w", err)
	}
	resolved, err := avro.Resolve(writer, c.schema)
	if err != nil {
		return nil, fmt.Errorf("read by the schema of %s: %w", c.id, err)
	}
	return func(src []byte) (T, error) { return decode[T](resolved, src) }, nil
}

// parse reads a schema behind those that it refers to.
func parse(cache *avro.SchemaCache, s codec.Schema) (*avro.Schema, error) {
	for _, ref := range s.References {
		if _, err := parse(cache, ref.Schema); err != nil {
			return nil, fmt.Errorf("%s: %w", ref.Name, err)
		}
	}
	return cache.Parse(s.Text)
}

// describe says where and of what kind the trouble is. The library's own text may quote values.
func describe(err error) error {
	if e, ok := errors.AsType[*avro.SemanticError](err); ok {
		if e.Field == "" {
			return fmt.Errorf("avro: %s does not fit %v", e.AvroType, e.GoType)
		}
		return fmt.Errorf("avro: field %s: %s does not fit %v", e.Field, e.AvroType, e.GoType)
	}
	if e, ok := errors.AsType[*avro.ShortBufferError](err); ok {
		return fmt.Errorf("avro: the bytes end within a value of type %s", e.Type)
	}
	return errors.New("avro: the bytes and the schema do not fit")
}
