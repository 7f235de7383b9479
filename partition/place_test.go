// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/partition"
)

func warm(task partition.TaskID, use partition.Use) partition.HeldTask {
	return partition.HeldTask{Task: task, Position: 10, Warm: true, Use: use}
}

func cold(task partition.TaskID, position int64, use partition.Use) partition.HeldTask {
	return partition.HeldTask{Task: task, Position: position, Use: use}
}

var oneWarmUp = partition.Rules{WarmUps: 1}

func TestTasksOfADeadMemberAreSpreadOverTheirWarmStandbys(t *testing.T) {
	t.Parallel()
	var held []partition.HeldTask
	for p := range int32(4) {
		held = append(held, warm(id(0, p), partition.ForStandby))
	}
	got := partition.Place(makeTasks(0, 4, true), []partition.Member{
		{ID: "a", Held: held}, {ID: "b", Held: held}, {ID: "c", Capacity: 8},
	}, oneWarmUp)
	for _, m := range []string{"a", "b"} {
		if len(got.Active[m]) != 2 {
			t.Errorf("%s takes %v, want half of the tasks", m, got.Active[m])
		}
	}
}

func TestATaskThatIsWarmElsewhereMovesFirst(t *testing.T) {
	t.Parallel()
	got := partition.Place(makeTasks(0, 3, true), []partition.Member{
		{ID: "a", Owned: []partition.TaskID{id(0, 0), id(0, 1), id(0, 2)}},
		{ID: "b", Held: []partition.HeldTask{cold(id(0, 0), 9, partition.ForWarmUp), warm(id(0, 1), partition.ForStandby)}},
	}, oneWarmUp)
	want := []partition.Move{{Task: id(0, 1), From: "a", To: "b", Reason: partition.Balance, State: partition.Moving}}
	if diff := cmp.Diff(want, got.Moves); diff != "" {
		t.Fatal(diff)
	}
}

func TestAWarmUpThatHasBegunIsEnded(t *testing.T) {
	t.Parallel()
	owner := partition.Member{ID: "a", Owned: []partition.TaskID{id(0, 0), id(0, 1), id(0, 2)}}
	for _, begun := range []int32{0, 1, 2} {
		held := []partition.HeldTask{cold(id(0, 0), 50, partition.ForStandby), cold(id(0, 1), 60, partition.Leftover), cold(id(0, 2), 70, partition.ForStandby)}
		held[begun] = cold(id(0, begun), 1, partition.ForWarmUp)
		got := partition.Place(makeTasks(0, 3, true), []partition.Member{owner, {ID: "b", Held: held}}, oneWarmUp)
		if want := []partition.TaskID{id(0, begun)}; !slices.Equal(got.WarmUp["b"], want) {
			t.Errorf("b warms up for %v, it has begun with %v", got.WarmUp["b"], want)
		}
	}
	// The member is leaving, so its task goes to whoever has its state: the one that has begun, not the one that is ahead.
	owner.Leaving = true
	got := partition.Place(makeTasks(0, 1, true), []partition.Member{
		owner,
		{ID: "b", Held: []partition.HeldTask{cold(id(0, 0), 50, partition.Leftover)}},
		{ID: "c", Held: []partition.HeldTask{cold(id(0, 0), 5, partition.ForWarmUp)}},
	}, oneWarmUp)
	if want := []partition.TaskID{id(0, 0)}; !slices.Equal(got.WarmUp["c"], want) {
		t.Errorf("c warms up for %v, it has begun with %v: %+v", got.WarmUp["c"], want, got)
	}
}

func TestAWarmUpWithSomethingOnTheDiskGoesFirst(t *testing.T) {
	t.Parallel()
	got := partition.Place(makeTasks(0, 4, true), []partition.Member{
		{ID: "a", Owned: []partition.TaskID{id(0, 0), id(0, 1), id(0, 2), id(0, 3)}},
		{ID: "b", Held: []partition.HeldTask{cold(id(0, 3), 0, partition.Leftover)}},
	}, oneWarmUp)
	if want := []partition.TaskID{id(0, 3)}; !slices.Equal(got.WarmUp["b"], want) {
		t.Errorf("b warms up for %v, want %v", got.WarmUp["b"], want)
	}
}

