// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
)

// Log keys. A key means the same thing in every line.
const (
	keyTask            = "task"
	keyTasks           = "tasks"
	keyGeneration      = "generation"
	keyRound           = "round"
	keyTransaction     = "transactionalID"
	keyOutcome         = "outcome"
	keyStep            = "step"
	keyPhase           = "phase"
	keyDeadLetterTopic = "deadLetterTopic"
	keyTopic           = "topic"
	keyPartition       = "partition"
	keyOffset          = "offset"
	keyBytes           = "bytes"
	keyDuration        = "duration"
	keySource          = "source"
	keyReplayed        = "replayedCommits"
)

// observer turns what happens in the loop into log lines and metrics. Nothing of it runs per record.
type observer struct {
	log *zap.Logger
	m   *metrics
	now func() time.Time
	f   *failures

	lastEpochWarning time.Time
	lastRefusal      time.Time
	longestPause     time.Duration
}

func newObserver(log *zap.Logger, w *Worker) *observer {
	return &observer{log: log, m: newMetrics(w), now: w.now, f: newFailures(w.now)}
}

func (o *observer) joined(transactionalID string) {
	o.log.Info("joining group", zap.String(keyTransaction, transactionalID))
}

func (o *observer) assigned(generation int32, added []partition.TaskID) {
	o.m.rebalances.Inc()
	o.log.Info("tasks assigned", zap.Int32(keyGeneration, generation), zap.Stringers(keyTasks, added))
}

func (o *observer) revoked(generation int32, tasks []partition.TaskID) {
	o.log.Info("tasks revoked", zap.Int32(keyGeneration, generation), zap.Stringers(keyTasks, tasks))
}

func (o *observer) lost(tasks []partition.TaskID) {
	o.log.Warn("tasks lost: the group has gone on without this worker", zap.Stringers(keyTasks, tasks))
}

func (o *observer) fenced(transactionalID string) {
	o.m.fences.Inc()
	o.log.Warn("fenced: another worker took this one for dead; rejoining", zap.String(keyTransaction, transactionalID))
}

func (o *observer) fencedOthers(ids []string) {
	if len(ids) > 0 {
		o.log.Info("aborted the open transactions of dead workers", zap.Strings(keyTransaction, ids))
	}
}

// epochFailed counts an epoch that will not commit; the log is bounded to a line in ten seconds.
func (o *observer) epochFailed(step string, outcome core.Outcome, err error) {
	o.m.aborts.WithLabelValues(step, outcome.String()).Inc()
	o.f.duty(step, "epoch not committed", err)
	log := o.log.Debug
	if now := o.now(); now.Sub(o.lastEpochWarning) > 10*time.Second {
		o.lastEpochWarning, log = now, o.log.Warn
	}
	log("epoch not committed; going back to what is", zap.String(keyStep, step), zap.Stringer(keyOutcome, outcome), zap.Error(err))
}

// outdated says that a rebalance has overtaken a commit, which is made again once the generation is known.
func (o *observer) outdated(generation int32) {
	o.log.Debug("the group has a newer generation; the commit waits for it", zap.Int32(keyGeneration, generation))
}

func (o *observer) rewound(tasks []partition.TaskID) {
	o.log.Info("tasks go back to their committed positions", zap.Stringers(keyTasks, tasks))
}

func (o *observer) retrying(what string, err error) {
	o.f.duty(what, "retried", err)
	o.log.Warn("retrying", zap.String(keyStep, what), zap.Error(err))
}

// refused says that a broker does not let this worker in, if one does not; a line in ten seconds at the most.
func (o *observer) refused(err error) {
	if now := o.now(); err != nil && now.Sub(o.lastRefusal) > 10*time.Second {
		o.lastRefusal = now
		o.log.Warn("a broker refuses this worker; files are read again for each attempt", zap.Error(err))
	}
}

func (o *observer) committed(took time.Duration, records, tasks int) {
	o.m.commits.Inc()
	o.m.commitSeconds.Observe(took.Seconds())
	o.m.epochRecords.Observe(float64(records))
	o.log.Debug("epoch committed", zap.Duration(keyDuration, took), zap.Int("records", records), zap.Int(keyTasks, tasks))
}

func (o *observer) started(id partition.TaskID, s restoreStats) {
	o.m.restoreSeconds.Observe(s.took.Seconds())
	o.m.restoreBytes.Add(float64(s.bytes))
	o.log.Info("task running", zap.Stringer(keyTask, id), zap.String(keySource, s.source), zap.Int64(keyRound, s.round),
		zap.Int64(keyBytes, s.bytes), zap.Int64(keyReplayed, s.replayed), zap.Duration(keyDuration, s.took))
}

func (o *observer) follows(id partition.TaskID, s restoreStats) {
	o.m.restoreBytes.Add(float64(s.bytes))
	o.log.Info("following task", zap.Stringer(keyTask, id), zap.String(keySource, s.source), zap.Int64(keyRound, s.round),
		zap.Int64(keyBytes, s.bytes), zap.Int64(keyReplayed, s.replayed))
}

