// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"slices"
)

// fill assigns the tasks of one class of a cohort, so that each member ends with its quota:
//
//  1. an owner keeps its tasks, up to its quota;
//  2. a task without owner goes to the member with the best copy that has room;
//  3. an owner above its quota gives tasks, if it can, to members that have their state;
//  4. and of the others an even sample, so that no sub-topology moves as a whole;
//  5. what is left is dealt out one by one to the members with room.
func (p *placement) fill(c *cohort, tasks, quota []int) {
	room, excess := slices.Clone(quota), make([]int, len(p.members))
	var free, owned []int
	for _, t := range tasks {
		if m := p.owner[t]; m != nobody {
			owned = append(owned, t)
			room[m]--
		} else {
			free = append(free, t)
		}
	}
	for m := range room {
		excess[m] = max(0, -room[m])
	}
	pool := p.placeWarm(free, room, excess)
	above := func(t int) bool { return excess[p.owner[t]] > 0 }
	for _, t := range owned {
		if !above(t) {
			p.assign(t, p.owner[t])
		}
	}
	rest := make([][]int, len(p.members))
	for _, t := range p.placeWarm(slices.DeleteFunc(owned, func(t int) bool { return !above(t) }), room, excess) {
		rest[p.owner[t]] = append(rest[p.owner[t]], t)
	}
	for m, tasks := range rest {
		kept, shed := sample(tasks, excess[m])
		for _, t := range kept {
			p.assign(t, m)
		}
		pool = append(pool, shed...)
	}
	slices.Sort(pool)
	next := 0
	for _, t := range pool {
		for room[c.members[next]] <= 0 {
			next = (next + 1) % len(c.members)
		}
		m := c.members[next]
		room[m]--
		p.assign(t, m)
		next = (next + 1) % len(c.members)
	}
}

// placeWarm gives tasks to members that have room and their state, of those with an owner no more than its excess, and returns
// the others. First to members that have warmed up for a task, then to such that are warm, then to such that warm up for it,
// then to the others. Of each kind, tasks with fewer copies choose first: the others have somewhere else to go.
func (p *placement) placeWarm(tasks, room, excess []int) (rest []int) {
	rest = slices.Clone(tasks)
	slices.SortStableFunc(rest, func(a, b int) int { return cmp.Compare(len(p.copies[a]), len(p.copies[b])) })
	for _, suits := range []func(t int, h held) bool{
		func(_ int, h held) bool { return h.Warm && h.Use == ForWarmUp },
		func(_ int, h held) bool { return h.Warm },
		func(t int, h held) bool { return h.Use == ForWarmUp && p.isRunning(t) },
		func(int, held) bool { return true },
	} {
		rest = slices.DeleteFunc(rest, func(t int) bool {
			i := slices.IndexFunc(p.copies[t], func(h held) bool { return room[h.member] > 0 && suits(t, h) })
			if i < 0 {
				return false
			}
			if from := p.owner[t]; from != nobody {
				if excess[from] == 0 {
					return false
				}
				excess[from]--
			}
			m := p.copies[t][i].member
			room[m]--
			p.assign(t, m)
			return true
		})
	}
	slices.Sort(rest)
	return rest
}

// sample splits off n tasks at even distances.
func sample(tasks []int, n int) (kept, picked []int) {
	for i, t := range tasks {
		if (i+1)*n/len(tasks) > i*n/len(tasks) {
			picked = append(picked, t)
		} else {
			kept = append(kept, t)
		}
	}
	return kept, picked
}
