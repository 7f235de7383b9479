// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"slices"
)

// Standbys are matched with members, each cohort on its own. A member has its share of them by capacity, rounded down or
// up. Within the shares as many as possible are in zones of their own, without the owner and another standby of the task
// in it. That is a matching in a bipartite graph, and found as such: by augmenting paths, on which a new standby takes
// the place of another one, which takes that of a third, until a member has room. What there is already is kept before,
// and moves only if it is in the way; and while tasks are on their way to other members, which changes what is best, it does
// not move at all.

// standbys is the matching of one cohort.
type standbys struct {
	*placement
	cohort   *cohort
	stateful []int   // tasks
	missing  []int   // by task: how many standbys it has yet to get
	zone     []int   // by member
	at       [][]int // by member: the tasks it stands by for
	pairs    [][]int // by owner and member: how many tasks of the one the other stands by for
	whole    []int   // by member: its share, rounded down
	rest     []bool  // by member: whether the share has a remainder
	extra    int     // how many members may have one more than the whole
	stuck    []bool  // by member: from here no path leads to room
}

// addStandbys gives each stateful task n standbys, or as many as there are members for.
func (p *placement) addStandbys(n int) {
	p.standby = make([][]int, len(p.tasks))
	if n <= 0 {
		return
	}
	zones := map[string]int{}
	zone := make([]int, len(p.members))
	for m, member := range p.members {
		if _, known := zones[member.Zone]; !known {
			zones[member.Zone] = len(zones)
		}
		zone[m] = zones[member.Zone]
	}
	onTheWay := slices.ContainsFunc(p.warming, func(m int) bool { return m != nobody })
	for _, c := range p.cohorts {
		s := &standbys{
			placement: p, cohort: c, zone: zone,
			missing: make([]int, len(p.tasks)),
			at:      make([][]int, len(p.members)),
			pairs:   make([][]int, len(p.members)),
			whole:   make([]int, len(p.members)),
			rest:    make([]bool, len(p.members)),
		}
		for m := range s.pairs {
			s.pairs[m] = make([]int, len(p.members))
		}
		s.setShares(n)
		if !onTheWay {
			s.keep(true)
			s.fill(true)
			s.keep(false)
			s.fill(false)
		}
		s.complete()
	}
}

// setShares says how many standbys each task needs and each member gets. A member gets no more than there are tasks for
// which it could be one; others make up for that.
func (s *standbys) setShares(n int) {
	possible := make([]int64, len(s.members)) // tasks
	var slots, weights int64
	for _, t := range slices.Sorted(slices.Values(slices.Concat(s.cohort.classes...))) {
		if !s.placement.tasks[t].Stateful {
			continue
		}
		s.stateful = append(s.stateful, t)
		others := 0
		for _, m := range s.cohort.members {
			if s.isFree(t, m) {
				possible[m]++
				others++
			}
		}
		s.missing[t] = min(n, others)
		slots += int64(s.missing[t])
	}
	open := slices.Clone(s.cohort.members)
	for _, m := range open {
		weights += s.members[m].weight()
	}
	for full := true; full; {
		full = false
		open = slices.DeleteFunc(open, func(m int) bool {
			if w := s.members[m].weight(); possible[m]*weights <= slots*w {
				s.whole[m] = int(possible[m])
				slots, weights, full = slots-possible[m], weights-w, true
				return true
			}
			return false
		})
	}
	s.extra = int(slots)
	for _, m := range open {
		share := slots * s.members[m].weight()
		s.whole[m], s.rest[m] = int(share/weights), share%weights > 0
		s.extra -= s.whole[m]
	}
}

// isFree says whether a member may become a standby of a task.
func (s *standbys) isFree(t, m int) bool {
	return s.cohort.has[m] && m != s.assigned[t] && m != s.warming[t] && !slices.Contains(s.standby[t], m)
}

// hasZone says whether neither the owner of a task nor a standby other than the excepted one is in the zone of a member.
func (s *standbys) hasZone(t, m, except int) bool {
	if s.zone[m] == s.zone[s.assigned[t]] {
		return false
	}
	for _, other := range s.standby[t] {
		if other != except && s.zone[other] == s.zone[m] {
			return false
		}
	}
	return true
}

// keep makes standbys of members that have a copy, if they have room; if strict, only in zones of their own. What is a standby
// goes before what is warm from before: a copy that has been begun is ended.
func (s *standbys) keep(strict bool) {
	for _, only := range []bool{true, false} {
		for _, t := range s.stateful {
			for _, h := range s.copies[t] {
				if !only || h.Use == ForStandby {
					s.keepAt(t, h.member, strict)
				}
			}
		}
	}
}

func (s *standbys) keepAt(t, m int, strict bool) {
	if s.missing[t] > 0 && s.isFree(t, m) && s.hasRoom(m) && (!strict || s.hasZone(t, m, nobody)) {
		s.add(t, m)
	}
}

// fill finds the other standbys that there is room for; if strict, only in zones of their own.
func (s *standbys) fill(strict bool) {
	s.stuck = make([]bool, len(s.members))
	for _, t := range s.stateful {
		for s.missing[t] > 0 && s.augment(t, strict) {
		}
	}
}

