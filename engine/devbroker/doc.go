// SPDX-License-Identifier: Apache-2.0

// Package devbroker is a Kafka broker inside the process, for `dev`, demos and tests: nothing to install,
// nothing to clean up, and the data is there again after a restart.
//
// It is franz-go's kfake with a folder. It speaks the Kafka protocol on a loopback port: groups, transactions,
// read_committed, topic settings. Other Kafka clients can connect to it while it runs.
//
// # What it is not
//
// One node without replication, without delayed transaction markers and without automatic retention; it holds
// its data in memory as well. A promise about exactly-once has to be tested on a real broker too.
//
// # Invariants
//
//   - I1: what a client was told is committed is there after Close and Start on the same folder.
//   - I2: one process at a time uses a folder; a second one gets [ErrInUse].
//
// # Concurrency
//
// All methods are safe for concurrent use. Close waits for the data to be written.
package devbroker
