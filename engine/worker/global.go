// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"fmt"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// startGlobals reads the topics of the global tables to the end that they have now, and begins to follow them. They belong
// to no task and no group: every worker reads all of their partitions.
func (w *Worker) startGlobals(ctx context.Context) error {
	if len(w.topology.Globals) == 0 {
		return nil
	}
	var topics []string
	w.globals = map[string]operators.GlobalStore{}
	for _, g := range w.topology.Globals {
		topics = append(topics, g.Topic)
		w.globals[g.Topic] = g.New(w.listener.operatorListener())
	}
	if _, err := waitForTopics(ctx, topics, topicPatience, w.cluster.Topics); err != nil {
		return err
	}
	starts, err := w.cluster.StartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	ends, err := w.cluster.EndOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	c, err := kafka.NewConsumer(w.cfg)
	if err != nil {
		return err
	}
	c.Add(starts)
	if err := w.catchUpGlobals(ctx, c, starts, ends); err != nil {
		c.Close()
		return fmt.Errorf("read the global tables: %w", err)
	}
	w.routines.Go(func() { w.followGlobals(c) })
	return nil
}

// catchUpGlobals applies what lies between starts and ends.
func (w *Worker) catchUpGlobals(ctx context.Context, c *kafka.Consumer, starts, ends map[partition.TopicPartition]int64) error {
	behind := map[partition.TopicPartition]int64{}
	for tp, end := range ends {
		if starts[tp] < end {
			behind[tp] = end
		}
	}
	for len(behind) > 0 {
		batches, err := c.Poll(ctx, pollRecords)
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = w.applyGlobals(batches)
		}
		if err != nil {
			return err
		}
		for i := range batches {
			if b := &batches[i]; b.Last()+1 >= behind[b.Partition] {
				delete(behind, b.Partition)
			}
		}
	}
	return nil
}

// followGlobals hands what comes after that to the loop, until the worker ends.
func (w *Worker) followGlobals(c *kafka.Consumer) {
	defer c.Close()
	for w.hard.Err() == nil {
		batches, err := c.Poll(w.hard, pollRecords)
		if len(batches) == 0 && err == nil {
			continue
		}
		select {
		case w.changed <- fetch{c, batches, err}:
		case <-w.hard.Done():
		}
		if err != nil {
			return
		}
	}
}

// globalsChanged takes what followGlobals has read. The loop does it itself, so that no lane is looking anything up
// meanwhile.
func (w *Worker) globalsChanged(f fetch) {
	err := f.err
	if err == nil {
		err = w.applyGlobals(f.batches)
	}
	if err != nil {
		w.step(core.TaskFailed{Err: fmt.Errorf("read the global tables: %w", err)})
	}
}

func (w *Worker) applyGlobals(batches []kafka.Batch) error {
	var rec operators.Record
	for i := range batches {
		for r := range batches[i].Len() {
			ok, err := batches[i].Record(r, &rec)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if err := w.globals[rec.Topic].Apply(&rec); err != nil {
				return err
			}
		}
	}
	return nil
}
