// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

const (
	// observeEvery is how often the worker asks where the logs of users' topics end.
	observeEvery = 200 * time.Millisecond
	// idleAfter is how long an input must have been processed to its end before it holds back no watermark. Shorter, a
	// slow producer would look idle between two records; longer, windows wait that much more for a silent partition.
	idleAfter = time.Second
	// announceEvery is the least time between two announcements of a task that differ in the watermark only: each
	// costs a record in every partition downstream.
	announceEvery = 200 * time.Millisecond
)

// observation is where the logs of topics ended at a time, and how far the tasks of each sub-topology have come.
type observation struct {
	ends   map[partition.TopicPartition]int64
	at     time.Time
	others map[int32]operators.Time // by sub-topology; nil: nobody asked
}

// observe asks again and again where the logs of users' topics end, so that tasks know whether an input is idle. No
// guess is needed: what has been processed to its end is idle, as long as the broker says where that is.
func (w *Worker) observe(ctx context.Context) {
	topics := w.userSources()
	for attempt := 0; ; {
		o := observation{at: w.now()}
		var err error
		if o.ends, err = w.cluster.HighWatermarks(ctx, topics...); err == nil && w.follows.Load() {
			o.others, err = w.progressOfAll(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			w.listener.retrying("look up the ends of the source topics", err)
			if kafka.Pause(ctx, backoff(attempt)) != nil {
				return
			}
			attempt++
			continue
		}
		attempt = 0
		select {
		case w.observed <- o:
		case <-ctx.Done():
			return
		}
		if kafka.Pause(ctx, observeEvery) != nil {
			return
		}
	}
}

// progressOfAll reads how far the tasks of each sub-topology have come, by what they have committed.
func (w *Worker) progressOfAll(ctx context.Context) (map[int32]operators.Time, error) {
	committed, err := w.cluster.CommittedOffsets(ctx, w.names.App, slices.Collect(maps.Keys(w.owner)))
	if err != nil {
		return nil, err
	}
	together := map[int32]*task.Progress{}
	for tp, id := range w.owner {
		p := together[id.SubTopology]
		if p == nil {
			none := task.NewProgress()
			p = &none
			together[id.SubTopology] = p
		}
		m, err := core.DecodeMetadata(committed[tp].Metadata)
		switch {
		case err != nil || m.Epoch == 0:
			p.Add(operators.MinTime, task.Active) // it has not committed anything yet
		case m.Idle:
			p.Add(m.Watermark, task.Idle)
		default:
			p.Add(m.Watermark, task.Active)
		}
	}
	others := map[int32]operators.Time{}
	for id, p := range together {
		others[id] = p.Watermark()
	}
	return others, nil
}

// observations tells the running tasks how far their inputs go.
func (w *Worker) observations(o observation) {
	for tp, end := range o.ends {
		if id, ok := w.owner[tp]; ok && w.machine.Running(id) {
			w.tasks[id].task.Observe(tp, end, o.at)
		}
	}
	follows := false
	for id, rt := range w.tasks {
		if !w.machine.Running(id) {
			continue
		}
		if others, ok := o.others[id.SubTopology]; ok {
			rt.task.Follow(others)
		}
		follows = follows || rt.task.Waits()
	}
	w.follows.Store(follows)
}

// tick lets time pass in tasks that have something to do without a record: inputs that have become idle or finished,
// timers of the wall clock, news for the tasks downstream.
func (w *Worker) tick() {
	if !w.machine.MayProcess() {
		return
	}
	now := w.now()
	var due []partition.TaskID
	for id, rt := range w.tasks {
		if w.machine.Running(id) && !rt.halted && rt.task.Due(now) {
			due = append(due, id)
		}
	}
	if len(due) == 0 {
		return
	}
	if !w.begin() {
		return
	}
	var records, emitted atomic.Int64
	var barrier atomic.Bool
	err := w.onLanes(due, func(rt *runningTask) error {
		before := rt.outbox.Held()
		err := rt.task.Tick(now)
		if err == nil {
			var n int
			n, err = rt.task.Process(1 << 30) // what has waited for calls
			records.Add(int64(n))
		}
		if rt.task.Barrier() > 0 || rt.task.Stopped() {
			barrier.Store(true)
			rt.more = rt.task.Waiting() > 0
		}
		after := rt.outbox.Held()
		emitted.Add(after - before)
		return err
	})
	w.epoch.records += int(records.Load())
	w.epoch.bytes += emitted.Load()
	w.pace(due)
	w.epoch.dry = true
	w.noteBarred(due)
	w.step(core.Touched{Tasks: due})
	switch {
	case err != nil:
		w.step(core.TaskFailed{Err: err})
	case barrier.Load():
		w.step(core.CommitDue{})
	}
}

// wake has the loop look for tasks whose calls have ended.
func (w *Worker) wake() {
	select {
	case w.woken <- struct{}{}:
	default: // it will look anyway
	}
}

// timeOptions are the part of a task's options that is about event time.
func (w *Worker) timeOptions(rt *runningTask, o *task.Options) {
	o.Timed, o.IdleAfter, o.AnnounceEvery = w.topology.Timed(), idleAfter, announceEvery
	o.Upstream = task.Upstream(w.topology, rt.sub, w.tasksPer)
	for _, out := range rt.sub.Outputs {
		o.Partitions = append(o.Partitions, w.counts[w.outputName(out.Topic, out.Internal)])
	}
	if w.bounded != nil {
		o.Run = w.bounded.name
	}
}

// tasksPer counts the tasks of a sub-topology.
func (w *Worker) tasksPer(subTopology int32) (n int32) {
	for id := range w.all {
		if id.SubTopology == subTopology {
			n++
		}
	}
	return n
}

// aheadOf bounds what waits in a task of one input while it waits for another, or for calls.
const aheadOf = 2 * pollRecords

// pace stops fetching for inputs that are far ahead of the other inputs of their task or of its calls, and goes on with
// those that no longer are.
func (w *Worker) pace(ids []partition.TaskID) {
	var pause, resume []partition.TopicPartition
	for _, id := range ids {
		rt := w.tasks[id]
		if rt == nil || rt.paused {
			continue
		}
		for _, tp := range rt.inputs {
			switch waiting := rt.task.WaitingIn(tp); {
			case waiting >= aheadOf && !w.paused[tp]:
				w.paused[tp] = true
				pause = append(pause, tp)
			case waiting < aheadOf/2 && w.paused[tp]:
				delete(w.paused, tp)
				resume = append(resume, tp)
			}
		}
	}
	if len(pause) > 0 {
		w.consumer.Pause(pause)
	}
	if len(resume) > 0 {
		w.consumer.Resume(resume)
	}
}

// expect tells a task of several inputs how far each of them goes, so that it takes their records in order from the
// first one on.
func (w *Worker) expect(ctx context.Context, rt *runningTask) error {
	if len(rt.inputs) < 2 || !rt.sub.Keyed() {
		return nil
	}
	var topics []string
	for _, tp := range rt.inputs {
		topics = append(topics, tp.Topic)
	}
	ends, err := w.cluster.EndOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	for _, tp := range rt.inputs {
		rt.task.Expect(tp, ends[tp])
	}
	return nil
}

var _ task.Batch = (*kafka.Batch)(nil)
