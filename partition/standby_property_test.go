// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamd/streamd/partition"
)

// Strategy: random plans are compared with the largest flow through a network that says the same as the promise: from each
// stateful task through each zone but its owner's, to members that may be standbys, and out within their shares.

func TestAsManyStandbysAsPossibleAreInZonesOfTheirOwn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g, plan, n := drawStandbys(t, []string{"a", "a", "b", "c"})
		if isOnTheWay(plan) {
			return
		}
		got := 0
		for _, task := range g.tasks {
			seen := map[string]bool{g.zoneOf(having(plan.Active, task.ID)): true}
			for _, id := range having(plan.Standby, task.ID) {
				if zone := g.node(id).Zone; !seen[zone] {
					seen[zone] = true
					got++
				}
			}
		}
		if want := largestFlow(g, plan, n, true); got < want {
			t.Fatalf("%d standbys are in zones of their own, %d could be:%s\n%+v", got, want, g, plan)
		}
	})
}

func TestStandbysKeepToTheSharesWherePossible(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g, plan, n := drawStandbys(t, []string{"a"})
		if isOnTheWay(plan) {
			return
		}
		slots := 0
		for _, task := range g.tasks {
			slots += len(having(plan.Standby, task.ID))
		}
		if largestFlow(g, plan, n, false) < slots {
			return // somebody must have more
		}
		shares := sharesOf(g, plan, n)
		for _, n := range g.members {
			s := shares[n.ID]
			if has := len(plan.Standby[n.ID]); has < s.whole || has > s.whole+1 || has > s.whole && !s.rest {
				t.Fatalf("%s has %d standbys, its share is %+v:%s\n%+v", n.ID, has, s, g, plan)
			}
		}
	})
}

// In zones of equal size all standbys are in zones of their own, and within the shares.
func TestZonesOfEqualSizeHaveStandbysForEachOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 2).Draw(t, "standbys")
		zones := rapid.IntRange(n+1, 4).Draw(t, "zones")
		var members []partition.Member
		for i := range zones * rapid.IntRange(1, 3).Draw(t, "members of each") {
			members = append(members, partition.Member{ID: fmt.Sprintf("m%02d", i), Zone: string(rune('a' + i%zones))})
		}
		tasks := makeTasks(0, rapid.IntRange(0, 40).Draw(t, "tasks"), true)
		plan := partition.Place(tasks, members, partition.Rules{Standbys: n, WarmUps: 1})
		zone := map[string]string{}
		for _, m := range members {
			zone[m.ID] = m.Zone
			if has, low := len(plan.Standby[m.ID]), n*len(tasks)/len(members); has < low || has > low+1 {
				t.Fatalf("%s has %d of %d standbys: %+v", m.ID, has, n*len(tasks), plan)
			}
		}
		for _, task := range tasks {
			var in []string
			for _, id := range append(having(plan.Standby, task.ID), having(plan.Active, task.ID)...) {
				in = append(in, zone[id])
			}
			slices.Sort(in)
			if len(slices.Compact(in)) != n+1 {
				t.Fatalf("%s is in zones %v: %+v", task.ID, in, plan)
			}
		}
	})
}

// drawStandbys places a random group whose members have random copies.
func drawStandbys(t *rapid.T, zones []string) (*group, partition.Plan, int) {
	tasks := drawTasks(t)
	g := &group{tasks: tasks, reports: true}
	members := drawMembers(t, drawOptions{weighted: rapid.Bool().Draw(t, "weighted"), maxMembers: 6})
	for _, m := range members {
		m.Zone = rapid.SampledFrom(zones).Draw(t, "zone")
		m.Leaving = rapid.IntRange(0, 5).Draw(t, "leaving") == 5
		n := newNode(m)
		for _, h := range m.Held {
			h.Warm = rapid.Bool().Draw(t, "warm")
			n.disk[h.Task] = &h
		}
		g.members = append(g.members, n)
	}
	for id, m := range owners(tasks, members) {
		g.node(m).owned[id] = true
	}
	g.rules = partition.Rules{Standbys: rapid.IntRange(1, 3).Draw(t, "standbys"), WarmUps: rapid.IntRange(0, 1).Draw(t, "warm-ups")}
	return g, partition.Place(g.tasks, g.view(), g.rules), g.rules.Standbys
}

