// SPDX-License-Identifier: Apache-2.0

// Package operators is the runtime contract between a compiled pipeline and whatever runs it.
//
// # What for
//
// The DSL (operators/stream) compiles to a graph (operators/topology) whose sub-topologies make
// Processors; the engine's tasks and the test kit feed Records to a Processor and take its Emissions.
// This package holds only what those sides must agree on, and depends on neither.
//
// # Mental model
//
//	fetch buffer ── Record ──▶ Processor ── Emission ──▶ Output ──▶ transaction
//	                              │  ▲
//	                              ▼  │
//	                        statestore.DB (one per task)
//
// One task owns one Runtime: its database, its Output, its Context. A Processor is made from it by
// topology.SubTopology.New and lives as long as the task.
//
// # Invariants
//
//   - I1: a Processor keeps no slice of a Record after Process returns; what it keeps it copies.
//   - I2: Context.Node names the step whose user code runs, whenever user code runs.
//   - I3: everything a Processor emits or writes belongs to the epoch of the call; a failed call leaves
//     the epoch to be aborted, never to be committed in part.
//   - I4: no error text made here contains a key or a value of user data.
//
// # Concurrency
//
// Runtime, Context, Processor and Output are used by one goroutine at a time: the lane that runs the task. A GlobalStore
// is read by all of them, and changed only while none of them runs.
//
// # Failure behaviour
//
// Process and Flush return *UserError when user code returned an error, *DecodeError when a record could
// not be decoded, and other errors (state, missing resources) as they are. A record that a policy keeps from failing
// the epoch is told to the Listener. User panics are caught here only in steps that have a policy: elsewhere the caller
// recovers and reports Context.Node, because a recover per record would cost more than the record.
package operators
