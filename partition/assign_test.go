// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/partition"
)

func id(sub, p int32) partition.TaskID { return partition.TaskID{SubTopology: sub, Partition: p} }

// makeTasks returns n tasks of one sub-topology.
func makeTasks(sub int32, n int, stateful bool) []partition.Task {
	tasks := make([]partition.Task, n)
	for i := range tasks {
		tasks[i] = partition.Task{ID: id(sub, int32(i)), Stateful: stateful}
	}
	return tasks
}

func TestNobodyGetsNothing(t *testing.T) {
	t.Parallel()
	if got := partition.Assign(makeTasks(0, 3, true), nil); len(got) != 0 {
		t.Errorf("without members: %v", got)
	}
	got := partition.Assign(nil, []partition.Member{{ID: "a"}})
	if diff := cmp.Diff(map[string][]partition.TaskID{"a": {}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOwnerlessTaskGoesToTheFurthestState(t *testing.T) {
	t.Parallel()
	tasks := makeTasks(0, 3, true)
	got := partition.Assign(tasks, []partition.Member{
		{ID: "a", Held: []partition.HeldTask{{Task: id(0, 2), Position: 10}}},
		{ID: "b", Held: []partition.HeldTask{{Task: id(0, 2), Position: 30}, {Task: id(0, 0), Position: 1}}},
		{ID: "c", Held: []partition.HeldTask{{Task: id(0, 2), Position: 20}, {Task: id(0, 0), Position: 2}}},
	})
	want := map[string][]partition.TaskID{"a": {id(0, 1)}, "b": {id(0, 2)}, "c": {id(0, 0)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestTheExtraTaskGoesWhereTheStateIs(t *testing.T) {
	t.Parallel()
	got := partition.Assign(makeTasks(0, 3, true), []partition.Member{
		{ID: "a", Owned: []partition.TaskID{id(0, 0)}},
		{ID: "b", Owned: []partition.TaskID{id(0, 1)}, Held: []partition.HeldTask{{Task: id(0, 2), Position: 5}}},
	})
	want := map[string][]partition.TaskID{"a": {id(0, 0)}, "b": {id(0, 1), id(0, 2)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestReturningMemberGetsBackTheTasksWhoseStateItKept(t *testing.T) {
	t.Parallel()
	got := partition.Assign(makeTasks(0, 6, true), []partition.Member{
		{ID: "a", Owned: []partition.TaskID{id(0, 0), id(0, 1), id(0, 2)}},
		{ID: "b", Owned: []partition.TaskID{id(0, 3), id(0, 4), id(0, 5)}},
		{ID: "c", Held: []partition.HeldTask{{Task: id(0, 1), Position: 7}, {Task: id(0, 3), Position: 7}}},
	})
	want := map[string][]partition.TaskID{
		"a": {id(0, 0), id(0, 2)}, "b": {id(0, 4), id(0, 5)}, "c": {id(0, 1), id(0, 3)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestGivingUpTasksThinsEachSubTopologyOut(t *testing.T) {
	t.Parallel()
	tasks := append(makeTasks(0, 4, true), makeTasks(1, 4, true)...)
	var all []partition.TaskID
	for _, task := range tasks {
		all = append(all, task.ID)
	}
	got := partition.Assign(tasks, []partition.Member{{ID: "a", Owned: all}, {ID: "b"}})
	for member, ids := range got {
		perSub := map[int32]int{}
		for _, id := range ids {
			perSub[id.SubTopology]++
		}
		if perSub[0] != 2 || perSub[1] != 2 {
			t.Errorf("%s runs %v", member, ids)
		}
	}
}

func TestCapacityWeighsShares(t *testing.T) {
	t.Parallel()
	got := partition.Assign(makeTasks(0, 12, true), []partition.Member{
		{ID: "a", Capacity: 1}, {ID: "b", Capacity: 2}, {ID: "c", Capacity: 3}, {ID: "d", Capacity: -5},
	})
	counts := map[string]int{}
	for member, ids := range got {
		counts[member] = len(ids)
	}
	// The shares are 12/7, 24/7, 36/7 and 12/7.
	for member, want := range map[string][]int{"a": {1, 2}, "b": {3, 4}, "c": {5, 6}, "d": {1, 2}} {
		if !slices.Contains(want, counts[member]) {
			t.Errorf("%s has %d tasks, want one of %v", member, counts[member], want)
		}
	}
}

func TestMemberGetsOnlyWhatItCanRun(t *testing.T) {
	t.Parallel()
	tasks := slices.Concat(makeTasks(0, 4, true), makeTasks(1, 4, false), makeTasks(2, 1, true))
	got := partition.Assign(tasks, []partition.Member{
		{ID: "a", SubTopologies: []int32{0}, Owned: []partition.TaskID{id(1, 0)}},
		{ID: "b", SubTopologies: []int32{0, 1}, Held: []partition.HeldTask{{Task: id(2, 0)}}},
		{ID: "c", SubTopologies: []int32{}, Owned: []partition.TaskID{id(0, 0)}},
	})
	counts := map[string]string{}
	for member, ids := range got {
		perSub := [3]int{}
		for _, id := range ids {
			perSub[id.SubTopology]++
		}
		counts[member] = fmt.Sprint(perSub)
	}
	want := map[string]string{"a": "[2 0 0]", "b": "[2 4 0]", "c": "[0 0 0]"}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Fatal(diff)
	}
}

// largeGroup is 5000 tasks on 200 members, each of which holds the state of four times as many tasks as it runs.
func largeGroup() ([]partition.Task, []partition.Member) {
	tasks := slices.Concat(makeTasks(0, 1250, true), makeTasks(1, 1250, true), makeTasks(2, 2500, false))
	members := make([]partition.Member, 200)
	for m := range members {
		members[m] = partition.Member{ID: fmt.Sprintf("member-%03d", m), Capacity: 1 + m%3}
		for i := range 100 {
			task := tasks[(m*37+i*13)%2500].ID
			members[m].Held = append(members[m].Held, partition.HeldTask{Task: task, Position: int64(m ^ i)})
		}
	}
	return tasks, members
}

func BenchmarkAssign(b *testing.B) {
	tasks, members := largeGroup()
	b.Run("owned=none", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			partition.Assign(tasks, members)
		}
	})
	b.Run("owned=all-but-one-member", func(b *testing.B) {
		before := partition.Assign(tasks, members)
		for m := range members {
			members[m].Owned = before[members[m].ID]
		}
		b.ReportAllocs()
		for b.Loop() {
			partition.Assign(tasks, members[1:])
		}
	})
}
