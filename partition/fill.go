// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"slices"
)

// fill assigns tasks, all of one cohort and of one kind, so that each member ends with its quota:
//
//  1. an owner keeps its tasks, up to its quota;
//  2. a task without owner goes to the member with the furthest state that has room;
//  3. an owner above its quota gives tasks, if it can, to members that have their state;
//  4. and of the others an even sample, so that no sub-topology moves as a whole;
//  5. what is left is dealt out one by one to the members with room.
func (p *placement) fill(c *cohort, tasks, quota []int) {
	room := slices.Clone(quota)
	owned := make([][]int, len(p.members))
	var free []int
	for _, t := range tasks {
		if m := p.owner[t]; m != nobody {
			owned[m] = append(owned[m], t)
			room[m]--
		} else {
			free = append(free, t)
		}
	}
	pool := p.placeWarm(free, room, len(free))
	for _, m := range c.members {
		if room[m] < 0 {
			rest := p.placeWarm(owned[m], room, -room[m])
			excess := len(rest) - quota[m]
			kept, shed := sample(rest, excess)
			room[m] = 0
			owned[m], pool = kept, append(pool, shed...)
		}
		for _, t := range owned[m] {
			p.assign(t, m)
		}
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

// placeWarm gives at most limit of the tasks to members that have room and their state, and returns the others.
// Tasks with fewer holders choose first: the others have somewhere else to go.
func (p *placement) placeWarm(tasks, room []int, limit int) (rest []int) {
	order := slices.Clone(tasks)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(p.holders[a]), len(p.holders[b])) })
	for _, t := range order {
		i := slices.IndexFunc(p.holders[t], func(m int) bool { return room[m] > 0 })
		if i < 0 || limit == 0 {
			rest = append(rest, t)
			continue
		}
		m := p.holders[t][i]
		room[m]--
		limit--
		p.assign(t, m)
	}
	slices.Sort(rest)
	return rest
}

func (p *placement) assign(t, m int) {
	p.assigned[t] = m
	p.load[m]++
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
