// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"sync"
	"sync/atomic"

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
		if w.machine.Running(id) {
			for tp, at := range rt.task.Position() {
				from[tp] = at
			}
		}
	}
	w.closeConsumer()
	clear(w.paused)
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

// runLanes processes everything that waits in the tasks, on up to as many goroutines as there are lanes, and
// returns the number of records. After an error the epoch must be aborted.
func (w *Worker) runLanes(ids []partition.TaskID) (int, error) {
	var total atomic.Int64
	err := w.onLanes(ids, func(rt *runningTask) error {
		n, err := rt.task.Process(1 << 30)
		total.Add(int64(n))
		return err
	})
	return int(total.Load()), err
}

// onLanes calls f for each task, in parallel on the lanes, and returns the first error.
func (w *Worker) onLanes(ids []partition.TaskID, f func(*runningTask) error) error {
	if len(ids) == 1 || w.cfg.Lanes == 1 {
		for _, id := range ids {
			if err := f(w.tasks[id]); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		next  atomic.Int64
		once  sync.Once
		first error
		wg    sync.WaitGroup
	)
	for range min(w.cfg.Lanes, len(ids)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(ids) {
					return
				}
				if err := f(w.tasks[ids[i]]); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	wg.Wait()
	return first
}
