// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxWeight bounds the weights of members and of tasks, so that shares and loads are computed without overflow whatever a
// member says.
const maxWeight = 1 << 20

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
	// Leaving says that the member is about to end. [Place] lets it run what it owns until another member can, and gives
	// it nothing; if all members that could run a task are leaving, none counts as leaving for it.
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
	// Of two that are warm neither is preferred for its position.
	Warm bool
	// Use is what the member keeps the state for, as the last plan told it. Placement keeps to it where it can.
	Use Use
}

// Use is what a member keeps the state of a task for that it does not run.
type Use uint8

const (
	// Leftover: for nothing. It is on the disk from before.
	Leftover Use = iota
	// ForStandby: in case the owner goes.
	ForStandby
	// ForWarmUp: to take the task over once it is warm.
	ForWarmUp
	// Uses is how many uses there are.
	Uses = iota
)

// Assign decides which member shall run which task once all state is where it is wanted; [Place] decides who runs it
// until then. The result has an entry for every member, its tasks sorted by id. It
// depends on nothing but the arguments, and not on their order. See the package documentation for what it promises.
//
// A task that no member can run is in no entry. Owned and held tasks that do not exist are ignored.
func Assign(tasks []Task, members []Member) map[string][]TaskID {
	p := newPlacement(tasks, members)
	p.target()
	return p.lists(func(t int) []int { return p.assigned[t : t+1] })
}

// nobody stands for a member where there is none.
const nobody = -1

// placement is the state of one call. Tasks and members are named by their index in the sorted slices.
type placement struct {
	tasks    []Task
	members  []Member
	cohorts  []*cohort
	cohort   []*cohort // by task
	runner   []int     // by task: who runs it now
	owner    []int     // by task: who runs it now and may go on with it
	copies   [][]held  // by task: who has its state and may run it, the best one first
	assigned []int     // by task: the outcome so far
	load     []int64   // by member: the weight of what is assigned to it so far

	// of Place
	warming []int   // by task: the member that warms up for it
	standby [][]int // by task
}

// held is the state of a task on the disk of a member.
type held struct {
	member int
	HeldTask
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
		cohort:   make([]*cohort, len(tasks)),
		runner:   slices.Repeat([]int{nobody}, len(tasks)),
		owner:    slices.Repeat([]int{nobody}, len(tasks)),
		copies:   make([][]held, len(tasks)),
		assigned: slices.Repeat([]int{nobody}, len(tasks)),
		load:     make([]int64, len(members)),
	}
	p.makeCohorts()
	index := make(map[TaskID]int, len(tasks))
	for t, task := range tasks {
		index[task.ID] = t
	}
	for m, member := range members {
		for _, id := range member.Owned {
			if t, ok := index[id]; ok && (p.runner[t] == nobody || p.fitness(t, m) < p.fitness(t, p.runner[t])) {
				p.runner[t] = m
			}
		}
		for _, h := range member.Held {
			if t, ok := index[h.Task]; ok && p.cohort[t].has[m] {
				p.copies[t] = append(p.copies[t], held{m, h})
			}
		}
	}
	for t := range tasks {
		if m := p.runner[t]; m != nobody && p.cohort[t].has[m] {
			p.owner[t] = m
		}
		p.sortCopies(t)
	}
	return p
}

// fitness says how fit a member is to run a task that it owns, the least the fittest.
func (p *placement) fitness(t, m int) int {
	switch {
	case p.cohort[t].has[m]:
		return 0
	case p.runs(t, m):
		return 1
	default:
		return 2
	}
}

// runs says whether a member can run a task, be it leaving or not.
func (p *placement) runs(t, m int) bool { return p.members[m].canRun(p.tasks[t].ID.SubTopology) }

// sortCopies orders the copies of a task. Warm ones come first. Of the others, while somebody runs the task,
// those come first that are in use, so that what has been begun is ended; else those that are nearest to the present.
func (p *placement) sortCopies(t int) {
	running := p.isRunning(t)
	slices.SortFunc(p.copies[t], func(a, b held) int {
		use, position := cmp.Compare(b.Use, a.Use), cmp.Compare(b.Position, a.Position)
		switch {
		case a.Warm != b.Warm:
			return trueFirst(a.Warm, b.Warm)
		case a.Warm:
			return cmp.Or(use, cmp.Compare(a.member, b.member))
		case running:
			return cmp.Or(use, position, cmp.Compare(a.member, b.member))
		default:
			return cmp.Or(position, use, cmp.Compare(a.member, b.member))
		}
	})
}

