// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"

	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/partition"
)

// pollRecords bounds what one turn of the loop processes: large enough that its fixed costs vanish, small enough
// that a commit is not late by more than a fraction of its interval.
const pollRecords = 10_000

// fetch is what one poll of a consumer has brought.
type fetch struct {
	consumer *kafka.Consumer
	batches  []kafka.Batch
	err      error
}

// replaceConsumer starts a consumer of the running tasks at their positions and ends the one before: what that one
// had buffered can then not come through.
func (w *Worker) replaceConsumer() error {
	c, err := kafka.NewConsumer(w.cfg)
	if err != nil {
		return err
	}
	from := map[partition.TopicPartition]int64{}
	for id, rt := range w.tasks {
		if w.machine.Held(id) {
			continue
		}
		rt.more, rt.paused = false, false
		if w.machine.Running(id) {
			rt.task.Seek(nil) // what waits there comes again
			for tp, at := range rt.task.Position() {
				from[tp] = at
			}
		}
	}
	w.closeConsumer()
	clear(w.paused)
	w.backlog = nil
	if len(from) > 0 {
		c.Add(from)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.consumer, w.stopFetching = c, cancel
	w.routines.Go(func() { w.fetchLoop(ctx, c) })
	return nil
}

func (w *Worker) closeConsumer() {
	if w.consumer != nil {
		w.stopFetching()
		w.consumer.Close()
		w.consumer = nil
	}
}

// fetchLoop polls until ctx ends. One fetch waits in the channel while the loop works on the one before, and the
// client fetches ahead: that is all the buffering there is.
func (w *Worker) fetchLoop(ctx context.Context, c *kafka.Consumer) {
	for ctx.Err() == nil {
		batches, err := c.Poll(ctx, pollRecords)
		if len(batches) == 0 && err == nil {
			continue
		}
		select {
		case w.fetched <- fetch{c, batches, err}:
		case <-ctx.Done():
		}
		if err != nil {
			return
		}
	}
}
