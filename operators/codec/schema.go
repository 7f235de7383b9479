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

// Opener is a codec that has to find something out before its first use, as the ids of its schemas. Open is called
// when a process starts, before it joins its group, and may be called again; the tests of the pipeline's build do not
// call it.
type Opener interface {
	Open(ctx context.Context) error
}