// placed tells of moves that were not known before.
func (o *observer) placed(before, now groupbalance.Table) {
	for _, mv := range now.Moves {
		if !slices.Contains(before.Moves, mv) {
			o.log.Info("task moves", zap.Stringer(keyTask, mv.Task), zap.String("from", mv.From), zap.String("to", mv.To),
				zap.Stringer("reason", mv.Reason), zap.Stringer("state", mv.State))
		}
	}
}

func (o *observer) handsOver(tasks int) {
	o.log.Info("asked to end; handing tasks over to other workers", zap.Int(keyTasks, tasks))
}

func (o *observer) unusedDeleted(id partition.TaskID) {
	o.log.Info("deleted the state of a task that has moved elsewhere", zap.Stringer(keyTask, id))
}

func (o *observer) fellBack(id partition.TaskID, round int64, err error) {
	o.m.fallbacks.Inc()
	o.f.duty("restore", "fell back to an older checkpoint", err)
	o.log.Error("checkpoint cannot be used; trying the one before", zap.Stringer(keyTask, id), zap.Int64(keyRound, round), zap.Error(err))
}

func (o *observer) localDiscarded(id partition.TaskID, err error) {
	o.log.Warn("local state cannot be used; restoring", zap.Stringer(keyTask, id), zap.Error(err))
}

func (o *observer) checkpointed(id partition.TaskID, d published) {
	if d.err != nil {
		o.m.checkpointErrors.Inc()
		o.f.duty("checkpoint", "not stored", d.err)
		o.log.Warn("checkpoint not stored; processing goes on", zap.Stringer(keyTask, id), zap.Int64(keyRound, d.round), zap.Error(d.err))
		return
	}
	o.m.checkpoints.Inc()
	o.m.checkpointSeconds.Observe(d.took.Seconds())
	o.m.checkpointBytes.Add(float64(d.uploaded))
	o.log.Info("checkpoint stored", zap.Stringer(keyTask, id), zap.Int64(keyRound, d.round), zap.Int64(keyBytes, d.uploaded), zap.Duration(keyDuration, d.took))
}

func (o *observer) roundAbandoned(round int64, why string) {
	o.log.Info("checkpoint round abandoned", zap.Int64(keyRound, round), zap.String("reason", why))
}

func (o *observer) keepsPartitions(step string, n int32) {
	o.log.Warn("the repartition topic keeps the partitions that it has, whatever repartition.partitions says; rescale changes them",
		zap.String(keyTopic, step), zap.Int32("partitions", n))
}

func (o *observer) halted(round int64) {
	o.log.Info("halted at a checkpoint; the worker ends", zap.Int64(keyRound, round))
}

func (o *observer) waitsForResume(round int64) {
	o.log.Info("the application is halted at a checkpoint; waiting for: resume", zap.Int64(keyRound, round))
}

// paused says for how long a checkpoint has kept a task from processing, beyond the commit that is its cut.
func (o *observer) paused(took time.Duration) {
	o.m.checkpointPause.Observe(took.Seconds())
	if took > o.longestPause {
		o.longestPause = took
		o.m.longestPause.Set(took.Seconds())
	}
}

func (o *observer) background(what string, err error) {
	o.f.duty(what, "retried", err)
	o.log.Warn("background work failed; it is tried again", zap.String(keyStep, what), zap.Error(err))
}

// slow names a record that has held its lane for long, or the last of a few that have together.
func (o *observer) slow(rt *runningTask, records int, took time.Duration) {
	step, r := rt.task.Last()
	fields := []zap.Field{zap.Stringer(keyTask, rt.id), zap.String(keyStep, step), zap.Int("records", records), zap.Duration(keyDuration, took)}
	if r != nil {
		fields = append(fields, zap.String(keyTopic, r.Topic), zap.Int32(keyPartition, r.Partition), zap.Int64(keyOffset, r.Offset))
	}
	o.log.Warn("slow record", fields...)
}

// stuck says where a task is that has not come back from user code.
func (o *observer) stuck(id partition.TaskID, stack string) {
	o.log.Error("a task does not come back from the pipeline's code; its epoch is given up", zap.Stringer(keyTask, id), zap.String("stack", stack))
}

// operatorListener reports records that a policy keeps from the pipeline.
func (o *observer) operatorListener() *operators.Listener {
	return &operators.Listener{
		Skipped: func(f operators.Failure) {
			o.m.dropped.WithLabelValues(f.Step, string(f.Phase), "skipped").Inc()
			o.f.record(f, "skipped", "")
			o.log.Warn("failing record skipped", failureFields(f)...)
		},
		DeadLettered: func(f operators.Failure, topic string) {
			o.m.dropped.WithLabelValues(f.Step, string(f.Phase), "dead-lettered").Inc()
			o.f.record(f, "dead-lettered", topic)
			o.log.Warn("failing record sent to the dead-letter topic", append(failureFields(f), zap.String(keyDeadLetterTopic, topic))...)
		},
		Retried: func(f operators.Failure) {
			o.m.retried.WithLabelValues(f.Step, string(f.Phase)).Inc()
			o.f.record(f, "retried", "")
		},
	}
}

func failureFields(f operators.Failure) []zap.Field {
	return []zap.Field{zap.String(keyStep, f.Step), zap.String(keyPhase, string(f.Phase)), zap.String(keyTopic, f.Topic),
		zap.Int32(keyPartition, f.Partition), zap.Int64(keyOffset, f.Offset), zap.Error(f.Err)}
}
