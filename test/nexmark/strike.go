// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/queries"
	"github.com/streamd/streamd/partition"
)

// strikePoll is how often the progress of the group is looked at: far below the time of a run.
const strikePoll = 5 * time.Millisecond

// strike waits until the group has committed a part of the input, kills the worker that has the most of it left, and
// starts another. A run that is too far by then goes on as it is.
func (c *cell) strike(ctx context.Context) error {
	ends, err := c.inputs(ctx)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, end := range ends {
		total += end
	}
	aim := total * (2 + c.rand.Int64N(5)) / 10
	sameState := c.rand.IntN(2) == 0
	tick := time.NewTicker(strikePoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		group, err := c.admin.GroupOf(ctx, c.app)
		if err != nil {
			return err
		}
		left := remaining(ends, group)
		if c.anyEnded() || left == 0 {
			return nil
		}
		victim, owned := c.busiest(ends, group)
		if total-left < aim || group.State != "Stable" || victim == nil {
			continue
		}
		return c.replace(ctx, victim, owned, sameState)
	}
}

// inputs returns the ends of the partitions that the query reads.
func (c *cell) inputs(ctx context.Context) (map[partition.TopicPartition]int64, error) {
	topics, err := queries.Sources(c.Query, model.TopicsOf(prefixOf(c.Seed, c.Partitions)))
	if err != nil {
		return nil, err
	}
	return c.admin.EndOffsets(ctx, topics...)
}

// remaining is how many records of partitions the group has not committed.
func remaining(ends map[partition.TopicPartition]int64, group kafka.GroupInfo) (n int64) {
	for tp, end := range ends {
		n += end - max(0, group.Committed[tp].Offset)
	}
	return n
}

func (c *cell) anyEnded() bool {
	return slices.ContainsFunc(c.workers, func(p *worker) bool {
		select {
		case <-p.Ended:
			return true
		default:
			return false
		}
	})
}

// busiest returns the worker with the most input left, and the ends of its partitions; nil if none has any.
func (c *cell) busiest(ends map[partition.TopicPartition]int64, group kafka.GroupInfo) (victim *worker, owned map[partition.TopicPartition]int64) {
	most := int64(0)
	for _, m := range group.Members {
		its := map[partition.TopicPartition]int64{}
		for _, tp := range m.Assigned {
			if end, ours := ends[tp]; ours {
				its[tp] = end
			}
		}
		at := slices.IndexFunc(c.workers, func(p *worker) bool { return p.Name == m.ClientID })
		if left := remaining(its, group); at >= 0 && left > most {
			victim, owned, most = c.workers[at], its, left
		}
	}
	return victim, owned
}

// replace kills a worker and starts another. The kill counts if input of the dead one's was left.
func (c *cell) replace(ctx context.Context, victim *worker, owned map[partition.TopicPartition]int64, sameState bool) error {
	if err := victim.Kill(); err != nil {
		return err
	}
	group, err := c.admin.GroupOf(ctx, c.app)
	if err != nil {
		return err
	}
	if remaining(owned, group) > 0 {
		c.Kills++
	}
	c.workers = slices.DeleteFunc(c.workers, func(p *worker) bool { return p == victim })
	state := victim.state
	if !sameState {
		state = filepath.Join(c.dir, "state-again")
	}
	return c.start(state)
}
