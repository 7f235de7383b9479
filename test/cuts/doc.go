// SPDX-License-Identifier: Apache-2.0

// Command cuts proves that every complete round is a consistent cut of the whole pipeline: on a real Kafka broker, under
// load, with workers killed by SIGKILL, every application that begins from a round goes on as the original has.
//
//	go run ./test/cuts                                    # 10 rounds, 3 of them rescaled twice
//	go run ./test/cuts --cuts 3 --rescales 1 --seed 7
//
// # Mental model
//
// The pipeline has three stages with repartition topics between them, so that every task hears from every task before it:
//
//	orders   --> by-order ------+
//	                            +--> settle (left join within a time) --> by-customer --+--> count ----> counts
//	payments --> by-paid-order -+                                                       +--> windows --> totals
//
// Three workers run it while records are written and rounds are taken, and every few seconds one of them is killed and
// another started. Then writing ends and the application runs to its end. From each of the rounds a fork begins, by the
// program's own command line; two workers run it to the end, and one of them is killed in the middle. Some rounds are
// rescaled as well, to more tasks. That application is halted at a savepoint in the middle, resumed, and its savepoint
// in turn rescaled to fewer tasks.
//
// The command runs itself again as the pipeline's program: CUTS_PROGRAM is its command line.
//
// # What is checked
//
// Results depend on the input alone, so the checks go by an evaluation of it. Each update of a count names the order that
// has made it.
//
//   - C1: the original's results are those of the evaluation.
//   - C2: what the checkpoint says of a customer is an update that the original has written. Those up to it, and then
//     those of the fork, together have each order once, with counts that go up by one and the right sums: nothing is lost
//     between the cut and the first update of the fork, and nothing is done twice.
//   - C3: a fork writes each window that closes after the event time of its task at the cut, once, with the right sum, and
//     no other.
//   - C4: the same for what was rescaled. A customer's event time is then the highest that any of its tasks had at a cut.
//   - C5: an application that is halted has written up to its savepoint and not beyond.
//   - C6: commands and workers that nobody killed end by themselves, with exit code 0.
//   - C7: most of the applications had records in flight at the cut, updates to come, windows on both sides of it, and a
//     worker killed that had input left: else the run would show little. Announcements of event time are not counted as
//     records in flight.
//
// A broken check ends the run with exit code 1; the logs of the workers are kept then, and their folder is printed.
package main
