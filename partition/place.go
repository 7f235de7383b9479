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
	// runs them. Those that move now are not among them: who carries the plan out has the state kept near to the present
	// until the task is there.
	WarmUp map[string][]TaskID
	// Moves are the tasks that change hands now or are to, sorted by task. A task without owner that a warm member takes over
	// beyond its share is there twice: how it comes there, then how it is to go on.
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
	p.target()
	p.takeOver()
	moves := p.settle(rules)
	p.addStandbys(rules.Standbys)
	return Plan{
		Active:  p.lists(func(t int) []int { return p.assigned[t : t+1] }),
		Standby: p.lists(func(t int) []int { return p.standby[t] }),
		WarmUp:  p.lists(func(t int) []int { return p.warming[t : t+1] }),
		Moves:   moves,
	}
}

// takeOver makes members that are warm for tasks without owner, or with a leaving one, their owners: who is to run the task,
// if that one is warm, else one that takes it beyond its share. In the latter case it is decided anew who shall run what, as
// it will be from then on.
func (p *placement) takeOver() {
	beyond := false
	for t, to := range p.assigned {
		if to == nobody || !p.tasks[t].Stateful || p.owner[t] != nobody {
			continue
		}
		if !p.isWarm(t, to) {
			if to = p.warmMember(t); to == nobody {
				continue
			}
			p.load[p.assigned[t]] -= p.tasks[t].weight()
			p.assign(t, to)
			beyond = true
		}
		p.owner[t] = to
		p.sortCopies(t)
	}
	if beyond {
		clear(p.load)
		p.target()
	}
}

// settle turns who shall run each task into who runs it now and who is to warm up.
func (p *placement) settle(rules Rules) []Move {
	p.warming = slices.Repeat([]int{nobody}, len(p.tasks))
	for t, to := range p.assigned {
		stays := rules.WarmUps <= 0 && p.owner[t] != nobody && p.owner[t] == p.runner[t]
		if to == nobody || !p.tasks[t].Stateful || to == p.owner[t] || p.isWarm(t, to) && !stays {
			continue
		}
		switch {
		case p.owner[t] != nobody:
			p.assigned[t], p.warming[t] = p.owner[t], to
		case p.isRunning(t):
			p.assigned[t], p.warming[t] = p.runner[t], to
		}
	}
	return p.moves(p.limitWarmUps(rules.WarmUps))
}

// copyAt returns what a member has of the state of a task, if anything.
func (p *placement) copyAt(t, m int) (HeldTask, bool) {
	if i := slices.IndexFunc(p.copies[t], func(h held) bool { return h.member == m }); i >= 0 {
		return p.copies[t][i].HeldTask, true
	}
	return HeldTask{}, false
}

func (p *placement) isWarm(t, m int) bool {
	h, _ := p.copyAt(t, m)
	return h.Warm
}

// warmMember returns, of the members that are warm for a task, the one with the least load, or nobody.
func (p *placement) warmMember(t int) int {
	best := nobody
	for _, h := range p.copies[t] {
		if h.Warm && (best == nobody || p.compareLoad(h.member, best) < 0) {
			best = h.member
		}
	}
	return best
}

func (p *placement) compareLoad(a, b int) int {
	return cmp.Or(cmp.Compare(p.load[a]*p.members[b].weight(), p.load[b]*p.members[a].weight()), cmp.Compare(a, b))
}

// limitWarmUps leaves n warm-ups besides those for leaving owners, and returns by task who waits for one, which nobody does if
// there are never any. What has been begun is ended first; then those go first of which there is something on the disk.
func (p *placement) limitWarmUps(n int) (waiting []int) {
	waiting = slices.Repeat([]int{nobody}, len(p.tasks))
	var order []int
	for t, m := range p.warming {
		if m != nobody && !p.members[p.assigned[t]].Leaving {
			order = append(order, t)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, hasX := p.copyAt(a, p.warming[a])
		y, hasY := p.copyAt(b, p.warming[b])
		return cmp.Or(cmp.Compare(y.Use, x.Use), trueFirst(hasX, hasY))
	})
	for _, t := range order[min(max(n, 0), len(order)):] {
		if n > 0 {
			waiting[t] = p.warming[t]
		}
		p.warming[t] = nobody
	}
	return waiting
}

func (p *placement) moves(waiting []int) []Move {
	var moves []Move
	move := func(t, from, to int, state MoveState) {
		if to == nobody || to == from {
			return
		}
		m := Move{Task: p.tasks[t].ID, To: p.members[to].ID, State: state}
		if from != nobody {
			m.From = p.members[from].ID
			switch {
			case !p.runs(t, from):
				m.Reason = OwnerCannotRun
			case p.members[from].Leaving:
				m.Reason = OwnerLeaves
			default:
				m.Reason = Balance
			}
		}
		moves = append(moves, m)
	}
	for t, now := range p.assigned {
		move(t, p.runner[t], now, Moving)
		move(t, now, p.warming[t], Warming)
		move(t, now, waiting[t], Waiting)
	}
	return moves
}
