// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/partition"
)

// endPoll is how often a bounded run asks the broker how far the application is.
const endPoll = 100 * time.Millisecond

// bounded is a run with an end: that of the user's topics when it was begun. Tasks finish when they have come to it,
// those downstream when all that write to them have; each says so in the commit that makes it so.
type bounded struct {
	name   string
	number int64 // of its record in the object store; 0: there is none
	ends   map[partition.TopicPartition]int64
}

// beginBounded joins the bounded run in progress, or begins one. Without an object store to keep a record every worker
// goes by what it finds: then the topics must not grow while the workers of one run start.
func (w *Worker) beginBounded(ctx context.Context) error {
	if w.repo == nil {
		ends, err := w.cluster.EndOffsets(ctx, w.userSources()...)
		if err != nil {
			return err
		}
		w.bounded = &bounded{name: nameOfEnds(ends), ends: ends}
		return nil
	}
	run, open, err := w.repo.CurrentRun(ctx, w.names.Incarnation)
	if err != nil {
		return err
	}
	if !open {
		ends, err := w.cluster.EndOffsets(ctx, w.userSources()...)
		if err != nil {
			return err
		}
		run.Ends = byTopic(ends)
		if run, err = w.repo.BeginRun(ctx, w.names.Incarnation, run); err != nil {
			return err
		}
	}
	w.bounded = &bounded{name: strconv.FormatInt(run.Number, 10), number: run.Number, ends: byPartition(run.Ends)}
	return w.checkEnds(run)
}

// checkEnds refuses to go on with a run that knows nothing of a topic that the pipeline reads by now.
func (w *Worker) checkEnds(run checkpoint.Run) error {
	for _, topic := range w.userSources() {
		if _, ok := run.Ends[topic]; !ok {
			return fmt.Errorf("bounded run %d of application %s was begun without topic %s; end it with the pipeline that it was begun with", run.Number, w.names.App, topic)
		}
	}
	return nil
}

// nameOfEnds is the same for workers that have found the same.
func nameOfEnds(ends map[partition.TopicPartition]int64) string {
	h := fnv.New64a()
	for _, tp := range slices.SortedFunc(maps.Keys(ends), partition.TopicPartition.Compare) {
		fmt.Fprintf(h, "%s/%d=%d\n", tp.Topic, tp.Partition, ends[tp])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// watchEnd waits until every task of the application has committed that it has finished.
func (w *Worker) watchEnd(ctx context.Context, finished func()) {
	for attempt := 0; ; {
		done, err := w.reachedEnd(ctx)
		if err == nil && done && w.bounded.number > 0 {
			err = w.repo.EndRun(ctx, w.names.Incarnation, w.bounded.number)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.listener.retrying("look up the end of the run", err)
			if kafka.Pause(ctx, backoff(attempt)) != nil {
				return
			}
			attempt++
			continue
		case done:
			finished()
			return
		}
		attempt = 0
		if kafka.Pause(ctx, endPoll) != nil {
			return
		}
	}
}

// reachedEnd looks at what is committed, so that every worker sees the progress of all. Whoever reads the results when
// the run has ended must find all of them.
func (w *Worker) reachedEnd(ctx context.Context) (bool, error) {
	tps := slices.Collect(maps.Keys(w.owner))
	committed, err := w.cluster.CommittedOffsets(ctx, w.names.App, tps)
	if err != nil {
		return false, err
	}
	for _, tp := range tps {
		if !finishedRun(committed[tp].Metadata, w.bounded.name) {
			return false, nil
		}
	}
	if w.atLeastOnce() {
		return true, nil
	}
	return w.cluster.Settled(ctx, w.names.TransactionalIDPrefix())
}

// finishedRun says whether a commit's metadata says that its task has finished the run.
func finishedRun(metadata, run string) bool {
	m, err := core.DecodeMetadata(metadata)
	return err == nil && m.Finished == run
}
