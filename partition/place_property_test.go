// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/partition"
)

// Strategy: random histories of a modelled group, in which members join, leave, die and come back with or without their
// disks while tasks move and warm up. What a single plan promises is checked of each plan; then the members stay as they
// are, and the group must come to rest, balanced. Histories are drawn with members that tell what they use their copies for
// and with such that do not, with equal and unequal weights and capacities, with all members able and with some.

func drawGroup(t *rapid.T) *group {
	g := &group{
		rules:      partition.Rules{Standbys: rapid.IntRange(0, 2).Draw(t, "standbys"), WarmUps: rapid.IntRange(1, 3).Draw(t, "warm-ups")},
		reports:    rapid.Bool().Draw(t, "reports"),
		ownersHold: rapid.Bool().Draw(t, "ownersHold"),
		moved:      map[partition.TaskID]int{},
		last:       map[partition.TaskID]string{},
	}
	weighted := rapid.Bool().Draw(t, "weighted")
	for sub := range rapid.IntRange(1, 3).Draw(t, "sub-topologies") {
		tasks := makeTasks(int32(sub), rapid.IntRange(1, 6).Draw(t, "partitions"), rapid.IntRange(0, 3).Draw(t, "stateful") > 0)
		if weighted {
			weight := rapid.IntRange(0, 5).Draw(t, "weight")
			for i := range tasks {
				tasks[i].Weight = weight
			}
		}
		g.tasks = append(g.tasks, tasks...)
	}
	return g
}

type groupOptions struct{ alike, mixed bool }

func (g *group) join(t *rapid.T, name string, o groupOptions) *node {
	m := partition.Member{ID: name, Zone: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "zone")}
	if !o.alike {
		m.Capacity = rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "capacity")
	}
	if o.mixed {
		m.SubTopologies = rapid.SampledFrom([][]int32{nil, nil, {0}, {0, 1}, {1, 2}, {}}).Draw(t, "runs")
	}
	n := newNode(m)
	g.members = append(g.members, n)
	return n
}

// change lets one thing happen to the members.
func (g *group) change(t *rapid.T, name string, gone *[]*node, o groupOptions) {
	var n *node
	if len(g.members) > 0 {
		n = g.members[rapid.IntRange(0, len(g.members)-1).Draw(t, "member")]
	}
	switch kind := rapid.SampledFrom([]string{"join", "die", "leave", "return", "lose"}).Draw(t, "event"); {
	case kind == "join" || n == nil:
		if len(g.members) < 6 {
			g.join(t, name, o)
		}
	case kind == "die":
		g.remove(n)
		*gone = append(*gone, n)
	case kind == "leave":
		n.Leaving = true
	case kind == "return" && len(*gone) > 0:
		back := newNode((*gone)[0].Member)
		back.ID, back.Leaving = name, false
		if rapid.Bool().Draw(t, "disk") {
			back.disk = (*gone)[0].disk
			for _, h := range back.disk {
				h.Warm, h.Use = false, partition.Leftover
			}
		}
		*gone = (*gone)[1:]
		g.members = append(g.members, back)
	case kind == "lose":
		clear(n.disk)
	}
}

// settle lets rounds pass until nothing moves any more, and returns the last plan.
func (g *group) settle(t *rapid.T, r *rand.Rand) partition.Plan {
	var last partition.Plan
	for range len(g.tasks) + 4 {
		before := g.owners()
		plan := g.round()
		checkWarmUpsGoOn(t, g, last, plan)
		last = plan
		g.pass(r)
		g.dismiss()
		if len(plan.Moves) == 0 && cmp.Equal(before, g.owners()) {
			return plan
		}
	}
	t.Fatalf("the group does not come to rest:%s\n%+v", g, g.round())
	return partition.Plan{}
}

// checkWarmUpsGoOn fails if a warm-up is broken off, though nobody has come or gone, and no other task was warm sooner.
func checkWarmUpsGoOn(t *rapid.T, g *group, last, plan partition.Plan) {
	t.Helper()
	moves := func(m partition.Move) bool { return m.State == partition.Moving }
	if !g.reports || slices.ContainsFunc(plan.Moves, moves) {
		return
	}
	for id, ids := range last.WarmUp {
		for _, task := range ids {
			if g.node(id) != nil && !slices.Contains(plan.WarmUp[id], task) && !slices.Contains(plan.Active[id], task) {
				t.Fatalf("%s warms up for %s no more:%s\n%+v\n%+v", id, task, g, last, plan)
			}
		}
	}
}

