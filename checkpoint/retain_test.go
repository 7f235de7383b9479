// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/streamd/streamd/partition"
)

func TestTheChangelogIsKeptFromTheOldestCheckpointToFallBackTo(t *testing.T) {
	t.Parallel()
	manifests := []Manifest{at(3, 30), at(1, 10), at(2, 20)}
	for keep, want := range map[int]int64{-1: 30, 0: 30, 1: 30, 2: 20, 3: 10, 4: 0} {
		if got := RetainFrom(manifests, keep); got != want {
			t.Errorf("keep %d: retain from %d, want %d", keep, got, want)
		}
	}
	if got := RetainFrom([]Manifest{at(1, -1), at(2, 5)}, 2); got != 0 {
		t.Errorf("retain from %d, want 0", got)
	}
}

// What the changelog may be trimmed to and what collection keeps must fit: after both, each of a task's
// keep newest checkpoints is there and can be caught up.
func TestCollectionNeverTakesACheckpointThatTheTrimmedChangelogNeeds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keep := rapid.IntRange(1, 4).Draw(t, "keep")
		tasks := rapid.IntRange(1, 3).Draw(t, "tasks")
		floor := rapid.Int64Range(0, 5).Draw(t, "floor")
		var rounds []Round
		byTask := map[partition.TaskID][]Manifest{}
		for n := int64(1); n <= rapid.Int64Range(1, 12).Draw(t, "rounds"); n++ {
			round := Round{Number: n, Complete: true}
			for p := range tasks {
				task := partition.TaskID{Partition: int32(p)}
				if rapid.IntRange(0, 3).Draw(t, "present") == 0 {
					round.Complete = false
					continue
				}
				round.Tasks = append(round.Tasks, task)
				byTask[task] = append(byTask[task], at(n, n*10))
			}
			rounds = append(rounds, round)
		}
		plan := planDrop(rounds, keep, floor)
		if plan.floor < floor {
			t.Fatalf("the floor sinks from %d to %d", floor, plan.floor)
		}
		for task, manifests := range byTask {
			retained := RetainFrom(manifests, keep)
			for i, m := range manifests {
				gone := plan.dropsManifest(m.Round, task, nil)
				if gone && i >= len(manifests)-keep {
					t.Fatalf("round %d of task %s goes, one of its %d newest", m.Round, task, keep)
				}
				if gone && m.Position.ChangelogOffset >= retained && retained > 0 {
					t.Fatalf("round %d of task %s goes, the changelog is kept from %d", m.Round, task, retained)
				}
			}
		}
		complete := 0
		for _, round := range rounds {
			if round.Complete && round.Number >= plan.floor {
				complete++
			}
		}
		if raised := plan.floor > floor; raised && complete != keep {
			t.Fatalf("%d complete rounds stay, want %d", complete, keep)
		}
	})
}

func TestASavedRoundStays(t *testing.T) {
	t.Parallel()
	task := partition.TaskID{}
	var rounds []Round
	for n := int64(1); n <= 9; n++ {
		rounds = append(rounds, Round{Number: n, Complete: true, Tasks: []partition.TaskID{task}})
	}
	plan := planDrop(rounds, 2, 0)
	saved := []int64{3}
	for n := int64(1); n <= 9; n++ {
		want := n < 8 && n != 3
		if plan.dropsRound(n, saved) != want || plan.dropsManifest(n, task, saved) != want {
			t.Errorf("round %d: dropped should be %v", n, want)
		}
	}
}
