// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// published is the end of one task's checkpoint.
type published struct {
	rt       *runningTask
	db       *statestore.DB // whose files they are; nil: stateless
	cut      *statestore.Cut
	round    int64
	manifest checkpoint.Manifest
	uploaded int64
	took     time.Duration
	err      error

	changelogBytes int64 // of the task at the cut
}

// basis is the stored checkpoint that a task's next one builds upon. The zero value is none.
type basis struct {
	round  int64
	files  map[string]checkpoint.File
	tables map[string]checkpoint.File // those that need not be sent again from the same directory
	cut    *statestore.Cut            // nil if the files were downloaded, or the task has no state
}

// newBasis makes a checkpoint one that others build upon. The number of a table is never given to another, unless the cut
// says so; other files are rewritten under their names.
func newBasis(m checkpoint.Manifest, cut *statestore.Cut) basis {
	b := basis{round: m.Round, files: m.Known(), tables: m.Known(), cut: cut}
	for name := range b.tables {
		if !strings.HasSuffix(name, ".sst") {
			delete(b.tables, name)
		}
	}
	if cut == nil {
		return b
	}
	for _, f := range cut.Files() {
		if !f.Immutable {
			delete(b.tables, f.Name)
		}
	}
	return b
}

// seenRound is the newest round that the loop knows of.
type seenRound struct {
	number int64
	at     time.Time // when the loop saw it first
}

// markerPatience is how long a task without a user's topic among its inputs waits for the marker of a round. By then what
// was on its way is mostly processed, and little of it must be stored with the round. It enters by itself if its inputs
// are so far behind that the round would wait for them.
const markerPatience = 5 * time.Second

// noteRound lets the loop see the newest round.
func (w *Worker) noteRound() {
	if n := w.round.Load(); n > w.seen.number {
		w.seen = seenRound{n, w.now()}
	}
}

// roundToEnter returns the round that a task has to enter with its next commit, 0 if there is none. A marker in its
// input leaves no choice. Else tasks that read users' topics begin, and the others follow when the marker comes to them. A
// task that still stores its part of another round begins later.
func (w *Worker) roundToEnter(rt *runningTask) int64 {
	round := rt.task.Barrier()
	if begins := rt.begins || w.stopping || w.now().Sub(w.seen.at) >= markerPatience; begins && rt.storing == 0 {
		round = max(round, w.seen.number)
	}
	if round <= rt.task.Round() {
		return 0
	}
	return round
}

// beginCut stores the state of a task, which has just entered a round with the commit that was confirmed last. The files
// that make up the checkpoint are frozen and sent in the background; processing goes on.
func (w *Worker) beginCut(rt *runningTask) {
	if w.repo == nil {
		return
	}
	round := rt.committed.Entered
	if rt.freezing() {
		w.routines.Go(func() {
			w.abandonRound(round, fmt.Sprintf("task %v has not frozen its part of an earlier round yet", rt.id))
		})
		return
	}
	rt.storing++
	base := rt.basis
	u := checkpoint.Upload{Manifest: w.manifest(rt, round), Known: base.tables, KnownRound: base.round}
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
			cut, err = rt.db.Cut(ctx, u.Dir, base.cut)
		}
	}
	db, frozen := rt.db, rt.cutDone
	w.listener.paused(rt.pause + w.now().Sub(began))
	w.routines.Go(func() {
		d := published{rt: rt, db: db, cut: cut, round: round, err: err, changelogBytes: held}
		if err == nil {
			d.err = freeze(ctx, cut, base, &u)
		}
		cancel()
		close(frozen)
		if d.err == nil {
			d.manifest, d.uploaded, d.err = w.publish(w.hard, u)
		}
		if d.err != nil && !errors.Is(d.err, checkpoint.ErrSuperseded) {
			w.abandonRound(round, fmt.Sprintf("task %v: %v", rt.id, d.err))
		}
		d.took = w.now().Sub(began)
		select {
		case w.published <- d:
		case <-w.hard.Done():
		}
	})
}

