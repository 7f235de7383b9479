// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"slices"
)

// Rules are what the operator of an application wants of placement.
type Rules struct {
	// Standbys is how many members besides its owner keep the state of each stateful task near to the present.
	Standbys int
	// WarmUps is how many tasks may be warmed up at a time in the whole group. Those of a leaving owner do not count:
	// they have its grace time only. 0: no stateful task moves but from an owner that leaves or is gone.
	WarmUps int
}

// Plan is who does what from now on. The maps have an entry for every member, tasks sorted by id.
type Plan struct {
	// Active are the tasks that the member runs.
	Active map[string][]TaskID
	// Standby are the tasks of which the member keeps the state near to the present, in case their owner goes.
	Standby map[string][]TaskID
	// WarmUp are the tasks that the member will run: it brings their state near to the present while another member
	// runs them.
	WarmUp map[string][]TaskID
	// Moves are the tasks that change hands now or are to, sorted by task.
	Moves []Move
}

// Move is a task on its way from one member to another.
type Move struct {
	Task TaskID
	// From is empty if nobody has the task.
	From, To string
	Reason   MoveReason
	State    MoveState
}

// MoveReason is why a task moves.
type MoveReason uint8

const (
	// NoOwner: nobody runs the task. It is new, or its owner has gone.
	NoOwner MoveReason = iota
	// OwnerLeaves: its owner has said that it is about to end.
	OwnerLeaves
	// OwnerCannotRun: its owner is of a release that does not know the task.
	OwnerCannotRun
	// Balance: its owner has more than its share.
	Balance
)

// MoveReasons is how many reasons there are.
const MoveReasons = len(moveReasons)

var moveReasons = [...]string{"no owner", "owner leaves", "owner cannot run it", "balance"}

// String gives the words that logs and the API use.
func (r MoveReason) String() string { return moveReasons[r] }

// MoveState is how far a move has come.
type MoveState uint8

const (
	// Waiting: other tasks are warmed up first.
	Waiting MoveState = iota
	// Warming: the member that the task moves to brings its state near to the present.
	Warming
	// Moving: the task is given up now, or taken up if nobody has it.
	Moving
	// Moved: the member that the task moves to has it. Place does not say this; who carries its plan out may.
	Moved
)

// MoveStates is how many states there are.
const MoveStates = len(moveStates)

var moveStates = [...]string{"waiting", "warming up", "moving", "moved"}

// String gives the words that logs and the API use.
func (s MoveState) String() string { return moveStates[s] }

// Place decides who runs each task now, who keeps its state as a standby, and who is to run it and warms up for that. A
// stateful task moves at once only to a member that is warm for it, or from nobody; else its owner keeps it. It depends on
// nothing but the arguments, and not on their order. See the package documentation for what it promises.
func Place(tasks []Task, members []Member, rules Rules) Plan {
	p := newPlacement(tasks, members)
	p.target(stayers(p.members))
	p.settle(rules)
	p.addStandbys(rules.Standbys)
	return p.plan()
}

// stayers returns the members that are not leaving; all if every one is.
func stayers(members []Member) []Member {
	stay := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Leaving })
	if len(stay) == 0 {
		return members
	}
	return stay
}

// target lets Assign say who shall run each task in the end.
func (p *placement) target(members []Member) {
	index := make(map[string]int, len(p.members))
	for m, member := range p.members {
		index[member.ID] = m
	}
	number := p.numbers()
	for id, ids := range Assign(p.tasks, members) {
		for _, task := range ids {
			p.assigned[number[task]] = index[id]
		}
	}
}

func (p *placement) numbers() map[TaskID]int {
	number := make(map[TaskID]int, len(p.tasks))
	for t, task := range p.tasks {
		number[task.ID] = t
	}
	return number
}

// settle turns who shall run each task into who runs it now and who is to warm up. Of the tasks that need a warm-up those go
// first that have come furthest.
func (p *placement) settle(rules Rules) {
	p.warming = slices.Repeat([]int{nobody}, len(p.tasks))
	p.standby = make([][]int, len(p.tasks))
	former := p.formerOwners()
	var cold []int
	for t, task := range p.tasks {
		to, from := p.assigned[t], p.owner[t]
		if from == nobody && task.Stateful {
			from = p.warmHolder(t) // takes over at once, also beyond its share
		}
		switch {
		case to == nobody:
			p.assigned[t] = from // only members that leave can run it
		case from != nobody && from != to && task.Stateful && !p.isWarm(t, to):
			p.assigned[t], p.warming[t] = from, to
			cold = append(cold, t)
		}
		if p.assigned[t] != nobody && p.assigned[t] != former[t] {
			p.move(t, former[t], p.assigned[t], Moving)
		}
	}
	slices.SortStableFunc(cold, func(a, b int) int { return p.held(a, p.warming[a]).compare(p.held(b, p.warming[b])) })
	limit := rules.WarmUps
	for _, t := range cold {
		leaves := p.members[p.assigned[t]].Leaving
		switch {
		case leaves:
			p.move(t, p.assigned[t], p.warming[t], Warming)
		case limit > 0:
			p.move(t, p.assigned[t], p.warming[t], Warming)
			limit--
		default:
			if rules.WarmUps > 0 {
				p.move(t, p.assigned[t], p.warming[t], Waiting)
			}
			p.warming[t] = nobody
		}
	}
}

