// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// published is the end of one task's checkpoint.
type published struct {
	rt       *runningTask
	db       *statestore.DB // whose files they are; nil: stateless
	round    int64
	manifest checkpoint.Manifest
	uploaded int64
	took     time.Duration
	err      error

	changelogBytes int64 // of the task at the cut
}

// stored is a checkpoint of a task that recovery may fall back to.
type stored struct {
	round    int64
	position checkpoint.Position
}

// watchRounds starts a round when the interval has passed since the last, and tells the loop of the newest.
func (w *Worker) watchRounds() {
	if w.repo == nil {
		return
	}
	began, interval := time.Now(), w.cfg.CheckpointInterval
	tick := time.NewTicker(max(50*time.Millisecond, min(time.Second, interval/5)))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.hard.Done():
			return
		}
		if err := w.advanceRound(began); err != nil && w.hard.Err() == nil {
			w.listener.background("look for a new checkpoint round", err)
		}
	}
}

func (w *Worker) advanceRound(began time.Time) error {
	ctx, cancel := context.WithTimeout(w.hard, 30*time.Second)
	defer cancel()
	latest, err := w.repo.LatestRound(ctx, w.names.Incarnation)
	if err != nil {
		return err
	}
	due := false
	if latest.Number == 0 {
		due = time.Since(began) >= w.cfg.CheckpointInterval
	} else if time.Since(began) >= w.cfg.CheckpointInterval/2 {
		now, err := w.repo.StoreTime(ctx)
		if err != nil {
			return err
		}
		due = now.Sub(latest.Started) >= w.cfg.CheckpointInterval
	}
	if due {
		if _, err := w.repo.StartRound(ctx, w.names.Incarnation, latest.Number+1); err != nil {
			return err
		}
		latest.Number++
	}
	w.raiseRound(latest.Number)
	return w.completeRound(ctx)
}

// completeRound records a round of which the last manifest has come. Every worker tries, once it has published its
// own part.
func (w *Worker) completeRound(ctx context.Context) error {
	n := w.publishedRound.Load()
	if n <= w.completedRound {
		return nil
	}
	ids := make([]partition.TaskID, 0, len(w.all))
	for id := range w.all {
		ids = append(ids, id)
	}
	err := w.repo.CompleteRound(ctx, w.names.Incarnation, n, ids)
	if errors.Is(err, checkpoint.ErrIncomplete) {
		return nil
	}
	if err != nil && !errors.Is(err, checkpoint.ErrSuperseded) {
		return err
	}
	w.completedRound = n
	if !w.collects.Load() {
		return nil
	}
	_, err = w.repo.Collect(ctx, w.names.Incarnation, w.cfg.CheckpointsKept)
	return err
}

// beginCut enters the newest round with a task that stands at a commit boundary. The files that make up the
// checkpoint are frozen and sent in the background; processing goes on.
func (w *Worker) beginCut(rt *runningTask) {
	round := w.round.Load()
	if w.repo == nil || rt.cutting || round <= rt.cutRound {
		return
	}
	rt.cutRound, rt.cutting = round, true
	u := checkpoint.Upload{Manifest: w.manifest(rt, round), Known: rt.known, KnownRound: rt.knownRound}
	ctx, cancel := context.WithCancel(w.hard)
	rt.cancelCut, rt.cutDone = cancel, make(chan struct{})
	began, held := w.now(), rt.changelogBytes
	var (
		cut *statestore.Cut
		err error
	)
	if rt.db != nil {
		u.Dir = w.cutDir(rt.id, round)
		if err = os.RemoveAll(u.Dir); err == nil {
			cut, err = rt.db.Cut(ctx, u.Dir)
		}
	}
	w.routines.Go(func() {
		defer cancel()
		d := published{rt: rt, db: rt.db, round: round, err: err, changelogBytes: held}
		if err == nil {
			d.manifest, d.uploaded, d.err = w.publish(ctx, cut, u)
		}
		d.took = w.now().Sub(began)
		close(rt.cutDone)
		select {
		case w.published <- d:
		case <-w.hard.Done():
		}
	})
}

// publish waits for the frozen files and sends them.
func (w *Worker) publish(ctx context.Context, cut *statestore.Cut, u checkpoint.Upload) (checkpoint.Manifest, int64, error) {
	if cut == nil {
		dir, err := os.MkdirTemp("", "streamd-cut-")
		if err != nil {
			return checkpoint.Manifest{}, 0, err
		}
		defer os.RemoveAll(dir)
		u.Dir = dir
	} else {
		defer os.RemoveAll(u.Dir)
		select {
		case err := <-cut.Done():
			if err != nil {
				return checkpoint.Manifest{}, 0, err
			}
		case <-ctx.Done():
			return checkpoint.Manifest{}, 0, context.Cause(ctx)
		}
		for _, f := range cut.Files() {
			u.Files = append(u.Files, f.Name)
		}
	}
	m, stats, err := w.repo.Publish(ctx, u)
	return m, stats.Bytes, err
}

// manifest describes a task at its last confirmed commit.
func (w *Worker) manifest(rt *runningTask, round int64) checkpoint.Manifest {
	m := checkpoint.Manifest{
		App: w.names.App, Incarnation: w.names.Incarnation, Round: round, Task: rt.id,
		Generation: w.transactionalID, Fingerprint: w.topology.Fingerprint(),
		Codecs: map[string][]string{}, Stores: map[string]uint16{},
		Position: checkpoint.Position{
			Epoch: rt.committed.Epoch, ChangelogOffset: rt.committed.ChangelogOffset, Inputs: inputsByTopic(rt.committedPosition),
		},
	}
	for _, s := range rt.sub.Stores {
		m.Codecs[s.Name], m.Stores[s.Name] = s.Codecs(), s.ID
	}
	return m
}

