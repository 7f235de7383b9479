// SPDX-License-Identifier: Apache-2.0

// Package inspect reads the state that a checkpoint holds: it walks stores, selects from them, compares two checkpoints,
// writes stores to files for other tools, and says what another release would make of it. It changes nothing and disturbs
// no worker.
//
// # Mental model
//
//	manifests of a round ─▶ Checkpoint ─▶ Store: how entries are laid out, and their codecs
//	objects of a task    ─▶ a temporary folder, one task at a time ─▶ Row ─▶ Query, Diff, Writer, or the caller
//
// Which codec wrote an entry is known from the manifest. How entries are laid out is known from the topology: that of the
// pipeline whose binary this is, or else the one that the application began with. A codec is found among the built-in
// ones and those of the pipeline; what has another codec is shown as text where it is text, else in hexadecimal.
//
// A Try decodes by the code of the pipeline alone, as its steps would, and shows nothing of what it has read.
//
// The language of Query is a small part of SQL with a parser of its own: the parsers that are kept alive belong to
// databases, are many times the size of this package, and know no paths into values.
//
// # Invariants
//
//   - I1: memory does not grow with the state. What must be held (groups, rows to be sorted) has a limit in bytes, and the
//     error beyond it says what to do.
//   - I2: disk space is that of one task's checkpoint, of two in a Diff, and is given back at the end. What a Try downloads
//     in all has a limit.
//   - I3: every row is read from files that were verified by size and SHA-256.
//
// # Concurrency
//
// A Checkpoint may be used from several goroutines. A Query, an Executor and a Writer belong to one.
//
// # Failure behaviour
//
// ErrNoStore and ErrForeign say that the name or the pipeline does not fit the checkpoint, SyntaxError what is wrong with a
// query and where, ErrTooLarge that a limit is met. Damage wraps checkpoint.ErrCorrupt or checkpoint.ErrMissing. A value
// that its codec refuses is no error: it is shown as bytes, and its row says so.
package inspect