// restStandbys gives members that do not tell which of their copies are standbys the time to make them warm.
func (g *group) restStandbys() {
	for range 3 {
		g.round()
		g.copies(func(_ *node, h *partition.HeldTask) {
			if h.Warm = h.Use != partition.Leftover; h.Warm {
				h.Position = g.present
			}
		})
	}
}

func TestHistoriesKeepThePromisesAndComeToRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := drawGroup(t)
		o := groupOptions{alike: rapid.Bool().Draw(t, "alike"), mixed: rapid.Bool().Draw(t, "mixed")}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var gone []*node
		for i := range rapid.IntRange(1, 12).Draw(t, "events") {
			g.change(t, fmt.Sprintf("m%02d", i), &gone, o)
			for range rapid.IntRange(0, 3).Draw(t, "rounds") {
				checkPlan(t, g, partition.Place(g.tasks, g.view(), g.rules))
				checkHandOver(t, g, g.round())
				g.pass(r)
				g.dismiss()
			}
		}
		g.settle(t, r)
		if !g.reports {
			g.restStandbys()
		}
		rest := g.round()
		checkPlan(t, g, rest)
		if len(g.members) > 0 {
			checkAtRest(t, g, rest)
		}
		for range 3 {
			g.pass(r)
			if diff := cmp.Diff(rest, g.round()); diff != "" {
				t.Fatalf("nothing has changed, but the plan (-before +after):\n%s%s", diff, g)
			}
		}
	})
}

// A group at rest undergoes one change. Every stateful task then moves at most once, and one that has lost its owner at most
// once more, from the warm member that took it over beyond its share. No more of them move than the new balance asks for.
func TestOneChangeMovesAsLittleAsPossible(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := drawGroup(t)
		for i := range g.tasks {
			g.tasks[i].Weight = 0
		}
		o := groupOptions{alike: rapid.Bool().Draw(t, "alike")}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range rapid.IntRange(1, 5).Draw(t, "members") {
			g.join(t, fmt.Sprintf("m%d", i), o)
		}
		g.settle(t, r)
		g.restStandbys()
		owner, taken := g.owners(), g.owners()
		n := g.members[rapid.IntRange(0, len(g.members)-1).Draw(t, "member")]
		change := rapid.SampledFrom([]string{"join", "die", "leave"}).Draw(t, "change")
		switch change {
		case "join":
			n = g.join(t, "j", o)
		case "die":
			g.remove(n)
		case "leave":
			n.Leaving = len(g.members) > 1
		}
		clear(g.moved)
		g.round()
		takeovers := total(g.moved, g.tasks)
		lost := 0 // stateful tasks that must go, whatever the balance
		for _, task := range g.tasks {
			if task.Stateful && owner[task.ID] == n.ID && change != "join" && len(g.members) > 0 && (change == "die" || n.Leaving) {
				lost++
			}
			if change == "die" && owner[task.ID] == n.ID {
				taken[task.ID] = g.owners()[task.ID]
			}
		}
		g.settle(t, r)
		for _, task := range g.tasks {
			most := 1
			if owner[task.ID] == n.ID {
				most = 2
			}
			if task.Stateful && g.moved[task.ID] > most {
				t.Fatalf("%s has moved %d times after %s of %s:%s", task.ID, g.moved[task.ID], change, n.ID, g)
			}
		}
		moves := total(g.moved, g.tasks)
		switch {
		case change == "leave" && moves > 2*lost || change == "leave" && g.rules.Standbys == 0 && moves != lost:
			t.Fatalf("%d stateful tasks have moved, %s had %d:%s", moves, n.ID, lost, g)
		case change == "die" && len(g.members) > 0 && takeovers != lost:
			t.Fatalf("%d stateful tasks are taken over at once, %s had %d:%s", takeovers, n.ID, lost, g)
		case change != "leave" && len(g.members) > 0:
			if want := takeovers + fewestMoves(g.tasks, g.view(), taken)[0]; moves != want {
				t.Fatalf("%d stateful tasks have moved after %s of %s, %d would do:%s", moves, change, n.ID, want, g)
			}
		}
	})
}

// total counts the moves of stateful tasks.
func total(moved map[partition.TaskID]int, tasks []partition.Task) int {
	n := 0
	for _, task := range tasks {
		if task.Stateful {
			n += moved[task.ID]
		}
	}
	return n
}

