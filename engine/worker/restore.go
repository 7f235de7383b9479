// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// ErrNoOffset marks an input without a committed offset in an application that had committed one for it.
var ErrNoOffset = errors.New("no committed offset: it has expired (offsets.retention.minutes on the broker), or was deleted; roll back to a checkpoint, or reset the application")

// ErrForeignOffset marks committed offsets of another life of the application, or of no streamd application.
var ErrForeignOffset = errors.New("the committed offset belongs to something else: another incarnation of the application, or another program uses the group id")

// ErrUnrecoverable marks a task whose state can be had neither locally, nor from a checkpoint, nor from the changelog.
var ErrUnrecoverable = errors.New("the state cannot be brought to the committed position")

// replayTimeout bounds the wait for changelog records that are known to be committed: their transaction markers
// may arrive after those of the offsets, by milliseconds, or by as long as a partition is without a leader.
const replayTimeout = 2 * time.Minute

// restoreStats says where a task's state came from.
type restoreStats struct {
	source   string // nothing, local, follower, checkpoint, changelog
	round    int64
	bytes    int64
	replayed int64 // commits of the changelog
	took     time.Duration
}

// target is where a restore must arrive: what the group has committed for the task.
type target struct {
	core.Metadata
	at task.Position
}

// restoreResult is what a restore hands back to the loop, with the task itself.
type restoreResult struct {
	rt      *runningTask
	attempt int
	err     error
}

// fence is one attempt to abort the transactions of dead workers. Restores that follow wait for it.
type fence struct {
	done chan struct{}
	err  error
}

func (w *Worker) startFence(live []string) {
	f := &fence{done: make(chan struct{})}
	w.fence = f
	own := w.transactionalID
	w.routines.Go(func() {
		defer close(f.done)
		if w.atLeastOnce() {
			return
		}
		for attempt := 0; ; attempt++ {
			ids, err := w.cluster.Fence(w.hard, w.names.TransactionalIDPrefix(), append(live, own), nil)
			w.listener.fencedOthers(ids)
			if err == nil {
				return
			}
			if f.err = err; w.isFinal(err) {
				return
			}
			w.listener.retrying("fence dead workers", err)
			if f.err = kafka.Pause(w.hard, backoff(attempt)); f.err != nil {
				return
			}
		}
	})
}

// startRestore brings a task to its committed position, in the background. Until its result comes back the task is
// in the hands of the restore.
func (w *Worker) startRestore(e core.Restore) {
	before, rt := w.closing[e.Task], w.tasks[e.Task]
	if rt == nil {
		if rt, before = w.takeFollower(e.Task); rt == nil {
			rt, before = w.newTask(e.Task), w.closing[e.Task]
		}
		delete(w.unused, e.Task)
		w.tasks[e.Task] = rt
	}
	ctx, cancel := context.WithCancel(w.hard)
	rt.cancel, rt.restoreDone = cancel, make(chan struct{})
	fence, aborts := w.fence, w.aborts
	w.routines.Go(func() {
		defer cancel()
		if before != nil {
			<-before // whatever ctx says: until then the state is in other hands
		}
		began := w.now()
		var err error
		if aborts > 1 { // the group may not yet have told us that it goes on without us
			err = kafka.Pause(ctx, backoff(aborts-2))
		}
		if err == nil {
			err = w.takeover(ctx, rt, fence)
		}
		rt.restore.took = w.now().Sub(began)
		close(rt.restoreDone)
		select {
		case w.restored <- restoreResult{rt, e.Attempt, err}:
		case <-w.hard.Done():
		}
	})
}

func (w *Worker) newTask(id partition.TaskID) *runningTask {
	info := w.all[id]
	rt := &runningTask{id: id, info: info, sub: w.subs[id.SubTopology], inputs: info.Inputs, lags: map[partition.TopicPartition]int64{}}
	rt.begins = slices.ContainsFunc(rt.sub.Sources, func(src topology.Source) bool { return !src.Internal })
	return rt
}

// sourcesOf gives the input of the task with a number for each source of its sub-topology; one without a topic where the
// source has fewer partitions.
func (w *Worker) sourcesOf(sub *topology.SubTopology, number int32) []partition.TopicPartition {
	inputs := make([]partition.TopicPartition, len(sub.Sources))
	for i, src := range sub.Sources {
		if name := w.topicName(src.Topic, src.Internal); number < w.counts[name] {
			inputs[i] = partition.TopicPartition{Topic: name, Partition: number}
		}
	}
	return inputs
}