// isRunning says whether somebody runs a task and can go on until another member is warm.
func (p *placement) isRunning(t int) bool {
	return p.owner[t] != nobody || p.runner[t] != nobody && p.runs(t, p.runner[t])
}

// trueFirst orders true before false.
func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

func (m Member) canRun(sub int32) bool {
	return m.SubTopologies == nil || slices.Contains(m.SubTopologies, sub)
}

func (m Member) weight() int64 {
	return int64(min(max(m.Capacity, 1), maxWeight))
}

func (t Task) weight() int64 { return int64(min(max(t.Weight, 1), maxWeight)) }

// cohort is a set of tasks that the same members may run: those that can and stay, or if all leave, those that can.
// Usually there is one. Each is balanced on its own: to make up, on the other members, for tasks that only some of them
// can run would move state towards the workers of the version that is about to go.
type cohort struct {
	members []int
	has     []bool // by member
	// classes are its tasks, those of the largest weight first, and of one weight the stateful ones first.
	classes [][]int
}

// makeCohorts splits the tasks, in the order of their sub-topologies. The cohort of those that nobody can run is not listed.
func (p *placement) makeCohorts() {
	byMembers := map[string]*cohort{}
	tasks := map[*cohort][]int{}
	for t, task := range p.tasks {
		if t > 0 && task.ID.SubTopology == p.tasks[t-1].ID.SubTopology {
			p.cohort[t] = p.cohort[t-1]
		} else {
			able := p.candidates(task.ID.SubTopology)
			key := fmt.Sprint(able)
			if byMembers[key] == nil {
				c := &cohort{members: able, has: make([]bool, len(p.members))}
				for _, m := range able {
					c.has[m] = true
				}
				if byMembers[key] = c; len(able) > 0 {
					p.cohorts = append(p.cohorts, c)
				}
			}
			p.cohort[t] = byMembers[key]
		}
		tasks[p.cohort[t]] = append(tasks[p.cohort[t]], t)
	}
	for _, c := range p.cohorts {
		c.classes = p.classes(tasks[c])
	}
}

// candidates returns the members that may run the tasks of a sub-topology.
func (p *placement) candidates(sub int32) []int {
	var able, stay []int
	for m, member := range p.members {
		if member.canRun(sub) {
			able = append(able, m)
			if !member.Leaving {
				stay = append(stay, m)
			}
		}
	}
	if len(stay) > 0 {
		return stay
	}
	return able
}

func (p *placement) classes(tasks []int) [][]int {
	compare := func(a, b int) int {
		x, y := p.tasks[a], p.tasks[b]
		return cmp.Or(cmp.Compare(y.weight(), x.weight()), trueFirst(x.Stateful, y.Stateful))
	}
	slices.SortStableFunc(tasks, compare)
	var classes [][]int
	for i, t := range tasks {
		if i == 0 || compare(tasks[i-1], t) != 0 {
			classes = append(classes, nil)
		}
		classes[len(classes)-1] = append(classes[len(classes)-1], t)
	}
	return classes
}

// target fills assigned with who shall run each task in the end.
func (p *placement) target() {
	for _, c := range p.cohorts {
		for k, quota := range p.quotas(c) {
			p.fill(c, c.classes[k], quota)
		}
	}
}

func (p *placement) assign(t, m int) {
	p.assigned[t] = m
	p.load[m] += p.tasks[t].weight()
}

// lists turns the members of each task into the tasks of each member.
func (p *placement) lists(membersOf func(t int) []int) map[string][]TaskID {
	out := make(map[string][]TaskID, len(p.members))
	for _, member := range p.members {
		out[member.ID] = []TaskID{}
	}
	for t, task := range p.tasks {
		for _, m := range membersOf(t) {
			if m != nobody {
				id := p.members[m].ID
				out[id] = append(out[id], task.ID)
			}
		}
	}
	return out
}
