// SPDX-License-Identifier: Apache-2.0

// Package groupbalance makes a Kafka consumer group place tasks as [partition.Assign] decides: a
// [kgo.GroupBalancer] for the classic group protocol, cooperative. It is the only Kafka code below the engine.
//
// # Mental model
//
//	each member                     the leader                                 each member
//	Self, claims --- JoinGroup ---> owners, Place, withhold --- SyncGroup ---> partitions, Table
//
// A member joins with what it is and holds ([Self]), with its sub-topologies, and with its claims: the partitions
// that it reads at this moment. The leader turns claims into owners, has tasks placed, and gives each member the
// partitions of its tasks. A task that changes hands is withheld for a round: its owner gives it up and joins again,
// as kgo does for a cooperative balancer, and in the next round it is free. The one who gets it then is told to warm up
// for it meanwhile. Every member also gets the [Table]: who runs, follows and warms up for what, and what moves.
//
// Members talk of topics, never of sub-topology numbers, which another version of the pipeline may use for something
// else. A member can run a task if it has a sub-topology with the same source topics and subscribes to all of them.
// Which tasks there are is the leader's view: while a new version is rolled out, its additional sub-topologies start
// when one of its workers leads the group.
//
// # Claims and owners
//
// A claim proves ownership only if it is without a gap: the claimant took part in the generation before the one that
// is being formed. A worker that was thought dead may come back and still claim partitions which have meanwhile
// been processed by somebody else, even by somebody who is dead now. Were it to "keep" them, it would go on from its
// own stale positions. So each member counts up to which generation its claims are without a gap, and what is
// claimed in any other way, or by two at once, is withheld from everyone, the claimant included, until nobody claims
// it. The count is kept here and not taken from the generation in kgo's metadata: that one advances when a join is
// answered, also that of a stale member whose sync then fails.
//
// # Invariants
//
//   - I1: a member is given a task only if it owns it, or nobody claims any of its inputs.
//   - I2: the inputs of a task are given together and to one member, which can run the task.
//   - I3: a claim that is not of the generation before this one never makes an owner.
//   - I4: the bytes decide: the same members and partition counts give the same assignment.
//   - I5: a [Table] is that of one generation. One of an older one lacks members that have since come: its live ids must
//     not be used to fence those that it lacks.
//
// # Concurrency and failure
//
// kgo calls a [Balancer] from the goroutine that manages the group; the other methods may be called from any
// goroutine. The lock covers only memory. A member whose metadata cannot be read, and sources that are absent or not
// co-partitioned, fail the round with an error that names them; kgo then gives up what it has, backs off and joins
// again.
//
// # Limits
//
// The broker keeps the metadata and the assignments of all members in one record of at most message.max.bytes (1 MiB
// by default), and every assignment holds the whole table. With 50 workers of 1,000 tasks that is a quarter of it.
//
// # Files
//
//	balancer.go  what kgo calls, and what the engine asks
//	plan.go      one round: owners, placement, withholding
//	wire.go      user data of members and of assignments
package groupbalance
