// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// This file divides a cut anew: the state of sub-topologies whose number of tasks changes by the keys of its entries, and
// what was in flight by the keys of the records. Sub-topologies that there were not begin empty. The rest is taken by
// reference.

// rescaleGeneration is the owner of checkpoints that a rescale makes.
const rescaleGeneration = "rescale"

// rescaleParallel is how many tasks are downloaded, read and written at once.
const rescaleParallel = 4

func (w *Worker) isRescaled(subTopology int32) bool {
	return slices.ContainsFunc(w.rescaled, func(r Rescaled) bool { return r.SubTopology == subTopology })
}

// verifyKeys refuses a rescale while a partition of a topic that has got more partitions since holds unread records from
// before: their keys would be looked for where they are not.
func (w *Worker) verifyKeys(ctx context.Context, ends map[partition.TopicPartition]int64) error {
	for _, r := range w.rescaled {
		if s := w.subs[r.SubTopology]; !s.Keyed() || r.From == r.To {
			continue
		}
		for tp, at := range w.begins {
			_, had := w.cutPosition(tp)
			if w.owner[tp].SubTopology != r.SubTopology || !had || at >= ends[tp] {
				continue
			}
			n, first, err := kafka.Misplaced(ctx, w.cfg, tp, [2]int64{at, ends[tp]}, w.counts[tp.Topic])
			if err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%v holds %d unread records, the first at offset %d, that were written when the topic had other partitions: %w; let the application read them with the former number before the savepoint",
					tp, n, first, ErrPartitionsChanged)
			}
		}
	}
	return nil
}

// rescale stores the first checkpoint of a life with other numbers of tasks.
func (w *Worker) rescale(ctx context.Context) error {
	dir := filepath.Join(w.stateFolder(), "rescale")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var same []checkpoint.Manifest
	for _, m := range w.cut.Manifests {
		if !w.isRescaled(m.Task.SubTopology) {
			same = append(same, m)
		}
	}
	if _, err := w.repo.StartRound(ctx, w.names.Incarnation, w.cut.Round, checkpoint.GoOn); err != nil {
		return err
	}
	if _, err := w.repo.AdoptManifests(ctx, w.cut, w.adopted(same)); err != nil {
		return err
	}
	for _, r := range w.rescaled {
		if err := w.rescaleSub(ctx, r, filepath.Join(dir, fmt.Sprint(r.SubTopology))); err != nil {
			return fmt.Errorf("rescale sub-topology %d from %d to %d tasks: %w", r.SubTopology, r.From, r.To, err)
		}
	}
	return w.repo.CompleteRound(ctx, checkpoint.Completion{
		Incarnation: w.names.Incarnation, Round: w.cut.Round, Tasks: w.taskIDs(), Generation: rescaleGeneration,
		Channels: func(ctx context.Context, _ []checkpoint.Manifest) ([]checkpoint.ChannelFile, error) {
			return w.reroute(ctx, filepath.Join(dir, "channels"))
		},
	})
}

// rescaleSub divides the state of one sub-topology.
func (w *Worker) rescaleSub(ctx context.Context, r Rescaled, dir string) error {
	for _, d := range []string{"from", "parts", "to"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	manifests := make([]checkpoint.Manifest, r.From)
	for _, m := range w.cut.Manifests {
		if m.Task.SubTopology == r.SubTopology {
			manifests[m.Task.Partition] = m
		}
	}
	sub := w.subs[r.SubTopology]
	var parts statestore.Parts
	var points []task.Point
	if sub.Stateful() {
		sources, err := w.downloadAll(ctx, manifests, filepath.Join(dir, "from"))
		if err != nil {
			return err
		}
		if points, err = pointsOf(sources); err != nil {
			return err
		}
		split := statestore.Split{Sources: sources, Targets: r.To, Everywhere: everywhere(sub), Dir: filepath.Join(dir, "parts"), Parallel: rescaleParallel}
		if parts, err = split.Write(ctx); err != nil {
			return err
		}
	}
	resources, err := statestore.NewResources(rescaleMemory)
	if err != nil {
		return err
	}
	defer resources.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rescaleParallel)
	for p := range r.To {
		group.Go(func() error {
			id := partition.TaskID{SubTopology: r.SubTopology, Partition: p}
			u := checkpoint.Upload{Manifest: w.rescaledManifest(id, manifests)}
			if !sub.Stateful() {
				_, _, err := w.publish(ctx, u)
				return err
			}
			u.Dir = filepath.Join(dir, "to", fmt.Sprint(p, ".cut"))
			point := task.Rescale(points, w.inputsAt(id))
			o := statestore.Options{
				Dir: filepath.Join(dir, "to", fmt.Sprint(p)), Resources: resources,
				Identity: statestore.Identity{App: w.names.App, Incarnation: w.names.Incarnation, Task: id},
			}
			at := statestore.Position{Epoch: u.Manifest.Position.Epoch, Offset: -1, Detail: point.AppendTo(nil)}
			files, err := statestore.Join(ctx, o, parts[p], at, u.Dir)
			if err != nil {
				return err
			}
			for _, f := range files {
				u.Files = append(u.Files, f.Name)
			}
			_, _, err = w.publish(ctx, u)
			return err
		})
	}
	return group.Wait()
}

