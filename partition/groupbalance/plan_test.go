// SPDX-License-Identifier: Apache-2.0

package groupbalance_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
)

var (
	joined = partition.SubTopology{ID: 0, Sources: []string{"customers", "orders"}, Stateful: true}
	clicks = partition.SubTopology{ID: 1, Sources: []string{"clicks"}}
)

// worker is one member of a group without a broker.
type worker struct {
	id         string
	self       groupbalance.Self
	balancer   *groupbalance.Balancer
	topics     []string
	owned      map[string][]int32
	generation int32 // of the last join that was answered
}

func newWorker(id string, self groupbalance.Self, subs ...partition.SubTopology) *worker {
	if self.TransactionalID == "" {
		self.TransactionalID = "app-" + id
	}
	w := &worker{id: id, self: self, generation: -1}
	w.balancer = groupbalance.New(groupbalance.Config{
		SubTopologies: subs,
		Rules:         partition.Rules{Standbys: 1, WarmUps: 1},
		Self: func() groupbalance.Self {
			self := w.self
			self.Held = slices.Concat(self.Held, followed(w.balancer))
			return self
		},
	})
	for _, sub := range subs {
		w.topics = append(w.topics, sub.Sources...)
	}
	slices.Sort(w.topics)
	return w
}

// followed are the tasks that a worker was told to follow: it is warm for them when it joins the next time.
func followed(b *groupbalance.Balancer) (held []partition.HeldTask) {
	own := b.Table().Own()
	for use, ids := range map[partition.Use][]partition.TaskID{partition.ForStandby: own.Standby, partition.ForWarmUp: own.WarmUp} {
		for _, id := range ids {
			held = append(held, partition.HeldTask{Task: id, Warm: true, Use: use})
		}
	}
	return held
}

func (w *worker) join() kmsg.JoinGroupResponseMember {
	m := kmsg.NewJoinGroupResponseMember()
	m.MemberID = w.id
	m.ProtocolMetadata = w.balancer.JoinGroupMetadata(slices.Clone(w.topics), w.owned, w.generation)
	return m
}

// balance lets the leader balance the members into a generation and returns each one's assignment.
func balance(leader *worker, generation int32, counts map[string]int32, members ...kmsg.JoinGroupResponseMember) (map[string][]byte, error) {
	gb, topics, err := leader.balancer.MemberBalancer(members)
	if err != nil {
		return nil, err
	}
	known := map[string]int32{}
	for topic := range topics {
		known[topic] = counts[topic]
	}
	gb.(kgo.GroupMemberBalancerInfo).SetBalanceInfo(kgo.BalanceInfo{Generation: generation})
	plan, err := gb.(kgo.GroupMemberBalancerOrError).BalanceOrError(known)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, a := range plan.IntoSyncAssignment() {
		out[a.MemberID] = a.MemberAssignment
	}
	return out, nil
}

// rebalance runs one round in which everything works, led by the first worker, and returns what each owns then.
func rebalance(t *testing.T, generation int32, counts map[string]int32, workers ...*worker) map[string]map[string][]int32 {
	t.Helper()
	var members []kmsg.JoinGroupResponseMember
	for _, w := range workers {
		members = append(members, w.join())
		w.generation = generation
	}
	assigned, err := balance(workers[0], generation, counts, members...)
	if err != nil {
		t.Fatal(err)
	}
	owned := map[string]map[string][]int32{}
	for _, w := range workers {
		if w.owned, err = w.balancer.ParseSyncAssignment(assigned[w.id]); err != nil {
			t.Fatal(err)
		}
		owned[w.id] = w.owned
	}
	return owned
}

