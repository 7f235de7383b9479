// SPDX-License-Identifier: Apache-2.0

// Package partition is the vocabulary of where things are: topic partitions, tasks, on which partition a key lives,
// which partitions make a task, and which worker runs it. It is pure: no I/O, no clock, no randomness, and no
// imports but the standard library.
//
// # Mental model
//
//	sub-topologies × partition counts --Tasks--> tasks --Assign--> who shall run them --Place--> who does now what
//
// A task is partition n of every source of one sub-topology. Placement takes the tasks, the members of the worker
// group and what each of them runs and holds, and says who runs what next, who stands by and who warms up. It knows
// nothing of the group protocol: package groupbalance turns its answer into one, and takes care that a task is given up
// before it is taken up.
//
// [Assign] first fixes how many tasks each member gets (quota.go), then which (fill.go). Whatever freedom balance
// leaves in the first step is spent on moving little, in the second on moving to where the state is. Tasks are dealt out
// by class: those of the largest weight first, and of one weight the stateful ones before the others.
//
// [Place] puts that off where state is not yet where it shall be (place.go): a stateful task stays with its owner until the
// member that shall run it is warm. Then it chooses standbys (standby.go), as a matching of tasks with members.
//
// # Invariants
//
//   - I1: [ForKey] is the choice of Kafka's default partitioner, for ever. Records, state and look-ups rely on it.
//   - I2: [Assign] gives each task that some member can run to exactly one member that can run it. It gives none to a
//     leaving member unless only leaving ones can run it.
//   - I3: balance. Of the tasks of a weight or more, a member has its share by capacity, rounded down or up; so with equal
//     weights it has its share of all tasks, and of the stateful ones. Its load, the sum of the weights, is less than the
//     largest weight off its share; loads of members of equal capacity differ by at most that weight. While members
//     differ in what they can run, this holds for each set of tasks that the same members can run.
//   - I4: stickiness. With equal weights, no balanced assignment moves fewer stateful tasks. If also capacities are equal
//     and no ownerless state draws a member's extra task to it, none moves fewer stateless tasks either.
//   - I5: stability. The same members and tasks give the same result in whatever order they come, and a result that
//     is given back as what members own is not changed.
//   - I6: a task without owner goes to the member with the best copy, if that one has room: one that is warm, else the one
//     that is nearest to the present.
//   - I7: [Place] gives a stateful task to another member than a staying one that runs it only if that other one is warm.
//     Of a task without owner, or with a leaving one, it makes a warm member the owner, also beyond its share.
//   - I8: rest. While members stay as they are and warm-ups end, a group comes to what Assign says, within as many rounds as
//     there are tasks and a few more; then nothing changes any more. One change of the members moves each stateful task at
//     most once, and one that a warm member had to take over once more.
//   - I9: no more than [Rules.WarmUps] tasks of staying owners warm up, and one that has begun goes on while no member comes
//     or goes, unless another task was warm sooner. It takes members that tell the [Use] of their copies.
//   - I10: a stateful task has as many standbys as the rules say, or as there are other members that may run it. They are
//     not on the owner, nor on who warms up for it. While nothing warms up, no other choice within the shares has more of
//     them in zones of their own; and shares, by capacity and rounded, are kept unless it would cost a zone, or somebody has
//     to have more.
//
// # Roads not taken
//
// Dealing tasks out by weight, each to the member with the least load (longest processing time first), comes a little
// closer to equal loads. But it deals anew after every change, and moves state for it. Rounding class by class keeps the
// freedom to leave tasks where they are, has a bound, and does not pile many light tasks on one member where a weight is a
// poor guess: by number they are even, too. The assignors of Kafka Streams know no weights.
//
// # Concurrency and failure
//
// All functions are safe for concurrent use and keep nothing. Errors are wrong input and wrap a sentinel. [Assign] and
// [Place] have no errors: tasks that nobody can run stay unassigned, and there is no other way to fail.
//
// # Files
//
//	id.go           names
//	hash.go         the partition of a key
//	copartition.go  tasks from sub-topologies and partition counts, and back
//	assign.go       members, and who shall run what
//	quota.go        how many tasks each member gets
//	fill.go         which ones
//	place.go        who runs what until state is where it shall be
//	standby.go      who stands by
package partition
