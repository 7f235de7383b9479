// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"slices"
)

// claimant is a member while quotas are dealt out. Its fair share of n tasks is n × weight ÷ (all weights), split in a
// whole part and a remainder in units of 1 ÷ (all weights). It gets the whole part, and one more if chosen. Shares are of
// the tasks of a class and of all heavier ones together.
type claimant struct {
	member int
	whole  []int   // by class: the whole part, and one more once it is granted
	rest   []int64 // by class: the remainder
	own    []int   // by class: what it runs now
	going  []int   // by class: those of them that another member warms up for
	warm   []int   // by class: ownerless stateful tasks of which it has the best copy
	given  int     // tasks of the heavier classes
	load   int64   // the weight of what it has got so far, with that of other cohorts
}

// quotas says how many tasks of each class of a cohort each member shall run. The number of tasks that a member has of a
// class and of all heavier ones together is its share, rounded down or up. So its load is less than one largest weight off
// its share: the load is the sum, over the classes, of that number times the weight's distance from the next smaller
// one; each number is off by less than one, and the distances add up to the largest weight.
//
// Who gets the rounding up is free as far as balance goes, and is used to move as few tasks as possible: the heaviest
// first, of one weight the stateful ones first.
func (p *placement) quotas(c *cohort) [][]int {
	claimants := p.claimants(c)
	spare := make([]int, len(c.classes))
	total := 0
	for k, tasks := range c.classes {
		total += len(tasks)
		spare[k] = total
		for i := range claimants {
			spare[k] -= claimants[i].whole[k]
		}
	}
	quotas := make([][]int, len(c.classes))
	for k, tasks := range c.classes {
		quotas[k] = make([]int, len(p.members))
		weight := p.tasks[tasks[0]].weight()
		for i := range claimants {
			claimants[i].load += weight * int64(claimants[i].whole[k]-claimants[i].given)
		}
		for _, cl := range grant(claimants, k, spare) {
			cl.whole[k]++
			cl.load += weight
		}
		for i := range claimants {
			cl := &claimants[i]
			quotas[k][cl.member] = cl.whole[k] - cl.given
			cl.given = cl.whole[k]
		}
	}
	return quotas
}

func (p *placement) claimants(c *cohort) []claimant {
	var weights int64
	for _, m := range c.members {
		weights += p.members[m].weight()
	}
	n := len(c.classes)
	claimants := make([]claimant, len(c.members))
	position := make([]int, len(p.members))
	for i, m := range c.members {
		position[m] = i
		claimants[i] = claimant{
			member: m, whole: make([]int, n), rest: make([]int64, n), load: p.load[m],
			own: make([]int, n), going: make([]int, n), warm: make([]int, n),
		}
		share := int64(0)
		for k, tasks := range c.classes {
			share += int64(len(tasks)) * p.members[m].weight()
			claimants[i].whole[k], claimants[i].rest[k] = int(share/weights), share%weights
		}
	}
	for k, tasks := range c.classes {
		for _, t := range tasks {
			switch {
			case p.owner[t] != nobody:
				cl := &claimants[position[p.owner[t]]]
				cl.own[k]++
				if slices.ContainsFunc(p.copies[t], func(h held) bool { return h.Use == ForWarmUp && h.member != cl.member }) {
					cl.going[k]++
				}
			case p.tasks[t].Stateful && len(p.copies[t]) > 0:
				claimants[position[p.copies[t][0].member]].warm[k]++
			}
		}
	}
	return claimants
}

// grant chooses spare[k] members whose share at class k is rounded up: those that have got so many heavier tasks already,
// those that would otherwise give up a task, then those that are warm for one, then the others. Of each kind those come first
// that would keep the task if what is on its way already were gone, then those for which it costs no lighter task: being warm
// counts more than the lighter task that may have to go; at last those with the least load.
//
// A member whose share at a later class j has the same whole part must also be rounded up there, of which at most
// spare[j] can be: so no more than that many such members are chosen. There are always enough others, since the
// remainders of such a member only grow with the class, and add up to spare[k] and to spare[j]. As the sets of such
// members lie one in another, choosing one after the other finds the best choice.
func grant(claimants []claimant, k int, spare []int) (chosen []*claimant) {
	slices.SortFunc(claimants, func(a, b claimant) int {
		return cmp.Or(
			cmp.Compare(a.rank(k), b.rank(k)),
			trueFirst(a.keeps(k), b.keeps(k)),
			cmp.Compare(b.slack(k), a.slack(k)),
			cmp.Compare(b.rest[k], a.rest[k]),
			cmp.Compare(a.load, b.load),
			cmp.Compare(a.member, b.member),
		)
	})
	limits := slices.Clone(spare)
	for i := range claimants {
		cl := &claimants[i]
		if cl.rest[k] == 0 || slices.Contains(limits[k:cl.tight(k)], 0) {
			continue
		}
		for j := k; j < cl.tight(k); j++ {
			limits[j]--
		}
		chosen = append(chosen, cl)
	}
	return chosen
}

// tight returns the first class after k of which the share has a larger whole part.
func (cl *claimant) tight(k int) int {
	j := k + 1
	for j < len(cl.whole) && cl.whole[j] == cl.whole[k] {
		j++
	}
	return j
}

func (cl *claimant) rank(k int) int {
	switch quota := cl.whole[k] - cl.given; {
	case quota < 0:
		return 0
	case cl.own[k] > quota:
		return 1
	case cl.own[k]+cl.warm[k] > quota:
		return 2
	default:
		return 3
	}
}

// keeps tells whether the member would be above its quota also without what others warm up for.
func (cl *claimant) keeps(k int) bool { return cl.own[k]-cl.going[k] > cl.whole[k]-cl.given }

// slack tells, by sign, whether the member could take one more task of the class without giving up a lighter one.
// Beyond its sign it does not matter.
func (cl *claimant) slack(k int) int {
	lighter := 0
	for _, n := range cl.own[k+1:] {
		lighter += n
	}
	return cmp.Compare(cl.whole[len(cl.whole)-1]-cl.whole[k], lighter)
}