// rescaleMemory is for caches and memtables of the databases that a rescale writes; their content comes as whole tables.
const rescaleMemory = 256 << 20

// downloadAll brings the checkpoints of tasks into folders.
func (w *Worker) downloadAll(ctx context.Context, manifests []checkpoint.Manifest, dir string) ([]string, error) {
	source := checkpoint.NewRepository(w.store, w.cut.App)
	dirs := make([]string, len(manifests))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rescaleParallel)
	for i, m := range manifests {
		dirs[i] = filepath.Join(dir, fmt.Sprint(i))
		group.Go(func() error {
			_, err := source.Restore(ctx, m, dirs[i])
			return err
		})
	}
	return dirs, group.Wait()
}

// pointsOf reads where the tasks stood whose states lie in folders.
func pointsOf(dirs []string) ([]task.Point, error) {
	points := make([]task.Point, len(dirs))
	for i, dir := range dirs {
		r, err := statestore.OpenReadOnly(dir)
		if err != nil {
			return nil, err
		}
		at, _, err := r.Position()
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err == nil && len(at.Detail) > 0 {
			points[i], err = task.DecodePoint(at.Detail)
		}
		if err != nil {
			return nil, fmt.Errorf("read the position of the state in %s: %w", dir, err)
		}
	}
	return points, nil
}

// everywhere are the stores of which every task has all entries.
func everywhere(sub *topology.SubTopology) map[statestore.StoreID]bool {
	ids := map[statestore.StoreID]bool{}
	for _, s := range sub.Stores {
		if s.Kind == topology.BroadcastStore {
			ids[statestore.StoreID(s.ID)] = true
		}
	}
	return ids
}

// rescaledManifest describes a new task. It goes on where the one of the former tasks was that had come least far in event
// time, and counts its commits from the highest number.
func (w *Worker) rescaledManifest(id partition.TaskID, former []checkpoint.Manifest) checkpoint.Manifest {
	m := w.newManifest(w.subs[id.SubTopology], id, w.cut.Round)
	m.Generation = rescaleGeneration
	m.Position = checkpoint.Position{Epoch: 1, ChangelogOffset: -1, Watermark: operators.MinTime, Inputs: byTopic(w.beginsOf(id))}
	for i, f := range former {
		m.Position.Epoch = max(m.Position.Epoch, f.Position.Epoch)
		if i == 0 || f.Position.Watermark < m.Position.Watermark {
			m.Position.Watermark = f.Position.Watermark
		}
	}
	return m
}

// inputsAt is where a task begins, by the topology's names.
func (w *Worker) inputsAt(id partition.TaskID) []task.InputAt {
	var at []task.InputAt
	sub := w.subs[id.SubTopology]
	for i, tp := range w.sourcesOf(sub, id.Partition) {
		if tp.Topic != "" {
			at = append(at, task.InputAt{Source: sub.Sources[i].Topic, Internal: sub.Sources[i].Internal, Partition: tp.Partition, Next: w.begins[tp]})
		}
	}
	return at
}

// reroute divides what was in flight among the partitions that there are now.
func (w *Worker) reroute(ctx context.Context, dir string) ([]checkpoint.ChannelFile, error) {
	for _, d := range []string{"from", "to"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	saved, err := w.fetchChannels(ctx, w.cut, filepath.Join(dir, "from"))
	if err != nil {
		return nil, err
	}
	had, has := tasksIn(manifestTasks(w.cut.Manifests)), tasksIn(w.taskIDs())
	var files []checkpoint.ChannelFile
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			if !src.Internal {
				continue
			}
			name := w.names.Repartition(src.Topic)
			re := kafka.Rerouting{
				From: had[s.ID], To: w.counts[name], Tasks: has, Broadcast: w.isBroadcast(src.Topic), Prefix: filepath.Join(dir, "to", src.Topic),
			}
			rerouted, err := re.Write(slices.DeleteFunc(slices.Clone(saved), func(c kafka.SavedChannel) bool { return c.Partition.Topic != name }))
			if err != nil {
				return nil, fmt.Errorf("divide what was in flight to %s: %w", src.Topic, err)
			}
			for _, c := range rerouted {
				files = append(files, checkpoint.ChannelFile{Topic: src.Topic, Partition: c.Partition.Partition, Records: c.Records, Path: c.File})
			}
		}
	}
	return files, nil
}

// isBroadcast says whether every partition of an internal topic holds the same.
func (w *Worker) isBroadcast(step string) bool {
	for _, s := range w.topology.SubTopologies {
		for _, n := range s.Nodes {
			if n.Kind == topology.KindBroadcast && slices.Contains(n.Writes, step) {
				return true
			}
		}
	}
	return false
}