// restoreEnded takes a task back from its restore. One that was closed meanwhile is dropped: close has seen to it.
func (w *Worker) restoreEnded(r restoreResult) {
	if w.tasks[r.rt.id] != r.rt {
		return
	}
	if r.err != nil && errors.Is(r.err, context.Canceled) {
		return
	}
	if r.err == nil {
		r.rt.outbox.Use(w.producer)
		r.rt.task.SetGeneration(w.generation)
	}
	w.step(core.Restored{Task: r.rt.id, Attempt: r.attempt, Err: r.err})
	early := w.early
	w.early = nil
	for _, d := range early {
		w.checkpointed(d)
	}
}

// takeover is the one way to a running task: for a new owner, and for one whose epoch did not commit.
func (w *Worker) takeover(ctx context.Context, rt *runningTask, fence *fence) error {
	if fence != nil {
		select {
		case <-fence.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if fence.err != nil {
			return fence.err
		}
	}
	to, err := w.committedOf(ctx, rt)
	if err != nil {
		return err
	}
	if rt.sub.Stateful() {
		if err := w.restoreState(ctx, rt, to); err != nil {
			return fmt.Errorf("restore task %v: %w", rt.id, err)
		}
	} else {
		rt.restore = restoreStats{source: "stateless"}
	}
	rt.followed = false // from here on it is its own
	rt.committed, rt.committedPosition = to.Metadata, to.at
	rt.durableRound = max(rt.durableRound, to.Round)
	n := w.haltRound.Load()
	rt.halted = n > 0 && to.Entered >= n
	w.abandonLost(rt)
	if err := w.buildTask(rt, to.at, to.Entered); err != nil {
		return err
	}
	return w.expect(ctx, rt)
}

// abandonLost looks whether the owner that has entered the newest round has also stored the task's part of it. If not, it
// will not be stored: the state as of that commit is gone.
func (w *Worker) abandonLost(rt *runningTask) {
	round := rt.committed.Entered
	if w.repo == nil || round <= rt.durableRound {
		return
	}
	w.routines.Go(func() {
		ctx, cancel := context.WithTimeout(w.hard, storeCallTimeout)
		defer cancel()
		if _, err := w.repo.Manifest(ctx, w.names.Incarnation, round, rt.id); errors.Is(err, checkpoint.ErrMissing) {
			w.abandonRound(round, fmt.Sprintf("task %v was moved before its part was stored", rt.id))
		}
	})
}

// buildTask makes the processors, unless a rewind has left them, and sets the position.
func (w *Worker) buildTask(rt *runningTask, at task.Position, round int64) error {
	if rt.task == nil {
		topics := make([]kafka.Topic, len(rt.sub.Outputs))
		for i, out := range rt.sub.Outputs {
			name := w.outputName(out.Topic, out.Internal)
			topics[i] = kafka.Topic{Name: name, Partitions: w.counts[name], Internal: out.Internal, Muted: w.muted(out.Internal), Step: writers(rt.sub, out.Topic)}
		}
		rt.outbox = kafka.NewOutbox(rt.id, topics)
		o := task.Options{
			ID: rt.id, SubTopology: rt.sub, Inputs: w.sourcesOf(rt.sub, rt.id.Partition), DB: rt.db, Output: rt.outbox, Now: w.now,
			Listener: w.listener.operatorListener(), Globals: w.globals, Go: w.routines.Go, Wake: w.wake,
			MaxRecord: int(w.cfg.MaxRecordBytes()),
		}
		w.timeOptions(rt, &o)
		if w.debug != nil {
			w.watch(rt, &o)
		}
		t, err := task.New(o)
		if err != nil {
			return err
		}
		rt.task = t
		if w.bounded != nil {
			for tp, end := range w.bounded.ends {
				t.End(tp, end)
			}
		}
	}
	var record []byte
	if rt.db != nil {
		have, _ := rt.db.Position()
		record = have.Detail
	}
	return rt.task.Restart(at, round, record)
}

// writers names the steps that write to a topic.
func writers(sub *topology.SubTopology, topic string) string {
	var labels []string
	for _, n := range sub.Nodes {
		if slices.Contains(n.Writes, topic) {
			labels = append(labels, strconv.Quote(n.Label))
		}
	}
	return strings.Join(labels, ", ")
}

// committedOf reads what the group has committed for the task's inputs: all of them in one transaction, so that
// they name the same position record.
func (w *Worker) committedOf(ctx context.Context, rt *runningTask) (target, error) {
	to := target{at: task.Position{}}
	committed, err := w.cluster.StableOffsets(ctx, w.names.App, rt.inputs)
	if err != nil {
		return to, err
	}
	for i, tp := range rt.inputs {
		c, ok := committed[tp]
		if !ok || c.Offset < 0 {
			return to, fmt.Errorf("task %v, input %v: %w", rt.id, tp, ErrNoOffset)
		}
		m, err := core.DecodeMetadata(c.Metadata)
		if err != nil {
			return to, fmt.Errorf("task %v, input %v: %w: %w", rt.id, tp, ErrForeignOffset, err)
		}
		if m.Incarnation != w.names.Incarnation {
			return to, fmt.Errorf("task %v, input %v: committed by incarnation %d, this is incarnation %d: %w", rt.id, tp, m.Incarnation, w.names.Incarnation, ErrForeignOffset)
		}
		if i > 0 && m.Epoch != to.Epoch {
			return to, fmt.Errorf("task %v: input %v was committed in epoch %d, input %v in epoch %d: %w", rt.id, rt.inputs[0], to.Epoch, tp, m.Epoch, ErrForeignOffset)
		}
		to.Metadata, to.at[tp] = m, c.Offset
	}
	return to, nil
}

// restoreState opens the task's store and brings it to exactly the position record that the committed offsets name,
// by the plan that checkpoint.Decide makes of the facts: what is on the disk, checkpoints, the changelog.
func (w *Worker) restoreState(ctx context.Context, rt *runningTask, to target) error {
	if rt.db == nil {
		if err := w.openLocal(rt); err != nil {
			return err
		}
	}
	rt.restore = restoreStats{source: rt.local()}
	if have, ok := rt.db.Position(); ok && have.Offset == to.ChangelogOffset && have.Epoch == to.Epoch {
		return w.checkPosition(have, to.at)
	}
	facts, err := w.facts(ctx, rt, to.Metadata)
	if err != nil {
		return err
	}
	plan, err := checkpoint.Decide(facts)
	if err != nil {
		return err
	}
	for _, d := range facts.Damaged {
		w.listener.fellBack(rt.id, d.Round, d.Err)
	}
	if len(facts.Manifests) > 0 {
		if err := w.fits(facts.Manifests[0]); err != nil {
			return err
		}
	}
	rt.keep(facts.Manifests)
	for i, step := range plan.Steps {
		if err = w.comeBy(ctx, rt, step, facts.Manifests); err == nil {
			err = w.catchUp(ctx, rt, to)
		}
		if err == nil {
			return nil
		}
		if !fallsBack(err) || i == len(plan.Steps)-1 {
			return err
		}
		w.listener.fellBack(rt.id, step.Round, err)
	}
	return err
}

// local names where the state on this disk comes from.
func (rt *runningTask) local() string {
	if rt.followed {
		return "follower"
	}
	return "local"
}

// fallsBack says whether another way to the state is worth trying after err.
func fallsBack(err error) bool {
	for _, e := range []error{checkpoint.ErrCorrupt, checkpoint.ErrMissing, statestore.ErrCorrupt, kafka.ErrOffsetExpired, ErrUnrecoverable} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// facts gathers what recovery is decided by.
func (w *Worker) facts(ctx context.Context, rt *runningTask, meta core.Metadata) (checkpoint.Facts, error) {
	f := checkpoint.Facts{
		Initialized: true, Seeded: w.app.origin != nil,
		Committed: &checkpoint.Committed{Reached: checkpoint.Reached{Epoch: meta.Epoch, ChangelogOffset: meta.ChangelogOffset}, Round: meta.Round},
	}
	if have, ok := rt.db.Position(); ok {
		f.Local = &checkpoint.Reached{Epoch: have.Epoch, ChangelogOffset: have.Offset}
	}
	changelog := w.names.ChangelogPartition(rt.id)
	starts, err := w.cluster.StartOffsets(ctx, changelog.Topic)
	if err != nil {
		return f, err
	}
	ends, err := w.cluster.HighWatermarks(ctx, changelog.Topic)
	if err != nil {
		return f, err
	}
	f.ChangelogStart, f.ChangelogEnd = starts[changelog], ends[changelog]
	if w.repo == nil || f.Local != nil && f.Local.Epoch <= meta.Epoch && f.Local.ChangelogOffset+1 >= f.ChangelogStart {
		return f, nil // what is on the disk can be caught up: the object store need not even answer
	}
	err = w.askStore(ctx, "read the manifests of task "+rt.id.String(), func() (err error) {
		f.Manifests, f.Damaged, err = w.repo.Manifests(ctx, w.names.Incarnation, rt.id, meta.Round)
		return err
	})
	return f, err
}

// askStore calls f until the object store answers. What it says of an object is final; that it cannot be reached is
// not: the task waits.
func (w *Worker) askStore(ctx context.Context, what string, f func() error) error {
	for attempt := 0; ; attempt++ {
		err := f()
		for _, final := range []error{nil, checkpoint.ErrCorrupt, checkpoint.ErrMissing, checkpoint.ErrFutureFormat, checkpoint.ErrInvalid, statestore.ErrCorrupt} {
			if errors.Is(err, final) {
				return err
			}
		}
		if ctx.Err() != nil {
			return err
		}
		w.listener.retrying(what, err)
		if kafka.Pause(ctx, backoff(attempt)) != nil {
			return err
		}
	}
}

// comeBy gets a state as one step of a recovery plan says.
func (w *Worker) comeBy(ctx context.Context, rt *runningTask, step checkpoint.Step, manifests []checkpoint.Manifest) error {
	switch step.Action {
	case checkpoint.UseLocal:
		rt.restore = restoreStats{source: rt.local()}
	case checkpoint.FromEmpty:
		rt.restore = restoreStats{source: "changelog"}
		if _, ok := rt.db.Position(); ok {
			return w.replaceLocal(rt, "")
		}
	case checkpoint.Restore:
		i := slices.IndexFunc(manifests, func(m checkpoint.Manifest) bool { return m.Round == step.Round })
		return w.download(ctx, rt, manifests[i])
	}
	return nil
}

// catchUp applies the commits of the changelog from where the store stands up to exactly the position record that
// the committed offsets name, and compares.
func (w *Worker) catchUp(ctx context.Context, rt *runningTask, to target) error {
	have, ok := rt.db.Position()
	from := int64(0)
	if ok {
		from = have.Offset + 1
	}
	if to.ChangelogOffset >= from {
		ctx, cancel := context.WithTimeoutCause(ctx, replayTimeout, fmt.Errorf("%w: its position record at changelog offset %d has not come within %v", ErrUnrecoverable, to.ChangelogOffset, replayTimeout))
		defer cancel()
		part := kafka.ChangelogRange{Partition: w.names.ChangelogPartition(rt.id), From: from, To: to.ChangelogOffset}
		err := kafka.ReadChangelog(ctx, w.cfg, part, func(c kafka.Commit) error {
			rt.restore.replayed++
			return rt.db.Apply(c.Deltas, statestore.Position{Epoch: c.Key.Epoch, Offset: c.Offset, Detail: c.Position})
		})
		if err != nil {
			return err
		}
	}
	have, ok = rt.db.Position()
	if to.Epoch == 0 && !ok {
		return nil // nothing was committed yet
	}
	if !ok || have.Offset != to.ChangelogOffset || have.Epoch != to.Epoch {
		return fmt.Errorf("%w: the offsets name epoch %d at changelog offset %d, the store is at epoch %d, offset %d", ErrUnrecoverable, to.Epoch, to.ChangelogOffset, have.Epoch, have.Offset)
	}
	return w.checkPosition(have, to.at)
}

// checkPosition compares what the state says of its inputs with what is committed for them.
func (w *Worker) checkPosition(have statestore.Position, at task.Position) error {
	stored, err := task.DecodePoint(have.Detail)
	if err != nil {
		return err
	}
	if is := stored.Position(w.topicName); !maps.Equal(is, at) {
		return fmt.Errorf("%w: the state belongs to input offsets %v, committed are %v", ErrUnrecoverable, is, at)
	}
	return nil
}

// close ends tasks: what they have not committed is dropped, their stores are closed. It does not wait for a
// restore in progress; a later restore of the same task does.
func (w *Worker) close(ids []partition.TaskID) {
	for _, id := range ids {
		rt := w.tasks[id]
		if rt == nil {
			continue
		}
		delete(w.tasks, id)
		w.leaveOnDisk(id, rt.reached())
		w.holdings.give(id)
		done := make(chan struct{})
		w.closing[id] = done
		w.routines.Go(func() {
			defer close(done)
			w.shut(rt)
		})
	}
	if w.machine.Phase() == core.Left {
		return
	}
	// A batch of a closed task may be under way. Should the task come back, it must not meet it: there may be a
	// hole before it.
	if err := w.replaceConsumer(); err != nil {
		w.pendingFailure = err
	}
}

// reached is the changelog offset up to which the state has come; -1 if its restore has not ended.
func (rt *runningTask) reached() int64 {
	select {
	case <-rt.restoreDone:
		return rt.committed.ChangelogOffset
	default:
		return -1
	}
}

func (w *Worker) shut(rt *runningTask) {
	if rt.cancel != nil {
		rt.cancel()
		<-rt.restoreDone
	}
	w.holdings.give(rt.id) // a follower may have shown the state until here
	rt.awaitCut()
	if !w.laneIsBack(rt) {
		w.abandoned.Store(true)
		return
	}
	if rt.task != nil {
		rt.task.Abort()
	}
	if rt.db != nil {
		if err := rt.db.Close(); err != nil {
			w.listener.background("close the state of task "+rt.id.String(), err)
		}
	}
}

// laneIsBack waits until no lane has the task. False: everything ends, and one still has it.
func (w *Worker) laneIsBack(rt *runningTask) bool {
	if rt.lane == nil {
		return true
	}
	select {
	case <-rt.lane:
		return true
	case <-w.hard.Done():
	}
	select {
	case <-rt.lane:
		return true
	default:
		return false
	}
}
