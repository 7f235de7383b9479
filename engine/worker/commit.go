// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"time"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// prepare lets operators emit what they held back, and appends each task's changes and its position record to the
// transaction.
func (w *Worker) prepare(ids []partition.TaskID) error {
	w.epoch.lastCommit = w.now()
	if err := w.producer.Begin(); err != nil {
		return err
	}
	return w.onLanes(ids, w.prepareTask)
}

func (w *Worker) prepareTask(rt *runningTask) error {
	rt.task.Enter(w.roundToEnter(rt))
	if rt.pause = 0; !rt.barredAt.IsZero() {
		rt.pause, rt.barredAt = w.now().Sub(rt.barredAt), time.Time{}
	}
	deltas, err := rt.task.Prepare(int(w.cfg.ChangelogMaxRecordBytes))
	if err == nil && rt.debug != nil {
		err = rt.debug.prepared(rt)
	}
	if err != nil {
		return err
	}
	rt.next = rt.committed
	rt.next.Epoch++
	rt.next.Round, rt.next.Entered = rt.durableRound, rt.task.Round()
	rt.next.TransactionalID = w.transactionalID
	rt.next.Watermark, rt.next.Idle, rt.next.Finished = rt.task.Watermark(), rt.task.Status() == task.Idle, ""
	if w.bounded != nil && rt.task.Status() == task.Finished {
		rt.next.Finished = w.bounded.name
	}
	rt.nextPosition = rt.task.Position()
	if rt.db == nil {
		return nil
	}
	changelog := w.names.ChangelogPartition(rt.id)
	key := kafka.EntryKey{Kind: kafka.DeltaEntry, Generation: w.generation, Epoch: rt.next.Epoch}
	deltaKey := key.AppendTo(nil)
	for _, d := range deltas {
		rt.outbox.Append(changelog, deltaKey, d)
		rt.changelogBytes += int64(len(d))
	}
	key.Kind = kafka.PositionEntry
	point := rt.task.Point()
	rt.detail = point.AppendTo(nil)
	rt.appended = rt.outbox.Append(changelog, key.AppendTo(nil), rt.detail)
	return nil
}

func (w *Worker) flush() core.Event {
	outcome, err := w.producer.Flush(w.hard)
	if outcome != core.Confirmed {
		w.listener.epochFailed("flush", outcome, err)
	}
	if outcome != core.Refused {
		err = nil // the epoch is done again; what is final ends the worker
	}
	return core.Flushed{Outcome: outcome, Err: err}
}

// commitOffsets names, beside the positions, the position record that goes with them.
func (w *Worker) commitOffsets(e core.CommitOffsets) core.Event {
	var commits []kafka.OffsetCommit
	for _, id := range e.Tasks {
		rt := w.tasks[id]
		if rt.db != nil {
			rt.next.ChangelogOffset = rt.appended.Offset()
		}
		metadata := rt.next.Encode()
		for tp, at := range rt.nextPosition {
			commits = append(commits, kafka.OffsetCommit{Partition: tp, Offset: at, Metadata: metadata})
		}
	}
	outcome, err := w.producer.CommitOffsets(w.hard, e.MemberID, e.Generation, commits)
	switch outcome {
	case core.Confirmed:
	case core.Outdated:
		w.listener.outdated(e.Generation)
	default:
		w.listener.epochFailed("commit offsets", outcome, err)
	}
	return core.OffsetsCommitted{Outcome: outcome}
}

func (w *Worker) endTransaction(commit bool) core.Event {
	ctx, cancel := context.WithTimeout(w.hard, w.cfg.TransactionTimeout)
	defer cancel()
	outcome, err := w.producer.End(ctx, commit)
	if outcome != core.Confirmed {
		w.listener.epochFailed("end transaction", outcome, err)
	}
	w.epoch.lastEnd = w.now()
	return core.Ended{Outcome: outcome}
}

