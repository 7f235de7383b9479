// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/partition"
)

func TestTheChangelogIsKeptFromTheOldestCheckpointToFallBackTo(t *testing.T) {
	t.Parallel()
	stored := storedOf([]Manifest{at(1, 10), at(2, 20), at(5, 50), at(7, 70)})
	for _, c := range []struct {
		named int64
		keep  int
		first int64 // round
		ok    bool
	}{
		{7, -1, 7, true}, {7, 0, 7, true}, {7, 1, 7, true}, {7, 3, 2, true}, {7, 4, 1, true}, {7, 5, 1, false},
		{6, 1, 5, true}, {5, 2, 2, true}, {2, 1, 2, true}, {2, 2, 1, true}, {2, 3, 1, false}, {0, 1, 1, false},
	} {
		got, ok := FallBacks(stored, c.named, c.keep)
		if ok != c.ok || got[0].Round != c.first || got[len(got)-1].Round != 7 {
			t.Errorf("round %d is named, keep %d: %v, %v, expected round %d and all that are newer, %v", c.named, c.keep, got, ok, c.first, c.ok)
		}
	}
	if got, ok := FallBacks(nil, 3, 1); len(got) > 0 || ok {
		t.Errorf("nothing is stored: %v, %v", got, ok)
	}
}

