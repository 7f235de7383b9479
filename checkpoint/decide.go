// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// This file is pure: how a task comes back, from facts alone.

var (
	// ErrOffsetsMissing refuses to start a task that has run before but of which Kafka has no
	// committed offset: it has expired, or was deleted. Starting anew would count input twice.
	ErrOffsetsMissing = errors.New("committed offsets are missing")
	// ErrStateAhead refuses a task whose checkpoint or local state is further than the committed
	// offsets: these were reset, or Kafka has lost data that it had acknowledged.
	ErrStateAhead = errors.New("state is ahead of the committed offsets")
	// ErrChangelogLost refuses a task whose changelog ends before the position that the last commit
	// names: the topic was re-created or has lost data.
	ErrChangelogLost = errors.New("changelog has lost data")
	// ErrUnrecoverable refuses a task of which no usable state reaches to where the changelog begins.
	ErrUnrecoverable = errors.New("state cannot be recovered")
)

// Reached says how far a state reaches: the fields of the same names in Position.
type Reached struct {
	Epoch           uint64
	ChangelogOffset int64 // -1: none
}

// Committed is what the stable committed offsets' metadata says of a task.
type Committed struct {
	Reached
	Round int64 // newest durable checkpoint when it was written; 0: none
}

// Facts are what is known of a task before recovery, all of one incarnation.
type Facts struct {
	Initialized bool // initial offsets were committed once
	// Seeded says that the incarnation began from the checkpoint of another life (Application.Origin).
	// Its changelog then holds only what came after, and replaying it from empty gives a wrong state.
	Seeded    bool
	Committed *Committed // nil: there is no committed offset
	Local     *Reached   // nil: no local state of this task and incarnation, or it is marked corrupt
	// Changelog holds offsets from Start to before End; End is the log's end, not the last stable
	// offset. Both 0 if the task has no changelog.
	ChangelogStart, ChangelogEnd int64
	Manifests                    []Manifest // those that can be read, in any order
	Damaged                      []Damaged  // those that cannot
}

// Action is a way to come by a state.
type Action int

// The ways to come by a state.
const (
	UseLocal  Action = iota // the local directory as it is
	Restore                 // download the checkpoint of Step.Round
	FromEmpty               // begin with nothing
)

// String names the action in logs.
func (a Action) String() string {
	switch a {
	case UseLocal:
		return "use local state"
	case Restore:
		return "restore checkpoint"
	case FromEmpty:
		return "begin empty"
	}
	return fmt.Sprintf("action %d", int(a))
}

// Step is one way to recover: come by a state, then replay the changelog.
type Step struct {
	Action Action
	Round  int64 // of Restore
	// Changelog offsets to replay: from ReplayFrom to before ReplayTo; equal if there are none.
	ReplayFrom, ReplayTo int64
}

// Skipped is a state that was not usable, for the event log.
type Skipped struct {
	Round int64 // 0: the local state
	Err   error
}

// Plan is how to recover a task: the first step, or if it fails the next. It has one step at least.
type Plan struct {
	Steps   []Step
	Skipped []Skipped
}

// Decide says how a task recovers. Refusals wrap ErrOffsetsMissing, ErrStateAhead, ErrChangelogLost,
// ErrUnrecoverable or ErrFutureFormat: the engine never starts such a task from empty by itself.
//
// Local state comes first if it is as far as the checkpoint that the commit names; else checkpoints come
// first, newest first, since a download is bounded and a long replay is not; then older local state; then
// a replay of the whole changelog, if it is all there and the life was not seeded.
func Decide(f Facts) (Plan, error) {
	for _, d := range f.Damaged {
		if errors.Is(d.Err, ErrFutureFormat) {
			return Plan{}, fmt.Errorf("round %d: %w", d.Round, d.Err)
		}
	}
	if f.Committed == nil {
		return decideUncommitted(f)
	}
	if err := checkAhead(f); err != nil {
		return Plan{}, err
	}
	target := f.Committed.ChangelogOffset
	if target >= f.ChangelogEnd {
		return Plan{}, fmt.Errorf("%w: it ends at offset %d, the last commit names its record %d; was the topic re-created?", ErrChangelogLost, f.ChangelogEnd, target)
	}
	var plan Plan
	for _, d := range f.Damaged {
		plan.Skipped = append(plan.Skipped, Skipped(d))
	}
	f.addStates(&plan)
	if err := f.replayable(-1); err == nil && !f.seeded() {
		plan.Steps = append(plan.Steps, f.step(FromEmpty, 0, -1))
	}
	if len(plan.Steps) == 0 {
		return Plan{}, fmt.Errorf("%w: the changelog begins at offset %d; %s", ErrUnrecoverable, f.ChangelogStart, describe(plan.Skipped))
	}
	return plan, nil
}