// apply makes the prepared state of the tasks the confirmed one, and begins the checkpoints of those that have entered a
// round by this commit.
func (w *Worker) apply(ids []partition.TaskID) {
	err := w.onLanes(ids, func(rt *runningTask) error {
		if rt.entered = rt.next.Entered > rt.committed.Entered; rt.entered {
			rt.announced = rt.outbox.Announced()
		}
		rt.committed, rt.committedPosition = rt.next, rt.nextPosition
		rt.outbox.Reset()
		return rt.task.Confirm(statestore.Position{Epoch: rt.next.Epoch, Offset: rt.next.ChangelogOffset, Detail: rt.detail})
	})
	if err != nil {
		// The commit stands, but the local store does not hold it. Another owner restores it.
		w.pendingFailure = err
	}
	w.listener.committed(w.now().Sub(w.epoch.lastCommit), w.epoch.records, len(ids))
	w.epoch.records, w.epoch.bytes, w.aborts = 0, 0, 0
	for _, id := range ids {
		if rt := w.tasks[id]; rt.entered {
			w.beginCut(rt)
			w.halt(rt)
		}
	}
}

// rewind drops what the tasks have not committed. Their restore follows.
func (w *Worker) rewind(ids []partition.TaskID) {
	w.listener.rewound(ids)
	w.aborts++
	w.epoch.records, w.epoch.bytes = 0, 0
	for _, id := range ids {
		rt := w.tasks[id]
		rt.task.Abort()
		rt.outbox.Drop()
	}
	if err := w.replaceConsumer(); err != nil {
		w.pendingFailure = err
	}
}

// newProducer takes a new producer epoch, however long that takes: until then nothing may be produced.
func (w *Worker) newProducer() core.Event {
	w.producer.Close()
	for attempt := 0; ; attempt++ {
		p, err := w.openProducer()
		if err == nil {
			w.useProducer(p)
			return core.ProducerReady{}
		}
		if !w.isFinal(err) {
			w.listener.retrying("take a new producer epoch", err)
			if err = kafka.Pause(w.hard, backoff(attempt)); err == nil {
				continue
			}
		}
		w.pendingFailure = err
		return core.ProducerReady{}
	}
}

// isFinal says whether trying again is in vain: a grant is missing, or a broker has refused this worker for too long.
func (w *Worker) isFinal(err error) bool { return kafka.IsDenied(err) || w.cluster.Refused() != nil }

// openProducer takes the transactional id. While brokers refuse this worker it tries again, for as long as that may pass.
func (w *Worker) openProducer() (*kafka.Producer, error) {
	for attempt := 0; ; attempt++ {
		p, err := kafka.NewProducer(w.hard, w.cfg, w.names.App, w.producerID())
		if !kafka.IsAuth(err) || kafka.IsDenied(err) {
			return p, err
		}
		if final := w.cluster.Refused(); final != nil {
			return nil, final
		}
		w.listener.refused(w.cluster.Refusing())
		if err := kafka.Pause(w.hard, backoff(attempt)); err != nil {
			return nil, err
		}
	}
}

// producerID is the transactional id, or none where the guarantee does not need transactions.
func (w *Worker) producerID() string {
	if w.atLeastOnce() {
		return ""
	}
	return w.transactionalID
}

func (w *Worker) useProducer(p *kafka.Producer) {
	w.producer = p
	for id, rt := range w.tasks {
		// One in the hands of its restore, or of a stuck lane, gets the producer afterwards.
		if !w.machine.Restoring(id) && !w.machine.Held(id) {
			rt.outbox.Use(p)
		}
	}
}

// backoff grows from 50 ms to 5 s.
func backoff(attempt int) time.Duration {
	return min(5*time.Second, 50*time.Millisecond<<min(attempt, 10))
}

// start lets tasks read their inputs, from the position that their anchor has committed.
func (w *Worker) start(ids []partition.TaskID) {
	from := map[partition.TopicPartition]int64{}
	for _, id := range ids {
		rt := w.tasks[id]
		for tp, at := range rt.task.Position() {
			from[tp] = at
		}
		w.holdings.hold(id, rt.db, nil)
		w.listener.started(id, rt.restore)
	}
	w.consumer.Add(from)
	if w.ready != nil {
		w.ready()
		w.ready = nil
	}
}
