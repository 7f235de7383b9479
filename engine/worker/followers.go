// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// This file is what a worker does for tasks that others run: it keeps their state near to the present, as a standby or
// to warm up for a task that it is to get.

// follower keeps the state of a task that another worker runs near to the present: restored as for a takeover, then
// commit by commit as the changelog brings them. Nothing reaches the state that is not committed, so a takeover goes on from it.
type follower struct {
	rt     *runningTask // in its hands until done is closed
	cancel context.CancelFunc
	done   chan struct{}

	position atomic.Int64 // changelog offset of the newest commit in the state; -1: none yet
	lag      atomic.Int64 // changelog offsets to the end, as of the newest fetch; -1: not known yet
	caughtUp atomic.Bool  // it was within warmLag since, and never behind by more than coldLag
	next     atomic.Int64 // changelog offset up to which everything is in the state
	level    atomic.Int64 // when the state was last known to have all that was committed, in Unix nanoseconds; 0: never
	now      func() time.Time
}

const (
	// warmLag is how many offsets of the changelog a follower may be behind to become warm: each commit takes three or more,
	// and replaying this many takes less time than a rebalance.
	warmLag = 100
	// coldLag is from how many on it is warm no more. A burst of the owner's commits should not make it cold.
	coldLag = 1000
)

func (f *follower) warm() bool { return f.caughtUp.Load() }

// Apply implements kafka.ChangelogFollower.
func (f *follower) Apply(c kafka.Commit) error {
	err := f.rt.db.Apply(c.Deltas, statestore.Position{Epoch: c.Key.Epoch, Offset: c.Offset, Detail: c.Position})
	if err == nil {
		f.position.Store(c.Offset)
	}
	return err
}

// Reached implements kafka.ChangelogFollower.
func (f *follower) Reached(next, end int64) {
	lag := max(0, end-next)
	f.next.Store(next)
	f.lag.Store(lag)
	if lag == 0 {
		f.level.Store(f.now().UnixNano())
	}
	if lag <= warmLag || lag > coldLag {
		f.caughtUp.Store(lag <= warmLag)
	}
}

// behind says how old the state is at most.
func (f *follower) behind(now time.Time) query.Behind {
	level := f.level.Load()
	if level == 0 {
		return query.Behind{Records: max(0, f.lag.Load()), For: math.MaxInt64}
	}
	return query.Behind{Records: max(0, f.lag.Load()), For: max(0, now.Sub(time.Unix(0, level)))}
}

// takeoverPause is how long a worker that has taken a task over begins no followers. Who follows from the beginning copies all of
// a state: the first output of what was taken over is not to wait for that.
const takeoverPause = 2 * time.Second

// reconcileFollowers begins and ends followers, so that they are what the table of the group says.
func (w *Worker) reconcileFollowers() {
	want := map[partition.TaskID]bool{}
	if !w.left && !w.stopping {
		own := w.Placement().Own()
		for _, id := range slices.Concat(own.Standby, own.WarmUp) {
			want[id] = w.subs[id.SubTopology].Stateful()
		}
	}
	for id := range w.followers {
		if !want[id] {
			w.stopFollower(id)
		}
	}
	if w.now().Sub(w.tookOver) < takeoverPause {
		return // it is looked at again soon
	}
	for id, stateful := range want {
		if stateful && w.followers[id] == nil && w.tasks[id] == nil {
			w.startFollower(id)
		}
	}
}

func (w *Worker) startFollower(id partition.TaskID) {
	ctx, cancel := context.WithCancel(w.hard)
	f := &follower{rt: w.newTask(id), cancel: cancel, done: make(chan struct{}), now: w.now}
	f.position.Store(-1)
	f.lag.Store(-1)
	w.followers[id] = f
	delete(w.unused, id)
	before := w.closing[id]
	w.routines.Go(func() {
		defer close(f.done)
		w.follow(ctx, f, before)
	})
}

// stopFollower ends a follower. What it has stays on the disk.
func (w *Worker) stopFollower(id partition.TaskID) {
	f, done := w.followers[id], make(chan struct{})
	delete(w.followers, id)
	w.leaveOnDisk(id, f.position.Load())
	w.closing[id] = done
	w.routines.Go(func() {
		defer close(done)
		f.cancel()
		<-f.done
		w.shut(f.rt)
	})
}

// takeFollower gives the task of a follower, and what its restore must wait for; nil if there is none.
func (w *Worker) takeFollower(id partition.TaskID) (*runningTask, chan struct{}) {
	f := w.followers[id]
	if f == nil {
		return nil, nil
	}
	delete(w.followers, id)
	f.cancel()
	f.rt.followed, w.tookOver = true, w.now()
	return f.rt, f.done
}

// follow keeps the state near to the present until ctx ends. What goes wrong is tried again: the task runs elsewhere.
func (w *Worker) follow(ctx context.Context, f *follower, before chan struct{}) {
	if before != nil {
		<-before // whatever ctx says: until then the state is in other hands
	}
	for attempt := 0; ; attempt++ {
		err := w.followOnce(ctx, f)
		if ctx.Err() != nil {
			return
		}
		f.lag.Store(-1)
		if f.caughtUp.Swap(false) {
			attempt = 0
		}
		w.listener.retrying("follow task "+f.rt.id.String(), err)
		if db := f.rt.db; db != nil && (db.Err() != nil || errors.Is(err, statestore.ErrCorrupt)) {
			if cerr := db.Close(); cerr != nil {
				w.listener.background("close the state of task "+f.rt.id.String(), cerr)
			}
			f.rt.db = nil
		}
		if kafka.Pause(ctx, backoff(attempt)) != nil {
			return
		}
	}
}

func (w *Worker) followOnce(ctx context.Context, f *follower) error {
	to, err := w.committedOf(ctx, f.rt)
	if err != nil {
		return err
	}
	if err := w.restoreState(ctx, f.rt, to); err != nil {
		return err
	}
	changelog, next := w.names.ChangelogPartition(f.rt.id), int64(0)
	if have, ok := f.rt.db.Position(); ok {
		f.position.Store(have.Offset)
		next = have.Offset + 1
	}
	ends, err := w.cluster.HighWatermarks(ctx, changelog.Topic)
	if err != nil {
		return err
	}
	f.Reached(next, ends[changelog])
	w.holdings.hold(f.rt.id, f.rt.db, f)
	w.listener.follows(f.rt.id, f.rt.restore)
	return kafka.FollowChangelog(ctx, w.cfg, changelog, next, f)
}
