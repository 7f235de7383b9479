// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/engine/version"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
	"github.com/streamd/streamd/statestore"
)

// This file is a worker's part in the placement of tasks: what it tells the group, what it makes of the table that
// the group's leader has made, and how it hands its tasks over before it ends.

// balancerConfig says what this worker tells the group about itself.
func (w *Worker) balancerConfig() groupbalance.Config {
	id := w.transactionalID
	return groupbalance.Config{
		SubTopologies: w.topology.Partition(w.topicName),
		Rules:         partition.Rules{Standbys: w.cfg.StandbyReplicas, WarmUps: w.cfg.WarmUps},
		Self: func() groupbalance.Self {
			return groupbalance.Self{
				Endpoint: w.holdings.Endpoint(), Zone: w.cfg.WorkerZone, Version: version.Of().Program, Fingerprint: w.topology.Fingerprint(),
				TransactionalID: id, Capacity: w.cfg.Lanes, Leaving: w.leaving.Load(), Held: *w.held.Load(),
			}
		},
	}
}

// unused is a task's state that lies on the disk and is neither run nor followed.
type unused struct {
	position int64 // changelog offset; -1: not known
	since    time.Time
}

// leaveOnDisk notes that a task's state stays on the disk although the task is not here any more.
func (w *Worker) leaveOnDisk(id partition.TaskID, position int64) {
	if w.subs[id.SubTopology].Stateful() {
		w.unused[id] = unused{position, w.now()}
	}
}

// findUnused looks for the states that an earlier worker has left on this disk. They are opened to see how far they have
// come: what cannot be opened is of no use.
func (w *Worker) findUnused() error {
	entries, err := os.ReadDir(w.stateFolder())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(w.cfg.Lanes)
	for _, e := range entries {
		id, err := partition.ParseTaskID(e.Name())
		if _, ok := w.all[id]; err != nil || !ok {
			continue
		}
		group.Go(func() error {
			db, err := statestore.Open(w.storeOptions(id))
			if err != nil {
				w.listener.background("look at the state of task "+id.String(), err)
				return nil
			}
			left := unused{position: -1, since: w.now()}
			if have, ok := db.Position(); ok {
				left.position = have.Offset
			}
			mu.Lock()
			w.unused[id] = left
			mu.Unlock()
			return db.Close()
		})
	}
	return group.Wait()
}

// deleteUnused removes states that nobody has needed for a while.
func (w *Worker) deleteUnused() {
	for id, u := range w.unused {
		if w.now().Sub(u.since) < w.cfg.StateKeptFor || w.tasks[id] != nil || w.followers[id] != nil {
			continue
		}
		delete(w.unused, id)
		before, done := w.closing[id], make(chan struct{})
		w.closing[id] = done
		w.routines.Go(func() {
			defer close(done)
			if before != nil {
				<-before
			}
			dir := w.stateDir(id)
			err := errors.Join(os.RemoveAll(dir+".next.restoring"), os.RemoveAll(dir+".next"))
			if err == nil {
				err = statestore.Destroy(dir)
			}
			if err != nil {
				w.listener.background("delete the state of task "+id.String(), err)
				return
			}
			w.listener.unusedDeleted(id)
		})
	}
}

// publishHeld lets the next join tell the group what state is here, or is about to be.
func (w *Worker) publishHeld() {
	held, own := []partition.HeldTask{}, w.Placement().Own()
	for id, rt := range w.tasks {
		if w.machine.Running(id) && rt.sub.Stateful() {
			held = append(held, partition.HeldTask{Task: id, Position: rt.committed.ChangelogOffset, Warm: true})
		}
	}
	for id, f := range w.followers {
		use := partition.ForStandby
		if slices.Contains(own.WarmUp, id) {
			use = partition.ForWarmUp
		}
		held = append(held, partition.HeldTask{Task: id, Position: f.position.Load(), Warm: f.warm(), Use: use})
	}
	for id, u := range w.unused {
		held = append(held, partition.HeldTask{Task: id, Position: u.position})
	}
	slices.SortFunc(held, func(a, b partition.HeldTask) int { return a.Task.Compare(b.Task) })
	w.held.Store(&held)
}

// placed takes over what the newest assignment says of who does what.
func (w *Worker) placed() {
	before, now := w.Placement(), w.balancer.Table()
	w.placement.Store(&now)
	w.listener.placed(before, now)
	w.reconcileFollowers()
}

// Placement returns who does what in the application, as of the newest assignment. It may be called from any goroutine.
func (w *Worker) Placement() groupbalance.Table { return *w.placement.Load() }

// warmDelay is how long a warm follower waits for others of its worker, so that one rebalance moves all their tasks; and the
// shortest time between two rebalances that a worker asks for.
const warmDelay = time.Second

// askForWarm asks the group for a rebalance once the tasks can be moved here for which this worker warms up: when all are
// warm, or some have been for a while.
func (w *Worker) askForWarm() {
	warm, cold := 0, 0
	table := w.Placement()
	own := table.Own().TransactionalID
	for _, mv := range table.Moves {
		if f := w.followers[mv.Task]; mv.To != own || mv.State != partition.Warming || f == nil {
			continue
		} else if f.warm() {
			warm++
		} else {
			cold++
		}
	}
	switch {
	case warm == 0:
		w.warmSince = time.Time{}
		return
	case w.warmSince.IsZero():
		w.warmSince = w.now()
	}
	now := w.now()
	if w.askedIn == w.generation || cold > 0 && now.Sub(w.warmSince) < warmDelay || now.Sub(w.askedAt) < warmDelay {
		return
	}
	w.askedIn, w.askedAt = w.generation, now
	w.publishHeld()
	w.group.Rebalance()
}

// handOver begins the end of a worker: the group is asked to give its tasks to others, which warm up for them while it goes
// on. Where there is nobody else, or nothing to hand over, the worker stops at once.
func (w *Worker) handOver() {
	if len(w.tasks) == 0 || !w.othersStay() || w.bounded != nil || w.haltRound.Load() > 0 {
		w.stop()
		return
	}
	w.leaving.Store(true)
	w.handOverUntil = w.now().Add(w.cfg.DrainTimeout * handOverShare / 100)
	w.listener.handsOver(len(w.tasks))
	w.publishHeld()
	w.group.Rebalance()
}

// handOverShare of the drain timeout is how long a worker waits for its successors, in percent. The rest is for the last
// commit and checkpoints.
const handOverShare = 70

// handedOver ends the hand-over when all tasks have gone, nobody is left to take them, or time is up.
func (w *Worker) handedOver() {
	if w.handOverUntil.IsZero() || len(w.tasks) > 0 && w.othersStay() && w.now().Before(w.handOverUntil) {
		return
	}
	w.handOverUntil = time.Time{}
	w.stop()
}

// othersStay says whether the group has another member that is not about to end.
func (w *Worker) othersStay() bool {
	table := w.Placement()
	for i, m := range table.Members {
		if i != table.Self && !m.Leaving {
			return true
		}
	}
	return false
}
