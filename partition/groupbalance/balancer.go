// SPDX-License-Identifier: Apache-2.0

package groupbalance

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/partition"
)

// Protocol is the name under which members of a group agree on this balancer.
const Protocol = "streamd"

// metadataVersion is that of the consumer protocol's member metadata, as far as it is filled here: owned partitions,
// generation, rack. Kafka's own tools can read it.
const metadataVersion = 3

// noGeneration is the generation of a member that was in none.
const noGeneration = -1

// Config is what a [Balancer] needs to know.
type Config struct {
	// SubTopologies are those of this worker's pipeline, with the names that the topics have in Kafka.
	SubTopologies []partition.SubTopology
	// Rules are this worker's; those of the member that leads the group count.
	Rules partition.Rules
	// Self describes this worker. It is called whenever the client joins, in the goroutine that manages the group,
	// and must not block. What it says should change only with cause: on a join with other metadata than last time
	// the broker starts another rebalance. Nil means that there is nothing to say.
	Self func() Self
}

// Self is what a worker tells the group about itself.
type Self struct {
	// Endpoint is where its HTTP API is reached by other workers.
	Endpoint string
	// Zone is its failure domain.
	Zone string
	// Version is that of its binary.
	Version string
	// Fingerprint is that of its topology.
	Fingerprint string
	// TransactionalID is that of its producer, or empty.
	TransactionalID string
	// Capacity is its weight against other workers; what is below 1 counts as 1.
	Capacity int
	// Leaving says that it is about to end: its tasks shall go to others.
	Leaving bool
	// Held lists the tasks whose state is on its disk, or is about to be.
	Held []partition.HeldTask
}

// Table is who does what in one generation of the group.
type Table struct {
	Generation int32
	// Self is the index of this worker among the members.
	Self int
	// Members are sorted by transactional id.
	Members []TableMember
	// Moves are the tasks that change hands or are to. Members are named by their transactional ids.
	Moves []partition.Move
}

// TableMember is a worker in a [Table]. Tasks that this worker does not know are left out.
type TableMember struct {
	TransactionalID string
	Endpoint        string
	Zone            string
	Version         string
	Leaving         bool
	// Owned are the tasks that it runs; one that changes hands is nobody's for a generation.
	Owned, Standby, WarmUp []partition.TaskID
}

// Balancer is a cooperative [kgo.GroupBalancer] for tasks. Each client needs its own.
type Balancer struct {
	subs  []partition.SubTopology
	rules partition.Rules
	self  func() Self

	mu struct {
		sync.Mutex
		// claimed is the generation up to which this member's claims are without a gap.
		claimed int32
		// table is that of the newest assignment that was parsed.
		table Table
	}
}

var _ kgo.GroupBalancer = (*Balancer)(nil)

// New returns a balancer for one client, to be given to kgo.Balancers as the only one.
func New(cfg Config) *Balancer {
	b := &Balancer{self: cfg.Self, rules: cfg.Rules}
	for _, sub := range cfg.SubTopologies {
		sub.Sources = slices.Sorted(slices.Values(sub.Sources))
		b.subs = append(b.subs, sub)
	}
	if b.self == nil {
		b.self = func() Self { return Self{} }
	}
	b.mu.claimed, b.mu.table.Generation = noGeneration, noGeneration
	return b
}

// Table returns that of the newest assignment that this client knows; without members before the first.
func (b *Balancer) Table() Table {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.table
}

// Live returns the transactional ids, sorted, of the members; those without one are not listed.
func (t Table) Live() []string {
	var ids []string
	for _, m := range t.Members {
		if m.TransactionalID != "" {
			ids = append(ids, m.TransactionalID)
		}
	}
	return slices.Compact(ids)
}

// Own returns this worker as a member; the zero value before the first assignment.
func (t Table) Own() TableMember {
	if t.Self >= len(t.Members) {
		return TableMember{}
	}
	return t.Members[t.Self]
}

// Tasks returns the tasks, sorted by id, that an assignment of partitions amounts to; see [partition.TasksOf].
func (b *Balancer) Tasks(assigned map[string][]int32) ([]partition.Task, error) {
	return partition.TasksOf(b.subs, assigned)
}

// ProtocolName implements [kgo.GroupBalancer].
func (b *Balancer) ProtocolName() string { return Protocol }

