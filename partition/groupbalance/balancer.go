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
	// Held lists the tasks whose state is on its disk.
	Held []partition.HeldTask
}

// Balancer is a cooperative [kgo.GroupBalancer] for tasks. Each client needs its own.
type Balancer struct {
	subs []partition.SubTopology
	self func() Self

	mu struct {
		sync.Mutex
		// claimed is the generation up to which this member's claims are without a gap.
		claimed int32
		// generation and live are from the newest assignment that was parsed.
		generation int32
		live       []string
	}
}

var _ kgo.GroupBalancer = (*Balancer)(nil)

// New returns a balancer for one client, to be given to kgo.Balancers as the only one.
func New(cfg Config) *Balancer {
	b := &Balancer{self: cfg.Self}
	for _, sub := range cfg.SubTopologies {
		sub.Sources = slices.Sorted(slices.Values(sub.Sources))
		b.subs = append(b.subs, sub)
	}
	if b.self == nil {
		b.self = func() Self { return Self{} }
	}
	b.mu.claimed, b.mu.generation = noGeneration, noGeneration
	return b
}

// Live returns the transactional ids, sorted, of the members that were alive when the newest assignment that this
// client knows was made; nil before the first. Members without one are not listed.
func (b *Balancer) Live() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mu.live)
}

// LiveIn is [Balancer.Live] for one generation of the group: it reports false if the newest assignment is that of
// another.
func (b *Balancer) LiveIn(generation int32) ([]string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.generation != generation || generation == noGeneration {
		return nil, false
	}
	return slices.Clone(b.mu.live), true
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
	b.mu.claimed, b.mu.generation, b.mu.live = data.Generation, data.Generation, data.Live
	return partitions, nil
}

// ParseSelf reads what a member of a group with this balancer said about itself from its protocol metadata, as the
// broker returns it when the group is described. Its Held tasks have the numbers of that member's own topology.
func ParseSelf(metadata []byte) (Self, error) {
	_, data, err := parseMetadata(metadata)
	return data.Self, err
}

func parseMetadata(metadata []byte) (kmsg.ConsumerMemberMetadata, memberData, error) {
	meta := kmsg.NewConsumerMemberMetadata()
	if err := meta.ReadFrom(metadata); err != nil {
		return meta, memberData{}, fmt.Errorf("read member metadata of %d bytes: %w", len(metadata), err)
	}
	data, err := parseMemberData(meta.UserData)
	return meta, data, err
}
