// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"time"

	"github.com/streamd/streamd/partition"
)

// endPoll is how often a bounded run asks the broker how far the application is.
const endPoll = 100 * time.Millisecond

// bounded is what a bounded run knows of its end. What it looks at is committed offsets only, so that every worker
// sees the progress of all.
type bounded struct {
	ends map[partition.TopicPartition]int64 // of user topics at the start; of internal ones once their writers are done
}

// watchEnd waits until every task of the application has committed everything up to the ends, stage by stage.
func (w *Worker) watchEnd(ctx context.Context, finished func()) {
	tick := time.NewTicker(endPoll)
	defer tick.Stop()
	for attempt := 0; ; {
		done, err := w.reachedEnd(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case err != nil:
			w.listener.retrying("look up the end of the run", err)
			if sleep(ctx, backoff(attempt)) != nil {
				return
			}
			attempt++
			continue
		case done:
			finished()
			return
		}
		attempt = 0
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// reachedEnd looks at the sub-topologies whose ends are known, and finds out the ends of those that follow a
// finished one.
func (w *Worker) reachedEnd(ctx context.Context) (bool, error) {
	tps := make([]partition.TopicPartition, 0, len(w.owner))
	for tp := range w.owner {
		tps = append(tps, tp)
	}
	committed, err := w.cluster.CommittedOffsets(ctx, w.names.App, tps)
	if err != nil {
		return false, err
	}
	for {
		finished := w.finished(func(tp partition.TopicPartition) bool {
			end, known := w.bounded.ends[tp]
			return known && committed[tp].Offset >= end
		})
		if len(finished) == len(w.subs) {
			return true, nil
		}
		topics := w.newlyFinal(finished)
		if len(topics) == 0 {
			return false, nil
		}
		// The high watermark, not the stable end: the markers of the last transactions may still be on their
		// way, and no reader passes their records before they have come.
		ends, err := w.cluster.HighWatermarks(ctx, topics...)
		if err != nil {
			return false, err
		}
		for tp, end := range ends {
			w.bounded.ends[tp] = end
		}
	}
}

// finished returns the sub-topologies of which every input has reached its end.
func (w *Worker) finished(reached func(partition.TopicPartition) bool) map[int32]bool {
	done := map[int32]bool{}
	for id := range w.subs {
		done[id] = true
	}
	for tp, id := range w.owner {
		if !reached(tp) {
			done[id.SubTopology] = false
		}
	}
	for id, ok := range done {
		if !ok {
			delete(done, id)
		}
	}
	return done
}

// newlyFinal returns the internal topics whose writers have all finished and whose ends are not yet known.
func (w *Worker) newlyFinal(finished map[int32]bool) []string {
	open := map[string]bool{}
	written := map[string]bool{}
	for id, s := range w.subs {
		for _, out := range s.Outputs {
			if out.Internal {
				name := w.names.Repartition(out.Topic)
				written[name] = true
				open[name] = open[name] || !finished[id]
			}
		}
	}
	var topics []string
	for name := range written {
		if _, known := w.bounded.ends[partition.TopicPartition{Topic: name}]; !known && !open[name] {
			topics = append(topics, name)
		}
	}
	return topics
}
