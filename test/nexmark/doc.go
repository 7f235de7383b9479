// SPDX-License-Identifier: Apache-2.0

// Command nexmark proves the NEXMark queries right where it counts: on a real Kafka broker, in worker processes of which
// one is killed with SIGKILL in the middle of its work, exactly once, with runs that end by themselves.
//
//	go run ./test/nexmark                                           # every query, 1 million events, 1, 4 and 7 partitions
//	go run ./test/nexmark --queries q4,q9 --seeds 1,2,3 --partitions 4 --workers 3
//
// # Mental model
//
// A cell is a query, a seed, a number of partitions and a number of workers. The events of a seed and a number of
// partitions are written once, and all cells over them read the same topics. The command runs itself again as the
// workers. When the group of a cell has committed a part of the input, between a fifth and three fifths, the worker
// with the most input left is killed and another one started, with the dead one's folder or with an empty one. Epochs
// are kept small, so that every run has about a hundred commits and there is a middle to kill in.
//
// # What is checked
//
//   - The rows in the topic of the results, read with read_committed, are those of the reference's evaluation.
//   - No transaction is open ten seconds after the end.
//   - Workers that nobody killed end by themselves, with exit code 0.
//   - Most queries had a worker killed that had input left afterwards: else the run would show little.
//
// A broken check ends the run with exit code 1; the logs of the workers are kept then, and their folder is printed.
package main
