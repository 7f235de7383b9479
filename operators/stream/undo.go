// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"slices"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/statestore"
)

// rowUndo remembers the row that a guarded aggregation is about to change.
type rowUndo[A any] struct {
	store *statestore.Value[row[A]]
	codec rowCodec[A]
	key   []byte // nil: nothing has changed yet
	value []byte // encoded, since the fold may change the aggregate in place
	found bool
}

func (u *rowUndo[A]) remember(key []byte, r row[A], found bool) (err error) {
	u.key, u.found = key, found
	if found {
		u.value, err = u.codec.Append(u.value[:0], r)
	}
	return err
}

func (u *rowUndo[A]) undo() error {
	if u.key == nil {
		return nil
	}
	if !u.found {
		return u.store.Delete(u.key)
	}
	r, err := u.codec.Decode(u.value)
	if err != nil {
		return err
	}
	return u.store.Put(u.key, r)
}

// undoLog remembers what the states of a guarded Process step held before a record, so that a record which the step
// fails on leaves nothing behind. Values are remembered encoded: user code may change what it was given in place.
type undoLog struct {
	entries []undoEntry
	bytes   []byte
}

// undoEntry is one access to a state: its sub-key, if it has some, and its value lie one behind the other in undoLog.bytes.
type undoEntry struct {
	state           restorer
	sub, value, end int
	found           bool
}

// restorer is a state without its types. Both slices are valid during the call.
type restorer interface {
	restore(sub, value []byte, found bool) error
}

func (u *undoLog) reset() { u.entries, u.bytes = u.entries[:0], u.bytes[:0] }

// remember notes the value that a state has now.
func (u *undoLog) remember[V any](state restorer, sub []byte, c codec.Codec[V], v V, found bool) error {
	e := undoEntry{state: state, sub: len(u.bytes), found: found}
	u.bytes = append(u.bytes, sub...)
	e.value = len(u.bytes)
	if found {
		b, err := c.Append(u.bytes, v)
		if err != nil {
			return err
		}
		u.bytes = b
	}
	e.end = len(u.bytes)
	u.entries = append(u.entries, e)
	return nil
}

// undo puts everything back, the latest first.
func (u *undoLog) undo() error {
	defer u.reset()
	for _, e := range slices.Backward(u.entries) {
		if err := e.state.restore(u.bytes[e.sub:e.value], u.bytes[e.value:e.end], e.found); err != nil {
			return err
		}
	}
	return nil
}