// isOnTheWay says whether tasks warm up. Till they are there standbys stay where they are.
func isOnTheWay(plan partition.Plan) bool {
	return slices.ContainsFunc(plan.Moves, func(m partition.Move) bool { return m.State == partition.Warming })
}

func (g *group) zoneOf(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return g.node(ids[0]).Zone
}

// possible lists the members that could be standbys of a task.
func possible(g *group, plan partition.Plan, task partition.Task) []string {
	active := having(plan.Active, task.ID)
	if !task.Stateful || len(active) == 0 {
		return nil
	}
	busy := append(active, having(plan.WarmUp, task.ID)...)
	return slices.DeleteFunc(candidates(g, task).list(), func(id string) bool { return slices.Contains(busy, id) })
}

// share is a member's of the standbys, rounded down, and whether there is a rest.
type share struct {
	whole int
	rest  bool
}

// sharesOf deals the standbys out by capacity; who cannot take its share takes what it can.
func sharesOf(g *group, plan partition.Plan, n int) map[string]share {
	could := map[string]int{}
	slots := 0
	for _, task := range g.tasks {
		ids := possible(g, plan, task)
		slots += min(n, len(ids))
		for _, id := range ids {
			could[id]++
		}
	}
	shares := map[string]share{}
	for {
		capacities := 0
		for id := range could {
			if _, dealt := shares[id]; !dealt {
				capacities += max(g.node(id).Capacity, 1)
			}
		}
		var full []string
		for id := range could {
			if _, dealt := shares[id]; !dealt && could[id]*capacities <= slots*max(g.node(id).Capacity, 1) {
				full = append(full, id)
			}
		}
		if len(full) == 0 {
			for id := range could {
				if _, dealt := shares[id]; !dealt {
					s := slots * max(g.node(id).Capacity, 1)
					shares[id] = share{s / capacities, s%capacities > 0}
				}
			}
			return shares
		}
		for _, id := range full {
			shares[id] = share{whole: could[id]}
			slots -= could[id]
		}
	}
}

// network is a flow network: what each pipe can still carry.
type network map[string]map[string]int

func (net network) pipe(from, to string, capacity int) {
	for _, ends := range [][2]string{{from, to}, {to, from}} {
		if net[ends[0]] == nil {
			net[ends[0]] = map[string]int{}
		}
	}
	net[from][to] += capacity
}

// push finds one more unit of flow.
func (net network) push(at string, seen map[string]bool) bool {
	if at == "out" {
		return true
	}
	seen[at] = true
	for next, left := range net[at] {
		if left > 0 && !seen[next] && net.push(next, seen) {
			net[at][next]--
			net[next][at]++
			return true
		}
	}
	return false
}

// largestFlow returns how many standbys fit into the shares; if strict, of those in zones of their own.
func largestFlow(g *group, plan partition.Plan, n int, strict bool) int {
	net, shares := network{}, sharesOf(g, plan, n)
	slots := 0
	for _, task := range g.tasks {
		ids := possible(g, plan, task)
		slots += min(n, len(ids))
		from := "task " + task.ID.String()
		net.pipe("in", from, min(n, len(ids)))
		for _, id := range ids {
			zone := g.node(id).Zone
			switch through := from + " in " + zone; {
			case !strict:
				net.pipe(from, "member "+id, 1)
			case zone != g.zoneOf(having(plan.Active, task.ID)):
				if net[from][through] == 0 {
					net.pipe(from, through, 1)
				}
				net.pipe(through, "member "+id, 1)
			}
		}
	}
	extra := slots
	for id, s := range shares {
		net.pipe("member "+id, "out", s.whole)
		if extra -= s.whole; s.rest {
			net.pipe("member "+id, "extra", 1)
		}
	}
	net.pipe("extra", "out", extra)
	flow := 0
	for net.push("in", map[string]bool{}) {
		flow++
	}
	return flow
}
