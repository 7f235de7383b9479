// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"encoding/json/jsontext"
	"errors"
	"fmt"

	"github.com/streamd/streamd/operators/codec"
)

// JSON is the format of values as codec.JSON writes them, under a JSON schema. The schema is for the registry and for
// others who read it: values are not checked against it. What is read may be of any version: members that T lacks
// are ignored, and those that the value lacks keep T's zero value.
func JSON[T any](schema string) Format[T] {
	f := jsonFormat[T]{Codec: codec.JSON[T](), schema: schema}
	if !jsontext.Value(schema).IsValid() {
		f.err = errors.New("the JSON schema is no JSON")
	}
	return f
}

type jsonFormat[T any] struct {
	codec.Codec[T]
	schema string
	err    error
}

// Err implements codec.Err.
func (f jsonFormat[T]) Err() error { return f.err }

// Schema implements Format.
func (f jsonFormat[T]) Schema() (codec.Schema, error) {
	return codec.Schema{Kind: codec.JSONSchema, Text: f.schema}, f.err
}

// Prefix implements Format.
func (f jsonFormat[T]) Prefix() []byte { return nil }

// Reader implements Format.
func (f jsonFormat[T]) Reader(s codec.Schema) (func([]byte) (T, error), error) {
	if s.Kind != codec.JSONSchema {
		return nil, fmt.Errorf("the schema is of kind %s, not %s", s.Kind, codec.JSONSchema)
	}
	return f.Decode, nil
}