func TestTaskIsWithheldUntilItsOwnerHasGivenItUp(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"orders": 2, "customers": 2}
	a, b := newWorker("a", groupbalance.Self{}, joined), newWorker("b", groupbalance.Self{}, joined)
	type all = map[string]map[string][]int32
	for i, step := range []struct {
		workers []*worker
		want    all
	}{
		{[]*worker{a}, all{"a": {"orders": {0, 1}, "customers": {0, 1}}}},
		{[]*worker{a, b}, all{"a": {"orders": {0, 1}, "customers": {0, 1}}, "b": {}}}, // b warms up
		{[]*worker{a, b}, all{"a": {"orders": {0}, "customers": {0}}, "b": {}}},
		{[]*worker{a, b}, all{"a": {"orders": {0}, "customers": {0}}, "b": {"orders": {1}, "customers": {1}}}},
		{[]*worker{b}, all{"b": {"orders": {0, 1}, "customers": {0, 1}}}},
	} {
		got := rebalance(t, int32(i+1), counts, step.workers...)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Fatalf("round %d: %s", i+1, diff)
		}
	}
}

// Two releases number their sub-topologies differently.
func TestTasksToFollowComeInOnesOwnNumbers(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"orders": 2, "customers": 2, "clicks": 1}
	here := joined
	here.ID = 7
	a, b := newWorker("a", groupbalance.Self{}, joined, clicks), newWorker("b", groupbalance.Self{}, here)
	rebalance(t, 1, counts, a)
	rebalance(t, 2, counts, a, b)
	task := func(sub, n int32) partition.TaskID { return partition.TaskID{SubTopology: sub, Partition: n} }
	for w, sub := range map[*worker]int32{a: 0, b: 7} {
		table := w.balancer.Table()
		other := table.Members[1]
		if diff := cmp.Diff([]partition.TaskID{task(sub, 1)}, other.WarmUp); diff != "" {
			t.Errorf("%s: b warms up: %s", w.id, diff)
		}
		if diff := cmp.Diff([]partition.TaskID{task(sub, 0)}, other.Standby); diff != "" {
			t.Errorf("%s: b stands by: %s", w.id, diff)
		}
		want := []partition.Move{{Task: task(sub, 1), From: "app-a", To: "app-b", Reason: partition.Balance, State: partition.Warming}}
		if diff := cmp.Diff(want, table.Moves); diff != "" {
			t.Errorf("%s: moves: %s", w.id, diff)
		}
	}
	rebalance(t, 3, counts, a, b)
	got := rebalance(t, 4, counts, a, b)
	if tasks, err := b.balancer.Tasks(got["b"]); err != nil || len(tasks) != 1 || tasks[0].ID.SubTopology != 7 {
		t.Errorf("b has %v, %v", tasks, err)
	}
}

func TestStaleClaimDoesNotTakeATaskFromItsOwner(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"clicks": 1}
	a, b := newWorker("a", groupbalance.Self{}, clicks), newWorker("b", groupbalance.Self{}, clicks)
	rebalance(t, 1, counts, a)
	rebalance(t, 2, counts, b) // a is thought dead
	got := rebalance(t, 3, counts, b, a)
	if diff := cmp.Diff(map[string]map[string][]int32{"a": {}, "b": {"clicks": {0}}}, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestStaleClaimantMustGiveUpATaskBeforeItMayHaveItAgain(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"clicks": 1}
	a, b := newWorker("a", groupbalance.Self{}, clicks), newWorker("b", groupbalance.Self{}, clicks)
	rebalance(t, 1, counts, a)
	rebalance(t, 2, counts, b)
	// b has processed what a still claims, and is gone. a joins, is answered, and its sync fails: that must not
	// make its claim look new.
	if _, err := balance(a, 3, counts, a.join()); err != nil {
		t.Fatal(err)
	}
	a.generation = 3
	if got := rebalance(t, 4, counts, a)["a"]; len(got) != 0 {
		t.Fatalf("a kept %v", got)
	}
	if got := rebalance(t, 5, counts, a)["a"]; len(got) != 1 {
		t.Fatalf("a has %v, although nobody claimed anything", got)
	}
}