func TestATaskThatOnlyLeavingMembersCanRunStaysAndHasStandbysThere(t *testing.T) {
	t.Parallel()
	tasks := append(makeTasks(0, 1, true), makeTasks(1, 1, true)...)
	got := partition.Place(tasks, []partition.Member{
		{ID: "a", Leaving: true, Owned: []partition.TaskID{id(0, 0), id(1, 0)}},
		{ID: "b", Leaving: true},
		{ID: "c", SubTopologies: []int32{0}, Held: []partition.HeldTask{warm(id(0, 0), partition.ForWarmUp)}},
	}, partition.Rules{Standbys: 1, WarmUps: 1})
	want := partition.Plan{
		Active:  map[string][]partition.TaskID{"a": {id(1, 0)}, "b": {}, "c": {id(0, 0)}},
		Standby: map[string][]partition.TaskID{"a": {}, "b": {id(1, 0)}, "c": {}},
		WarmUp:  map[string][]partition.TaskID{"a": {}, "b": {}, "c": {}},
		Moves:   []partition.Move{{Task: id(0, 0), From: "a", To: "c", Reason: partition.OwnerLeaves, State: partition.Moving}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestWithoutWarmUpsAStatefulTaskStaysWithItsOwner(t *testing.T) {
	t.Parallel()
	owned := []partition.TaskID{id(0, 0), id(0, 1)}
	members := []partition.Member{
		{ID: "a", Owned: owned},
		{ID: "b", Held: []partition.HeldTask{warm(id(0, 0), partition.ForStandby), warm(id(0, 1), partition.ForStandby)}},
	}
	got := partition.Place(makeTasks(0, 2, true), members, partition.Rules{Standbys: 1})
	if !slices.Equal(got.Active["a"], owned) || len(got.Moves) > 0 {
		t.Errorf("nobody leaves, but %+v", got)
	}
	members[0].Leaving = true
	got = partition.Place(makeTasks(0, 2, true), members, partition.Rules{Standbys: 1})
	if !slices.Equal(got.Active["b"], owned) {
		t.Errorf("a leaves, but b runs %v", got.Active["b"])
	}
}

func TestWarmUpsForALeavingMemberAreNotLimited(t *testing.T) {
	t.Parallel()
	var owned []partition.TaskID
	for p := range int32(6) {
		owned = append(owned, id(0, p))
	}
	got := partition.Place(makeTasks(0, 6, true), []partition.Member{{ID: "a", Leaving: true, Owned: owned}, {ID: "b"}}, oneWarmUp)
	if !slices.Equal(got.WarmUp["b"], owned) || !slices.Equal(got.Active["a"], owned) {
		t.Fatalf("b warms up for %v, a runs %v, want all of both", got.WarmUp["b"], got.Active["a"])
	}
}

func TestAColdOwnerlessTaskGoesToTheStateThatIsAhead(t *testing.T) {
	t.Parallel()
	got := partition.Place(makeTasks(0, 1, true), []partition.Member{
		{ID: "a", Held: []partition.HeldTask{cold(id(0, 0), 5, partition.ForWarmUp)}},
		{ID: "b", Held: []partition.HeldTask{cold(id(0, 0), 50, partition.ForStandby)}},
		{ID: "c", Held: []partition.HeldTask{cold(id(0, 0), 20, partition.Leftover)}},
	}, oneWarmUp)
	if want := []partition.TaskID{id(0, 0)}; !slices.Equal(got.Active["b"], want) {
		t.Errorf("b runs %v, want %v", got.Active["b"], want)
	}
}

// Neither another copy that is ahead, nor a task that warms up elsewhere, nor the wish for another zone moves a standby.
func TestAStandbyStays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ standby, other partition.HeldTask }{
		"warm": {partition.HeldTask{Task: id(0, 0), Position: 8, Warm: true, Use: partition.ForStandby}, warm(id(0, 0), partition.Leftover)},
		"cold": {cold(id(0, 0), 5, partition.ForStandby), cold(id(0, 0), 9, partition.Leftover)},
	} {
		members := []partition.Member{
			{ID: "a", Zone: "x", Owned: []partition.TaskID{id(0, 0), id(0, 1)}},
			{ID: "b", Zone: "x", Owned: []partition.TaskID{id(0, 2), id(0, 3)}, Held: []partition.HeldTask{c.other}},
			{ID: "c", Zone: "x", Owned: []partition.TaskID{id(0, 4), id(0, 5)}, Held: []partition.HeldTask{c.standby}},
			{ID: "d", Zone: "x", Owned: []partition.TaskID{id(0, 6)}},
		}
		got := partition.Place(makeTasks(0, 7, true), members, partition.Rules{Standbys: 1, WarmUps: 1})
		if len(got.Moves) > 0 || !slices.Contains(got.Standby["c"], id(0, 0)) {
			t.Errorf("%s: c is not the standby any more: %+v", name, got)
		}
		members[0].Owned = append(members[0].Owned, id(0, 7))
		members[1].Zone = "y"
		got = partition.Place(makeTasks(0, 8, true), members, partition.Rules{Standbys: 1, WarmUps: 1})
		if !slices.Equal(got.WarmUp["d"], []partition.TaskID{id(0, 7)}) || !slices.Contains(got.Standby["c"], id(0, 0)) {
			t.Errorf("%s: while another task warms up, c is not the standby any more: %+v", name, got)
		}
	}
}

func TestFewCopiesAreBegunAfterALoss(t *testing.T) {
	t.Parallel()
	for zones, most := range map[int]int{1: 32, 3: 45} {
		g := &group{
			tasks: makeTasks(0, 60, true), rules: partition.Rules{Standbys: 1, WarmUps: 60}, reports: true,
			moved: map[partition.TaskID]int{}, last: map[partition.TaskID]string{},
		}
		for i := range 6 {
			g.members = append(g.members, newNode(partition.Member{ID: fmt.Sprintf("m%d", i), Zone: string(rune('a' + i%zones))}))
		}
		g.round()
		g.restStandbys()
		g.remove(g.members[2])
		g.begun = 0
		for range 3 {
			g.round()
			g.restStandbys()
		}
		// Ten standbys have gone, and ten have become owners. With three zones all those are on one member, which hands eight
		// of its tasks on and becomes a standby again.
		if g.begun > most {
			t.Errorf("%d zones: %d copies were begun, want at most %d:%s", zones, g.begun, most, g)
		}
	}
}

func TestWordsOfMoves(t *testing.T) {
	t.Parallel()
	var got []string
	for r := partition.NoOwner; r <= partition.Balance; r++ {
		got = append(got, r.String())
	}
	for s := partition.Waiting; s <= partition.Moving; s++ {
		got = append(got, s.String())
	}
	want := []string{"no owner", "owner leaves", "owner cannot run it", "balance", "waiting", "warming up", "moving"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// fleet is a group at rest: 1000 tasks of four sub-topologies on 50 members in three zones.
func fleet(standbys int) ([]partition.Task, []partition.Member, partition.Rules) {
	tasks := slices.Concat(makeTasks(0, 300, false), makeTasks(1, 300, true), makeTasks(2, 300, true), makeTasks(3, 100, true))
	for i, task := range tasks {
		tasks[i].Weight = 1 + int(task.ID.SubTopology)
	}
	g := &group{
		tasks: tasks, rules: partition.Rules{Standbys: standbys, WarmUps: 10}, reports: true,
		moved: map[partition.TaskID]int{}, last: map[partition.TaskID]string{},
	}
	for i := range 50 {
		g.members = append(g.members, newNode(partition.Member{ID: fmt.Sprintf("m%02d", i), Zone: string(rune('a' + i%3))}))
	}
	for range 3 {
		g.round()
		g.restStandbys()
	}
	return tasks, g.view(), g.rules
}

func BenchmarkPlace(b *testing.B) {
	for _, standbys := range []int{0, 1, 2} {
		tasks, members, rules := fleet(standbys)
		leaving := slices.Clone(members)
		leaving[7].Leaving = true
		restricted := slices.Clone(members)
		for i := range restricted[:25] {
			restricted[i].SubTopologies = []int32{0, 1, 2}
		}
		fresh := make([]partition.Member, len(members))
		for i, m := range members {
			fresh[i] = partition.Member{ID: m.ID, Zone: m.Zone}
		}
		small := slices.Clone(members) // a zone that cannot hold a standby of each task of the others
		for i := range small {
			if small[i].Zone = "a"; i < 5 {
				small[i].Zone = "b"
			}
		}
		for _, c := range []struct {
			name    string
			members []partition.Member
		}{
			{"rest", members}, {"new", fresh}, {"one-gone", members[1:]}, {"one-joins", append(slices.Clone(members), partition.Member{ID: "n"})},
			{"one-leaves", leaving}, {"half-restricted", restricted}, {"small-zone", small},
		} {
			b.Run(fmt.Sprintf("standbys=%d/group=%s", standbys, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					partition.Place(tasks, c.members, rules)
				}
			})
		}
	}
}
