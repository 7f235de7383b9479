// SPDX-License-Identifier: Apache-2.0

// Package worker is the shell around engine/core: one process that joins the application's group, restores and
// runs tasks, and carries out the effects that the machine orders.
//
// # Mental model
//
// One goroutine, the loop, owns the machine, the producer and every running task. All else reports to it by
// channels: the group membership (assign, revoke, lose), restores, fetches, checkpoints. Between commits the loop
// hands tasks with fetched records to the lanes and waits for them, so a task is never processed by two
// goroutines, and no record path takes a lock.
//
//	group ----events----+
//	restores --results--+--> loop --> core.Machine --> effects --> producer, stores, group
//	fetcher --batches---+      |
//	checkpoints --done--+      +--> lanes: task.Process
//
// # Invariants
//
//   - I1: a task is in the hands of exactly one of: its restore, the loop, a lane to which the loop lends it. A lane that
//     is stuck keeps it beyond its epoch.
//   - I2: a reply of an earlier membership, producer, consumer or attempt is recognised and dropped.
//   - I3: the loop never waits for the group, for an upload or for a download; it waits for the transaction, and for lanes
//     up to a deadline well below the transaction timeout.
//   - I4: one worker uses a state folder; what replaces a local state is whole before that goes.
//
// # Failure behaviour
//
// What heals by itself (a broker away, an unknown outcome, a rebalance) is handled by going back to what is
// committed. What does not (user code, an oversized record, foreign state, expired offsets) ends Run with an error
// that says what was found and what to do; a worker that ends leaves the group, so that others take its tasks.
package worker
