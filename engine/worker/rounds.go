// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/partition"
)

// This file is the life of rounds as it goes on beside the loop: it begins them, and completes them.

// storeCallTimeout bounds what the watcher of rounds asks of the object store at a time.
const storeCallTimeout = 30 * time.Second

// watchRounds begins rounds when they are due, tells the loop of the newest, and completes those of which all is there.
func (w *Worker) watchRounds() {
	if w.repo == nil {
		return
	}
	began := time.Now()
	tick := time.NewTicker(max(50*time.Millisecond, min(time.Second, w.cfg.CheckpointInterval/5)))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.hard.Done():
			return
		}
		n, err := w.advanceRound(began)
		if err == nil {
			err = w.completeRound(n)
		}
		if err == nil {
			err = w.watchHalt(n)
		}
		if err != nil && w.hard.Err() == nil {
			w.listener.background("advance checkpoint rounds", err)
		}
	}
}

// advanceRound looks for the newest round, which it returns, and begins the next when the interval has passed since it was
// started. One at a time: the next waits until the one before is over, or has had time enough.
func (w *Worker) advanceRound(began time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(w.hard, storeCallTimeout)
	defer cancel()
	latest, err := w.repo.LatestRound(ctx, w.names.Incarnation)
	if err != nil {
		return 0, err
	}
	if err := w.showRound(ctx, latest.Number); err != nil {
		return 0, err
	}
	due, err := w.roundDue(ctx, latest, began)
	if err != nil {
		return 0, err
	}
	if !due {
		return latest.Number, nil
	}
	return latest.Number + 1, w.beginRound(ctx, latest.Number+1)
}

// beginRound begins a round. Somebody else may have been faster, and have begun a halt.
func (w *Worker) beginRound(ctx context.Context, n int64) error {
	if _, err := w.repo.StartRound(ctx, w.names.Incarnation, n, checkpoint.GoOn); err != nil {
		return err
	}
	return w.showRound(ctx, n)
}

// showRound lets the loop know of a round that was started: first of whether it is a halt.
func (w *Worker) showRound(ctx context.Context, n int64) error {
	if err := w.noteHalt(ctx, n); err != nil {
		return err
	}
	w.raiseRound(n)
	return nil
}

func (w *Worker) roundDue(ctx context.Context, latest checkpoint.Round, began time.Time) (bool, error) {
	interval := w.cfg.CheckpointInterval
	switch {
	case latest.Number > 0 && latest.Number == w.haltRound.Load():
		return false, nil // it is the last
	case latest.Number == 0:
		return time.Since(began) >= interval, nil
	case time.Since(began) < interval/2:
		return false, nil // the store need not be asked for its time before
	}
	now, err := w.repo.StoreTime(ctx)
	age := now.Sub(latest.Started)
	if err != nil || age < interval {
		return false, err
	}
	over, err := w.repo.Over(ctx, w.names.Incarnation, latest.Number)
	return over || age >= w.cfg.CheckpointTimeout, err
}

// raiseRound notes a round that was started. The watcher of rounds and a drain may do so at the same time.
func (w *Worker) raiseRound(n int64) {
	for {
		old := w.round.Load()
		if n <= old || w.round.CompareAndSwap(old, n) {
			return
		}
	}
}

// completeRound completes the newest round, if all tasks have stored their part, and collects what is superseded by it. One
// worker does.
func (w *Worker) completeRound(n int64) error {
	if !w.completes.Load() {
		w.collector = nil // who owns the first task next claims it
		return nil
	}
	if n <= w.completedRound {
		return nil
	}
	err := w.repo.CompleteRound(w.hard, checkpoint.Completion{
		Incarnation: w.names.Incarnation, Round: n, Tasks: w.taskIDs(), Generation: w.names.TransactionalID("rounds"), Channels: w.channels,
	})
	switch {
	case errors.Is(err, checkpoint.ErrIncomplete):
		return nil
	case errors.Is(err, kafka.ErrOffsetExpired):
		w.abandonRound(n, err.Error()) // so late that what was in flight is trimmed already
	case err != nil && !errors.Is(err, checkpoint.ErrSuperseded):
		return err
	}
	w.completedRound = n
	return w.collect()
}

// collect removes what is superseded. Should another process have claimed that, this worker claims it back after a later
// round, if it still is the one that completes rounds.
func (w *Worker) collect() (err error) {
	if w.collector == nil {
		keep := checkpoint.Retention{Kept: w.cfg.CheckpointsKept, KeptFor: w.cfg.CheckpointsKeptFor}
		if w.collector, err = w.repo.Claim(w.hard, w.names.TransactionalID("rounds"), keep); err != nil {
			return err
		}
	}
	_, err = w.collector.Collect(w.hard)
	if errors.Is(err, checkpoint.ErrSuperseded) {
		w.collector, err = nil, nil
	}
	return err
}

// channels brings what was in flight at the cut of a round into local files: of each partition of a repartition topic the
// records from where the downstream task stood, up to where each upstream task had produced.
func (w *Worker) channels(ctx context.Context, manifests []checkpoint.Manifest) ([]checkpoint.ChannelFile, error) {
	cuts := map[partition.TaskID]checkpoint.Position{}
	for _, m := range manifests {
		cuts[m.Task] = m.Position
	}
	dir, err := w.channelDir()
	if err != nil {
		return nil, err
	}
	var files []checkpoint.ChannelFile
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			if !src.Internal {
				continue
			}
			name := w.names.Repartition(src.Topic)
			for p := range w.counts[name] {
				channel, err := w.channelOf(src.Topic, partition.TopicPartition{Topic: name, Partition: p}, cuts)
				if err != nil {
					return nil, err
				}
				channel.File = filepath.Join(dir, fmt.Sprintf("%s.%d", src.Topic, p))
				records, err := kafka.SaveChannel(ctx, w.cfg, channel)
				if err != nil {
					return nil, fmt.Errorf("save what was in flight in %v: %w", channel.Partition, err)
				}
				if records > 0 {
					files = append(files, checkpoint.ChannelFile{Topic: src.Topic, Partition: p, Records: records, Path: channel.File})
				}
			}
		}
	}
	return files, nil
}

// channelOf says what of a repartition partition was in flight at a cut.
func (w *Worker) channelOf(step string, tp partition.TopicPartition, cuts map[partition.TaskID]checkpoint.Position) (kafka.Channel, error) {
	c := kafka.Channel{Partition: tp, Until: map[partition.TaskID]int64{}}
	reader := w.owner[tp]
	var ok bool
	if c.From, ok = cuts[reader].Inputs[tp.Topic][tp.Partition]; !ok {
		return c, fmt.Errorf("%w: the manifest of task %v has no position in %v", checkpoint.ErrCorrupt, reader, tp)
	}
	for _, sub := range w.topology.Writers(step) {
		for id := range w.all {
			if id.SubTopology != sub {
				continue
			}
			if c.Until[id], ok = cuts[id].Produced[tp.Topic][tp.Partition]; !ok {
				return c, fmt.Errorf("%w: the manifest of task %v does not say what it had produced to %v", checkpoint.ErrCorrupt, id, tp)
			}
		}
	}
	return c, nil
}
