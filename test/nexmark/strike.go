// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/queries"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/fleet"
)

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
	victim, owned, err := fleet.Work{Admin: c.admin, App: c.app, Ends: ends, Workers: c.workers}.Middle(ctx, total-aim)
	if err != nil || victim == nil {
		return err
	}
	return c.replace(ctx, victim, owned, sameState)
}

// inputs returns the ends of the partitions that the query reads.
func (c *cell) inputs(ctx context.Context) (map[partition.TopicPartition]int64, error) {
	topics, err := queries.Sources(c.Query, model.TopicsOf(prefixOf(c.Seed, c.Partitions)))
	if err != nil {
		return nil, err
	}
	return c.admin.EndOffsets(ctx, topics...)
}

// replace kills a worker and starts another. The kill counts if input of the dead one's was left.
func (c *cell) replace(ctx context.Context, victim *fleet.Process, owned map[partition.TopicPartition]int64, sameState bool) error {
	if err := victim.Kill(); err != nil {
		return err
	}
	group, err := c.admin.GroupOf(ctx, c.app)
	if err != nil {
		return err
	}
	if fleet.Remaining(owned, group) > 0 {
		c.Kills++
	}
	c.workers = slices.DeleteFunc(c.workers, func(p *fleet.Process) bool { return p == victim })
	state := victim.State
	if !sameState {
		state = filepath.Join(c.dir, "state-again")
	}
	return c.start(state)
}
