// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/partition"
)

// strikePoll is how often the progress of the group is looked at: far below the time of a run.
const strikePoll = 5 * time.Millisecond

// Work is an application that processes its input to the end.
type Work struct {
	Admin   *kafka.Admin
	App     string
	Ends    map[partition.TopicPartition]int64 // of the input
	Workers []*Process                         // each with its name as client id
}

// Middle waits until the group has committed all but a number of records of the input. It returns the worker that has the
// most of them left, and the ends of its partitions; nil if it is too late: no input is left, or a worker has ended.
func (w Work) Middle(ctx context.Context, left int64) (victim *Process, owned map[partition.TopicPartition]int64, err error) {
	tick := time.NewTicker(strikePoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
		group, err := w.Admin.GroupOf(ctx, w.App)
		if err != nil {
			return nil, nil, err
		}
		now := Remaining(w.Ends, group)
		if now == 0 || slices.ContainsFunc(w.Workers, (*Process).HasEnded) {
			return nil, nil, nil
		}
		if victim, owned := w.busiest(group); now <= left && group.State == "Stable" && victim != nil {
			return victim, owned, nil
		}
	}
}

// busiest returns the worker with the most input left, and the ends of its partitions; nil if none has any.
func (w Work) busiest(group kafka.GroupInfo) (victim *Process, owned map[partition.TopicPartition]int64) {
	most := int64(0)
	for _, m := range group.Members {
		its := map[partition.TopicPartition]int64{}
		for _, tp := range m.Assigned {
			if end, ours := w.Ends[tp]; ours {
				its[tp] = end
			}
		}
		at := slices.IndexFunc(w.Workers, func(p *Process) bool { return p.Name == m.ClientID })
		if left := Remaining(its, group); at >= 0 && left > most {
			victim, owned, most = w.Workers[at], its, left
		}
	}
	return victim, owned
}

// Remaining is how many records of partitions the group has not committed.
func Remaining(ends map[partition.TopicPartition]int64, group kafka.GroupInfo) (n int64) {
	for tp, end := range ends {
		n += end - max(0, group.Committed[tp].Offset)
	}
	return n
}
