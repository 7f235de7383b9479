// SPDX-License-Identifier: Apache-2.0

// Package task runs one task: it takes batches of its input partitions in offset order, feeds them to the fused
// chain of its sub-topology, and hands over what one commit of it consists of. It knows no Kafka and no clock of
// its own, so that the engine and the test kit run the very same code.
//
// # Invariants
//
//   - I1: offsets of an input only grow. A record below the next expected offset is a stale buffer and an error:
//     processing it would count it twice.
//   - I2: after an error from Process or Prepare nothing of the epoch may be committed; Abort comes next.
//   - I3: a panic of user code ends the call, not the process, and is reported with step, topic, partition and
//     offset, never with the record.
//
// # Concurrency
//
// A Task belongs to one goroutine at a time. What its steps call runs on goroutines of the engine, and comes back through
// calls.ended, the one thing here that has a lock; its results are taken on the task's goroutine. An abort ends the context
// of calls under way and drops what they bring.
package task
