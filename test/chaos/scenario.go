// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/fleet"
)

const (
	settleLimit   = 90 * time.Second // for every task to run somewhere
	comebackLimit = 60 * time.Second // for a dead worker's task to produce output again
)

// scenario kills, stops and cuts off, in a seeded order of choices.
func (r *run) scenario(ctx context.Context) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	drainAfter, wipeAfter, zombieAfter, outageAfter := r.opts.Kills*1/5, r.opts.Kills*2/5, r.opts.Kills*3/5, r.opts.Kills*4/5
	for i := 0; i <= r.opts.Kills; i++ {
		r.plan(i)
		if r.opts.Drain && i == drainAfter {
			if err := r.drain(ctx); err != nil {
				return err
			}
		}
		if r.opts.Wipe && i == wipeAfter {
			if err := r.wipe(ctx); err != nil {
				return err
			}
		}
		if r.opts.Zombie && i == zombieAfter {
			if err := r.zombie(ctx); err != nil {
				return err
			}
		}
		if r.opts.Outage > 0 && i == outageAfter {
			if err := r.outage(ctx); err != nil {
				return err
			}
		}
		if i == r.opts.Kills {
			break
		}
		if err := r.kill(ctx, i); err != nil {
			return err
		}
	}
	return r.workers.reap()
}

// plan tells the feeder how long its records must last.
func (r *run) plan(done int) {
	left := time.Duration(r.opts.Kills-done) * (r.opts.Every + r.opts.SessionTimeout/2)
	ahead := func(asked bool, at int, d time.Duration) {
		if asked && done <= at {
			left += d
		}
	}
	ahead(r.opts.Drain, r.opts.Kills*1/5, 10*time.Second)
	ahead(r.opts.Wipe, r.opts.Kills*2/5, r.opts.SessionTimeout+10*time.Second)
	ahead(r.opts.Zombie, r.opts.Kills*3/5, 3*r.opts.SessionTimeout+5*time.Second)
	ahead(r.opts.Outage > 0, r.opts.Kills*4/5, r.opts.Outage+4*r.opts.CheckpointInterval)
	r.feeder.remaining.Store(int64(left + 2*time.Second))
}

