// SPDX-License-Identifier: Apache-2.0

// Package statestore keeps the keyed state of one task: a table of decoded values in front of a Pebble database,
// written once per commit and never before the commit is confirmed.
//
// # Mental model
//
//	Update, Put ──▶ table of decoded values (dirty) ── Prepare ──▶ Delta ──▶ changelog, in the transaction
//	                          │                                      │
//	                          │ miss: one read                       │ Confirm: the transaction is committed
//	                          ▼                                      ▼
//	                       Pebble  ◀────────── one batch: the delta and the Position ──────────┘
//
// A [DB] belongs to one task and one directory, which carries the identity of its owner. Typed stores ([Value], [Map])
// share it. [Resources] are what all DBs of a process share: the block cache, the memtables' memory and the budget of
// decoded values.
//
// # Invariants
//
//   - I1: nothing reaches Pebble before Confirm; Abort drops what was not confirmed, and the next read sees the
//     confirmed value.
//   - I2: entries and position are written in one batch. There is no write-ahead log: a crash leaves an older state,
//     whole and with its own position.
//   - I3: entries that are dirty, prepared or held are never evicted.
//   - I4: the files of a [Cut] hold exactly the state and the position at the call; epochs confirmed meanwhile stay in
//     memory, readable, until the files are there.
//   - I5: a directory of another application, incarnation or task is never touched.
//
// # Concurrency
//
// A DB and its stores belong to one goroutine at a time. A Cut's Done and the counters of a Listener may be used by
// others. Resources are safe for concurrent use.
//
// # Failure behaviour
//
// Errors wrap the sentinels of errors.go and say what to do. Corruption marks the directory, which then refuses to open:
// the task is restored from a checkpoint. A full disk fails the DB, not the state: what is on disk stays whole. A write
// that Pebble itself takes for fatal ends the process by a panic that names the database.
package statestore
