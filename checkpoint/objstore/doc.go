// SPDX-License-Identifier: Apache-2.0

// Package objstore is the contract between streamd and an object store, and the parts of it that no
// driver should write again: names, retries, what requests have in common, and the start-up self-test.
//
// # What it is for
//
// Checkpoints need very little of a store: whole objects, read after write, and one primitive that
// decides races, create-if-absent. Everything else that coordinates checkpoints is built on that one.
//
// # Mental model
//
//	open.Open(url) ── Retry ── crypt, if there are keys ── driver (dir, s3, Mem) ── bytes
//	                    └ the only place that repeats a call
//
// Drivers never repeat a call. They say of each error what it means: ErrNotFound, ErrExists, or
// ErrTransient for "may have happened or not, the same call may be made again". Retry makes it again,
// within a budget.
//
// # Invariants
//
//   - I1 Of any number of concurrent Create calls for one name at most one succeeds, across processes.
//   - I2 An object is visible whole or not at all, and what was acknowledged survives a crash.
//   - I3 A call that returned nil is seen by every later call of any client (read after write, list
//     after write).
//   - I4 A name that CheckName refuses never reaches a driver's medium.
//
// # Concurrency
//
// Every Store may be used by many goroutines at once.
//
// # Failure behaviour
//
// A Create whose reply is lost is ambiguous. Retry reads the object back and compares: the same bytes
// count as the own write. Callers for whom it matters who won must therefore put something of their own
// into the bytes (an owner generation, a random id).
package objstore