// IsCooperative implements [kgo.GroupBalancer].
func (b *Balancer) IsCooperative() bool { return true }

// JoinGroupMetadata implements [kgo.GroupBalancer].
func (b *Balancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = metadataVersion
	meta.Topics = topics
	meta.Generation = generation
	for _, topic := range slices.Sorted(maps.Keys(owned)) {
		part := kmsg.NewConsumerMemberMetadataOwnedPartition()
		part.Topic, part.Partitions = topic, owned[topic]
		meta.OwnedPartitions = append(meta.OwnedPartitions, part)
	}
	self := b.self()
	if self.Zone != "" {
		meta.Rack = &self.Zone
	}
	meta.UserData = memberData{Self: self, Claimed: b.claimedUntil(generation), SubTopologies: b.subs}.append(nil)
	return meta.AppendTo(nil)
}

// claimedUntil notes that this member joins and that the last join of it that was answered was for the generation.
// That is the one after its claims, if any, were last confirmed: the leader has seen them and given them to nobody.
// If it is a later one, the group went on without this member; the claims stay as old as they are.
func (b *Balancer) claimedUntil(generation int32) int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.claimed != noGeneration && generation == b.mu.claimed+1 {
		b.mu.claimed = generation
	}
	return b.mu.claimed
}

// ParseSyncAssignment implements [kgo.GroupBalancer].
func (b *Balancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	var parsed kmsg.ConsumerMemberAssignment
	if err := parsed.ReadFrom(assignment); err != nil {
		return nil, fmt.Errorf("read assignment of %d bytes: %w", len(assignment), err)
	}
	data, err := parseAssignmentData(parsed.UserData)
	if err != nil {
		return nil, fmt.Errorf("read assignment: %w", err)
	}
	partitions := make(map[string][]int32, len(parsed.Topics))
	for _, topic := range parsed.Topics {
		partitions[topic.Topic] = append(partitions[topic.Topic], topic.Partitions...)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.claimed, b.mu.table = data.Generation, b.translate(data)
	return partitions, nil
}

// translate gives the tasks of an assignment the numbers that they have here, and leaves out those that are not known here.
func (b *Balancer) translate(data assignmentData) Table {
	ours := numbering(data.SubTopologies, b.subs)
	tasks := func(theirs []partition.TaskID) (ids []partition.TaskID) {
		for _, id := range theirs {
			if sub, ok := ours[id.SubTopology]; ok {
				ids = append(ids, partition.TaskID{SubTopology: sub, Partition: id.Partition})
			}
		}
		return ids
	}
	t := data.Table
	for i := range t.Members {
		m := &t.Members[i]
		m.Owned, m.Standby, m.WarmUp = tasks(m.Owned), tasks(m.Standby), tasks(m.WarmUp)
	}
	t.Moves = slices.DeleteFunc(t.Moves, func(mv partition.Move) bool { _, ok := ours[mv.Task.SubTopology]; return !ok })
	for i := range t.Moves {
		t.Moves[i].Task.SubTopology = ours[t.Moves[i].Task.SubTopology]
	}
	return t
}

// numbering says which of our sub-topologies each of theirs is: that with the same sources.
func numbering(theirs, ours []partition.SubTopology) map[int32]int32 {
	number := map[int32]int32{}
	for _, sub := range theirs {
		i := slices.IndexFunc(ours, func(s partition.SubTopology) bool { return slices.Equal(s.Sources, sub.Sources) })
		if i >= 0 {
			number[sub.ID] = ours[i].ID
		}
	}
	return number
}

// ParseTable reads who does what from the user data of a member's assignment, as the broker returns it when the group is
// described. Tasks have the numbers of the member that led the group.
func ParseTable(userData []byte) (Table, error) {
	data, err := parseAssignmentData(userData)
	return data.Table, err
}

func parseMetadata(metadata []byte) (kmsg.ConsumerMemberMetadata, memberData, error) {
	meta := kmsg.NewConsumerMemberMetadata()
	if err := meta.ReadFrom(metadata); err != nil {
		return meta, memberData{}, fmt.Errorf("read member metadata of %d bytes: %w", len(metadata), err)
	}
	data, err := parseMemberData(meta.UserData)
	return meta, data, err
}
