// SPDX-License-Identifier: Apache-2.0

package groupbalance

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/partition"
)

// MemberBalancer implements [kgo.GroupBalancer]. The topics are those of this worker and all that any member
// subscribes to.
func (b *Balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (
	kgo.GroupMemberBalancer, map[string]struct{}, error,
) {
	r := &round{subs: b.subs, rules: b.rules}
	topics := map[string]struct{}{}
	seen := map[string]bool{}
	for _, m := range members {
		if seen[m.MemberID] {
			continue
		}
		seen[m.MemberID] = true
		meta, data, err := parseMetadata(m.ProtocolMetadata)
		if err != nil {
			return nil, nil, fmt.Errorf("balance group: member %s: %w", m.MemberID, err)
		}
		for _, topic := range meta.Topics {
			topics[topic] = struct{}{}
		}
		r.members = append(r.members, newMember(m.MemberID, meta, data, b.subs))
		r.previous = max(r.previous, data.Claimed)
	}
	for _, sub := range b.subs {
		for _, topic := range sub.Sources {
			topics[topic] = struct{}{}
		}
	}
	slices.SortFunc(r.members, func(a, b member) int {
		return cmp.Or(strings.Compare(a.TransactionalID, b.TransactionalID), strings.Compare(a.ID, b.ID))
	})
	return r, topics, nil
}

// member is a member of the group in terms of the leader's sub-topologies.
type member struct {
	partition.Member
	claims  []partition.TopicPartition
	claimed int32
}

func newMember(id string, meta kmsg.ConsumerMemberMetadata, data memberData, subs []partition.SubTopology) member {
	m := member{
		Member: partition.Member{
			ID:              id,
			Endpoint:        data.Endpoint,
			Zone:            data.Zone,
			Version:         data.Version,
			TransactionalID: data.TransactionalID,
			Capacity:        data.Capacity,
			Leaving:         data.Leaving,
			SubTopologies:   []int32{},
		},
		claimed: data.Claimed,
	}
	for _, owned := range meta.OwnedPartitions {
		for _, p := range owned.Partitions {
			m.claims = append(m.claims, partition.TopicPartition{Topic: owned.Topic, Partition: p})
		}
	}
	ours := numbering(data.SubTopologies, subs) // the member's number of a sub-topology -> the leader's
	theirs := numbering(subs, data.SubTopologies)
	for _, sub := range subs {
		if _, known := theirs[sub.ID]; known && !slices.ContainsFunc(sub.Sources, func(topic string) bool { return !slices.Contains(meta.Topics, topic) }) {
			m.SubTopologies = append(m.SubTopologies, sub.ID)
		}
	}
	for _, held := range data.Held {
		if sub, ok := ours[held.Task.SubTopology]; ok {
			held.Task.SubTopology = sub
			m.Held = append(m.Held, held)
		}
	}
	return m
}

// round balances one generation of the group.
type round struct {
	subs    []partition.SubTopology
	rules   partition.Rules
	members []member // sorted by transactional id, then by id
	// previous is the generation before the one that is being formed.
	previous int32
}

var (
	_ kgo.GroupMemberBalancerOrError = (*round)(nil)
	_ kgo.GroupMemberBalancerInfo    = (*round)(nil)
)

// SetBalanceInfo implements [kgo.GroupMemberBalancerInfo]. Without it the highest generation of all claims stands
// for the one before.
func (r *round) SetBalanceInfo(info kgo.BalanceInfo) { r.previous = info.Generation - 1 }

// Balance implements [kgo.GroupMemberBalancer]. kgo prefers BalanceOrError.
func (r *round) Balance(topics map[string]int32) kgo.IntoSyncAssignment {
	plan, err := r.BalanceOrError(topics)
	if err != nil {
		return nil
	}
	return plan
}

// BalanceOrError implements [kgo.GroupMemberBalancerOrError].
func (r *round) BalanceOrError(topics map[string]int32) (kgo.IntoSyncAssignment, error) {
	tasks, err := partition.Tasks(r.subs, topics)
	if err != nil {
		return nil, fmt.Errorf("balance group: %w", err)
	}
	claims := r.standings(tasks)
	members := make([]partition.Member, len(r.members))
	for i, m := range r.members {
		members[i] = m.Member
	}
	for t, c := range claims {
		if c.owner != nobody {
			members[c.owner].Owned = append(members[c.owner].Owned, tasks[t].ID)
		}
	}
	plan := partition.Place(tasks, members, r.rules)
	planned := map[partition.TaskID]string{}
	for id, ids := range plan.Active {
		for _, task := range ids {
			planned[task] = id
		}
	}
	given := map[string][]partition.Task{}
	for t, task := range tasks {
		to, ok := planned[task.ID]
		if !ok {
			continue
		}
		if claims[t].claimed && (claims[t].owner == nobody || r.members[claims[t].owner].ID != to) {
			if task.Stateful { // withheld: until it comes, its state is kept near to the present
				plan.WarmUp[to] = append(plan.WarmUp[to], task.ID)
			}
			continue
		}
		given[to] = append(given[to], task)
	}
	return r.encode(given, plan), nil
}

// nobody stands for a member where there is none.
const nobody = -1

// standing is what the claims of all members amount to for a task.
type standing struct {
	claimed bool // whether anyone claims any of its inputs
	owner   int  // the member that owns all inputs that are claimed, or nobody
}

// standings returns that of each task.
func (r *round) standings(tasks []partition.Task) []standing {
	byInput := map[partition.TopicPartition]standing{}
	contested := map[partition.TopicPartition]bool{}
	for i, m := range r.members {
		for _, tp := range m.claims {
			s, known := byInput[tp]
			if !known {
				s = standing{claimed: true, owner: nobody}
			}
			if m.claimed == r.previous && s.owner != i {
				contested[tp] = s.owner != nobody || contested[tp]
				s.owner = i
			}
			byInput[tp] = s
		}
	}
	out := make([]standing, len(tasks))
	for t, task := range tasks {
		out[t].owner = nobody
		for _, in := range task.Inputs {
			s, claimed := byInput[in]
			if !claimed {
				continue
			}
			if contested[in] || out[t].claimed && out[t].owner != s.owner {
				s.owner = nobody
			}
			out[t] = s
		}
	}
	return out
}

// encode turns what each member is given into the answer to the broker, sorted.
func (r *round) encode(given map[string][]partition.Task, plan partition.Plan) assignments {
	shared := r.table(given, plan).appendShared(nil)
	out := make(assignments, 0, len(r.members))
	for i, m := range r.members {
		assignment := kmsg.NewConsumerMemberAssignment()
		assignment.UserData = appendAssignment(nil, i, shared)
		inputs := map[string][]int32{}
		for _, task := range given[m.ID] {
			for _, in := range task.Inputs {
				inputs[in.Topic] = append(inputs[in.Topic], in.Partition)
			}
		}
		for _, topic := range slices.Sorted(maps.Keys(inputs)) {
			part := kmsg.NewConsumerMemberAssignmentTopic()
			part.Topic, part.Partitions = topic, inputs[topic]
			assignment.Topics = append(assignment.Topics, part)
		}
		entry := kmsg.NewSyncGroupRequestGroupAssignment()
		entry.MemberID, entry.MemberAssignment = m.ID, assignment.AppendTo(nil)
		out = append(out, entry)
	}
	slices.SortFunc(out, func(a, b kmsg.SyncGroupRequestGroupAssignment) int { return strings.Compare(a.MemberID, b.MemberID) })
	return out
}

// table is what all members learn of each other.
func (r *round) table(given map[string][]partition.Task, plan partition.Plan) assignmentData {
	d := assignmentData{SubTopologies: r.subs}
	d.Generation = r.previous + 1
	names := map[string]string{"": ""}
	has := map[partition.TaskID]string{}
	for _, m := range r.members {
		names[m.ID] = m.TransactionalID
		row := TableMember{
			TransactionalID: m.TransactionalID, Endpoint: m.Endpoint, Zone: m.Zone, Version: m.Version, Leaving: m.Leaving,
			Standby: plan.Standby[m.ID], WarmUp: plan.WarmUp[m.ID],
		}
		for _, task := range given[m.ID] {
			row.Owned = append(row.Owned, task.ID)
			has[task.ID] = m.ID
		}
		d.Members = append(d.Members, row)
	}
	for _, mv := range plan.Moves {
		if mv.State == partition.Moving && has[mv.Task] == mv.To {
			mv.State = partition.Moved
		}
		mv.From, mv.To = names[mv.From], names[mv.To]
		d.Moves = append(d.Moves, mv)
	}
	return d
}

// assignments is a finished plan.
type assignments []kmsg.SyncGroupRequestGroupAssignment

// IntoSyncAssignment implements [kgo.IntoSyncAssignment].
func (a assignments) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment { return a }
