// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxCapacity bounds the weight of one member, so that shares are computed without overflow whatever a member says.
const maxCapacity = 1 << 20

// Member is a worker as placement sees it.
type Member struct {
	// ID is unique among the members; ties are broken by it.
	ID string
	// Endpoint, Zone, Version and TransactionalID describe the worker to the others. [Assign] does not read them.
	Endpoint        string
	Zone            string
	Version         string
	TransactionalID string
	// Capacity is the weight of the member against the others; what is below 1 counts as 1.
	Capacity int
	// SubTopologies are those of which the member can run tasks. Nil means all, empty means none: while a new
	// version is rolled out, not every member knows every sub-topology.
	SubTopologies []int32
	// Held lists the tasks whose state the member has on its disk, running or not, or is about to have.
	Held []HeldTask
	// Leaving says that the member is about to end. It runs what it owns until another member can, and is given
	// nothing; if all members that could run a task are leaving, none counts as leaving for it.
	Leaving bool
	// Owned lists the tasks that the member runs now. If two members own a task, the one with the lesser ID counts.
	Owned []TaskID
}

// HeldTask says how far the state of a task on a member's disk has come. Positions of one task compare; a larger
// one is nearer to the present.
type HeldTask struct {
	Task     TaskID
	Position int64
	// Warm says that the state follows the present at a small distance: the member could take the task over at once.
	Warm bool
}

// Assign decides which member shall run which task once all state is where it is wanted; [Place] decides who runs it
// until then. The result has an entry for every member, its tasks sorted by id. It
// depends on nothing but the arguments, and not on their order. See the package documentation for what it promises.
//
// A task that no member can run is in no entry. Owned and held tasks that do not exist are ignored.
func Assign(tasks []Task, members []Member) map[string][]TaskID {
	p := newPlacement(tasks, members)
	for _, c := range p.cohorts() {
		q := p.quotas(c)
		p.fill(c, c.stateful, q.stateful)
		p.fill(c, c.stateless, q.stateless)
	}
	return p.result()
}

// nobody stands for a member where there is none.
const nobody = -1

// placement is the state of one call of Assign. Tasks and members are named by their index in the sorted slices.
type placement struct {
	tasks    []Task
	members  []Member
	owner    []int   // by task: who runs it now
	holders  [][]int // by task: who has its state, the furthest first
	assigned []int   // by task: the outcome so far
	load     []int   // by member: tasks assigned so far

	// of Place
	warming []int   // by task: the member that warms up for it
	standby [][]int // by task
	moves   []Move
}

func newPlacement(tasks []Task, members []Member) *placement {
	tasks = slices.Clone(tasks)
	slices.SortFunc(tasks, func(a, b Task) int { return a.ID.Compare(b.ID) })
	tasks = slices.CompactFunc(tasks, func(a, b Task) bool { return a.ID == b.ID })
	members = slices.Clone(members)
	slices.SortStableFunc(members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	p := &placement{
		tasks:    tasks,
		members:  members,
		owner:    slices.Repeat([]int{nobody}, len(tasks)),
		holders:  make([][]int, len(tasks)),
		assigned: slices.Repeat([]int{nobody}, len(tasks)),
		load:     make([]int, len(members)),
	}
	index := make(map[TaskID]int, len(tasks))
	for t, task := range tasks {
		index[task.ID] = t
	}
	type holding struct {
		member int
		HeldTask
	}
	holdings := make([][]holding, len(tasks))
	for m, member := range members {
		for _, id := range member.Owned {
			if t, ok := index[id]; ok && p.owner[t] == nobody && member.canRun(id.SubTopology) {
				p.owner[t] = m
			}
		}
		for _, held := range member.Held {
			if t, ok := index[held.Task]; ok && member.canRun(held.Task.SubTopology) {
				holdings[t] = append(holdings[t], holding{m, held})
			}
		}
	}
	for t, hs := range holdings {
		slices.SortFunc(hs, func(a, b holding) int {
			return cmp.Or(a.compare(b.HeldTask), cmp.Compare(a.member, b.member))
		})
		for _, h := range hs {
			p.holders[t] = append(p.holders[t], h.member)
		}
	}
	return p
}

// compare orders by nearness to the present, the nearest first.
func (h HeldTask) compare(other HeldTask) int {
	if h.Warm != other.Warm {
		if h.Warm {
			return -1
		}
		return 1
	}
	return cmp.Compare(other.Position, h.Position)
}

func (m Member) canRun(sub int32) bool {
	return m.SubTopologies == nil || slices.Contains(m.SubTopologies, sub)
}

func (m Member) weight() int64 {
	return int64(min(max(m.Capacity, 1), maxCapacity))
}

// cohort is a set of tasks that the same members can run. Usually there is one. Each is balanced on its own: to make
// up, on the other members, for tasks that only some of them can run would move state towards the workers of the
// version that is about to go.
type cohort struct {
	members   []int
	stateful  []int // tasks
	stateless []int
}

// cohorts splits the tasks, in the order of their sub-topologies. Tasks that nobody can run are left out.
func (p *placement) cohorts() []*cohort {
	var all []*cohort
	byMembers := map[string]*cohort{}
	var current *cohort
	for t, task := range p.tasks {
		if t == 0 || task.ID.SubTopology != p.tasks[t-1].ID.SubTopology {
			var able []int
			for m, member := range p.members {
				if member.canRun(task.ID.SubTopology) {
					able = append(able, m)
				}
			}
			key := fmt.Sprint(able)
			if current = byMembers[key]; current == nil {
				current = &cohort{members: able}
				byMembers[key] = current
				if len(able) > 0 {
					all = append(all, current)
				}
			}
		}
		if task.Stateful {
			current.stateful = append(current.stateful, t)
		} else {
			current.stateless = append(current.stateless, t)
		}
	}
	return all
}

func (p *placement) result() map[string][]TaskID {
	out := make(map[string][]TaskID, len(p.members))
	for _, member := range p.members {
		out[member.ID] = []TaskID{}
	}
	for t, m := range p.assigned {
		if m != nobody {
			id := p.members[m].ID
			out[id] = append(out[id], p.tasks[t].ID)
		}
	}
	return out
}