func TestFailedSyncDoesNotCostAMemberItsTasks(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"clicks": 2}
	a, b := newWorker("a", groupbalance.Self{}, clicks), newWorker("b", groupbalance.Self{}, clicks)
	rebalance(t, 1, counts, a, b)
	before := map[string]map[string][]int32{"a": a.owned, "b": b.owned}
	rounds := []kmsg.JoinGroupResponseMember{a.join(), b.join()}
	assigned, err := balance(b, 2, counts, rounds...)
	if err != nil {
		t.Fatal(err)
	}
	a.generation, b.generation = 2, 2
	if b.owned, err = b.balancer.ParseSyncAssignment(assigned["b"]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, rebalance(t, 3, counts, b, a)); diff != "" {
		t.Fatal(diff)
	}
}

func TestTwoClaimsOfOneGenerationProveNothing(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"clicks": 1}
	a, b := newWorker("a", groupbalance.Self{}, clicks), newWorker("b", groupbalance.Self{}, clicks)
	rebalance(t, 1, counts, a)
	rebalance(t, 1, counts, b)
	got := rebalance(t, 2, counts, a, b)
	if diff := cmp.Diff(map[string]map[string][]int32{"a": {}, "b": {}}, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestMemberGetsOnlyTasksOfSubTopologiesItKnows(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"orders": 2, "customers": 2, "clicks": 2}
	both := newWorker("a", groupbalance.Self{}, joined, clicks)
	// The other version reads the same topics, but not together, and has another number for clicks.
	split := newWorker("b", groupbalance.Self{},
		partition.SubTopology{ID: 0, Sources: []string{"clicks"}},
		partition.SubTopology{ID: 1, Sources: []string{"orders"}},
		partition.SubTopology{ID: 2, Sources: []string{"customers"}})
	got := rebalance(t, 1, counts, both, split)
	want := map[string]map[string][]int32{
		"a": {"orders": {0, 1}, "customers": {0, 1}, "clicks": {0}},
		"b": {"clicks": {1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}

	// A member that has not yet found one of the topics cannot run what reads it.
	late := newWorker("c", groupbalance.Self{}, joined)
	late.topics = []string{"orders"}
	leader := newWorker("a", groupbalance.Self{}, joined)
	if got := rebalance(t, 1, counts, leader, late)["c"]; len(got) != 0 {
		t.Fatalf("without a subscription to customers: %v", got)
	}
}

func TestHeldTasksAreThoseOfTheMembersOwnTopology(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"orders": 2, "customers": 2}
	a := newWorker("a", groupbalance.Self{}, joined)
	held := []partition.HeldTask{
		{Task: partition.TaskID{SubTopology: 5, Partition: 0}, Position: 10}, // is 0_0 for the leader
		{Task: partition.TaskID{SubTopology: 0, Partition: 1}, Position: 10}, // is nothing for the leader
	}
	renumbered := joined
	renumbered.ID = 5
	b := newWorker("b", groupbalance.Self{Held: held}, renumbered)
	got := rebalance(t, 1, counts, a, b)
	if diff := cmp.Diff(map[string][]int32{"orders": {0}, "customers": {0}}, got["b"]); diff != "" {
		t.Fatal(diff)
	}
}

func TestCapacityIsHeard(t *testing.T) {
	t.Parallel()
	got := rebalance(t, 1, map[string]int32{"clicks": 4},
		newWorker("a", groupbalance.Self{Capacity: 1}, clicks), newWorker("b", groupbalance.Self{Capacity: 3}, clicks))
	if len(got["a"]["clicks"]) != 1 || len(got["b"]["clicks"]) != 3 {
		t.Fatal(got)
	}
}

func TestUnknownTopicFailsTheRoundByName(t *testing.T) {
	t.Parallel()
	a := newWorker("a", groupbalance.Self{}, joined)
	_, err := balance(a, 1, map[string]int32{"orders": 2}, a.join())
	if !errors.Is(err, partition.ErrNoPartitions) || !strings.Contains(err.Error(), "customers") {
		t.Errorf("err = %v", err)
	}
	_, err = balance(a, 1, map[string]int32{"orders": 2, "customers": 3}, a.join())
	if !errors.Is(err, partition.ErrNotCoPartitioned) {
		t.Errorf("err = %v", err)
	}
}

func TestUnreadableMemberFailsTheRoundByName(t *testing.T) {
	t.Parallel()
	a := newWorker("a", groupbalance.Self{}, clicks)
	foreign := kmsg.NewJoinGroupResponseMember()
	foreign.MemberID = "intruder"
	meta := kmsg.NewConsumerMemberMetadata()
	foreign.ProtocolMetadata = meta.AppendTo(nil)
	_, err := balance(a, 1, map[string]int32{"clicks": 1}, a.join(), foreign)
	if !errors.Is(err, groupbalance.ErrUserData) || !strings.Contains(err.Error(), "intruder") {
		t.Errorf("err = %v", err)
	}
	foreign.ProtocolMetadata = nil
	if _, err = balance(a, 1, nil, foreign); err == nil || !strings.Contains(err.Error(), "intruder") {
		t.Errorf("err = %v", err)
	}
	if _, err := a.balancer.ParseSyncAssignment(nil); err == nil {
		t.Error("an empty assignment was read")
	}
	assignment := kmsg.NewConsumerMemberAssignment()
	if _, err := a.balancer.ParseSyncAssignment(assignment.AppendTo(nil)); !errors.Is(err, groupbalance.ErrUserData) {
		t.Errorf("an assignment without user data: err = %v", err)
	}
}

func TestTheTableTellsWhoDoesWhat(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"clicks": 2}
	a, b := newWorker("a", groupbalance.Self{Endpoint: "a:1", Zone: "x"}, clicks), newWorker("b", groupbalance.Self{Endpoint: "b:1"}, clicks)
	if got := a.balancer.Table(); got.Members != nil || got.Live() != nil || got.Own().TransactionalID != "" {
		t.Errorf("before any assignment: %v", got)
	}
	rebalance(t, 1, counts, a)
	rebalance(t, 2, counts, b, a)
	for _, w := range []*worker{a, b} {
		got := w.balancer.Table()
		if diff := cmp.Diff([]string{"app-a", "app-b"}, got.Live()); diff != "" {
			t.Error(diff)
		}
		if got.Generation != 2 || got.Own().Endpoint != w.id+":1" || got.Members[0].Zone != "x" {
			t.Errorf("%s knows %+v", w.id, got)
		}
	}
	rebalance(t, 3, counts, a, b)
	owned := a.balancer.Table().Members
	if len(owned[0].Owned) != 1 || len(owned[1].Owned) != 1 || owned[0].Owned[0] == owned[1].Owned[0] {
		t.Errorf("after the hand-over: %+v", owned)
	}
}

