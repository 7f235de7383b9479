// SPDX-License-Identifier: Apache-2.0

// Package streamtest is the kit with which users test their pipelines: fast, without a network, and with crashes.
//
// # What for
//
// A Driver runs the compiled pipeline on the engine's own task runtime and its own state store. Only the world
// around them is made here: topics are slices, the disk is memory, time stands still until it is moved. So
// what a test shows holds for the engine, and a test can do what is hard elsewhere: crash between any two
// records, lose the disk, go back to a checkpoint, and look whether the outputs are still right.
//
//	d := streamtest.New(t, pipeline())
//	orders := d.In("orders", codec.String, codec.JSON[Order]())
//	orders.Send("o-1", Order{Customer: "ann", Cents: 250})
//	d.Run()
//	d.Crash()
//	orders.Send("o-2", Order{Customer: "ann", Cents: 120})
//	d.Run()
//	got := streamtest.ReadTable(d.Out("spend", codec.String, codec.Int64))
//
// ThreeWays runs a whole script so: straight, with a crash after every record, and with another number of partitions.
//
// # Mental model
//
//	In.Send ─▶ topic ─▶ task ─▶ uncommitted ──Commit──▶ topic ─▶ next task, or Out.Read
//	                     │                       │
//	                   state ───────────────▶ changelog ─▶ State.Get, and what a restore replays
//
// Process processes records, Commit makes one epoch of what was processed since the last one, and Run repeats both
// until nothing waits. Crash, LoseDisk and RestoreCheckpoint end the one process that runs all tasks, and begin
// another: what was not committed is processed again.
//
// # Invariants
//
//   - I1: nothing is visible before its Commit, neither to readers nor to the tasks of the next sub-topology.
//   - I2: keys are in the partition that Kafka's default partitioner chooses; order within it is the order of sending.
//     A commit leaves a marker in each partition it wrote, so that offsets have the gaps they have in Kafka.
//   - I3: a restart brings each task to exactly its last committed position, and fails the test if the state on disk
//     is ahead of it or the changelog does not lead there.
//   - I4: the same script gives the same run. Among all tasks the one whose next record is the oldest goes first, unless
//     Order says otherwise. Calls of async steps are made one after the other, when no record waits or the task takes
//     none.
//   - I5: the bytes of a record are overwritten once it is processed, so that code which keeps them is found out.
//
// # Concurrency
//
// A Driver and what it returns belong to the goroutine of the test. Tests may run in parallel, each with its own.
//
// # Failure behaviour
//
// What goes wrong fails the test with a message that begins with "streamtest:", names the pipeline and the step, topic
// or store, and says what was found. TryRun returns the error of a record instead, for tests of bad input.
package streamtest