func decideUncommitted(f Facts) (Plan, error) {
	var trace string
	switch {
	case len(f.Manifests) > 0:
		trace = fmt.Sprintf("a checkpoint of round %d exists", f.Manifests[0].Round)
	case len(f.Damaged) > 0:
		trace = fmt.Sprintf("a checkpoint of round %d exists", f.Damaged[0].Round)
	case f.Local != nil && f.Local.Epoch > 0:
		trace = fmt.Sprintf("local state of epoch %d exists", f.Local.Epoch)
	case f.ChangelogEnd > 0:
		trace = fmt.Sprintf("the changelog reaches to offset %d", f.ChangelogEnd)
	case f.Initialized:
		trace = "the application has committed its initial offsets before"
	default:
		return Plan{Steps: []Step{{Action: FromEmpty}}}, nil
	}
	return Plan{}, fmt.Errorf("%w: %s; set the group's offsets back or begin a new incarnation from a checkpoint", ErrOffsetsMissing, trace)
}

// seeded says whether there is state that no changelog record made. Besides what the caller knows, a
// checkpoint of a commit that has no place in the changelog shows it.
func (f Facts) seeded() bool {
	return f.Seeded || slices.ContainsFunc(f.Manifests, func(m Manifest) bool {
		return m.Position.Epoch > 0 && m.Position.ChangelogOffset < 0
	})
}

// checkAhead finds states beyond the commit. Checkpoints and local state hold confirmed commits only, so
// one that is ahead proves that the commit went back.
func checkAhead(f Facts) error {
	for _, m := range f.Manifests {
		if p := m.Position; p.Epoch > f.Committed.Epoch || p.ChangelogOffset > f.Committed.ChangelogOffset {
			return fmt.Errorf("%w: the checkpoint of round %d is of epoch %d (changelog offset %d), the commit of epoch %d (%d)",
				ErrStateAhead, m.Round, p.Epoch, p.ChangelogOffset, f.Committed.Epoch, f.Committed.ChangelogOffset)
		}
	}
	if l := f.Local; l != nil && (l.Epoch > f.Committed.Epoch || l.ChangelogOffset > f.Committed.ChangelogOffset) {
		return fmt.Errorf("%w: local state is of epoch %d (changelog offset %d), the commit of epoch %d (%d)",
			ErrStateAhead, l.Epoch, l.ChangelogOffset, f.Committed.Epoch, f.Committed.ChangelogOffset)
	}
	return nil
}

// addStates adds local state and checkpoints in the order in which they are to be tried.
func (f Facts) addStates(plan *Plan) {
	localFirst, localLast := f.localSteps(plan)
	plan.Steps = append(plan.Steps, localFirst...)
	newestFirst := slices.SortedFunc(slices.Values(f.Manifests), func(a, b Manifest) int { return cmp.Compare(b.Round, a.Round) })
	for _, m := range newestFirst {
		if err := f.replayable(m.Position.ChangelogOffset); err != nil {
			plan.Skipped = append(plan.Skipped, Skipped{m.Round, err})
			continue
		}
		plan.Steps = append(plan.Steps, f.step(Restore, m.Round, m.Position.ChangelogOffset))
	}
	plan.Steps = append(plan.Steps, localLast...)
}

func (f Facts) localSteps(plan *Plan) (first, last []Step) {
	if f.Local == nil {
		return nil, nil
	}
	if err := f.replayable(f.Local.ChangelogOffset); err != nil {
		plan.Skipped = append(plan.Skipped, Skipped{0, err})
		return nil, nil
	}
	steps := []Step{f.step(UseLocal, 0, f.Local.ChangelogOffset)}
	for _, m := range f.Manifests {
		if m.Round <= f.Committed.Round && m.Position.ChangelogOffset > f.Local.ChangelogOffset {
			return nil, steps
		}
	}
	return steps, nil
}

// replayable says whether the changelog still holds all that follows a state of the given offset.
func (f Facts) replayable(offset int64) error {
	if offset == f.Committed.ChangelogOffset || offset+1 >= f.ChangelogStart {
		return nil
	}
	return fmt.Errorf("%w: it ends at changelog offset %d, the changelog begins at %d", ErrMissing, offset, f.ChangelogStart)
}

func (f Facts) step(action Action, round, offset int64) Step {
	return Step{Action: action, Round: round, ReplayFrom: offset + 1, ReplayTo: f.Committed.ChangelogOffset + 1}
}

func describe(skipped []Skipped) string {
	if len(skipped) == 0 {
		return "there is neither a checkpoint nor local state"
	}
	var parts []string
	for _, s := range skipped {
		if s.Round == 0 {
			parts = append(parts, fmt.Sprintf("local state: %s", s.Err))
			continue
		}
		parts = append(parts, fmt.Sprintf("checkpoint of round %d: %s", s.Round, s.Err))
	}
	return strings.Join(parts, "; ")
}
