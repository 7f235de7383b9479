// SPDX-License-Identifier: Apache-2.0

// Command pods measures what a reader of the output sees while the workers of an application come and go, and proves that
// it is exact: worker processes run on a real Kafka broker under a constant load, with a state of a given size, and are
// replaced, added, removed, stopped, killed and cut off.
//
//	go run ./test/pods --scenario rolling --state 2GiB
//	go run ./test/pods --scenario failover --state 1GiB --repetitions 30
//	go run ./test/pods --scenario rolling --workers 3 --queries 5000
//	go run ./test/pods --scenario all
//
// # Mental model
//
// The application has one sub-topology, so that a task is a partition of the output. Each key's state is a number and some
// hundred bytes that follow from key and number; each input record looks at these, raises the number and emits it. The
// feeder first gives every key a record, which makes the state, then goes on at a constant rate over all keys, and at the end
// gives every key one more, which looks at all of the state.
//
//	feeder --> events --> account (state) --> updates --> watcher (read_committed)
//
// The watcher notes when each partition of the output has something new. The pause of a task in an incident is the longest
// time between two such moments in it, less the median of before. Who ran which task when, and what a takeover was spent
// on, is read from the workers' logs.
//
// With --queries, any of the scenarios runs while random keys are asked for at a constant rate, whether or not answers come: a
// querier knows the addresses of the workers, as a client of a Service does, and takes a worker off its list when that has ended.
//
// Scenarios run one after the other on the same state. Network faults are made on lines: every worker of such a scenario
// has a listener of the broker of its own, which is advertised at the near end of a line, and a line to the object
// store. Thus one worker can be cut off, or be slow, without rights on the machine. A silent line keeps what is sent
// and tells nobody, as a network that loses all packets does.
//
// # Scenarios
//
//   - rolling: each worker is replaced: a new one comes, its predecessor is ended by SIGTERM. With --surge=false the
//     predecessor ends first, and the new one has its disk.
//   - scale: two workers, four, one, two.
//   - storm: a worker comes, leaves or is killed every few seconds.
//   - zombie: a worker is stopped in a transaction, and with a checkpoint on its way, for two session timeouts.
//   - failover: a worker is killed. It is started again on its disk, or on an empty one, or others stand by.
//   - broker-away, store-away: one worker does not reach the broker, or the object store.
//   - slow: everything that workers send and get is late.
//   - broker-restart: the broker is stopped in order and killed.
//
// # What is checked
//
//   - C1: of each key, output holds the numbers 1, 2, …, n in order and once each, n being what was written; the state that
//     each came from was the one before, to the byte.
//   - C2: no transaction stays open after a scenario; workers that nobody killed ended with exit code 0.
//   - C3: the fault has happened: tasks have moved where they should, and a zombie's commit and its checkpoint were refused.
//   - C4: every answer to a query is what follows from the input below the answer's own position, and reflects what the query
//     asked it to; a query that fails may be asked again.
//   - C5: with --strict, pauses are within their limits, and one query in a thousand fails at most, where nobody is killed
//     or cut off.
//
// A broken check ends the run with exit code 1, the seed, and the folder that holds the logs.
package main