func TestOrderOfArgumentsDoesNotMatterToAPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks, rules := drawWeights(t, drawTasks(t)), partition.Rules{Standbys: rapid.IntRange(0, 3).Draw(t, "standbys"), WarmUps: rapid.IntRange(0, 3).Draw(t, "warm-ups")}
		members := drawMembers(t, drawOptions{weighted: true, restricted: rapid.Bool().Draw(t, "restricted"), maxMembers: 6})
		for m := range members {
			members[m].Zone = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone")
			members[m].Leaving = rapid.IntRange(0, 3).Draw(t, "leaving") == 3
			for h := range members[m].Held {
				members[m].Held[h].Warm = rapid.Bool().Draw(t, "warm")
				members[m].Held[h].Use = partition.Use(rapid.IntRange(0, 2).Draw(t, "use"))
			}
		}
		want := partition.Place(tasks, members, rules)
		shuffle(t, tasks, members)
		if diff := cmp.Diff(want, partition.Place(tasks, members, rules)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// checkHandOver fails if the round after a plan, in which those that take tasks over find them without owner, changes
// standbys, though nothing has become warm and no other task has moved. Only where somebody has more than its share may it
// find something better.
func checkHandOver(t *rapid.T, g *group, plan partition.Plan) {
	t.Helper()
	again := partition.Place(g.tasks, g.view(), g.rules)
	if !g.reports || !cmp.Equal(plan.Active, again.Active) || exceedsShares(g, plan) {
		return
	}
	if diff := cmp.Diff(plan.Standby, again.Standby); diff != "" {
		t.Fatalf("standbys change when tasks are taken over:\n%s%s\n%+v\n%+v", diff, g, plan, again)
	}
}

// exceedsShares says whether a member has more standbys than its share, of those that the same members may run.
func exceedsShares(g *group, plan partition.Plan) bool {
	for _, tasks := range cohorts(g) {
		cohort := *g
		cohort.tasks = tasks
		for id, s := range sharesOf(&cohort, plan, g.rules.Standbys) {
			has := 0
			for _, task := range tasks {
				if slices.Contains(plan.Standby[id], task.ID) {
					has++
				}
			}
			if has > s.whole+1 || has > s.whole && !s.rest {
				return true
			}
		}
	}
	return false
}

// checkAtRest fails unless the tasks are where Assign wants them, and balanced.
func checkAtRest(t *rapid.T, g *group, plan partition.Plan) {
	t.Helper()
	if diff := cmp.Diff(partition.Assign(g.tasks, g.view()), plan.Active); diff != "" {
		t.Fatalf("at rest, but not as assigned:\n%s", diff)
	}
	for able, tasks := range cohorts(g) {
		members := able.of(g)
		checkLoad(t, tasks, members, plan.Active)
	}
}

// cohorts groups the tasks by the members that may run them.
func cohorts(g *group) map[ids][]partition.Task {
	out := map[ids][]partition.Task{}
	for _, task := range g.tasks {
		if able := candidates(g, task); able != "" {
			out[able] = append(out[able], task)
		}
	}
	return out
}

// ids are of members, each followed by a space.
type ids string

func (s ids) of(g *group) []partition.Member {
	var out []partition.Member
	for _, m := range g.view() {
		if s.has(m.ID) {
			out = append(out, m)
		}
	}
	return out
}

func (s ids) has(id string) bool { return slices.Contains(s.list(), id) }

func (s ids) list() []string { return strings.Fields(string(s)) }

func candidates(g *group, task partition.Task) ids {
	var able, stay ids
	for _, n := range g.members {
		if canRun(n.Member, task) {
			able += ids(n.ID + " ")
			if !n.Leaving {
				stay += ids(n.ID + " ")
			}
		}
	}
	if stay != "" {
		return stay
	}
	return able
}

// checkLoad fails unless the load of each member is less than the largest weight off its share.
func checkLoad(t fataler, tasks []partition.Task, members []partition.Member, active map[string][]partition.TaskID) {
	t.Helper()
	weight := map[partition.TaskID]int{}
	largest, all, capacities := 0, 0, 0
	for _, task := range tasks {
		w := max(task.Weight, 1)
		weight[task.ID] = w
		largest, all = max(largest, w), all+w
	}
	for _, m := range members {
		capacities += max(m.Capacity, 1)
	}
	byCapacity := map[int][]int{}
	for _, m := range members {
		load := 0
		for _, id := range active[m.ID] {
			load += weight[id]
		}
		if off := load*capacities - all*max(m.Capacity, 1); off != 0 && max(off, -off) >= largest*capacities {
			t.Fatalf("the load of %s is %d, its share %d/%d, the largest weight %d: %v", m.ID, load, all*max(m.Capacity, 1), capacities, largest, active)
		}
		byCapacity[max(m.Capacity, 1)] = append(byCapacity[max(m.Capacity, 1)], load)
	}
	for capacity, loads := range byCapacity {
		if slices.Max(loads)-slices.Min(loads) > largest {
			t.Fatalf("loads of members with capacity %d: %v, the largest weight is %d: %v", capacity, loads, largest, active)
		}
	}
}

// checkPlan fails unless a plan keeps what each plan promises.
func checkPlan(t *rapid.T, g *group, plan partition.Plan) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s:%s\n%+v", fmt.Sprintf(format, args...), g, plan)
	}
	if len(plan.Active) != len(g.members) || len(plan.Standby) != len(g.members) || len(plan.WarmUp) != len(g.members) {
		fail("not an entry for each of %d members", len(g.members))
	}
	active, owner := invert(plan.Active), g.owners()
	n := 0
	for id, ids := range plan.Active {
		n += len(ids)
		if !slices.IsSortedFunc(ids, partition.TaskID.Compare) {
			fail("tasks of %s are not sorted", id)
		}
	}
	if n != len(active) {
		fail("a task is given twice")
	}
	warmUps := 0
	for _, task := range g.tasks {
		able, to, from := candidates(g, task), active[task.ID], owner[task.ID]
		if (to == "") != (able == "") {
			fail("%s can be run by %q, but is given to %q", task.ID, able, to)
		}
		if to == "" {
			continue
		}
		checkOwner(t, g, plan, task)
		warming := having(plan.WarmUp, task.ID)
		if len(warming) > 1 || len(warming) == 1 && (warming[0] == to || !able.has(warming[0]) || !task.Stateful) {
			fail("%s is given to %s and warmed up by %v", task.ID, to, warming)
		}
		if len(warming) == 1 && !g.node(to).Leaving {
			warmUps++
		}
		if len(warming) == 0 && from == to && g.node(to).Leaving && !able.has(to) && task.Stateful {
			fail("%s leaves, but nobody warms up for %s", to, task.ID)
		}
		checkStandbys(t, g, plan, task)
	}
	if warmUps > g.rules.WarmUps {
		fail("%d warm-ups, %d are allowed", warmUps, g.rules.WarmUps)
	}
}

