// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/fleet"
)

// brokerAway lets one worker hear nothing of the broker, for longer than its session.
func (r *run) brokerAway(ctx context.Context) error {
	p := r.any()
	tasks, err := tasksOf(ctx, p)
	if err != nil {
		return err
	}
	line := r.berthOf(p).broker
	i := incident{Kind: "broker-away", What: p.Name, Fewest: unknown}
	began := time.Now()
	err = r.during(ctx, i, func() error {
		line.Silence(true)
		if err := fleet.Wait(ctx, max(r.opts.Away, 2*r.opts.SessionTimeout)); err != nil {
			return err
		}
		line.Silence(false)
		return nil
	})
	r.replaced(p, tasks, span{began, time.Now()})
	return err
}

// replaced holds that all tasks of a worker have run on others.
func (r *run) replaced(p *fleet.Process, tasks []string, s span) {
	made := moves(r.entries(time.Time{}), s)
	for _, task := range tasks {
		if !slices.ContainsFunc(made, func(mv move) bool { return mv.Task == task && mv.From == p.Name }) {
			r.Faults.Add("%s was away for longer than its session, and nobody has taken over task %s", p.Name, task)
		}
	}
}

// storeAway lets one worker hear nothing of the object store. Processing must go on, its checkpoints wait, and both heal by
// themselves.
func (r *run) storeAway(ctx context.Context) error {
	p := r.any()
	line := r.berthOf(p).store
	i := incident{Kind: "store-away", What: p.Name}
	return r.during(ctx, i, func() error {
		began := time.Now()
		line.Silence(true)
		if err := fleet.Wait(ctx, max(r.opts.Away, 2*r.opts.CheckpointInterval)); err != nil {
			return err
		}
		if silent := r.silent(began.Add(r.opts.Away / 2)); len(silent) > 0 {
			r.Faults.Add("%s did not reach the object store, and partitions %v had no output", p.Name, silent)
		}
		snap, err := p.Status(ctx)
		if err != nil {
			return err
		}
		for _, t := range snap.Tasks {
			if t.CheckpointedAt.After(began.Add(r.opts.CheckpointInterval)) {
				r.Faults.Add("%s did not reach the object store, and has stored a checkpoint of task %s there", p.Name, t.Task)
			}
		}
		line.Silence(false)
		return r.checkpointed(ctx)
	})
}

// slow lets all that workers send and get be late.
func (r *run) slow(ctx context.Context) error {
	delay := func(d time.Duration) {
		for _, b := range r.berths {
			b.broker.Delay(d)
			b.store.Delay(d)
		}
	}
	return r.during(ctx, incident{Kind: "slow", What: fmt.Sprintf("by %v each way", r.opts.Delay)}, func() error {
		began := time.Now()
		delay(r.opts.Delay)
		if err := fleet.Wait(ctx, r.opts.Away); err != nil {
			return err
		}
		if silent := r.silent(began.Add(r.opts.Away / 2)); len(silent) > 0 {
			r.Faults.Add("the network was slow, and partitions %v had no output", silent)
		}
		delay(0)
		return nil
	})
}

