// SPDX-License-Identifier: Apache-2.0

// Package fork begins a new application from a checkpoint of another: same pipeline, another id, outputs elsewhere.
// A replay is a fork whose run ends.
//
// # Mental model
//
//	origin: checkpoint N = { state, input offsets } of every task
//	   |  Prepare: is that possible, and what would be done?   (changes nothing)
//	   v  Execute
//	new application, incarnation 1: checkpoint 1 with the same state, fresh and empty changelogs, committed offsets
//	   |  a worker starts and finds what any worker finds after a restart
//	   v
//	processing goes on from the checkpoint
//
// State files are copied, not shared: the origin may collect or be reset at any time. Each part is opened once on the
// way, to set its changelog position to "nothing yet", because the new changelog begins empty.
//
// # Invariants
//
//   - I1: nothing of the origin is changed.
//   - I2: an application that exists already is refused, before anything is written.
//   - I3: offsets are committed only after the checkpoint they name is complete. An Execute that was killed is
//     repeated by Prepare and Execute with the same request; a different request is refused.
//
// # Failure behaviour
//
// Prepare reports all obstacles at once ([ErrNotPossible], [ErrExists]). A pipeline with repartition topics is
// refused: records in flight between its parts belong to no task's state, so the copy would lose them.
package fork
