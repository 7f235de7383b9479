// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// at is a manifest of a round at a changelog offset; epochs go with offsets in these tests.
func at(round, offset int64) Manifest {
	return Manifest{Round: round, Position: Position{Epoch: uint64(offset + 1), ChangelogOffset: offset}}
}

func committed(round, offset int64) *Committed {
	return &Committed{Reached{uint64(offset + 1), offset}, round}
}

func local(offset int64) *Reached { return &Reached{uint64(offset + 1), offset} }

func TestDecide(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		facts Facts
		want  []Step
		err   error
	}{
		{"the first start begins empty", Facts{}, []Step{{FromEmpty, 0, 0, 0}}, nil},
		{"an initialized task without offsets is refused", Facts{Initialized: true}, nil, ErrOffsetsMissing},
		{"a checkpoint without offsets is refused", Facts{Manifests: []Manifest{at(1, 5)}}, nil, ErrOffsetsMissing},
		{"local state without offsets is refused", Facts{Local: local(3)}, nil, ErrOffsetsMissing},
		{"a changelog without offsets is refused", Facts{ChangelogEnd: 3}, nil, ErrOffsetsMissing},
		{
			"a task that never wrote state begins empty",
			Facts{Initialized: true, Committed: committed(0, -1)},
			[]Step{{FromEmpty, 0, 0, 0}}, nil,
		},
		{
			"local state as far as the commit is used as it is",
			Facts{Committed: committed(2, 50), Local: local(50), ChangelogStart: 40, ChangelogEnd: 60, Manifests: []Manifest{at(2, 45)}},
			[]Step{{UseLocal, 0, 51, 51}, {Restore, 2, 46, 51}}, nil,
		},
		{
			"local state later than the named checkpoint is caught up",
			Facts{Committed: committed(2, 50), Local: local(47), ChangelogStart: 40, ChangelogEnd: 60, Manifests: []Manifest{at(2, 45), at(1, 41)}},
			[]Step{{UseLocal, 0, 48, 51}, {Restore, 2, 46, 51}, {Restore, 1, 42, 51}}, nil,
		},
		{
			"local state older than the named checkpoint is the last resort before a rebuild",
			Facts{Committed: committed(2, 50), Local: local(10), ChangelogEnd: 60, Manifests: []Manifest{at(1, 5), at(2, 45)}},
			[]Step{{Restore, 2, 46, 51}, {Restore, 1, 6, 51}, {UseLocal, 0, 11, 51}, {FromEmpty, 0, 0, 51}}, nil,
		},
		{
			"local state is preferred to a checkpoint newer than the named one",
			Facts{Committed: committed(2, 50), Local: local(46), ChangelogStart: 40, ChangelogEnd: 60, Manifests: []Manifest{at(3, 48), at(2, 45)}},
			[]Step{{UseLocal, 0, 47, 51}, {Restore, 3, 49, 51}, {Restore, 2, 46, 51}}, nil,
		},
		{
			"a checkpoint newer than the named one comes before it",
			Facts{Committed: committed(2, 50), ChangelogStart: 40, ChangelogEnd: 60, Manifests: []Manifest{at(2, 45), at(3, 48)}},
			[]Step{{Restore, 3, 49, 51}, {Restore, 2, 46, 51}}, nil,
		},
		{
			"a missing named checkpoint falls back to the one before it",
			Facts{Committed: committed(2, 50), ChangelogStart: 40, ChangelogEnd: 60, Manifests: []Manifest{at(1, 41)}, Damaged: []Damaged{{2, ErrMissing}}},
			[]Step{{Restore, 1, 42, 51}}, nil,
		},
		{
			"a checkpoint below the changelog's start is of no use",
			Facts{Committed: committed(2, 50), ChangelogStart: 44, ChangelogEnd: 60, Manifests: []Manifest{at(1, 42), at(2, 43)}},
			[]Step{{Restore, 2, 44, 51}}, nil,
		},
		{
			"a checkpoint at the commit itself needs no changelog before it",
			Facts{Committed: committed(2, 50), ChangelogStart: 60, ChangelogEnd: 60, Manifests: []Manifest{at(2, 50)}},
			[]Step{{Restore, 2, 51, 51}}, nil,
		},
		{
			"without any checkpoint a whole changelog rebuilds the state",
			Facts{Committed: committed(0, 50), ChangelogEnd: 60},
			[]Step{{FromEmpty, 0, 0, 51}}, nil,
		},
		{
			"a forked task with a damaged seed never begins empty",
			Facts{Seeded: true, Committed: &Committed{Reached{9, -1}, 1}, Damaged: []Damaged{{1, ErrCorrupt}}},
			nil, ErrUnrecoverable,
		},
		{
			"a forked task is never rebuilt from its changelog alone",
			Facts{Seeded: true, Committed: committed(1, 50), ChangelogEnd: 60, Damaged: []Damaged{{1, ErrCorrupt}}},
			nil, ErrUnrecoverable,
		},
		{
			"a seed in sight is enough to know that a task was forked",
			Facts{Committed: committed(1, 50), ChangelogEnd: 60, Manifests: []Manifest{{Round: 1, Position: Position{Epoch: 9, ChangelogOffset: -1}}}},
			[]Step{{Restore, 1, 0, 51}}, nil,
		},
		{
			"all checkpoints damaged and the changelog trimmed is refused",
			Facts{Committed: committed(2, 50), ChangelogStart: 44, ChangelogEnd: 60, Damaged: []Damaged{{2, ErrCorrupt}, {1, ErrMissing}}},
			nil, ErrUnrecoverable,
		},
		{
			"a damaged checkpoint and too old local state are refused",
			Facts{Committed: committed(2, 50), Local: local(20), ChangelogStart: 44, ChangelogEnd: 60, Damaged: []Damaged{{2, ErrCorrupt}}},
			nil, ErrUnrecoverable,
		},
		{
			"a checkpoint from the future is refused although an older one could be read",
			Facts{Committed: committed(2, 50), ChangelogEnd: 60, Manifests: []Manifest{at(1, 40)}, Damaged: []Damaged{{2, ErrFutureFormat}}},
			nil, ErrFutureFormat,
		},
		{
			"a changelog that ends before the commit is refused",
			Facts{Committed: committed(2, 50), Local: local(50), ChangelogEnd: 50, Manifests: []Manifest{at(2, 45)}},
			nil, ErrChangelogLost,
		},
		{
			"a re-created, empty changelog is refused",
			Facts{Committed: committed(2, 50), Manifests: []Manifest{at(2, 50)}},
			nil, ErrChangelogLost,
		},
		{
			"a checkpoint ahead of the commit is refused",
			Facts{Committed: committed(1, 50), ChangelogEnd: 60, Manifests: []Manifest{at(1, 40), at(2, 51)}},
			nil, ErrStateAhead,
		},
		{
			"local state ahead of the commit is refused",
			Facts{Committed: committed(1, 50), Local: local(55), ChangelogEnd: 60, Manifests: []Manifest{at(1, 40)}},
			nil, ErrStateAhead,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			plan, err := Decide(test.facts)
			if !errors.Is(err, test.err) {
				t.Fatalf("error is %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, plan.Steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecideReportsWhatItSkipped(t *testing.T) {
	t.Parallel()
	plan, err := Decide(Facts{
		Committed: committed(3, 50), Local: local(7), ChangelogStart: 40, ChangelogEnd: 60,
		Manifests: []Manifest{at(1, 20), at(2, 44)}, Damaged: []Damaged{{3, ErrCorrupt}},
	})
	if err != nil {
		t.Fatal(err)
	}
	rounds := []int64{}
	for _, s := range plan.Skipped {
		rounds = append(rounds, s.Round)
	}
	slices.Sort(rounds)
	if diff := cmp.Diff([]int64{0, 1, 3}, rounds); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

// Exhaustive over a small world: whatever the facts, a plan never replays what the changelog lacks, never
// leads past the commit, and always ends at it; and if anything could recover the task it is not refused.
func TestEveryPlanReachesTheCommitThroughChangelogThatIsThere(t *testing.T) {
	t.Parallel()
	const size = 5
	plans := 0
	for target := int64(-1); target < size; target++ {
		for start := range int64(size) {
			for end := start; end <= size; end++ {
				for localAt := int64(-2); localAt <= target; localAt++ {
					for first := int64(-2); first <= target; first++ {
						for second := max(first, -1); second <= target; second++ {
							plans += checkPlan(t, target, start, end, localAt, first, second)
						}
					}
				}
			}
		}
	}
	if plans == 0 {
		t.Error("no plan was made")
	}
}

func checkPlan(t *testing.T, target, start, end, localAt, first, second int64) int {
	f := Facts{Committed: committed(2, target), ChangelogStart: start, ChangelogEnd: end}
	states := []int64{-1}
	if localAt >= -1 {
		f.Local = local(localAt)
		states = append(states, localAt)
	}
	if first >= -1 {
		f.Manifests = []Manifest{at(1, first), at(2, second)}
		states = append(states, first, second)
	}
	name := fmt.Sprintf("target %d, changelog [%d,%d), local %d, checkpoints %d %d", target, start, end, localAt, first, second)
	recoverable := slices.ContainsFunc(states, func(at int64) bool { return at == target || at+1 >= start }) && target < end
	plan, err := Decide(f)
	if recoverable != (err == nil) {
		t.Fatalf("%s: error is %v, recoverable is %v", name, err, recoverable)
	}
	for _, s := range plan.Steps {
		if s.ReplayTo != target+1 || s.ReplayFrom > s.ReplayTo || s.ReplayFrom < s.ReplayTo && (s.ReplayFrom < start || s.ReplayTo > end) {
			t.Fatalf("%s: step %+v", name, s)
		}
	}
	return len(plan.Steps)
}
