// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/streamd/streamd/partition"
)

// This file is pure: what must stay.

// Stored is a checkpoint of a task that is in the store.
type Stored struct {
	Round    int64
	Position Position
}

// FallBacks returns those of a task's checkpoints, which are in the order of their rounds, at which recovery may begin: the keep
// newest up to the round that a confirmed commit names, and what is newer. Of the changelog and of the task's internal inputs
// nothing is needed that is older than the first of them. False: there are fewer, and all must stay. keep below 1 counts
// as 1.
func FallBacks(stored []Stored, named int64, keep int) ([]Stored, bool) {
	newer := slices.IndexFunc(stored, func(s Stored) bool { return s.Round > named })
	if newer < 0 {
		newer = len(stored)
	}
	if keep = max(keep, 1); newer < keep {
		return stored, false
	}
	return stored[newer-keep:], true
}

// Retention is what collection keeps of checkpoints that nothing refers to.
type Retention struct {
	// Kept is how many of the newest complete rounds of the present life stay, and how many of the newest manifests of
	// each of its tasks; below 1 counts as 1. It must be no less than what is given to FallBacks.
	Kept int
	// KeptFor is the age, by the store's time, below which complete rounds stay too; 0: Kept alone decides.
	KeptFor time.Duration
}

// EarlierLifeGrace is how long the checkpoints of a life stay, like those of the present one, after the next life began:
// time to take a rollback back. A longer Retention.KeptFor counts instead.
const EarlierLifeGrace = 7 * 24 * time.Hour

// lifeFacts are what is known of one life before its rounds are dropped.
type lifeFacts struct {
	rounds []Round   // in order of their numbers
	floor  int64     // the present one
	ended  time.Time // when the next life began, by the store's time; zero: this is the present life
	// origins says of rounds for whom they are kept: a life that is to begin from it and has not yet.
	origins map[int64]string
}

// dropPlan is which rounds of a life go: those below the floor, except what is saved.
type dropPlan struct {
	floor    int64
	keepFrom map[partition.TaskID]int64 // per task the round of its Kept-th newest manifest
	reasons  map[int64][]string         // why complete rounds at or above the floor stay
}

// planDrop keeps the newest complete rounds, the young ones, those that a life is about to begin from, and all that is
// newer than any of them. The floor never sinks. While there are fewer than Kept complete rounds nothing more goes. Of an
// earlier life everything goes when its grace is over.
func planDrop(f lifeFacts, keep Retention, now time.Time) dropPlan {
	keep.Kept = max(keep.Kept, 1)
	plan := dropPlan{floor: f.floor, keepFrom: map[partition.TaskID]int64{}, reasons: map[int64][]string{}}
	over := !f.ended.IsZero() && !now.Before(f.ended.Add(max(EarlierLifeGrace, keep.KeptFor)))
	oldest, complete, manifests := int64(math.MaxInt64), 0, map[partition.TaskID]int{}
	for _, round := range slices.Backward(f.rounds) {
		for _, task := range round.Tasks {
			if manifests[task]++; manifests[task] <= keep.Kept && !over {
				plan.keepFrom[task] = round.Number
			}
		}
		if !round.Complete || round.Number < f.floor {
			continue
		}
		complete++
		if why := f.reasonsFor(round, complete, over, keep, now); len(why) > 0 {
			plan.reasons[round.Number], oldest = why, round.Number
		}
	}
	switch {
	case over && len(plan.reasons) > 0:
		plan.floor = max(f.floor, oldest)
	case over && len(f.rounds) > 0:
		plan.floor = max(f.floor, f.rounds[len(f.rounds)-1].Number+1)
	case !over && complete >= keep.Kept:
		plan.floor = max(f.floor, oldest)
	}
	return plan
}

// reasonsFor says why a complete round stays; rank counts from 1, the newest. None: it goes, unless a savepoint or an
// older round that stays keeps it.
func (f lifeFacts) reasonsFor(round Round, rank int, over bool, keep Retention, now time.Time) (why []string) {
	if !over && rank <= keep.Kept {
		why = append(why, fmt.Sprintf("newest %d", keep.Kept))
	}
	if !over && keep.KeptFor > 0 && now.Before(round.Completed.Add(keep.KeptFor)) {
		why = append(why, "younger than "+keep.KeptFor.String())
	}
	if beginning, ok := f.origins[round.Number]; ok {
		why = append(why, "origin of "+beginning)
	}
	return why
}

// dropsManifest says whether a task's manifest of a round goes. The Kept newest of a task of the present life always stay,
// since FallBacks has let the changelog be trimmed in trust of them.
func (p dropPlan) dropsManifest(round int64, task partition.TaskID, saved map[int64]string) bool {
	keepFrom, known := p.keepFrom[task]
	return p.dropsRound(round, saved) && (!known || round < keepFrom)
}

// dropsRound says whether a round is no longer to count as complete. saved are the rounds that have a savepoint.
func (p dropPlan) dropsRound(round int64, saved map[int64]string) bool {
	return round < p.floor && saved[round] == ""
}

// kept lists the complete rounds that stay, in order, each with the reasons.
func (p dropPlan) kept(rounds []Round, saved map[int64]string) []KeptRound {
	kept := []KeptRound{}
	for _, round := range rounds {
		if p.dropsRound(round.Number, saved) || !round.Complete {
			continue
		}
		why := slices.Clone(p.reasons[round.Number])
		if name := saved[round.Number]; name != "" {
			why = append(why, "savepoint "+name)
		}
		if len(why) == 0 {
			why = append(why, "newer than a round that is kept")
		}
		kept = append(kept, KeptRound{round.Number, why})
	}
	return kept
}
