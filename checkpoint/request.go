// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// This file is what people ask of a running application: a round now, a savepoint, a halt, and the end of one.

var (
	// ErrTaken says that another round is kept under the name already.
	ErrTaken = errors.New("the name is taken")
	// ErrHalted says that the application is halted, or is about to be: no further round will be complete.
	ErrHalted = errors.New("the application is halted")
	// ErrNotHalted says that there is no halt to be ended.
	ErrNotHalted = errors.New("the application is not halted")
	// ErrAbandoned says that a round will not be complete, since a task could not store its part.
	ErrAbandoned = errors.New("the checkpoint was abandoned: a task could not store its part; try again, and see the workers' logs")
)

const (
	// otherRound is how long a round that is in progress is waited for before another is begun.
	otherRound = time.Minute
	// waitForRound is how often a round is looked at until it is complete.
	waitForRound = 200 * time.Millisecond
)

// RoundRequest asks the running application for a round.
type RoundRequest struct {
	Incarnation int
	How         How
	// Name, if not empty, keeps the round as a savepoint.
	Name, By, Note string
	// Begun and Stored, if not nil, are told that the round has begun, and of how many tasks have stored their part.
	Begun  func(round int64)
	Stored func(round int64, tasks int)
}

// RequestRound begins a round and waits until it is complete and, if it has a name, kept. The savepoint that it returns has
// no name if the request has none. The workers do the work: where none runs the wait is for ctx.
func (r *Repository) RequestRound(ctx context.Context, q RoundRequest) (Savepoint, error) {
	// A name that is taken is better found out before the application stops.
	if q.Name != "" {
		if err := r.nameIsFree(ctx, q); err != nil {
			return Savepoint{}, err
		}
	}
	n, err := r.beginRequested(ctx, q)
	if err != nil {
		return Savepoint{}, err
	}
	if q.Begun != nil {
		q.Begun(n)
	}
	if err := r.awaitRequested(ctx, q, n); err != nil {
		return Savepoint{Round: n}, err
	}
	s := Savepoint{Name: q.Name, Round: n, Created: storedTime(time.Now()), By: q.By, Note: q.Note}
	if q.Name == "" {
		return s, nil
	}
	return s, r.CreateSavepoint(ctx, q.Incarnation, s)
}

func (r *Repository) nameIsFree(ctx context.Context, q RoundRequest) error {
	if err := CheckID(q.Name); err != nil {
		return err
	}
	saved, err := r.Savepoints(ctx, q.Incarnation)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(saved, func(s Savepoint) bool { return s.Name == q.Name }); i >= 0 {
		return fmt.Errorf("savepoint %s exists already, it keeps checkpoint %d: choose another name, or delete it: %w", q.Name, saved[i].Round, ErrTaken)
	}
	return nil
}

// beginRequested begins a round, once the one that is in progress is over. One at a time: a task that still stores its part
// of one round may be unable to take part in the next.
func (r *Repository) beginRequested(ctx context.Context, q RoundRequest) (int64, error) {
	for asked := time.Now(); ; {
		latest, err := r.LatestRound(ctx, q.Incarnation)
		if err != nil {
			return 0, err
		}
		if latest.Number > 0 {
			halted, err := r.Halted(ctx, q.Incarnation, latest.Number)
			if err != nil {
				return 0, err
			}
			if halted {
				return 0, fmt.Errorf("application %s: %w at checkpoint %d: resume it first, or keep that checkpoint", r.app, ErrHalted, latest.Number)
			}
			over, err := r.Over(ctx, q.Incarnation, latest.Number)
			if err != nil {
				return 0, err
			}
			if !over && time.Since(asked) < otherRound {
				if err := wait(ctx, waitForRound); err != nil {
					return 0, err
				}
				continue
			}
		}
		created, err := r.StartRound(ctx, q.Incarnation, latest.Number+1, q.How)
		if err != nil {
			return 0, err
		}
		if created { // else somebody was faster, and a halt must be said from the start
			return latest.Number + 1, nil
		}
	}
}

func (r *Repository) awaitRequested(ctx context.Context, q RoundRequest, n int64) error {
	l, err := r.lifeRound(q.Incarnation, n)
	if err != nil {
		return err
	}
	for stored := -1; ; {
		rounds, err := r.roundsBelow(ctx, l, l.round(n))
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("list rounds: %w", err)
		}
		for _, round := range rounds { // one at most
			switch {
			case round.Complete:
				return nil
			case round.Abandoned:
				return fmt.Errorf("checkpoint %d of %s: %w", n, r.app, ErrAbandoned)
			case len(round.Tasks) != stored:
				if stored = len(round.Tasks); q.Stored != nil {
					q.Stored(n, stored)
				}
			}
		}
		if err := wait(ctx, waitForRound); err != nil {
			return fmt.Errorf("checkpoint %d of %s is not complete, %d tasks have stored their part; are all workers running? %w", n, r.app, max(stored, 0), err)
		}
	}
}

// CurrentHalt returns the round at which the application is halted, or is about to be; 0 if it is not.
func (r *Repository) CurrentHalt(ctx context.Context, incarnation int) (int64, error) {
	latest, err := r.LatestRound(ctx, incarnation)
	if err != nil || latest.Number == 0 {
		return 0, err
	}
	halted, err := r.Halted(ctx, incarnation, latest.Number)
	if err != nil || !halted {
		return 0, err
	}
	return latest.Number, nil
}

// EndHalt lets the application go on from the round at which it is halted, which it returns.
func (r *Repository) EndHalt(ctx context.Context, incarnation int) (int64, error) {
	n, err := r.CurrentHalt(ctx, incarnation)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, fmt.Errorf("application %s: %w", r.app, ErrNotHalted)
	}
	return n, r.Resume(ctx, incarnation, n)
}

// LifeSavepoint is a savepoint with its life.
type LifeSavepoint struct {
	Savepoint
	Life int `json:"life"`
}

// LifeSavepoints yields the savepoints of a life, then those of the lives before it, newest life first, in order of their
// names.
func (r *Repository) LifeSavepoints(ctx context.Context, newest int) iter.Seq2[LifeSavepoint, error] {
	return func(yield func(LifeSavepoint, error) bool) {
		for n := newest; n > 0; n-- {
			saved, err := r.Savepoints(ctx, n)
			if err != nil {
				yield(LifeSavepoint{}, err)
				return
			}
			for _, s := range saved {
				if !yield(LifeSavepoint{s, n}, nil) {
					return
				}
			}
		}
	}
}

// wait waits, unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
