// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/partition"
)

// housekeeping is how often the loop looks at what has no event of its own: rounds, ends of bounded runs, trims.
const housekeeping = 100 * time.Millisecond

// loop runs until the machine has left. Once ctx has ended nothing is waited for longer than the drain timeout, also
// by a step that is in progress and has yet to hear of it.
func (w *Worker) loop(ctx context.Context) error {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	drain := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(w.cfg.DrainTimeout):
			w.cease(errDrain)
		case <-w.hard.Done():
		}
	})
	defer drain()
	stop := ctx.Done()
	for !w.left {
		var (
			fetched       chan fetch
			backlog, late <-chan struct{}
		)
		if w.machine.MayProcess() {
			fetched = w.fetched
			if len(w.backlog) > 0 {
				backlog = always
			}
		}
		if w.machine.Phase() == core.Draining {
			late = w.hard.Done()
		}
		select {
		case ev := <-w.membership:
			w.member(ev)
		case r := <-w.restored:
			w.restoreEnded(r)
		case f := <-fetched:
			w.process(f)
		case <-backlog:
			w.runBacklog()
		case rt := <-w.returned:
			w.laneReturned(rt)
		case f := <-w.changed:
			w.globalsChanged(f)
		case <-w.commitTimer.C:
			w.step(core.CommitDue{})
		case d := <-w.published:
			w.checkpointed(d)
			w.saved()
		case err := <-w.lastRound:
			w.lastRoundBegun(err)
		case o := <-w.observed:
			w.observations(o)
		case <-w.woken:
			w.tick()
		case <-tick.C:
			w.housekeep()
			w.tick()
		case <-stop:
			stop = nil
			w.handOver()
		case <-late:
			w.leaveUnsaved()
		}
		w.progress.Store(w.now().UnixNano())
	}
	return w.failure
}

// always is a channel that is always ready.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// errDrain ends what a drain waits for. What is not committed by then is done again by the next owner.
var errDrain = errors.New("the drain took longer than drain-timeout")

// step gives the machine one event and carries out what it orders. Replies of effects that end at once are
// given back in turn.
func (w *Worker) step(ev core.Event) {
	events := []core.Event{ev}
	for len(events) > 0 {
		ev, events = events[0], events[1:]
		if a, ok := ev.(core.Assigned); ok {
			w.enterGeneration(a.Generation)
		}
		w.effects = append(w.effects[:0], w.machine.Step(ev)...)
		for _, e := range w.effects {
			if reply := w.do(e); reply != nil {
				events = append(events, reply)
			}
		}
	}
	if err := w.pendingFailure; err != nil {
		w.pendingFailure = nil
		w.step(core.TaskFailed{Err: err})
		return
	}
	w.status.phase(w.machine)
	w.schedule()
}

// enterGeneration lets the tasks know of a new generation of the group. Those in the hands of a restore, or of a stuck lane,
// hear of it afterwards.
func (w *Worker) enterGeneration(generation int32) {
	w.generation = generation
	for id, rt := range w.tasks {
		if !w.machine.Restoring(id) && !w.machine.Held(id) {
			rt.task.SetGeneration(generation)
		}
	}
}

// do carries out one effect. A non-nil result is its reply; others come through the loop's channels.
func (w *Worker) do(e core.Effect) core.Event {
	switch e := e.(type) {
	case core.Fence:
		w.startFence(e.Live)
	case core.Restore:
		w.startRestore(e)
	case core.Start:
		w.start(e.Tasks)
	case core.Prepare:
		return core.Prepared{Err: w.prepare(e.Tasks)}
	case core.Flush:
		return w.flush()
	case core.CommitOffsets:
		return w.commitOffsets(e)
	case core.EndTransaction:
		return w.endTransaction(e.Commit)
	case core.Apply:
		w.apply(e.Tasks)
	case core.Rewind:
		w.rewind(e.Tasks)
	case core.NewProducer:
		return w.newProducer()
	case core.Close:
		w.close(e.Tasks)
	case core.Ack:
		w.group.Ack(e.Ack)
	case core.Checkpoint:
		return w.saveTails()
	case core.Rejoin:
		return w.rejoin()
	case core.Leave:
		w.leave(e.Err)
	}
	return nil
}