func inputsByTopic(p task.Position) map[string]map[int32]int64 {
	m := map[string]map[int32]int64{}
	for tp, at := range p {
		if m[tp.Topic] == nil {
			m[tp.Topic] = map[int32]int64{}
		}
		m[tp.Topic][tp.Partition] = at
	}
	return m
}

// stopCut ends a checkpoint in progress, before the store it reads from is closed.
func (rt *runningTask) stopCut() {
	if rt.cancelCut != nil {
		rt.cancelCut()
		<-rt.cutDone
		rt.cancelCut = nil
	}
}

// checkpointed takes note of a stored checkpoint. The task's next commit names it.
func (w *Worker) checkpointed(d published) {
	rt := d.rt
	if w.tasks[rt.id] != rt {
		return
	}
	if w.machine.Restoring(rt.id) {
		w.early = append(w.early, d) // the task is in the hands of its restore
		return
	}
	rt.cutting = false
	if errors.Is(d.err, checkpoint.ErrSuperseded) {
		return // an earlier owner has stored this task's part of the round; the next round is ours
	}
	w.listener.checkpointed(rt.id, d)
	if d.err != nil {
		return
	}
	rt.durableRound, rt.durableAt, rt.cutBytes = max(rt.durableRound, d.round), w.now(), d.changelogBytes
	if d.db == rt.db { // else the local state was replaced meanwhile: its tables have the same names and are others
		rt.knownRound, rt.known = d.round, tables(d.manifest)
	}
	if !slices.ContainsFunc(rt.stored, func(s stored) bool { return s.round == d.round }) {
		rt.stored = append(rt.stored, stored{d.round, d.manifest.Position})
	}
	w.publishedRound.Store(w.lowestDurable())
}

// tables are the files of a checkpoint that a later one of the same directory need not send again: a table's number
// is never given to another; other files are rewritten under their names.
func tables(m checkpoint.Manifest) map[string]checkpoint.File {
	known := m.Known()
	for name := range known {
		if !strings.HasSuffix(name, ".sst") {
			delete(known, name)
		}
	}
	return known
}

// lowestDurable is the newest round that all tasks of this worker have published.
func (w *Worker) lowestDurable() int64 {
	lowest := int64(1<<63 - 1)
	for id, rt := range w.tasks {
		if w.machine.Restoring(id) {
			return 0
		}
		lowest = min(lowest, rt.durableRound)
	}
	return lowest
}

// housekeep does what has no event of its own.
func (w *Worker) housekeep() {
	w.status.publish()
	// One worker collects what no checkpoint needs any more: the owner of the first task, as long as it owns it.
	w.collects.Store(w.machine.Running(w.first))
	if p := w.machine.Phase(); p != core.Idle && p != core.Processing {
		return
	}
	for id, rt := range w.tasks {
		if !w.machine.Running(id) {
			continue
		}
		if !w.machine.Touched(id) {
			w.beginCut(rt)
		}
		w.trim(rt)
	}
	w.nameCheckpoints()
}

// namingPause is the shortest time between two commits that only name checkpoints: those of many tasks arrive one
// after the other, and are named together.
const namingPause = time.Second

// nameCheckpoints lets tasks commit that have a checkpoint which no commit names yet. A busy task names it with its
// next commit; an idle one would never, and what it makes superfluous would never be deleted.
func (w *Worker) nameCheckpoints() {
	if !w.machine.MayProcess() || w.now().Sub(w.named) < namingPause {
		return
	}
	var ids []partition.TaskID
	for id, rt := range w.tasks {
		if w.machine.Running(id) && !w.machine.Touched(id) && rt.durableRound > rt.committed.Round {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	w.named = w.now()
	if w.machine.Phase() == core.Idle {
		w.epoch.began, w.epoch.dry = w.now(), true
	}
	w.step(core.Touched{Tasks: ids})
}

// trim deletes what recovery can no longer need from the task's internal topics: below the oldest checkpoint that
// it may fall back to, once a confirmed commit names a newer one.
func (w *Worker) trim(rt *runningTask) {
	keep := w.cfg.CheckpointsKept
	for len(rt.stored) > keep && rt.stored[len(rt.stored)-1].round <= rt.committed.Round {
		rt.stored = rt.stored[1:]
		rt.untrimmed = true
	}
	if !rt.untrimmed || rt.trimming.Load() || len(rt.stored) < keep {
		return
	}
	rt.untrimmed = false
	oldest := rt.stored[0].position
	before := map[partition.TopicPartition]int64{}
	if rt.db != nil && oldest.ChangelogOffset > 0 {
		before[w.names.ChangelogPartition(rt.id)] = oldest.ChangelogOffset
	}
	for _, src := range rt.sub.Sources {
		if name := w.topicName(src.Topic, src.Internal); src.Internal {
			before[partition.TopicPartition{Topic: name, Partition: rt.id.Partition}] = oldest.Inputs[name][rt.id.Partition]
		}
	}
	if len(before) == 0 {
		return
	}
	rt.trimming.Store(true)
	w.routines.Go(func() {
		defer rt.trimming.Store(false)
		ctx, cancel := context.WithTimeout(w.hard, 30*time.Second)
		defer cancel()
		if err := w.cluster.DeleteRecordsBefore(ctx, before); err != nil && w.hard.Err() == nil {
			w.listener.background("trim internal topics", err)
		}
	})
}

// keep notes the checkpoints that are there already, so that trimming spares what they need.
func (rt *runningTask) keep(manifests []checkpoint.Manifest) {
	rt.stored = nil
	for _, m := range slices.Backward(manifests) {
		rt.stored = append(rt.stored, stored{m.Round, m.Position})
	}
}