// kill ends one worker with SIGKILL, starts another, and measures how long the dead one's tasks are silent.
func (r *run) kill(ctx context.Context, i int) error {
	pause := r.opts.Every/2 + time.Duration(r.rand.Int64N(int64(r.opts.Every)))
	inRebalance, aimed := r.rand.IntN(4) == 0, r.rand.IntN(2) == 0
	sameState, slow := r.rand.IntN(2) == 0, r.rand.IntN(4) == 0
	choice := r.rand.IntN(1 << 16)
	if err := fleet.Wait(ctx, pause); err != nil {
		return err
	}
	if err := r.workers.reap(); err != nil {
		return err
	}
	if !inRebalance {
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	victim := r.workers.All[choice%len(r.workers.All)]
	owned := r.outputsOf(ctx, victim)
	if aimed {
		r.untilInTransaction(ctx, victim)
	}
	at := time.Now()
	if err := r.workers.Kill(victim); err != nil {
		return err
	}
	k := disruption{Kind: "kill", Worker: victim.Name, Settled: !inRebalance, Tasks: len(owned), slowest: r.slowestCommit()}
	state, commit := "", r.opts.CommitInterval
	if sameState {
		state = victim.State
	}
	if slow {
		commit = r.opts.SlowCommit
	}
	// What the dead one had on its way arrives within this time; no successor is that fast.
	if err := fleet.Wait(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	k.InTransaction = r.inTransaction(ctx, victim)
	awaited, err := r.awaitOutput(ctx, owned)
	if err != nil {
		return err
	}
	if _, err := r.workers.start(state, commit); err != nil {
		return err
	}
	k.slowest = max(k.slowest, commit-r.opts.CommitInterval)
	return r.comeback(ctx, k, at, awaited)
}

// slowestCommit is by how much the commit interval of the slowest worker is longer than that of the others: output
// of a task that it takes over is later by as much.
func (r *run) slowestCommit() time.Duration {
	var slowest time.Duration
	for _, p := range r.workers.All {
		slowest = max(slowest, r.workers.commit[p]-r.opts.CommitInterval)
	}
	return slowest
}

// outputsOf returns the output partitions of the tasks that run on a worker and write to topics of ours.
func (r *run) outputsOf(ctx context.Context, p *fleet.Process) []partition.TopicPartition {
	snap, err := p.Status(ctx)
	if err != nil {
		return nil
	}
	var tps []partition.TopicPartition
	for _, t := range snap.Tasks {
		id, err := partition.ParseTaskID(t.Task)
		if err != nil || t.State != "running" {
			continue
		}
		if topic := r.outputOf(id.SubTopology); topic != "" {
			tps = append(tps, partition.TopicPartition{Topic: topic, Partition: id.Partition})
		}
	}
	return tps
}

// outputOf is the topic of ours that a sub-topology writes; "" if it writes to a repartition topic.
func (r *run) outputOf(sub int32) string {
	for _, s := range r.topology.SubTopologies {
		for _, out := range s.Outputs {
			if s.ID == sub && !out.Internal {
				return out.Topic
			}
		}
	}
	return ""
}

// untilInTransaction waits a little for the worker to have a transaction open.
func (r *run) untilInTransaction(ctx context.Context, p *fleet.Process) {
	for range 100 {
		if r.inTransaction(ctx, p) || fleet.Wait(ctx, time.Millisecond) != nil {
			return
		}
	}
}

func (r *run) inTransaction(ctx context.Context, p *fleet.Process) bool {
	open, err := r.openTransactions(ctx)
	if err != nil {
		r.Say("list transactions: %v", err)
		return false
	}
	return slices.ContainsFunc(open, func(t kafka.Transaction) bool { return t.ID == p.TransactionalID() && t.State == "Ongoing" })
}

func (r *run) openTransactions(ctx context.Context) ([]kafka.Transaction, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return r.admin.Transactions(ctx, worker.Names{App: app}.TransactionalIDPrefix())
}

// awaitOutput begins to wait for output that is newer than what is in the partitions now.
func (r *run) awaitOutput(ctx context.Context, tps []partition.TopicPartition) (map[partition.TopicPartition]*comeback, error) {
	ends, err := r.admin.HighWatermarks(ctx, counts, totals)
	if err != nil {
		return nil, err
	}
	awaited := map[partition.TopicPartition]*comeback{}
	for _, tp := range tps {
		awaited[tp] = r.watcher.await(tp, ends[tp])
	}
	return awaited, nil
}

// comeback waits for the output of each partition and keeps the longest time.
func (r *run) comeback(ctx context.Context, d disruption, since time.Time, awaited map[partition.TopicPartition]*comeback) error {
	limit := time.After(comebackLimit)
	for tp, c := range awaited {
		select {
		case <-c.done:
			d.Back = append(d.Back, c.at.Sub(since))
		case <-limit:
			r.Faults.Add("%s of %s: %v had no committed output for %v; %s", d.Kind, d.Worker, tp, comebackLimit, r.describe(ctx))
			limit = time.After(time.Second)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	slices.Sort(d.Back)
	r.record(d)
	return nil
}

// describe says what every worker does, for a fault.
func (r *run) describe(ctx context.Context) string {
	open, err := r.openTransactions(ctx)
	return fmt.Sprintf("%s\n    open transactions: %v %v", r.workers.Describe(ctx), open, err)
}

// settled waits until every task runs on exactly one worker.
func (r *run) settled(ctx context.Context) error {
	want := r.opts.Partitions * len(r.topology.SubTopologies)
	deadline := time.Now().Add(settleLimit)
	for {
		if err := r.workers.reap(); err != nil {
			return err
		}
		running, busy := fleet.Placed(r.workers.Statuses(ctx))
		if running == want && busy == len(r.workers.All) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d tasks run after %v, on %d of %d workers: %s", running, want, settleLimit, busy, len(r.workers.All), r.describe(ctx))
		}
		if err := fleet.Wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// drain ends a worker in order while it is busy, and starts another in its place, as a rolling update does.
func (r *run) drain(ctx context.Context) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	p := r.workers.All[r.rand.IntN(len(r.workers.All))]
	owned := r.outputsOf(ctx, p)
	d := disruption{Kind: "drain", Worker: p.Name, Settled: true, Tasks: len(owned), slowest: r.slowestCommit()}
	at := time.Now()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := r.workers.Stopped(ctx, p); err != nil {
		return err
	}
	awaited, err := r.awaitOutput(ctx, owned)
	if err != nil {
		return err
	}
	if _, err := r.workers.start("", r.opts.CommitInterval); err != nil {
		return err
	}
	return r.comeback(ctx, d, at, awaited)
}

// wipe kills all workers at once and deletes all local state: what remains is the object store and the changelog.
func (r *run) wipe(ctx context.Context) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	at := time.Now()
	var all []partition.TopicPartition
	for _, p := range slices.Clone(r.workers.All) {
		all = append(all, r.outputsOf(ctx, p)...)
		if err := r.workers.Kill(p); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(r.Dir, "state")); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	awaited, err := r.awaitOutput(ctx, all)
	if err != nil {
		return err
	}
	for range r.opts.Workers {
		if _, err := r.workers.start("", r.opts.CommitInterval); err != nil {
			return err
		}
	}
	d := disruption{Kind: "wipe", Worker: "all", Settled: true, Tasks: len(all), slowest: time.Second} // starting is part of it
	return r.comeback(ctx, d, at, awaited)
}

// zombie stops a worker for so long that the group goes on without it, and lets it run again.
func (r *run) zombie(ctx context.Context) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	p := r.workers.All[r.rand.IntN(len(r.workers.All))]
	owned := r.outputsOf(ctx, p)
	d := disruption{Kind: "zombie", Worker: p.Name, Settled: true, Tasks: len(owned), slowest: r.slowestCommit()}
	r.untilInTransaction(ctx, p)
	at := time.Now()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	d.InTransaction = r.inTransaction(ctx, p)
	awaited, err := r.awaitOutput(ctx, owned)
	if err != nil {
		return err
	}
	if err := fleet.Wait(ctx, time.Until(at.Add(2*r.opts.SessionTimeout))); err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := r.comeback(ctx, d, at, awaited); err != nil {
		return err
	}
	return r.settled(ctx)
}