// complete finds what is missing after that, or while tasks are on their way, all: standbys stay where they are, and new
// ones go where it is best, beyond the share too if nobody else can be the standby.
func (s *standbys) complete() {
	for _, t := range s.stateful {
		for _, h := range s.copies[t] {
			if s.missing[t] > 0 && h.Use == ForStandby && s.isFree(t, h.member) {
				s.add(t, h.member)
			}
		}
	}
	for _, t := range s.stateful {
		for ; s.missing[t] > 0; s.add(t, s.best(t)) {
		}
	}
}

// best returns the member that is the best next standby of a task: one that is warm, then one with room in a zone of its
// own, then one with room, then the one that has the fewest tasks of the owner.
func (s *standbys) best(t int) int {
	best := nobody
	for _, m := range s.cohort.members {
		if s.isFree(t, m) && (best == nobody || cmp.Or(
			trueFirst(s.isWarm(t, m), s.isWarm(t, best)),
			trueFirst(s.hasRoom(m) && s.hasZone(t, m, nobody), s.hasRoom(best) && s.hasZone(t, best, nobody)),
			trueFirst(s.hasRoom(m), s.hasRoom(best)),
			s.compareFilled(t, m, best),
			trueFirst(s.hasZone(t, m, nobody), s.hasZone(t, best, nobody)),
		) < 0) {
			best = m
		}
	}
	return best
}

// compareFilled orders members by how much the owner's end would ask of them, then by how many standbys they are.
func (s *standbys) compareFilled(t, a, b int) int {
	pairs := s.pairs[s.assigned[t]]
	compare := func(x, y int) int {
		return cmp.Compare(int64(x)*s.members[b].weight(), int64(y)*s.members[a].weight())
	}
	return cmp.Or(compare(pairs[a], pairs[b]), compare(len(s.at[a]), len(s.at[b])))
}

func (s *standbys) hasRoom(m int) bool {
	return len(s.at[m]) < s.whole[m] || len(s.at[m]) == s.whole[m] && s.rest[m] && s.extra > 0
}

func (s *standbys) add(t, m int) {
	s.missing[t]--
	s.put(t, m)
}

func (s *standbys) put(t, m int) {
	if len(s.at[m]) >= s.whole[m] {
		s.extra--
	}
	s.standby[t] = append(s.standby[t], m)
	s.at[m] = append(s.at[m], t)
	s.pairs[s.assigned[t]][m]++
}

func (s *standbys) take(t, m int) {
	is := func(x int) func(int) bool { return func(y int) bool { return x == y } }
	s.standby[t] = slices.DeleteFunc(s.standby[t], is(m))
	s.at[m] = slices.DeleteFunc(s.at[m], is(t))
	s.pairs[s.assigned[t]][m]--
	if len(s.at[m]) >= s.whole[m] {
		s.extra++
	}
}

// hop is how a search comes to a member: that one could take a task from the one before, or if that is nobody, become
// a new standby. The one before gives a task up to make room for another one: to itself, or if both have their whole
// share, to the one that the search came from.
type hop struct{ task, from, roomFor int }

// augment finds one more standby for a task, by breadth-first search, and reports whether there is one.
func (s *standbys) augment(t int, strict bool) bool {
	hops := make([]hop, len(s.members))
	reached, opened := slices.Clone(s.stuck), make([]bool, len(s.members))
	var queue []int
	reach := func(h hop) {
		for _, m := range s.cohort.members {
			if !reached[m] && s.isFree(h.task, m) && (s.hasZone(h.task, m, h.from) || !s.needsZone(h, strict)) {
				hops[m], reached[m] = h, true
				queue = append(queue, m)
			}
		}
	}
	reach(hop{task: t, from: nobody})
	slices.SortStableFunc(queue, func(a, b int) int { return s.compareFilled(t, a, b) })
	for i := 0; i < len(queue); i++ {
		m := queue[i]
		if s.hasRoom(m) {
			s.shift(m, hops)
			return true
		}
		for _, giver := range s.cohort.members {
			swaps := s.rest[m] && len(s.at[m]) == s.whole[m] && len(s.at[giver]) > s.whole[giver]
			if (giver == m || swaps) && !opened[giver] {
				opened[giver] = true
				for _, task := range s.at[giver] {
					reach(hop{task: task, from: giver, roomFor: m})
				}
			}
		}
	}
	for _, m := range queue {
		s.stuck[m] = true
	}
	return false
}

// needsZone says whether the task of a hop must go to a zone of its own: if it has to have one, or has one.
func (s *standbys) needsZone(h hop, strict bool) bool {
	if h.from == nobody {
		return strict
	}
	return strict || s.hasZone(h.task, h.from, h.from)
}

// shift moves one standby along each hop of the path that ends at a member.
func (s *standbys) shift(m int, hops []hop) {
	for h := hops[m]; ; m, h = h.roomFor, hops[h.roomFor] {
		if h.from == nobody {
			s.add(h.task, m)
			return
		}
		s.take(h.task, h.from)
		s.put(h.task, m)
	}
}
