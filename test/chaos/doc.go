// SPDX-License-Identifier: Apache-2.0

// Command chaos proves the exactly-once promise the hard way: worker processes of one application run on a real
// Kafka broker and are killed with SIGKILL, stopped, robbed of their state and cut off from their object store while
// records flow; then everything that they committed is compared with a single-threaded evaluation of the input.
//
//	go run ./test/chaos                       # 5 million records, 20 kills
//	go run ./test/chaos --drain --wipe --zombie --store-outage 60s
//	go run ./test/chaos --records 300000 --kills 4 --seed 7
//
// # Mental model
//
// The application has two pipelines. One counts clicks per key. The other aggregates orders per key, re-keys every
// update by group through a repartition topic, and aggregates again. Every input value holds its number within its
// key, so that loss, repetition and disorder each show in the state; every update is emitted and carries its own
// ordinal, so that they show in the output too.
//
//	feeder --> clicks --> count ----------------------------> counts --+
//	feeder --> orders --> per-key --> by-group --> per-group --> totals +--> watcher (read_committed)
//
// The command runs itself again as the workers, each a process with its own log. Every line of a worker's log and
// its /api/v1/status tell what it owns and under which transactional id, so that a kill can be aimed into an open
// transaction, and the time can be measured until the dead worker's tasks produce committed output again.
//
// # What is checked
//
//   - C1: of each key, output holds the updates 1, 2, …, n in order and once each, n being what the input holds.
//   - C2: of each group, the same; and of each key within its group, the order survived the repartition topic.
//   - C3: the state in the last complete checkpoint, restored from the object store, is that of the evaluation.
//   - C4: no transaction is open afterwards; workers that nobody killed ended with exit code 0.
//   - C5: a killed worker's tasks produced committed output again; how fast is printed, beside the session timeout
//     plus one second that is promised.
//
// A broken check ends the run with exit code 1, the seed, and the folder that holds the logs.
package main
