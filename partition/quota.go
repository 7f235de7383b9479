// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"slices"
)

// quotas says how many tasks of a cohort each member shall run, by member index.
type quotas struct {
	stateful  []int
	stateless []int
}

// claimant is a member while quotas are dealt out. Its fair share of n tasks is n × weight ÷ (all weights), split in
// a whole part and a remainder in units of 1 ÷ (all weights). It gets the whole part, and one more if chosen.
type claimant struct {
	member                    int
	stateful, total           int   // whole parts, the extra task included once it is granted
	statefulRest, totalRest   int64 // remainders
	ownStateful, ownStateless int   // what it runs now
	warm                      int   // ownerless stateful tasks of which it has the furthest state
}

// quotas gives each member its share of the stateful tasks and of all tasks, each rounded down or up. Who gets the
// rounding up is free as far as balance goes, and is used to move as few tasks as possible: stateful ones first.
func (p *placement) quotas(c *cohort) quotas {
	claimants := p.claimants(c)
	spareStateful, spareTotal := len(c.stateful), len(c.stateful)+len(c.stateless)
	for i := range claimants {
		spareStateful -= claimants[i].stateful
		spareTotal -= claimants[i].total
	}
	p.grantStateful(claimants, spareStateful, spareTotal)
	p.grantTotal(claimants, spareTotal)
	q := quotas{stateful: make([]int, len(p.members)), stateless: make([]int, len(p.members))}
	for _, cl := range claimants {
		q.stateful[cl.member] = cl.stateful
		q.stateless[cl.member] = cl.total - cl.stateful
	}
	return q
}

func (p *placement) claimants(c *cohort) []claimant {
	var weights int64
	for _, m := range c.members {
		weights += p.members[m].weight()
	}
	claimants := make([]claimant, len(c.members))
	position := make([]int, len(p.members))
	for i, m := range c.members {
		position[m] = i
		stateful := int64(len(c.stateful)) * p.members[m].weight()
		total := stateful + int64(len(c.stateless))*p.members[m].weight()
		claimants[i] = claimant{
			member:       m,
			stateful:     int(stateful / weights),
			total:        int(total / weights),
			statefulRest: stateful % weights,
			totalRest:    total % weights,
		}
	}
	for _, t := range c.stateful {
		switch {
		case p.owner[t] != nobody:
			claimants[position[p.owner[t]]].ownStateful++
		case len(p.holders[t]) > 0:
			claimants[position[p.holders[t][0]]].warm++
		}
	}
	for _, t := range c.stateless {
		if p.owner[t] != nobody {
			claimants[position[p.owner[t]]].ownStateless++
		}
	}
	return claimants
}

// grantStateful rounds up the stateful share of n members: of those that would otherwise give up a task, then of
// those that are warm for one, then of those for which it costs no stateless task. Being warm counts more than the
// stateless task that may have to go, since that one has nothing to restore.
//
// A member whose total share has the same whole part as its stateful share must also be rounded up in total, of
// which at most limit can be: so no more than limit such members are chosen. There are always enough others, since
// the remainders of such a member are ordered (stateful ≤ total) and the remainders add up to n and to limit.
func (p *placement) grantStateful(claimants []claimant, n, limit int) {
	slices.SortFunc(claimants, func(a, b claimant) int {
		return cmp.Or(
			cmp.Compare(a.statefulRank(), b.statefulRank()),
			cmp.Compare(b.slack(), a.slack()),
			cmp.Compare(b.statefulRest, a.statefulRest),
			cmp.Compare(p.load[a.member], p.load[b.member]),
			cmp.Compare(a.member, b.member),
		)
	})
	for i := range claimants {
		cl := &claimants[i]
		tight := cl.stateful == cl.total
		if n == 0 || cl.statefulRest == 0 || tight && limit == 0 {
			continue
		}
		if tight {
			limit--
		}
		cl.stateful++
		n--
	}
}

// grantTotal rounds up the total share of n members: of those whose stateful share demands it, then of those that
// would otherwise give up a stateless task.
func (p *placement) grantTotal(claimants []claimant, n int) {
	slices.SortFunc(claimants, func(a, b claimant) int {
		return cmp.Or(
			cmp.Compare(a.totalRank(), b.totalRank()),
			cmp.Compare(b.totalRest, a.totalRest),
			cmp.Compare(p.load[a.member], p.load[b.member]),
			cmp.Compare(a.member, b.member),
		)
	})
	for i := range claimants {
		if n > 0 && claimants[i].totalRest > 0 {
			claimants[i].total++
			n--
		}
	}
}

func (cl claimant) statefulRank() int {
	switch {
	case cl.ownStateful > cl.stateful:
		return 0
	case cl.ownStateful+cl.warm > cl.stateful:
		return 1
	default:
		return 2
	}
}

// slack tells, by sign, whether the member could take one more stateful task without giving up a stateless one.
// Beyond its sign it does not matter.
func (cl claimant) slack() int {
	return cmp.Compare(cl.total-cl.stateful, cl.ownStateless)
}

func (cl claimant) totalRank() int {
	switch {
	case cl.stateful > cl.total:
		return 0
	case cl.total-cl.stateful < cl.ownStateless:
		return 1
	default:
		return 2
	}
}
