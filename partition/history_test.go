// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/streamd/streamd/partition"
)

// group is a model of a cooperative group: a plan is carried out in rounds, and a task that changes hands is with nobody for
// one round. What members have on their disks comes nearer to the present, or is lost.
type group struct {
	tasks   []partition.Task
	rules   partition.Rules
	members []*node // alive, in the order of their coming
	// reports says whether members tell what they use their copies for.
	reports bool
	// ownersHold says whether members list what they run among the copies that they hold.
	ownersHold bool
	present    int64
	// moved counts, by task, how often another member has taken it up.
	moved map[partition.TaskID]int
	last  map[partition.TaskID]string
	// begun counts the copies that were begun with nothing.
	begun int
}

// node is a member of the model.
type node struct {
	partition.Member
	owned map[partition.TaskID]bool
	disk  map[partition.TaskID]*partition.HeldTask
}

func newNode(m partition.Member) *node {
	return &node{Member: m, owned: map[partition.TaskID]bool{}, disk: map[partition.TaskID]*partition.HeldTask{}}
}

func (g *group) node(id string) *node {
	for _, n := range g.members {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// remove ends a member: what it ran is without owner.
func (g *group) remove(n *node) {
	g.members = slices.DeleteFunc(g.members, func(m *node) bool { return m == n })
	for id := range n.owned {
		n.disk[id] = &partition.HeldTask{Task: id, Position: g.present}
	}
	clear(n.owned)
}

// view is what placement is told.
func (g *group) view() []partition.Member {
	var members []partition.Member
	for _, n := range g.members {
		m := n.Member
		m.Owned = slices.SortedFunc(maps.Keys(n.owned), partition.TaskID.Compare)
		m.Held = nil
		for _, id := range slices.SortedFunc(maps.Keys(n.disk), partition.TaskID.Compare) {
			h := *n.disk[id]
			if !g.reports {
				h.Use = partition.Leftover
			}
			m.Held = append(m.Held, h)
		}
		if g.ownersHold {
			for _, id := range m.Owned {
				m.Held = append(m.Held, partition.HeldTask{Task: id, Position: g.present, Warm: true})
			}
		}
		members = append(members, m)
	}
	return members
}

func (g *group) owners() map[partition.TaskID]string {
	owner := map[partition.TaskID]string{}
	for _, n := range g.members {
		for id := range n.owned {
			owner[id] = n.ID
		}
	}
	return owner
}

// round has the group placed and carries the plan out.
func (g *group) round() partition.Plan {
	plan := partition.Place(g.tasks, g.view(), g.rules)
	owner := g.owners()
	for _, n := range g.members {
		owned := map[partition.TaskID]bool{}
		for _, id := range plan.Active[n.ID] {
			if owner[id] == n.ID || owner[id] == "" {
				owned[id] = true
				delete(n.disk, id)
				if g.last[id] != n.ID && g.last[id] != "" {
					g.moved[id]++
				}
				g.last[id] = n.ID
			}
		}
		for id := range n.owned {
			if !owned[id] {
				n.disk[id] = &partition.HeldTask{Task: id, Position: g.present, Warm: true}
			}
		}
		n.owned = owned
		for _, h := range n.disk {
			h.Use = partition.Leftover
		}
		g.begun += n.use(plan.Standby[n.ID], partition.ForStandby) + n.use(plan.WarmUp[n.ID], partition.ForWarmUp)
		for _, id := range plan.Active[n.ID] {
			if g.isStateful(id) && !owned[id] { // withheld: until it comes, its state is kept near to the present
				g.begun += n.use([]partition.TaskID{id}, partition.ForWarmUp)
			}
		}
	}
	return plan
}

// use notes what copies are used for, and returns how many there were not.
func (n *node) use(ids []partition.TaskID, use partition.Use) (begun int) {
	for _, id := range ids {
		if n.disk[id] == nil {
			n.disk[id] = &partition.HeldTask{Task: id}
			begun++
		}
		n.disk[id].Use = use
	}
	return begun
}

func (g *group) isStateful(id partition.TaskID) bool {
	return slices.ContainsFunc(g.tasks, func(task partition.Task) bool { return task.ID == id && task.Stateful })
}

// copies calls f for each copy, in a fixed order.
func (g *group) copies(f func(n *node, h *partition.HeldTask)) {
	for _, n := range g.members {
		for _, id := range slices.SortedFunc(maps.Keys(n.disk), partition.TaskID.Compare) {
			f(n, n.disk[id])
		}
	}
}

// pass lets time pass: of the copies that are used but cold, those become warm that the random numbers choose, and at least
// one of those that are warmed up. What is not used stays behind.
func (g *group) pass(r *rand.Rand) {
	g.present += 1 + r.Int64N(10)
	var cold []*partition.HeldTask
	g.copies(func(_ *node, h *partition.HeldTask) {
		switch {
		case h.Use == partition.Leftover:
			h.Warm = false
		case h.Warm || r.IntN(3) == 0:
			h.Position, h.Warm = g.present-r.Int64N(2), true
		default:
			h.Position = min(g.present, h.Position+r.Int64N(5))
			if h.Use == partition.ForWarmUp {
				cold = append(cold, h)
			}
		}
	})
	if len(cold) > 0 {
		h := cold[r.IntN(len(cold))]
		h.Position, h.Warm = g.present, true
	}
}

// dismiss ends the members that leave and have nothing more to do.
func (g *group) dismiss() {
	for _, n := range slices.Clone(g.members) {
		if n.Leaving && len(n.owned) == 0 {
			g.remove(n)
		}
	}
}

// String draws who runs what and who has which copies, for failures.
func (g *group) String() string {
	var b strings.Builder
	for _, n := range g.members {
		fmt.Fprintf(&b, "\n%s zone=%q capacity=%d subs=%v leaving=%v runs %v, has", n.ID, n.Zone, n.Capacity, n.SubTopologies,
			n.Leaving, slices.SortedFunc(maps.Keys(n.owned), partition.TaskID.Compare))
		for _, id := range slices.SortedFunc(maps.Keys(n.disk), partition.TaskID.Compare) {
			fmt.Fprintf(&b, " %+v", *n.disk[id])
		}
	}
	return b.String()
}