func storedOf(manifests []Manifest) (list []Stored) {
	for _, m := range manifests {
		list = append(list, Stored{m.Round, m.Position})
	}
	return list
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
		plan := planDrop(lifeFacts{rounds: rounds, floor: floor}, Retention{Kept: keep}, time.Time{})
		if plan.floor < floor {
			t.Fatalf("the floor sinks from %d to %d", floor, plan.floor)
		}
		named := rapid.Int64Range(0, 12).Draw(t, "named")
		for task, manifests := range byTask {
			retained := int64(0)
			if needed, ok := FallBacks(storedOf(manifests), named, keep); ok {
				retained = needed[0].Position.ChangelogOffset
			}
			for i, m := range manifests {
				gone := plan.dropsManifest(m.Round, task, nil)
				if gone && i >= len(manifests)-keep {
					t.Fatalf("round %d of task %s goes, one of its %d newest", m.Round, task, keep)
				}
				if i >= len(manifests)-keep && m.Position.ChangelogOffset < retained {
					t.Fatalf("round %d of task %s cannot be caught up, the changelog is kept from %d", m.Round, task, retained)
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
	plan := planDrop(lifeFacts{rounds: rounds}, Retention{Kept: 2}, time.Time{})
	saved := map[int64]string{3: "precious"}
	for n := int64(1); n <= 9; n++ {
		want := n < 8 && n != 3
		if plan.dropsRound(n, saved) != want || plan.dropsManifest(n, task, saved) != want {
			t.Errorf("round %d: dropped should be %v", n, want)
		}
	}
}

// retentionCase is what is known of a life, and what is to become of it. Its rounds were completed an hour apart, the newest
// an hour before retentionNow.
type retentionCase struct {
	facts lifeFacts
	keep  Retention
	saved map[int64]string
	floor int64
	kept  []KeptRound
}

var retentionNow = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// roundsOf are numbered from 1.
func roundsOf(newest int64, incomplete ...int64) []Round {
	var all []Round
	for n := int64(1); n <= newest; n++ {
		all = append(all, Round{Number: n, Complete: !slices.Contains(incomplete, n), Completed: retentionNow.Add(-time.Duration(newest-n+1) * time.Hour)})
	}
	return all
}

const newest2, younger = "newest 2", "younger than 4h30m0s"

func TestWhatIsKeptOfThePresentLifeAndWhy(t *testing.T) {
	t.Parallel()
	checkRetention(t, map[string]retentionCase{
		"nothing yet": {facts: lifeFacts{}, keep: Retention{Kept: 2}, kept: []KeptRound{}},
		"by count": {
			facts: lifeFacts{rounds: roundsOf(5)}, keep: Retention{Kept: 2}, floor: 4,
			kept: []KeptRound{{4, []string{newest2}}, {5, []string{newest2}}},
		},
		"a count below one is one": {
			facts: lifeFacts{rounds: roundsOf(5)}, keep: Retention{Kept: -3}, floor: 5, kept: []KeptRound{{5, []string{"newest 1"}}},
		},
		"too few complete": {
			facts: lifeFacts{rounds: roundsOf(5, 1, 2, 3, 5)}, keep: Retention{Kept: 2}, floor: 0, kept: []KeptRound{{4, []string{newest2}}},
		},
		"incomplete ones do not count": {
			facts: lifeFacts{rounds: roundsOf(5, 4)}, keep: Retention{Kept: 2}, floor: 3,
			kept: []KeptRound{{3, []string{newest2}}, {5, []string{newest2}}},
		},
		"by age beyond the count": {
			facts: lifeFacts{rounds: roundsOf(9)}, keep: Retention{Kept: 2, KeptFor: 4*time.Hour + 30*time.Minute}, floor: 6,
			kept: []KeptRound{{6, []string{younger}}, {7, []string{younger}}, {8, []string{newest2, younger}}, {9, []string{newest2, younger}}},
		},
		"by count beyond the age": {
			facts: lifeFacts{rounds: roundsOf(9)}, keep: Retention{Kept: 2, KeptFor: time.Minute}, floor: 8,
			kept: []KeptRound{{8, []string{newest2}}, {9, []string{newest2}}},
		},
		"at the very age": {
			facts: lifeFacts{rounds: roundsOf(9)}, keep: Retention{Kept: 1, KeptFor: 2 * time.Hour}, floor: 9,
			kept: []KeptRound{{9, []string{"newest 1", "younger than 2h0m0s"}}},
		},
		"the floor never sinks": {
			facts: lifeFacts{rounds: roundsOf(9), floor: 9}, keep: Retention{Kept: 2, KeptFor: 4*time.Hour + 30*time.Minute}, floor: 9,
			kept: []KeptRound{{9, []string{newest2, younger}}},
		},
		"savepoints": {
			facts: lifeFacts{rounds: roundsOf(5)}, keep: Retention{Kept: 2}, floor: 4, saved: map[int64]string{2: "a", 5: "b"},
			kept: []KeptRound{{2, []string{"savepoint a"}}, {4, []string{newest2}}, {5, []string{newest2, "savepoint b"}}},
		},
		"a life is about to begin": {
			facts: lifeFacts{rounds: roundsOf(5), origins: map[int64]string{2: "fork/1"}}, keep: Retention{Kept: 2}, floor: 2,
			kept: []KeptRound{{2, []string{"origin of fork/1"}}, {3, []string{"newer than a round that is kept"}}, {4, []string{newest2}}, {5, []string{newest2}}},
		},
	})
}

func TestWhatIsKeptOfAnEarlierLifeAndWhy(t *testing.T) {
	t.Parallel()
	inGrace, over := retentionNow.Add(time.Second-EarlierLifeGrace), retentionNow.Add(-EarlierLifeGrace)
	checkRetention(t, map[string]retentionCase{
		"in its grace": {
			facts: lifeFacts{rounds: roundsOf(5), ended: inGrace}, keep: Retention{Kept: 2}, floor: 4,
			kept: []KeptRound{{4, []string{newest2}}, {5, []string{newest2}}},
		},
		"after it": {
			facts: lifeFacts{rounds: roundsOf(5), ended: over}, keep: Retention{Kept: 2}, floor: 6, kept: []KeptRound{},
		},
		"with all gone": {
			facts: lifeFacts{floor: 6, ended: over}, keep: Retention{Kept: 2}, floor: 6, kept: []KeptRound{},
		},
		"whose grace the age prolongs": {
			facts: lifeFacts{rounds: roundsOf(5), ended: over}, keep: Retention{Kept: 2, KeptFor: 2 * EarlierLifeGrace}, floor: 1,
			kept: []KeptRound{{1, []string{"younger than 336h0m0s"}}, {2, []string{"younger than 336h0m0s"}}, {3, []string{"younger than 336h0m0s"}},
				{4, []string{newest2, "younger than 336h0m0s"}}, {5, []string{newest2, "younger than 336h0m0s"}}},
		},
		"with a savepoint": {
			facts: lifeFacts{rounds: roundsOf(5), ended: over}, keep: Retention{Kept: 2}, floor: 6, saved: map[int64]string{2: "a"},
			kept: []KeptRound{{2, []string{"savepoint a"}}},
		},
		"that is about to be begun from": {
			facts: lifeFacts{rounds: roundsOf(5), ended: over, origins: map[int64]string{4: "x"}}, keep: Retention{Kept: 2}, floor: 4,
			kept: []KeptRound{{4, []string{"origin of x"}}, {5, []string{"newer than a round that is kept"}}},
		},
	})
}

func checkRetention(t *testing.T, cases map[string]retentionCase) {
	t.Helper()
	for name, c := range cases {
		plan := planDrop(c.facts, c.keep, retentionNow)
		if plan.floor != c.floor {
			t.Errorf("%s: the floor is %d, want %d", name, plan.floor, c.floor)
		}
		if diff := cmp.Diff(c.kept, plan.kept(c.facts.rounds, c.saved)); diff != "" {
			t.Errorf("%s: kept (-want +got):\n%s", name, diff)
		}
	}
}