// checkOwner fails unless the member to which a stateful task is given is the right one: who runs it, or who is warm for it,
// or if there are none of these, anyone who may run it.
func checkOwner(t *rapid.T, g *group, plan partition.Plan, task partition.Task) {
	t.Helper()
	able, to, from := candidates(g, task), invert(plan.Active)[task.ID], g.owners()[task.ID]
	if to != from && !able.has(to) {
		t.Fatalf("%s is given to %s, of %s:%s", task.ID, to, able, g)
	}
	if !task.Stateful {
		return
	}
	warm := func(id string) bool {
		h := g.node(id).disk[task.ID]
		return h != nil && h.Warm
	}
	stays := from != "" && able.has(from)
	switch {
	case to == from && stays, warm(to):
	case slices.ContainsFunc(able.list(), warm):
		t.Fatalf("%s is given to %s, others are warm:%s", task.ID, to, g)
	case from != "" && to != from && canRun(g.node(from).Member, task):
		t.Fatalf("%s moves from %s to %s, which is not warm:%s", task.ID, from, to, g)
	}
}

// having lists the members that have a task in a part of a plan.
func having(part map[string][]partition.TaskID, task partition.TaskID) []string {
	var out []string
	for id, ids := range part {
		if slices.Contains(ids, task) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// checkStandbys fails unless a task has as many standbys as there can be, all of members that may run it and have nothing
// else to do with it.
func checkStandbys(t *rapid.T, g *group, plan partition.Plan, task partition.Task) {
	t.Helper()
	able, busy := candidates(g, task), append(having(plan.Active, task.ID), having(plan.WarmUp, task.ID)...)
	others := 0
	for _, id := range able.list() {
		if !slices.Contains(busy, id) {
			others++
		}
	}
	want := 0
	if task.Stateful {
		want = min(g.rules.Standbys, others)
	}
	standbys := having(plan.Standby, task.ID)
	if len(standbys) != want {
		t.Fatalf("%s has standbys %v, want %d:%s\n%+v", task.ID, standbys, want, g, plan)
	}
	for _, id := range standbys {
		if !able.has(id) || slices.Contains(busy, id) {
			t.Fatalf("%s has standbys %v, may run on %s, and is given to and warmed up by %v", task.ID, standbys, able, busy)
		}
	}
}