// abandonRound tells the others that a round will not be complete.
func (w *Worker) abandonRound(round int64, why string) {
	w.listener.roundAbandoned(round, why)
	ctx, cancel := context.WithTimeout(w.hard, storeCallTimeout)
	defer cancel()
	if err := w.repo.Abandon(ctx, w.names.Incarnation, round, why); err != nil && w.hard.Err() == nil {
		w.listener.background("abandon a checkpoint round", err)
	}
}

// freeze waits until the files are there that do not change any more.
func freeze(ctx context.Context, cut *statestore.Cut, base basis, u *checkpoint.Upload) error {
	if cut == nil {
		return nil
	}
	select {
	case err := <-cut.Done():
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, f := range cut.Files() {
		if f.Stored {
			u.Inherited = append(u.Inherited, base.files[f.Name])
		} else {
			u.Files = append(u.Files, f.Name)
		}
	}
	return nil
}

// publish sends the frozen files. The task may have moved on to another owner by now: what it was at its cut does not
// change.
func (w *Worker) publish(ctx context.Context, u checkpoint.Upload) (checkpoint.Manifest, int64, error) {
	if u.Dir == "" {
		dir, err := os.MkdirTemp("", "streamd-cut-")
		if err != nil {
			return checkpoint.Manifest{}, 0, err
		}
		u.Dir = dir
	}
	defer os.RemoveAll(u.Dir)
	m, stats, err := w.repo.Publish(ctx, u)
	return m, stats.Bytes, err
}

// manifest describes a task at its last confirmed commit.
func (w *Worker) manifest(rt *runningTask, round int64) checkpoint.Manifest {
	m := w.newManifest(rt.sub, rt.id, round)
	m.Generation = w.transactionalID
	m.Position = checkpoint.Position{
		Epoch: rt.committed.Epoch, ChangelogOffset: rt.committed.ChangelogOffset, Inputs: byTopic(rt.committedPosition),
		Produced: rt.announced, Watermark: rt.committed.Watermark,
	}
	return m
}

// newManifest names a task and its stores.
func (w *Worker) newManifest(sub *topology.SubTopology, id partition.TaskID, round int64) checkpoint.Manifest {
	m := checkpoint.Manifest{
		App: w.names.App, Incarnation: w.names.Incarnation, Round: round, Task: id, Fingerprint: w.topology.Fingerprint(),
		Codecs: map[string][]string{}, Stores: map[string]uint16{},
	}
	for _, s := range sub.Stores {
		m.Codecs[s.Name], m.Stores[s.Name] = s.Codecs(), s.ID
	}
	return m
}

// byTopic gives offsets the form in which they are stored.
func byTopic(offsets map[partition.TopicPartition]int64) map[string]map[int32]int64 {
	m := map[string]map[int32]int64{}
	for tp, at := range offsets {
		if m[tp.Topic] == nil {
			m[tp.Topic] = map[int32]int64{}
		}
		m[tp.Topic][tp.Partition] = at
	}
	return m
}

// byPartition is the inverse of byTopic.
func byPartition(stored map[string]map[int32]int64) map[partition.TopicPartition]int64 {
	m := map[partition.TopicPartition]int64{}
	for topic, offsets := range stored {
		for p, at := range offsets {
			m[partition.TopicPartition{Topic: topic, Partition: p}] = at
		}
	}
	return m
}

// stopCut gives up files that are not frozen yet, before the store they come from is replaced.
func (rt *runningTask) stopCut() {
	if rt.cancelCut != nil {
		rt.cancelCut()
		rt.awaitCut()
	}
}

// freezing says whether the files of a checkpoint are not frozen yet.
func (rt *runningTask) freezing() bool {
	if rt.cutDone == nil {
		return false
	}
	select {
	case <-rt.cutDone:
		return false
	default:
		return true
	}
}

// awaitCut waits until the files of a checkpoint in progress are frozen, before the store they come from is closed.
func (rt *runningTask) awaitCut() {
	if rt.cancelCut != nil {
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
	rt.storing--
	if errors.Is(d.err, checkpoint.ErrSuperseded) {
		return // an earlier owner of the task has stored the same
	}
	w.listener.checkpointed(rt.id, d)
	if errors.Is(d.err, checkpoint.ErrMissing) || errors.Is(d.err, checkpoint.ErrCorrupt) {
		rt.basis = basis{} // what it is to build upon is gone: the next is whole
	}
	if d.err != nil {
		return
	}
	rt.durableRound, rt.durableAt, rt.cutBytes = max(rt.durableRound, d.round), w.now(), d.changelogBytes
	if d.db == rt.db && d.round > rt.basis.round { // else the local state was replaced meanwhile: its tables have the same names and are others
		rt.basis = newBasis(d.manifest, d.cut)
	}
	if !slices.ContainsFunc(rt.stored, func(s checkpoint.Stored) bool { return s.Round == d.round }) {
		rt.stored = append(rt.stored, checkpoint.Stored{Round: d.round, Position: d.manifest.Position})
	}
}

// housekeep does what has no event of its own.
func (w *Worker) housekeep() {
	w.status.publish()
	if err := w.cluster.Refused(); err != nil && w.machine.Phase() != core.Draining {
		w.step(core.TaskFailed{Err: err})
		return
	}
	w.listener.refused(w.cluster.Refusing())
	w.noteRound()
	w.publishHeld()
	w.reconcileFollowers()
	w.askForWarm()
	w.handedOver()
	w.giveUpGeneration()
	w.deleteUnused()
	// One worker completes rounds and collects what no checkpoint needs any more: the owner of the first task, as long as it
	// owns it.
	w.completes.Store(w.machine.Running(w.first))
	if p := w.machine.Phase(); p != core.Idle && p != core.Processing {
		return
	}
	for id, rt := range w.tasks {
		if w.machine.Running(id) {
			w.trim(rt)
		}
	}
	w.commitIdle()
	w.endIfHalted()
}

// namingPause is the shortest time between two commits that only name checkpoints: those of many tasks arrive one
// after the other, and are named together.
const namingPause = time.Second

// commitIdle lets tasks commit that have nothing to process but a round to enter, or a checkpoint that no commit names
// yet. A busy task does both with its next commit.
func (w *Worker) commitIdle() {
	if !w.machine.MayProcess() || w.repo == nil {
		return
	}
	named := w.now().Sub(w.named) < namingPause
	var ids []partition.TaskID
	for id, rt := range w.tasks {
		if !w.machine.Running(id) || w.machine.Touched(id) {
			continue
		}
		if w.roundToEnter(rt) > 0 || !named && rt.durableRound > rt.committed.Round {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	w.named = w.now()
	w.touch(ids)
}

// touch makes tasks part of the epoch although they have not processed anything.
func (w *Worker) touch(ids []partition.TaskID) {
	if w.machine.Phase() == core.Idle {
		w.epoch.began, w.epoch.dry = w.now(), true
	}
	w.step(core.Touched{Tasks: ids})
}

// trim deletes what recovery can no longer need from the task's internal topics: below the oldest checkpoint that
// it may fall back to, once a confirmed commit names a newer one.
func (w *Worker) trim(rt *runningTask) {
	needed, ok := checkpoint.FallBacks(rt.stored, rt.committed.Round, w.cfg.CheckpointsKept)
	if len(needed) < len(rt.stored) {
		rt.stored, rt.untrimmed = needed, true
	}
	if !ok || !rt.untrimmed || rt.trimming.Load() {
		return
	}
	rt.untrimmed = false
	oldest := needed[0].Position
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
		rt.stored = append(rt.stored, checkpoint.Stored{Round: m.Round, Position: m.Position})
	}
}
