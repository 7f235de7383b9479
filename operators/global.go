// SPDX-License-Identifier: Apache-2.0

package operators

// GlobalStore is the content of a global table in one process: all rows of a topic, shared by the tasks that run there.
// Whoever runs the tasks reads the topic, and brings the store up to its end before the first task begins. It is not part of any
// task's state: it follows its topic, not the tasks' commits.
//
// Tasks read it without a lock, so Apply is called only while no task of the process runs.
type GlobalStore interface {
	// Apply takes the next record of a partition of the topic. A *DecodeError: the record does not decode, and the policy
	// is to fail.
	Apply(rec *Record) error
}
