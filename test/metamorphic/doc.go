// SPDX-License-Identifier: Apache-2.0

// Package metamorphic tests the DSL as a whole: a random pipeline over a random input gives the same results plainly and
// under random settings.
//
//	go test ./test/metamorphic                                # the short form
//	make metamorphic                                          # the long form
//	make metamorphic ARGS="-pipelines 20000 -engines 500"
//	go test ./test/metamorphic -run Settings -pipelines 1 -seed 7
//
// # Mental model
//
//	seed ─▶ plan ───┬─▶ test kit: one partition, all sent at once ──────────────────────▶ expected
//	    ─▶ input  ──┤
//	    ─▶ settings ┴─▶ test kit: partitions, order of tasks, commits, crashes, small cache ─▶ must agree
//	                └─▶ workers on a broker in the process, one of them stopped or broken ──▶ must agree
//
// A plan is a pipeline as data: a list of steps, each a verb with arguments and the steps that it takes its input from. A
// verb says which inputs it is for and what is known of its result (shape), and builds its step. All streams and tables have
// strings as keys and numbers as values, bags where aggregates are to be changed in place: few types, as each costs the
// compiler time. What no other step uses is written to a topic, and some of the rest.
//
// A seed repeats plan, input and settings exactly. On the test kit it repeats the run; workers take turns as they like. A
// failure prints the seed. On the test kit it prints what is left of the trial when steps, records and acts that the
// failure does not need are taken away.
//
// # What is compared, and why it must be equal
//
// What runs may differ in is the order in which records of different keys, partitions and topics meet, and when what is
// committed. The order of the records of one key of one partition is always that of the input. From there each verb's
// shape goes on:
//
//   - A stream is ordered if the records of each key, and their order, follow from the input alone. A source is, and stays
//     so through what keeps keys. KeyBy, Merge and joins bring records of several tasks together: which records there are
//     is still known, and their order is not. Of the former sequences are compared, of the latter multisets, with times.
//   - Folds over streams that are not ordered are those that do not care for order: sums, counts, maxima, sorted bags.
//     Their last rows must be equal; the updates on the way may not be, so no stream is made of them, and of tables only the
//     last value of each key is compared. Folds over ordered streams may be a hash of all that came, and each update counts.
//     Distinct, Process with a state, and Table want ordered streams.
//   - Windows that close give one result each, in the order of time for each key, whatever the order of records: no record is
//     late, see below. Windows that emit more than once must end with what the same windows on close give; sessions on the
//     way leave results behind that are part of others in the end.
//   - Rows of GroupBy and of joins of tables must be those of the last rows they come from. Tables are joined if no source
//     is behind both. Of their times nothing is compared: whether a deletion still counts depends on the way there.
//   - A stream looks up rows only of tables whose records are all older than its own, and which come from the same
//     sub-topology: a task takes records in the order of time. Global tables are filled before.
//   - Records are out of order within the bound that the sources declare, over all topics together, so that none is late;
//     the side outputs for late ones must be empty. Results that depend on which of two records is late are not part of this.
//   - Inputs fall idle before the end only where steps that go by event time read the sources themselves. Through topics of
//     the pipeline some tasks wake up before others, and what these bring may be late, as the wall clock has it.
package metamorphic
