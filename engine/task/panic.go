// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// PanicError is a panic of user code. Its text names the step and the record's place; the panic's own value and
// the stack are kept apart, since user code may have put data into them.
type PanicError struct {
	Task      partition.TaskID
	Step      string
	Topic     string // empty: between records, at a commit or as time passed
	Partition int32
	Offset    int64
	Value     any
	Stack     []byte
}

func newPanicError(id partition.TaskID, ctx *operators.Context, value any, stack []byte) *PanicError {
	e := &PanicError{Task: id, Step: ctx.Node, Value: value, Stack: stack}
	if r := ctx.Record; r != nil {
		e.Topic, e.Partition, e.Offset = r.Topic, r.Partition, r.Offset
	}
	return e
}

// Error names the step, the record's place and the type of what was thrown.
func (e *PanicError) Error() string {
	what := operators.DescribePanic(e.Value)
	if e.Topic == "" {
		return fmt.Sprintf("task %v: step %q panicked between records: %s", e.Task, e.Step, what)
	}
	return fmt.Sprintf("task %v: step %q panicked on %s/%d at offset %d: %s", e.Task, e.Step, e.Topic, e.Partition, e.Offset, what)
}
