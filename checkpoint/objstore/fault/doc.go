// SPDX-License-Identifier: Apache-2.0

// Package fault wraps an object store and makes it misbehave as real ones do, for tests and simulation.
//
// # What it is for
//
// A hook is asked before every call and decides what goes wrong with it: nothing, a failure before or
// after the effect, a delay, or a damaged read. Transport does the same below a driver, to its HTTP requests.
//
// # Mental model
//
//	call    → hook(Op)      → Fault: delay → Before? → the store → After? → Truncate / Break / Flip on what is read
//	request → hook(Request) → Wire:  delay → the server, if Applied → Cut or Status? → Break on what is read
//
// # Invariants
//
//   - I1 A Before error means that the call had no effect; an After error that it had its whole effect.
//   - I2 Without faults the wrapper changes nothing.
//
// # Concurrency
//
// Safe for concurrent use; the hook is called one at a time, in the order of Op.N.
//
// # Failure behaviour
//
// It fails as told. Errors made by Unavailable are transient in the sense of objstore.
package fault
