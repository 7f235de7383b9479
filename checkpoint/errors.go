// SPDX-License-Identifier: Apache-2.0

package checkpoint

import "errors"

var (
	// ErrCorrupt says that an object or file does not hold what it should; the text names it.
	ErrCorrupt = errors.New("checkpoint data is corrupt")
	// ErrMissing says that an object that should exist does not; the text names it.
	ErrMissing = errors.New("checkpoint data is missing")
	// ErrFutureFormat says that a later version of streamd has written the object. Use that version
	// or a later one; guessing could lose state.
	ErrFutureFormat = errors.New("checkpoint was written by a later version of streamd")
	// ErrSuperseded says that another owner of the task has published this round first, or that the
	// round was dropped. The caller is not, or no longer, the one to publish it.
	ErrSuperseded = errors.New("checkpoint is superseded")
	// ErrIncomplete says that manifests of a round are still to come.
	ErrIncomplete = errors.New("round is incomplete")
	// ErrInvalid says that the caller's input cannot be stored.
	ErrInvalid = errors.New("invalid checkpoint request")
	// ErrTooSlow says that an upload took so long that its objects might be collected before the
	// manifest names them. Nothing was published; a longer grace time or a faster store helps.
	ErrTooSlow = errors.New("upload took longer than half the grace time of garbage collection")
)
