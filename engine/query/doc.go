// SPDX-License-Identifier: Apache-2.0

// Package query answers questions about the state of a running application: what a key has, or what keys there are.
//
// # Mental model
//
// Any worker may be asked. A key has one task; the worker that runs it reads the confirmed state beside the task's
// goroutine, and any other worker hands the query on to it:
//
//	request ─▶ Service: store, key ─▶ task ─┬─ held here ─▶ statestore.View ─▶ rows + position
//	                                        └─ Router ─▶ owner's API ─▶ the same there
//
// An answer shows one commit of each task that it is about and says which: the position. Uncommitted changes are never
// seen. Who needs to see a certain write names its position, and the query waits for that. How entries are decoded is
// that of engine/inspect.
//
// # Invariants
//
//   - I1: rows and position of a task in an answer are of one view.
//   - I2: a query is handed on once at most; who cannot answer one that was handed on says so.
//   - I3: only what goes away by itself is tried again, and no longer than the query's time.
//   - I4: what queries hold has limits: queries under way, rows, bytes, and those that read at a time. None of them is held
//     while a view is open, other than the processor.
//
// # Concurrency
//
// A Service and a Client may be used from any goroutine. No goroutine outlives a call.
//
// # Failure behaviour
//
// Errors are problems of engine/api; those with Retry may be asked again. While a task is moved, queries of its keys wait
// for the new owner; with Query.Stale a standby answers them.
package query