// formerOwners says who runs each task, also where the member cannot run it any more.
func (p *placement) formerOwners() []int {
	former := slices.Clone(p.owner)
	number := p.numbers()
	for m, member := range p.members {
		for _, id := range member.Owned {
			if t, ok := number[id]; ok && former[t] == nobody {
				former[t] = m
			}
		}
	}
	return former
}

// warmHolder returns the member nearest to the present that is warm for a task and stays, or nobody.
func (p *placement) warmHolder(t int) int {
	for _, m := range p.holders[t] {
		if p.isWarm(t, m) && !p.members[m].Leaving {
			return m
		}
	}
	return nobody
}

func (p *placement) isWarm(t, m int) bool { return p.held(t, m).Warm }

// held returns what a member has of the state of a task; a position below all others if it has nothing.
func (p *placement) held(t, m int) HeldTask {
	for _, h := range p.members[m].Held {
		if h.Task == p.tasks[t].ID {
			return h
		}
	}
	return HeldTask{Task: p.tasks[t].ID, Position: -1 << 63}
}

func (p *placement) move(t, from, to int, state MoveState) {
	mv := Move{Task: p.tasks[t].ID, To: p.members[to].ID, State: state}
	if from != nobody {
		mv.From, mv.Reason = p.members[from].ID, Balance
		switch {
		case p.members[from].Leaving:
			mv.Reason = OwnerLeaves
		case !p.members[from].canRun(mv.Task.SubTopology):
			mv.Reason = OwnerCannotRun
		}
	}
	p.moves = append(p.moves, mv)
}

// addStandbys gives each stateful task so many standbys besides its owner and the member that warms up for it. It
// prefers members that have not yet their share of standbys, then such in a zone that has neither owner nor standby of the task, then
// such that have the state already, then those with the fewest standbys.
func (p *placement) addStandbys(n int) {
	weights, stateful := int64(0), int64(0)
	for _, m := range p.members {
		if !m.Leaving {
			weights += m.weight()
		}
	}
	for _, task := range p.tasks {
		if task.Stateful {
			stateful++
		}
	}
	share := func(m int) int64 { return (stateful*int64(n)*p.members[m].weight() + weights - 1) / weights }
	count := make([]int64, len(p.members))
	for range n {
		for t, task := range p.tasks {
			if m := p.nextStandby(t, share, count); task.Stateful && m != nobody {
				p.standby[t] = append(p.standby[t], m)
				count[m]++
			}
		}
	}
}

func (p *placement) nextStandby(t int, share func(int) int64, count []int64) int {
	if p.assigned[t] == nobody {
		return nobody
	}
	zones := map[string]bool{p.members[p.assigned[t]].Zone: true}
	for _, m := range p.standby[t] {
		zones[p.members[m].Zone] = true
	}
	best := nobody
	for m, member := range p.members {
		if member.Leaving || !member.canRun(p.tasks[t].ID.SubTopology) || m == p.assigned[t] || m == p.warming[t] || slices.Contains(p.standby[t], m) {
			continue
		}
		if best == nobody || cmp.Or(
			compareBool(count[m] < share(m), count[best] < share(best)),
			compareBool(!zones[member.Zone], !zones[p.members[best].Zone]),
			p.held(t, m).compare(p.held(t, best)),
			cmp.Compare(count[m]*p.members[best].weight(), count[best]*member.weight()),
		) < 0 {
			best = m
		}
	}
	return best
}

// compareBool orders true before false.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

func (p *placement) plan() Plan {
	plan := Plan{Active: p.result(), Standby: map[string][]TaskID{}, WarmUp: map[string][]TaskID{}, Moves: p.moves}
	for _, m := range p.members {
		plan.Standby[m.ID], plan.WarmUp[m.ID] = []TaskID{}, []TaskID{}
	}
	for t, task := range p.tasks {
		for _, m := range p.standby[t] {
			id := p.members[m].ID
			plan.Standby[id] = append(plan.Standby[id], task.ID)
		}
		if m := p.warming[t]; m != nobody {
			id := p.members[m].ID
			plan.WarmUp[id] = append(plan.WarmUp[id], task.ID)
		}
	}
	slices.SortStableFunc(plan.Moves, func(a, b Move) int { return a.Task.Compare(b.Task) })
	return plan
}
