// SPDX-License-Identifier: Apache-2.0

package groupbalance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// observed tells the test whenever an assignment has arrived.
type observed struct {
	*groupbalance.Balancer
	group *group
}

func (o observed) ParseSyncAssignment(b []byte) (map[string][]int32, error) {
	defer o.group.changed()
	return o.Balancer.ParseSyncAssignment(b)
}

// group is a set of real clients on a fake broker, and who of them reads what.
type group struct {
	t       *testing.T
	cluster *kfake.Cluster
	change  chan struct{}

	mu struct {
		sync.Mutex
		owner map[partition.TopicPartition]string
		fault error
	}
}

func newGroup(t *testing.T, counts map[string]int32) *group {
	t.Helper()
	opts := []kfake.Opt{kfake.NumBrokers(1)}
	for topic, n := range counts {
		opts = append(opts, kfake.SeedTopics(n, topic))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	g := &group{t: t, cluster: cluster, change: make(chan struct{}, 1)}
	g.mu.owner = map[partition.TopicPartition]string{}
	return g
}

func (g *group) changed() {
	select {
	case g.change <- struct{}{}:
	default:
	}
}

// join adds a client to the group.
func (g *group) join(name string, subs ...partition.SubTopology) (*kgo.Client, *groupbalance.Balancer) {
	g.t.Helper()
	var balancer *groupbalance.Balancer
	balancer = groupbalance.New(groupbalance.Config{
		SubTopologies: subs,
		Rules:         partition.Rules{WarmUps: 2},
		Self: func() groupbalance.Self {
			return groupbalance.Self{TransactionalID: "app-" + name, Held: followed(balancer)}
		},
	})
	var topics []string
	for _, sub := range subs {
		topics = append(topics, sub.Sources...)
	}
	gone := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { g.drop(name, lost) }
	client, err := kgo.NewClient(
		kgo.SeedBrokers(g.cluster.ListenAddrs()...),
		kgo.ConsumerGroup("app"),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(observed{balancer, g}),
		kgo.HeartbeatInterval(20*time.Millisecond),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, added map[string][]int32) {
			g.take(name, added)
			if len(balancer.Table().Own().WarmUp) > 0 {
				cl.ForceRebalance()
			}
		}),
		kgo.OnPartitionsRevoked(gone),
		kgo.OnPartitionsLost(gone),
	)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(client.Close)
	return client, balancer
}

func (g *group) take(name string, added map[string][]int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.changed()
	for topic, partitions := range added {
		for _, p := range partitions {
			tp := partition.TopicPartition{Topic: topic, Partition: p}
			if other, taken := g.mu.owner[tp]; taken {
				g.mu.fault = errors.Join(g.mu.fault, fmt.Errorf("%s takes %s while %s has it", name, tp, other))
			}
			g.mu.owner[tp] = name
		}
	}
}

func (g *group) drop(name string, lost map[string][]int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.changed()
	for topic, partitions := range lost {
		for _, p := range partitions {
			tp := partition.TopicPartition{Topic: topic, Partition: p}
			if g.mu.owner[tp] != name {
				g.mu.fault = errors.Join(g.mu.fault, fmt.Errorf("%s drops %s, which %q has", name, tp, g.mu.owner[tp]))
			}
			delete(g.mu.owner, tp)
		}
	}
}

// owned returns the partitions by owner.
func (g *group) owned() map[string]map[string][]int32 {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.fault != nil {
		g.t.Fatal(g.mu.fault)
	}
	out := map[string]map[string][]int32{}
	for tp, name := range g.mu.owner {
		if out[name] == nil {
			out[name] = map[string][]int32{}
		}
		out[name][tp.Topic] = append(out[name][tp.Topic], tp.Partition)
	}
	return out
}

// await waits until the condition holds, checking it whenever something has changed.
func (g *group) await(what string, condition func() bool) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 30*time.Second)
	defer cancel()
	for !condition() {
		select {
		case <-g.change:
		case <-ctx.Done():
			g.t.Fatalf("%s: not reached; partitions by owner: %v", what, g.owned())
		}
	}
}

func TestGroupOnABrokerIsBalancedAndOutlivesAMember(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"orders": 7, "customers": 7, "clicks": 4}
	g := newGroup(t, counts)
	clients := map[string]*kgo.Client{}
	balancers := map[string]*groupbalance.Balancer{}
	settled := func() bool { return g.settled(counts, balancers) }
	for _, name := range []string{"a", "b", "c"} {
		clients[name], balancers[name] = g.join(name, joined, clicks)
		g.await("balance with "+name, settled)
	}

	clients["b"].Close()
	delete(balancers, "b")
	g.await("balance after b has left", settled)
	if _, ok := g.owned()["b"]; ok {
		t.Fatal("b, which has left, still has partitions")
	}
}

// settled reports whether the members run all tasks, evenly, and know who of them is alive.
func (g *group) settled(counts map[string]int32, members map[string]*groupbalance.Balancer) bool {
	var want []string
	for name := range members {
		want = append(want, "app-"+name)
	}
	slices.Sort(want)
	owned := g.owned()
	partitions, stateful, total := 0, []int{}, []int{}
	for name, balancer := range members {
		if !slices.Equal(balancer.Table().Live(), want) {
			return false
		}
		tasks, err := balancer.Tasks(owned[name])
		if err != nil { // one callback has come, the other not yet
			return false
		}
		n := 0
		for _, task := range tasks {
			partitions += len(task.Inputs)
			if task.Stateful {
				n++
			}
		}
		stateful, total = append(stateful, n), append(total, len(tasks))
	}
	for _, n := range counts {
		partitions -= int(n)
	}
	return partitions == 0 && slices.Max(stateful)-slices.Min(stateful) <= 1 && slices.Max(total)-slices.Min(total) <= 1
}

func TestRollingDeployOnABrokerAddsASubTopology(t *testing.T) {
	t.Parallel()
	g := newGroup(t, map[string]int32{"orders": 3, "customers": 3, "clicks": 3})
	before, earlier := g.join("before", joined)
	g.await("the earlier version runs alone", func() bool {
		tasks, err := earlier.Tasks(g.owned()["before"])
		return err == nil && len(tasks) == 3
	})
	_, later := g.join("after", joined, clicks)
	g.await("both versions share what both know", func() bool {
		owned := g.owned()
		return len(owned["before"]["orders"])+len(owned["after"]["orders"]) == 3 && len(owned["after"]["orders"]) > 0
	})
	before.Close()
	g.await("the later version runs everything", func() bool {
		tasks, err := later.Tasks(g.owned()["after"])
		return err == nil && len(tasks) == 6
	})
}
