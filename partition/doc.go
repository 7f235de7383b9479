// SPDX-License-Identifier: Apache-2.0

// Package partition is the vocabulary of where things are: topic partitions, tasks, on which partition a key lives,
// which partitions make a task, and which worker runs it. It is pure: no I/O, no clock, no randomness, and no
// imports but the standard library.
//
// # Mental model
//
//	sub-topologies × partition counts --Tasks--> tasks --Assign--> member -> tasks
//
// A task is partition n of every source of one sub-topology. Placement takes the tasks, the members of the worker
// group and what each of them runs and holds, and says who runs what next. It knows nothing of the group protocol:
// package groupbalance turns its answer into one, and takes care that a task is given up before it is taken up.
//
// Placement first fixes how many tasks each member gets (quota.go), then which (fill.go). Whatever freedom balance
// leaves in the first step is spent on moving little, in the second on moving to where the state is.
//
// # Invariants
//
//   - I1: [ForKey] is the choice of Kafka's default partitioner, for ever. Records, state and look-ups rely on it.
//   - I2: [Assign] gives each task that some member can run to exactly one member that can run it.
//   - I3: balance. A member's number of tasks is its share by capacity, rounded down or up; so is its number of
//     stateful tasks. While members differ in what they can run, this holds for each set of tasks that the same
//     members can run.
//   - I4: stickiness. No balanced assignment moves fewer stateful tasks. If capacities are equal and no ownerless
//     state draws a member's extra task to it, none moves fewer stateless tasks either.
//   - I5: stability. The same members and tasks give the same result in whatever order they come, and a result that
//     is given back as what members own is not changed.
//   - I6: a task without owner goes to the member with the furthest state, if that one has room.
//
// # Concurrency and failure
//
// All functions are safe for concurrent use and keep nothing. Errors are wrong input and wrap a sentinel. [Assign]
// has no errors: tasks that nobody can run stay unassigned, and there is no other way to fail.
//
// # Files
//
//	id.go           names
//	hash.go         the partition of a key
//	copartition.go  tasks from sub-topologies and partition counts, and back
//	assign.go       the contract of placement
//	quota.go        how many tasks each member gets
//	fill.go         which ones
package partition
