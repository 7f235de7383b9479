// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"slices"

	"github.com/streamd/streamd/partition"
)

// This file is pure: what must stay.

// RetainFrom says from which changelog offset on a task's changelog must be kept, so that recovery can
// begin at any of the keep newest of the given manifests: records below may be deleted. Pass only
// manifests of rounds up to the one that a confirmed commit names. With fewer than keep manifests it is 0:
// all must stay. keep below 1 counts as 1.
func RetainFrom(manifests []Manifest, keep int) int64 {
	keep = max(keep, 1)
	if len(manifests) < keep {
		return 0
	}
	newest := slices.SortedFunc(slices.Values(manifests), func(a, b Manifest) int { return cmp.Compare(b.Round, a.Round) })
	offset := newest[0].Position.ChangelogOffset
	for _, m := range newest[:keep] {
		// The position record itself stays, so that a takeover can compare it.
		offset = min(offset, m.Position.ChangelogOffset)
	}
	return max(offset, 0)
}

// dropPlan is which rounds go: those below Floor, except what drops() spares.
type dropPlan struct {
	floor    int64
	keepFrom map[partition.TaskID]int64 // per task the round of its keep-th newest manifest
}

// planDrop keeps the newest keep complete rounds and all that is newer. floor is the present one; it never
// sinks. While there are fewer complete rounds nothing more goes.
func planDrop(rounds []Round, keep int, floor int64) dropPlan {
	keep = max(keep, 1)
	plan := dropPlan{floor: floor, keepFrom: map[partition.TaskID]int64{}}
	complete, manifests := 0, map[partition.TaskID]int{}
	for _, round := range slices.Backward(rounds) {
		if round.Complete && round.Number >= floor {
			if complete++; complete == keep {
				plan.floor = max(plan.floor, round.Number)
			}
		}
		for _, task := range round.Tasks {
			if manifests[task]++; manifests[task] <= keep {
				plan.keepFrom[task] = round.Number
			}
		}
	}
	return plan
}

// dropsManifest says whether a task's manifest of a round goes. The keep newest of a task always stay,
// since RetainFrom has let the changelog be trimmed in trust of them.
func (p dropPlan) dropsManifest(round int64, task partition.TaskID, saved []int64) bool {
	return p.dropsRound(round, saved) && round < p.keepFrom[task]
}

// dropsRound says whether a round is no longer to count as complete.
func (p dropPlan) dropsRound(round int64, saved []int64) bool {
	return round < p.floor && !slices.Contains(saved, round)
}
