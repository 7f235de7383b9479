// SPDX-License-Identifier: Apache-2.0

// Package storetest is the conformance suite of objstore.Store: each test is a sentence of the contract.
//
// # What it is for
//
// Every driver, and every wrapper around one, runs it against the real medium: Run(t, open). RunTroubled checks
// what retries make of a medium that misbehaves.
//
// # Mental model
//
// open returns a handle on one and the same empty store each time it is called within a test, so that
// promises between processes are tested between handles.
//
// # Invariants
//
// It checks I1 to I4 of package objstore as far as they can be seen from outside; crashes cannot.
//
// # Concurrency and failure behaviour
//
// Tests run in parallel, each on a store of its own. A failure names the promise.
package storetest
