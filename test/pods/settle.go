// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/fleet"
)

const (
	settleLimit = 3 * time.Minute  // for every task to run where it belongs
	stuckLimit  = 60 * time.Second // for the application to make no progress
	look        = 20 * time.Millisecond
)

// await looks until a condition holds. The error says what has not come about.
func (r *run) await(ctx context.Context, what string, limit time.Duration, holds func() (bool, error)) error {
	for deadline := time.Now().Add(limit); ; {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		if r.Reap() > 0 {
			return fmt.Errorf("waiting until %s: a worker has ended", what)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v until %s, in vain:%s", limit, what, r.Describe(ctx))
		}
		if err := fleet.Wait(ctx, look); err != nil {
			return err
		}
	}
}

// settled waits until every task runs on exactly one worker, every worker has some, none is to move, and those who stand
// by are warm.
func (r *run) settled(ctx context.Context) error {
	return r.await(ctx, "every task runs where it belongs", settleLimit, func() (bool, error) {
		all := r.Statuses(ctx)
		tasks, busy := fleet.Placed(all)
		warm := 0
		for _, snap := range all {
			if !snap.Joined || snap.Leaving || slices.ContainsFunc(snap.Moves, func(mv api.Move) bool { return mv.State != partition.Moved.String() }) {
				return false, nil
			}
			for _, f := range snap.Following {
				if f.Warm {
					warm++
				}
			}
		}
		standbys := min(r.standbys, len(r.All)-1) * r.opts.Partitions
		return tasks == r.opts.Partitions && busy == min(len(r.All), r.opts.Partitions) && warm >= standbys, nil
	})
}

// flowing waits until every task has output of now or later.
func (r *run) flowing(ctx context.Context) error {
	since := time.Now()
	return r.await(ctx, "every task has output", stuckLimit, func() (bool, error) {
		return len(r.silent(since)) == 0, nil
	})
}

// silent returns the partitions of the output that have had nothing since some time.
func (r *run) silent(since time.Time) (tasks []int) {
	for p, times := range r.watcher.arrivals(since) {
		if len(times) == 0 {
			tasks = append(tasks, p)
		}
	}
	return tasks
}

// checkpointed waits until every task has a checkpoint of now or later.
func (r *run) checkpointed(ctx context.Context) error {
	since := time.Now()
	return r.await(ctx, "every task has a new checkpoint", settleLimit, func() (bool, error) {
		n := 0
		for _, snap := range r.Statuses(ctx) {
			for _, t := range snap.Tasks {
				if t.CheckpointedAt.After(since) {
					n++
				}
			}
		}
		return n >= r.opts.Partitions, nil
	})
}

// caughtUp waits until there is an update for each record that was written. It gives up when none comes any more.
func (r *run) caughtUp(ctx context.Context) error {
	last, lastMoved := int64(-1), time.Now()
	return r.await(ctx, "all input is processed", time.Hour, func() (bool, error) {
		seen, sent := r.watcher.seen(), r.feeder.sent()
		if seen != last {
			last, lastMoved = seen, time.Now()
		}
		if seen < sent && time.Since(lastMoved) > stuckLimit {
			return false, fmt.Errorf("no update for %v, %d of %d have come:%s", stuckLimit, seen, sent, r.Describe(ctx))
		}
		return seen >= sent, nil
	})
}

// check stops the load, lets all of it be processed, and compares.
func (r *run) check(ctx context.Context, after string) error {
	r.querier.on.Store(false)
	if err := r.feeder.pause(ctx); err != nil {
		return err
	}
	if err := r.caughtUp(ctx); err != nil {
		return err
	}
	if err := r.noneOpen(ctx); err != nil {
		return err
	}
	r.watcher.compare(r.feeder.mu.next) // nobody writes to it while the feeder pauses
	if seen, sent := r.watcher.seen(), r.feeder.sent(); seen != sent {
		r.Faults.Add("output: %d updates are committed, %d input records give as many", seen, sent)
	}
	r.Say("%s: %d input records, as many updates, compared", after, r.feeder.sent())
	return nil
}

// noneOpen waits until no transaction of the application is open. What is idle commits once in a while to name a
// checkpoint: those are not what is looked for, and end.
func (r *run) noneOpen(ctx context.Context) error {
	var open []string
	deadline := time.Now().Add(2 * r.opts.SessionTimeout)
	for {
		all, err := r.admin.Transactions(ctx, worker.Names{App: app}.TransactionalIDPrefix())
		if err != nil {
			return err
		}
		open = open[:0]
		for _, t := range all {
			open = append(open, fmt.Sprintf("%s (%s for %v, in %v)", t.ID, t.State, t.Age, t.Touching))
		}
		if len(open) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			r.Faults.Add("transactions are still open: %s", strings.Join(open, ", "))
			return nil
		}
		if err := fleet.Wait(ctx, look); err != nil {
			return err
		}
	}
}

// entries are the lines of all workers' logs.
func (r *run) entries(since time.Time) (all []fleet.Entry) {
	for _, p := range r.Ever {
		all = append(all, p.Entries(since)...)
	}
	return all
}
