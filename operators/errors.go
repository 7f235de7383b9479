// SPDX-License-Identifier: Apache-2.0

package operators

import (
	"errors"
	"fmt"
)

// ErrNullKey and ErrNullValue are the causes of a DecodeError for a record without a key or value where the codec
// has no null. Bytes is the codec that has one: nil.
var (
	ErrNullKey   = errors.New("key is null; decode the key with codec.Bytes if the topic is not keyed")
	ErrNullValue = errors.New("value is null; decode the value with codec.Bytes if the topic holds tombstones")
)

// UserError is an error that user code returned (or user data caused, as a value that its codec refuses
// to encode), with the step and the input record at fault. It never holds the record's key or value.
type UserError struct {
	Step      string // label of the step
	Topic     string // empty if no record was in process, as in Flush and Advance
	Partition int32
	Offset    int64
	Err       error
}

// NewUserError wraps err with what the context says is running.
func NewUserError(ctx *Context, err error) *UserError {
	e := &UserError{Step: ctx.Node, Partition: -1, Offset: -1, Err: err}
	if r := ctx.Record; r != nil {
		e.Topic, e.Partition, e.Offset = r.Topic, r.Partition, r.Offset
	}
	return e
}

// Error names the step and the record's position.
func (e *UserError) Error() string {
	if e.Topic == "" {
		return fmt.Sprintf("step %q between records: %s", e.Step, e.Err)
	}
	return fmt.Sprintf("step %q on record %s/%d offset %d: %s", e.Step, e.Topic, e.Partition, e.Offset, e.Err)
}

// Unwrap returns what user code returned.
func (e *UserError) Unwrap() error { return e.Err }

// Part says which part of a record a DecodeError is about.
type Part string

// The parts of a record.
const (
	PartKey   Part = "key"
	PartValue Part = "value"
)

// DecodeError is a record whose key or value a source could not decode. It never holds the bytes.
type DecodeError struct {
	Step      string // label of the source
	Part      Part
	Codec     string // id of the codec
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

// Error names the source, the record's position and the codec.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("step %q on record %s/%d offset %d: decode %s as %s: %s",
		e.Step, e.Topic, e.Partition, e.Offset, e.Part, e.Codec, e.Err)
}

// Unwrap returns what the codec returned.
func (e *DecodeError) Unwrap() error { return e.Err }
