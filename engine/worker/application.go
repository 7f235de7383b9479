// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// application is what is recorded of the application's present life.
type application struct {
	initialized bool
	topicIDs    map[string]string // recorded at the first start
	initial     map[partition.TopicPartition]int64
	internal    map[string]kafka.TopicInfo // as found now
	origin      *checkpoint.Origin         // the cut that this life began from; nil: it began with nothing
	outputs     checkpoint.Outputs
	partitions  map[string]int32 // of repartition topics, as recorded; by step
	created     time.Time        // zero: there is no record
}

// openStore opens the object store and proves that it is safe to use. Without one there are no checkpoints, and the
// changelog is never trimmed.
func (w *Worker) openStore(ctx context.Context) error {
	if w.store == nil && w.cfg.StoreURL == "" {
		w.listener.log.Warn("no object store is configured: there are no checkpoints, and recovery replays the whole changelog")
		return nil
	}
	store := w.store
	if store == nil {
		var err error
		if store, err = open.Open(ctx, w.cfg.StoreURL, open.Options{EncryptionKeys: w.cfg.StoreKeysFile}); err != nil {
			return err
		}
	}
	if err := objstore.SelfTest(ctx, store); err != nil {
		return err
	}
	w.store, w.repo = store, checkpoint.NewRepository(store, w.cfg.AppID)
	return nil
}

// loadApplication reads the application object, if there is one.
func (w *Worker) loadApplication(ctx context.Context) error {
	w.names = Names{App: w.cfg.AppID, Incarnation: 1}
	if w.repo == nil {
		return nil
	}
	rec, err := w.repo.LoadApplication(ctx)
	if errors.Is(err, checkpoint.ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	w.adopt(rec)
	if err := w.checkTopology(rec); err != nil {
		return err
	}
	w.showLife()
	w.app.initialized, err = w.repo.Initialized(ctx, rec.Incarnation)
	return err
}

func (w *Worker) adopt(rec checkpoint.Application) {
	w.names.Incarnation = rec.Incarnation
	w.app.topicIDs, w.app.origin, w.app.outputs, w.app.partitions = rec.TopicIDs, rec.Origin, rec.Outputs, rec.Partitions
	w.app.initial, w.app.created = byPartition(rec.InitialOffsets), rec.Created
}

// createApplication records what the application starts from. Of several workers that do it at once, the first wins
// and all use its record.
func (w *Worker) createApplication(ctx context.Context, starts map[partition.TopicPartition]int64) error {
	if w.repo == nil {
		return nil
	}
	var described bytes.Buffer
	if err := w.topology.Describe(&described, topology.JSON); err != nil {
		return err
	}
	rec := checkpoint.Application{
		Topology: described.String(),
		App:      w.names.App, Incarnation: w.names.Incarnation, Fingerprint: w.topology.Fingerprint(), Created: time.Now(),
		Origin: w.app.origin, Outputs: w.app.outputs, Partitions: w.repartitionCounts(),
		TopicIDs: map[string]string{}, InitialOffsets: byTopic(starts),
	}
	for _, topics := range []map[string]kafka.TopicInfo{w.user, w.app.internal} {
		for name, info := range topics {
			rec.TopicIDs[name] = info.ID
		}
	}
	winner, _, err := w.repo.CreateApplication(ctx, rec)
	if err != nil {
		return err
	}
	if own := w.app.origin; (own == nil) != (winner.Origin == nil) || own != nil && *own != *winner.Origin {
		return fmt.Errorf("application %s: %w: meanwhile it has begun %s", winner.App, ErrLifeTaken, beganFrom(winner))
	}
	w.adopt(winner)
	return nil
}

func (w *Worker) markInitialized(ctx context.Context) error {
	if w.repo == nil {
		return nil
	}
	return w.repo.MarkInitialized(ctx, w.names.Incarnation)
}

// checkTopicIDs compares source topics with those that the application was started with: a topic created again has
// other records at the same offsets.
func (w *Worker) checkTopicIDs() error {
	for _, name := range w.sourceTopics() {
		recorded, info := w.app.topicIDs[name], w.user[name]
		if recorded != "" && info.ID != "" && recorded != info.ID {
			return fmt.Errorf("source topic %s: %w: its id is %s, the application was started with %s; use another application id, or reset this one", name, kafka.ErrTopicGone, info.ID, recorded)
		}
	}
	return nil
}

// repartitionCounts returns how many partitions each repartition topic has, by step.
func (w *Worker) repartitionCounts() map[string]int32 {
	counts := map[string]int32{}
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			if src.Internal {
				counts[src.Topic] = w.counts[w.names.Repartition(src.Topic)]
			}
		}
	}
	return counts
}

// ErrTopologyChanged refuses a pipeline whose stored state it cannot read, or would lose.
var ErrTopologyChanged = errors.New("the pipeline no longer fits the stored state")

// checkTopology compares the pipeline with the one that the application was started with.
func (w *Worker) checkTopology(rec checkpoint.Application) error {
	if rec.Topology == "" || rec.Fingerprint == w.topology.Fingerprint() {
		return nil
	}
	was, err := topology.Decode([]byte(rec.Topology))
	if err != nil {
		return fmt.Errorf("application %s: read the topology it was started with: %w", rec.App, err)
	}
	if err := topology.Compatible(was, w.topology); err != nil {
		return fmt.Errorf("application %s: %w: %w", rec.App, ErrTopologyChanged, err)
	}
	return nil
}

// fits compares the stores of a checkpoint with those of the pipeline.
func (w *Worker) fits(m checkpoint.Manifest) error {
	owned := map[string]bool{}
	for _, s := range w.subs[m.Task.SubTopology].Stores {
		owned[s.Name] = true
		stored, ok := m.Codecs[s.Name]
		now := s.Codecs()
		if ok && (len(stored) > len(now) || !slices.Equal(stored, now[:len(stored)])) {
			return fmt.Errorf("%w: store %q of checkpoint %d was written with the codecs %q of key, sub-key and values, the pipeline has %q; upgrade its values by codec.Migrate, or use the release that wrote it",
				ErrTopologyChanged, s.Name, m.Round, stored, now)
		}
	}
	for name := range m.Codecs {
		if !owned[name] && !slices.Contains(w.topology.Dropped, name) {
			return fmt.Errorf("%w: store %q of checkpoint %d has no owner; keep the step, or declare with Drop(%q) that its state may go", ErrTopologyChanged, name, m.Round, name)
		}
	}
	return nil
}
