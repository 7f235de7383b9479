// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"context"
	"errors"
)

// Schema is the definition that the values of a codec follow, as a schema registry keeps it.
type Schema struct {
	Kind SchemaKind
	Text string
	// References are the definitions that Text refers to, by the names under which it does.
	References []SchemaReference
}

// SchemaKind is the language of a schema, by the name that registries have for it.
type SchemaKind string

// The kinds of schemas.
const (
	AvroSchema     SchemaKind = "AVRO"
	ProtobufSchema SchemaKind = "PROTOBUF"
	JSONSchema     SchemaKind = "JSON"
)

// SchemaReference is a definition that another one refers to by name.
type SchemaReference struct {
	Name   string
	Schema Schema
}

// ErrUnavailable marks an error of a codec that says nothing about the bytes: what is needed to read or write them is
// not reachable. Such an error follows no policy for bad records.
var ErrUnavailable = errors.New("what the codec depends on is not available")

// Opener is a codec that has to find something out before it reads or writes a topic of the user's, as the ids of its
// schemas. It is opened when a process starts, before it joins its group, for what the pipeline does with it; it may be
// opened again. Building a pipeline opens nothing.
type Opener interface {
	OpenReader(ctx context.Context) error
	OpenWriter(ctx context.Context) error
}

// Own returns the codec that stores and internal topics use where c was given. It is c itself, unless c wraps another
// codec in a form that others agree on, as that of a schema registry; such a codec has a method Own() Codec[T].
func Own[T any](c Codec[T]) Codec[T] {
	if wrapped, ok := c.(interface{ Own() Codec[T] }); ok {
		return wrapped.Own()
	}
	return c
}

// Ambiguous says whether a codec may encode one value in several ways, which makes it unfit for keys. A codec tells by
// a method Ambiguous() bool; one without it has one encoding of each value.
func Ambiguous[T any](c Codec[T]) bool {
	several, ok := c.(interface{ Ambiguous() bool })
	return ok && several.Ambiguous()
}
