// SPDX-License-Identifier: Apache-2.0

package statestore

import "errors"

// Errors that callers react to. They are always wrapped with what was tried,
// what was found and what to do; test them with errors.Is.
var (
	// ErrForeign: the directory belongs to another application, incarnation or
	// task. Nothing in it was touched.
	ErrForeign = errors.New("state directory is foreign")

	// ErrLocked: another process, or another DB of this process, has the
	// directory open.
	ErrLocked = errors.New("state directory is locked")

	// ErrCorrupt: bytes on disk or in a delta do not decode. The directory is
	// marked and refuses to open again; the task must be restored from a
	// checkpoint into a fresh directory.
	ErrCorrupt = errors.New("state is corrupt")

	// ErrFutureFormat: the directory or delta was written by a newer release.
	ErrFutureFormat = errors.New("state format is from a newer release")

	// ErrTooLarge: one entry does not fit the limit given. The value is never
	// part of the message.
	ErrTooLarge = errors.New("state entry is too large")

	// ErrBudget: the memory budget cannot hold what was asked for.
	ErrBudget = errors.New("memory budget is too small")

	// ErrUncommitted: the call needs a commit boundary, and there are changes
	// that are neither confirmed nor aborted.
	ErrUncommitted = errors.New("state has uncommitted changes")

	// ErrPrepared: state was written between Prepare and its Confirm or Abort.
	ErrPrepared = errors.New("a prepared delta waits for its outcome")

	// ErrCutOpen: the last cut has not ended yet.
	ErrCutOpen = errors.New("a cut is already open")

	// ErrStalled: Pebble cannot flush or compact, memory is at its limit, and
	// the last background error (usually a full disk) is the cause. The DB has
	// failed: the transaction is committed but its delta is not in this
	// directory, so the task must be opened anew and replayed.
	ErrStalled = errors.New("state cannot be written to disk")

	// ErrClosed: the DB or reader was closed.
	ErrClosed = errors.New("state is closed")

	// ErrNotFound: the directory holds no state.
	ErrNotFound = errors.New("state not found")
)