func TestAssignmentIsReadBackAsTasks(t *testing.T) {
	t.Parallel()
	a := newWorker("a", groupbalance.Self{}, joined, clicks)
	owned := rebalance(t, 1, map[string]int32{"orders": 1, "customers": 1, "clicks": 1}, a)["a"]
	got, err := a.balancer.Tasks(owned)
	if err != nil || len(got) != 2 || !got[0].Stateful || len(got[0].Inputs) != 2 || got[1].ID.SubTopology != 1 {
		t.Fatalf("Tasks(%v) = %v, %v", owned, got, err)
	}
}

// TestKeysLiveWhereFranzGoPutsThem stands here and not beside the hash, since this is where Kafka code may be.
func TestKeysLiveWhereFranzGoPutsThem(t *testing.T) {
	t.Parallel()
	producer := kgo.StickyKeyPartitioner(nil).ForTopic("orders")
	key := make([]byte, 0, 64)
	for i := range 20_000 {
		key = append(key[:0], make([]byte, i%19)...)
		for j := range key {
			key[j] = byte(i * (j + 7) >> (j % 5))
		}
		n := 1 + i%97
		want := producer.Partition(&kgo.Record{Key: key}, n)
		if got := partition.ForKey(key, int32(n)); int(got) != want {
			t.Fatalf("key %x of %d partitions: %d, franz-go puts it in %d", key, n, got, want)
		}
	}
	want := kgo.KafkaHasher(partition.Murmur2)([]byte("customer"), 12)
	if got := partition.ForKey([]byte("customer"), 12); int(got) != want {
		t.Fatalf("%d, franz-go's rule gives %d", got, want)
	}
}
