// SPDX-License-Identifier: Apache-2.0

// Package core decides what a worker does next: the epoch protocol (read, process, commit) and the life of a
// task, as a pure state machine. It has no I/O, no clock, no goroutine and no lock.
//
// A shell (engine/worker) feeds events to [Machine.Step] and carries out the effects that it returns, in their
// order. Each asynchronous effect is answered by exactly one event. That split is what allows the protocol to
// be tested by crashing, delaying and losing replies at every step.
//
// # The life of a task
//
//	          Assigned                restored             anchor committed
//	(nobody) ---------> restoring ------------> anchoring ------------------> running
//	                        ^                       |                            |
//	                        |        abort          |           abort            |
//	                        +-----------------------+----------------------------+
//
//	running --- its lane is stuck ---> held --- it comes back ---> restoring
//	any state --- revoked, lost, fenced, stop ---> closed (after the epoch that holds its work has ended)
//
// # The life of an epoch
//
//	idle -> processing -> preparing -> flushing -> committing offsets -> ending -> idle
//	             |            |            |               |               |
//	             +------------+-- refused -+--- refused ---+               | anything but "confirmed"
//	                          v            |               |               v
//	                      aborting         +-- unknown ----+------> new producer
//	                          |   not confirmed                        ^   |
//	                          +----------------------------------------+   |
//	                          +--------> rewind <--------------------------+   (touched tasks restore again)
//
//	committing offsets -- outdated --> outrun -- the generation becomes known --> committing offsets
//
//	fenced, at any step: everything is closed, and a new membership begins under a new transactional id
//	stop: the epoch is committed; draining, while checkpoints are stored; left
//
// # Invariants
//
//   - I1: Apply is emitted only after the broker has confirmed the commit of the transaction that covers it.
//   - I2: offsets are committed with the member id and the generation of the newest membership event that this
//     machine has seen, never with what the client knows at the moment: a generation that the machine has not
//     seen may belong to an assignment in which a task is someone else's.
//   - I3: the set of touched tasks is frozen from Prepare to the end of the epoch.
//   - I4: after an outcome that is not known, nothing is produced before a new producer epoch is held and the
//     touched tasks have been restored from what the broker says is committed.
//   - I5: a task processes records only between its anchor commit and the end of its ownership. Tasks that are
//     restored together share one anchor commit.
//   - I6: a revocation is acknowledged only when no epoch in progress holds anything of its tasks.
package core
