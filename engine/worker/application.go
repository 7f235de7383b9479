// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/partition"
)

// application is what is recorded of the application's present life.
type application struct {
	initialized bool
	topicIDs    map[string]string // recorded at the first start
	initial     map[partition.TopicPartition]int64
	internal    map[string]kafka.TopicInfo // as found now
	fingerprint string
}

// openStore opens the object store and proves that it is safe to use. Without one there are no checkpoints, and the
// changelog is never trimmed.
func (w *Worker) openStore(ctx context.Context) error {
	if w.cfg.StoreURL == "" {
		w.listener.log.Warn("no object store is configured: there are no checkpoints, and recovery replays the whole changelog")
		return nil
	}
	store, err := open.Open(ctx, w.cfg.StoreURL)
	if err != nil {
		return err
	}
	store = objstore.NewRetry(store, objstore.Policy{})
	if err := objstore.SelfTest(ctx, store); err != nil {
		return err
	}
	w.repo = checkpoint.NewRepository(store, w.cfg.AppID)
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
	w.app.initialized, err = w.repo.Initialized(ctx, rec.Incarnation)
	return err
}

func (w *Worker) adopt(rec checkpoint.Application) {
	w.names.Incarnation = rec.Incarnation
	w.app.topicIDs, w.app.fingerprint = rec.TopicIDs, rec.Fingerprint
	w.app.initial = map[partition.TopicPartition]int64{}
	for topic, ps := range rec.InitialOffsets {
		for p, at := range ps {
			w.app.initial[partition.TopicPartition{Topic: topic, Partition: p}] = at
		}
	}
}

// createApplication records what the application starts from. Of several workers that do it at once, the first wins
// and all use its record.
func (w *Worker) createApplication(ctx context.Context, user map[string]kafka.TopicInfo, starts map[partition.TopicPartition]int64) error {
	if w.repo == nil {
		return nil
	}
	rec := checkpoint.Application{
		App: w.names.App, Incarnation: w.names.Incarnation, Fingerprint: w.topology.Fingerprint(), Created: time.Now(),
		TopicIDs: map[string]string{}, InitialOffsets: map[string]map[int32]int64{},
	}
	for _, topics := range []map[string]kafka.TopicInfo{user, w.app.internal} {
		for name, info := range topics {
			rec.TopicIDs[name] = info.ID
		}
	}
	for tp, at := range starts {
		if rec.InitialOffsets[tp.Topic] == nil {
			rec.InitialOffsets[tp.Topic] = map[int32]int64{}
		}
		rec.InitialOffsets[tp.Topic][tp.Partition] = at
	}
	winner, _, err := w.repo.CreateApplication(ctx, rec)
	if err != nil {
		return err
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
func (w *Worker) checkTopicIDs(user map[string]kafka.TopicInfo) error {
	for _, name := range w.sourceTopics() {
		recorded, info := w.app.topicIDs[name], user[name]
		if recorded != "" && info.ID != "" && recorded != info.ID {
			return fmt.Errorf("source topic %s: %w: its id is %s, the application was started with %s; use another application id, or reset this one", name, kafka.ErrTopicGone, info.ID, recorded)
		}
	}
	return nil
}