// member takes an event of the group. One of an earlier membership is dropped: its tasks are closed already.
func (w *Worker) member(ev kafka.MembershipEvent) {
	if ev.Membership != w.membershipNo {
		return
	}
	switch e := ev.Event.(type) {
	case core.Assigned:
		w.listener.assigned(e.Generation, e.Added)
	case core.Revoked:
		w.listener.revoked(e.Generation, e.Tasks)
	case core.Lost:
		w.listener.lost(e.Tasks)
	}
	w.step(ev.Event)
	if _, ok := ev.Event.(core.Assigned); ok {
		w.placed()
	}
}

// giveUpGeneration ends the wait for a membership event after an outdated commit, well before the transaction times out.
func (w *Worker) giveUpGeneration() {
	if w.machine.Phase() == core.Outrun && w.now().Sub(w.epoch.lastCommit) > w.cfg.TransactionTimeout/3 {
		w.step(core.NoGeneration{})
	}
}

// anchorWait is how long restored tasks wait for others, so that one commit anchors them all: long against a restore
// from the local disk, short against a download.
const anchorWait = 200 * time.Millisecond

// settleShare of the commit floor is how long the brokers have, at low load, to complete a transaction that has ended: to
// write its markers. A broker that is given a record of the next transaction before that answers it 20 ms later, so
// that one slow commit would make the next one slow, and so on.
const settleShare = 2

// schedule sets the timer of the next commit: at once when the input has run dry and the floor has passed since
// the last commit, at the commit interval otherwise.
func (w *Worker) schedule() {
	w.commitTimer.Stop()
	if !w.machine.AnchorsWait() {
		w.anchorsSince = time.Time{}
	}
	var due time.Time
	switch {
	case w.machine.AnchorsWait():
		if w.anchorsSince.IsZero() {
			w.anchorsSince = w.now()
		}
		due = w.anchorsSince.Add(anchorWait)
	case w.machine.Phase() != core.Processing:
		return
	case w.epoch.dry:
		due = w.epoch.lastCommit.Add(w.cfg.CommitFloor)
		if settled := w.epoch.lastEnd.Add(w.cfg.CommitFloor / settleShare); due.Before(settled) {
			due = settled
		}
	default:
		due = w.epoch.began.Add(w.cfg.CommitInterval)
	}
	w.commitTimer.Reset(max(0, due.Sub(w.now())))
}

// epoch is what the loop knows of the epoch in progress.
type epoch struct {
	began      time.Time
	lastCommit time.Time // when the last commit began
	lastEnd    time.Time // and when it had ended
	dry        bool      // everything fetched is processed, and no input is known to have more
	records    int
	bytes      int64 // emitted
}

// process gives fetched records to their tasks and runs those.
func (w *Worker) process(f fetch) {
	if f.consumer != w.consumer {
		return // of before a rewind
	}
	if f.err != nil {
		w.step(core.TaskFailed{Err: f.err})
		return
	}
	work, behind := w.enqueue(f.batches)
	w.run(w.setAside(work), behind)
}

// enqueue hands batches to running tasks and returns those with work, and whether an input has more than came.
func (w *Worker) enqueue(batches []kafka.Batch) (work []partition.TaskID, behind bool) {
	for i := range batches {
		b := &batches[i]
		id, ok := w.owner[b.Partition]
		if !ok || !w.machine.Running(id) || w.tasks[id].halted {
			continue // revoked while the batch was on its way, or not to go on
		}
		rt := w.tasks[id]
		b.Internal = w.repartition[b.Partition.Topic]
		if err := rt.task.Enqueue(b.Partition, b); err != nil {
			w.step(core.TaskFailed{Err: err})
			return nil, false
		}
		if !slices.Contains(work, id) {
			work = append(work, id)
		}
		rt.task.Expect(b.Partition, b.StableEnd)
		rt.lag(b)
		behind = behind || b.Last()+1 < b.StableEnd
	}
	return work, behind
}

// lag notes how far the task is behind in one input, as of its newest fetch.
func (rt *runningTask) lag(b *kafka.Batch) {
	rt.lags[b.Partition] = max(0, b.StableEnd-(b.Last()+1))
}