// brokerRestart stops the broker in order, and then kills it. A pause of the output is mostly the broker's own.
func (r *run) brokerRestart(ctx context.Context) error {
	for _, how := range []struct {
		what string
		end  func() error
	}{{"stopped", r.Broker.Stop}, {"killed", r.Broker.Kill}} {
		i := incident{Kind: "broker-restart", What: how.what, Fewest: unknown}
		err := r.during(ctx, i, func() error {
			if err := how.end(); err != nil {
				return err
			}
			if err := r.Broker.Restart(ctx); err != nil {
				return err
			}
			back := time.Now()
			if err := r.flowing(ctx); err != nil {
				return err
			}
			r.Say("broker-restart: every task had output %s s after the broker was back", seconds(time.Since(back)))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// zombieDelay makes the object store of a worker that is to be stopped so slow that its part of a checkpoint takes
// seconds.
const zombieDelay = 300 * time.Millisecond

// zombie stops a worker in a transaction and with its part of a checkpoint on the way, lets the group go on without it, and
// lets it run again. What it had begun must be refused.
func (r *run) zombie(ctx context.Context) error {
	p := r.any()
	tasks, err := tasksOf(ctx, p)
	if err != nil {
		return err
	}
	store := r.berthOf(p).store
	store.Delay(zombieDelay)
	round, err := r.entersRound(ctx, tasks)
	if err != nil {
		return err
	}
	if err := r.stopInTransaction(ctx, p); err != nil {
		return err
	}
	began := time.Now()
	err = r.during(ctx, incident{Kind: "zombie", What: p.Name, Fewest: unknown}, func() error {
		if err := fleet.Wait(ctx, 2*r.opts.SessionTimeout); err != nil {
			return err
		}
		store.Delay(0)
		awake := time.Now()
		if err := p.Signal(syscall.SIGCONT); err != nil {
			return err
		}
		return r.refused(ctx, p, awake)
	})
	if err != nil {
		return err
	}
	r.replaced(p, tasks, span{began, time.Now()})
	return r.abandoned(ctx, p, round)
}

// entersRound waits until a task has entered a round that none of them had entered before, and returns it.
func (r *run) entersRound(ctx context.Context, tasks []string) (int64, error) {
	before := int64(-1)
	var newest int64
	err := r.await(ctx, "a checkpoint is due", settleLimit, func() (bool, error) {
		group, err := r.admin.GroupOf(ctx, app)
		if err != nil {
			return false, err
		}
		newest = 0
		for _, task := range tasks {
			at := group.Committed[partition.TopicPartition{Topic: events, Partition: int32(partitionOf(task))}]
			meta, err := core.DecodeMetadata(at.Metadata)
			if err != nil {
				return false, err
			}
			newest = max(newest, meta.Entered)
		}
		if before < 0 {
			before = newest
		}
		return newest > before, nil
	})
	return newest, err
}

// stopInTransaction sends SIGSTOP while the worker has a transaction open.
func (r *run) stopInTransaction(ctx context.Context, p *fleet.Process) error {
	return r.await(ctx, p.Name+" is stopped in a transaction", settleLimit, func() (bool, error) {
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return false, err
		}
		// What it had sent arrives meanwhile, and is answered in turn.
		open, err := r.admin.Transactions(ctx, worker.Names{App: app}.TransactionalIDPrefix())
		if err != nil {
			return false, err
		}
		for _, t := range open {
			if t.ID == p.TransactionalID() && t.State == "Ongoing" {
				return true, nil
			}
		}
		return false, p.Signal(syscall.SIGCONT)
	})
}

// refused waits until the broker has refused the transaction of a worker that was stopped.
func (r *run) refused(ctx context.Context, p *fleet.Process, since time.Time) error {
	return r.await(ctx, p.Name+" finds its transaction refused", stuckLimit, func() (bool, error) {
		entries := p.Entries(since)
		found := slices.ContainsFunc(entries, func(e fleet.Entry) bool { return e.Message == logFenced })
		for _, e := range entries {
			if found && e.Message == logNotCommitted {
				r.Say("%s: %s: %s", p.Name, e.Message, e.Error)
			}
		}
		return found, nil
	})
}

// abandoned holds that the round in which a worker was stopped is not complete and will not be.
func (r *run) abandoned(ctx context.Context, p *fleet.Process, round int64) error {
	store, err := open.Open(ctx, r.store.URL(), open.Options{})
	if err != nil {
		return err
	}
	for found, err := range checkpoint.NewRepository(store, app).Rounds(ctx, 1) {
		switch {
		case err != nil:
			return err
		case found.Number != round:
		case found.Complete:
			r.Faults.Add("round %d is complete, although %s was stopped in it and others have its tasks", round, p.Name)
		case !found.Abandoned:
			r.Faults.Add("round %d is waited for, although %s was stopped in it and others have its tasks", round, p.Name)
		}
	}
	for _, e := range r.entries(time.Time{}) {
		if e.Message == logAbandoned && e.Round == round {
			r.Say("%s: %s: %d", e.Worker, e.Message, e.Round)
			return nil
		}
	}
	r.Faults.Add("no worker says that it has abandoned round %d, in which %s was stopped", round, p.Name)
	return nil
}
