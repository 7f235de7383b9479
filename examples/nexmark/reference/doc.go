// SPDX-License-Identifier: Apache-2.0

// Package reference says what the queries of the NEXMark suite give: it evaluates each over all events at once, and
// compares that with what a topic holds.
//
// # Mental model
//
// An evaluation has all events in memory, sorted by time, and computes in the way that is easiest to believe: gather,
// then calculate. There are no windows that open and close, no state, no order of arrival. Nothing of the engine is
// used, so that an error would have to be made twice to stay unseen.
//
// Results are rows. An append query writes one record per row and takes none back: the records are compared as a
// multiset. An upsert query writes a record whenever a row changes: what counts is the last value of each record key, and
// a null value deletes the row.
//
// # Concurrency
//
// Everything here is safe for concurrent use as long as nobody changes the input.
package reference
