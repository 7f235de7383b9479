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
	Phase     Phase  // all but PhaseDecode
	Topic     string // empty if no record was in process, as in Flush and Advance
	Partition int32
	Offset    int64
	Err       error
}

// NewUserError wraps err with what the context says is running.
func NewUserError(ctx *Context, err error) *UserError { return newUserError(ctx, PhaseProcess, err) }

// NewSerializeError is NewUserError for a key or value that its codec refuses to encode.
func NewSerializeError(ctx *Context, err error) *UserError {
	return newUserError(ctx, PhaseSerialize, err)
}

// ErrRecordTooLarge is a record that is larger than what may be sent to a broker.
var ErrRecordTooLarge = errors.New("the record is too large")

// NewProduceError is NewUserError for a record that cannot be sent to its topic.
func NewProduceError(ctx *Context, err error) *UserError { return newUserError(ctx, PhaseProduce, err) }

// NewTimerError is NewUserError for what a step does because time has passed.
func NewTimerError(ctx *Context, err error) *UserError { return newUserError(ctx, PhaseTimer, err) }

func newUserError(ctx *Context, phase Phase, err error) *UserError {
	e := &UserError{Step: ctx.Node, Phase: phase, Partition: -1, Offset: -1, Err: err}
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

// Phase is what a step was doing with a record when it failed.
type Phase string

// The phases.
const (
	PhaseDecode    Phase = "decode"    // a source read the record's bytes
	PhaseProcess   Phase = "process"   // the step's own code ran
	PhaseSerialize Phase = "serialize" // a key or value became bytes
	PhaseProduce   Phase = "produce"   // a record was handed over, to be sent to its topic
	PhaseTimer     Phase = "timer"     // the step's own code ran because time had passed, not because of a record
)

// Failure is a record that a step failed on, or what it failed to do as time passed, and that a policy keeps from ending
// the epoch.
type Failure struct {
	Step      string // label of the step
	Phase     Phase
	Topic     string // of the task's input record; empty if there was none
	Partition int32
	Offset    int64
	Err       error // *DecodeError or *UserError
}

// PanicError is a panic of user code that a step's policy has caught. Its text has no value that user code threw; the
// value and the stack are there for whoever may see them.
type PanicError struct {
	Value any
	Stack []byte
}

// Error names the type of what was thrown, or what the Go runtime says.
func (e *PanicError) Error() string { return "panic: " + DescribePanic(e.Value) }

// DescribePanic says what was thrown without quoting data: the text of an error of the Go runtime, as of a nil map or an
// index out of range, else the type.
func DescribePanic(value any) string {
	if err, ok := value.(interface{ RuntimeError() }); ok {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%T", value)
}
