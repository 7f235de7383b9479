// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/partition"
)

// Replay makes a run the replay of another application's checkpoint: under an application id of its own it begins
// with that state and at those input offsets.
type Replay struct {
	App    string // whose checkpoint it is
	Round  int64  // which checkpoint
	Prefix string // before the names of the output topics
	Mute   bool   // write no output at all
}

// Errors of a replay.
var (
	// ErrReplayRepartition refuses a pipeline whose stages are joined by topics: records in flight between them are
	// not part of a task's checkpoint.
	ErrReplayRepartition = errors.New("replay of a pipeline with repartition topics is not supported: the records between its stages are not in the checkpoint")
	// ErrReplayOutputs refuses a replay that would write to the topics of the application it is a replay of.
	ErrReplayOutputs = errors.New("a replay needs an output prefix, or must be muted: it would write to the original's topics")
	// ErrReplayTaken refuses an application id that is in use.
	ErrReplayTaken = errors.New("the application id is in use")
)

// origin is how the application object names what a replay began from.
func (r Replay) origin(incarnation int) string {
	return fmt.Sprintf("%s/%d@%d", r.App, incarnation, r.Round)
}

// checkReplay refuses what can be seen without looking at anything.
func (w *Worker) checkReplay() error {
	if w.replay == nil {
		return nil
	}
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			if src.Internal {
				return fmt.Errorf("step %q: %w", src.Topic, ErrReplayRepartition)
			}
		}
	}
	switch {
	case w.store == nil && w.cfg.StoreURL == "":
		return errors.New("replay: no object store is configured; set store to where the checkpoints are")
	case w.replay.Prefix == "" && !w.replay.Mute:
		return ErrReplayOutputs
	case w.replay.App == w.cfg.AppID:
		return fmt.Errorf("%w: it is the original's own; give the replay another", ErrReplayTaken)
	}
	return nil
}

// outputName is the name on the cluster of a topic that the pipeline writes.
func (w *Worker) outputName(topic string, internal bool) string {
	if w.replay != nil && !internal {
		return w.replay.Prefix + topic
	}
	return w.topicName(topic, internal)
}

// muted says whether records for a topic are thrown away.
func (w *Worker) muted(internal bool) bool { return w.replay != nil && w.replay.Mute && !internal }

// createOutputs makes the prefixed topics of a replay, each with as many partitions as the one it stands for.
func (w *Worker) createOutputs(ctx context.Context) error {
	if w.replay == nil || w.replay.Mute {
		return nil
	}
	var names []string
	for _, s := range w.topology.SubTopologies {
		for _, out := range s.Outputs {
			names = append(names, out.Topic)
		}
	}
	slices.Sort(names)
	originals, err := w.waitForTopics(ctx, slices.Compact(names))
	if err != nil {
		return err
	}
	var create []kafka.InternalTopic
	for _, t := range originals {
		create = append(create, kafka.InternalTopic{Name: w.replay.Prefix + t.Name, Partitions: t.Partitions})
	}
	return w.cluster.CreateInternal(ctx, create)
}

// startReplay makes the application object, the checkpoints and the committed offsets of a replay, all by reference
// to the original's checkpoint. Begun again, it goes on where it was.
func (w *Worker) startReplay(ctx context.Context, user map[string]kafka.TopicInfo) error {
	source := checkpoint.NewRepository(w.store, w.replay.App)
	original, err := source.LoadApplication(ctx)
	if err != nil {
		return err
	}
	ids := w.taskIDs()
	manifests, err := source.CompleteManifests(ctx, original.Incarnation, w.replay.Round, ids)
	if err != nil {
		return err
	}
	initial := map[partition.TopicPartition]int64{}
	for i, m := range manifests {
		if err := w.fits(m); err != nil {
			return err
		}
		for _, tp := range w.all[ids[i]].Inputs {
			at, ok := m.Position.Inputs[tp.Topic][tp.Partition]
			if !ok {
				return fmt.Errorf("%w: the checkpoint of task %v has no position in %v", ErrTopologyChanged, ids[i], tp)
			}
			initial[tp] = at
		}
	}
	if err := w.replayable(ctx, original, user, initial); err != nil {
		return err
	}
	w.origin = w.replay.origin(original.Incarnation)
	if err := w.createApplication(ctx, user, initial); err != nil {
		return err
	}
	if err := w.forkManifests(ctx, manifests); err != nil {
		return err
	}
	return w.commitReplay(ctx, manifests, initial)
}

func (w *Worker) taskIDs() []partition.TaskID {
	ids := make([]partition.TaskID, 0, len(w.all))
	for id := range w.all {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, partition.TaskID.Compare)
	return ids
}

// replayable checks that the source topics still are what the checkpoint was taken over, and hold what follows it.
func (w *Worker) replayable(ctx context.Context, original checkpoint.Application, user map[string]kafka.TopicInfo, initial map[partition.TopicPartition]int64) error {
	for _, name := range w.userSources() {
		if was := original.TopicIDs[name]; was != "" && was != user[name].ID {
			return fmt.Errorf("source topic %s: %w: its id is %s, the checkpoint is of %s", name, kafka.ErrTopicGone, user[name].ID, was)
		}
	}
	starts, err := w.cluster.StartOffsets(ctx, w.userSources()...)
	if err != nil {
		return err
	}
	for tp, at := range initial {
		if at < starts[tp] {
			return fmt.Errorf("replay from checkpoint %d: %v at %d: %w: it begins at %d", w.replay.Round, tp, at, kafka.ErrOffsetExpired, starts[tp])
		}
	}
	return nil
}

func (w *Worker) forkManifests(ctx context.Context, manifests []checkpoint.Manifest) error {
	if _, err := w.repo.StartRound(ctx, w.names.Incarnation, 1); err != nil {
		return err
	}
	for _, m := range manifests {
		m.App, m.Incarnation, m.Round = w.names.App, w.names.Incarnation, 1
		m.Position.ChangelogOffset = -1 // this life's changelog is empty
		if _, err := w.repo.Fork(ctx, m); err != nil {
			return err
		}
	}
	return w.repo.CompleteRound(ctx, w.names.Incarnation, 1, w.taskIDs())
}

func (w *Worker) commitReplay(ctx context.Context, manifests []checkpoint.Manifest, initial map[partition.TopicPartition]int64) error {
	var commits []kafka.OffsetCommit
	for _, m := range manifests {
		metadata := core.Metadata{Incarnation: w.names.Incarnation, Epoch: m.Position.Epoch, ChangelogOffset: -1, Round: 1, TransactionalID: "-"}.Encode()
		for _, tp := range w.all[m.Task].Inputs {
			commits = append(commits, kafka.OffsetCommit{Partition: tp, Offset: initial[tp], Metadata: metadata})
		}
	}
	if err := w.commitInitial(ctx, commits); err != nil {
		return err
	}
	return w.markInitialized(ctx)
}
