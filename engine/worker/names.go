// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"fmt"

	"github.com/streamd/streamd/partition"
)

// Names maps the topology's internal topics to those of one life of one application.
type Names struct {
	App         string
	Incarnation int
}

// Repartition is the topic of a repartitioning step.
func (n Names) Repartition(step string) string {
	return fmt.Sprintf("%s-%d-%s-repartition", n.App, n.Incarnation, step)
}

// Changelog is the topic of a sub-topology's state.
func (n Names) Changelog(subTopology int32) string {
	return fmt.Sprintf("%s-%d-%d-changelog", n.App, n.Incarnation, subTopology)
}

// ChangelogPartition is where the state of a task is logged.
func (n Names) ChangelogPartition(id partition.TaskID) partition.TopicPartition {
	return partition.TopicPartition{Topic: n.Changelog(id.SubTopology), Partition: id.Partition}
}

// InternalPrefix begins the name of every internal topic of the application, in any of its lives.
func (n Names) InternalPrefix() string { return n.App + "-" }

// TransactionalIDPrefix begins every transactional id of the application, in any of its lives. Application names
// have no dot, so that no application's prefix begins another's.
func (n Names) TransactionalIDPrefix() string { return "streamd." + n.App + "." }

// TransactionalID of one group membership. unique differs between any two memberships.
func (n Names) TransactionalID(unique string) string {
	return fmt.Sprintf("%s%d.%s", n.TransactionalIDPrefix(), n.Incarnation, unique)
}

// InitialTransactionalID is the one under which the offsets are committed from which a life of the application starts.
func (n Names) InitialTransactionalID() string { return n.TransactionalID("initial") }
