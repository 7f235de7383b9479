// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

func defaultLanes() int { return runtime.GOMAXPROCS(0) }

// bootstrap finds or creates what the application is made of: its application object, its internal topics, its
// initial offsets. Every worker does it; all steps may be repeated and may run at once on several workers.
func (w *Worker) bootstrap(ctx context.Context) error {
	budget, err := w.cfg.MemoryBudget()
	if err != nil {
		return err
	}
	w.budget = budget.Bytes
	w.fitMemory()
	if err := w.connect(ctx); err != nil {
		return err
	}
	if err := w.prepareApplication(ctx); err != nil {
		return err
	}
	w.showLife()
	if w.resources, err = statestore.NewResources(w.budget); err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(w.resources.Shares().GoHeapLimit)
	}
	return w.findUnused()
}

// connect opens the codecs of the pipeline and connects to the cluster.
func (w *Worker) connect(ctx context.Context) (err error) {
	for _, open := range w.topology.Openings {
		if err := open(ctx); err != nil {
			return fmt.Errorf("open the codecs of the pipeline: %w", err)
		}
	}
	w.cluster, err = kafka.Connect(ctx, w.cfg)
	return err
}

// fitMemory keeps what grows with the load within the budget: records on their way out may not take more than a sixteenth
// of it. A fetch takes less, since small records are several times larger in memory, and one fetch is processed while
// the next one is waiting. The garbage collector may be lazy as long as the budget holds.
func (w *Worker) fitMemory() {
	share := w.budget / 16
	w.cfg.FetchMaxBytes = min(w.cfg.FetchMaxBytes, share/6)
	w.cfg.FetchMaxPartitionBytes = min(w.cfg.FetchMaxPartitionBytes, share/6)
	w.cfg.ProduceBufferBytes = min(w.cfg.ProduceBufferBytes, share)
	w.cfg.EpochMaxBytes = min(w.cfg.EpochMaxBytes, share)
	// What an epoch changes cannot leave the cache before its commit.
	w.cfg.EpochMaxRecords = min(w.cfg.EpochMaxRecords, int(w.budget/1024))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

func (w *Worker) prepareApplication(ctx context.Context) error {
	if err := w.openStore(ctx); err != nil {
		return err
	}
	if err := w.loadApplication(ctx); err != nil {
		return err
	}
	if err := w.awaitResume(ctx); err != nil {
		return err
	}
	if err := w.lockState(); err != nil {
		return err
	}
	if err := w.createOutputs(ctx); err != nil {
		return err
	}
	if err := w.resolveTopics(ctx, w.userTopics()); err != nil {
		return err
	}
	if w.app.initialized {
		if err := w.ensureInternal(ctx); err != nil {
			return err
		}
		return w.checkTopicIDs()
	}
	if w.app.origin != nil {
		original, err := w.originalLife(ctx)
		if err != nil {
			return err
		}
		if _, err := w.verifyLife(ctx, original); err != nil {
			return err
		}
		return w.beginLife(ctx)
	}
	return w.firstStart(ctx)
}

// topicName is the name on the cluster of a topic of the topology.
func (w *Worker) topicName(topic string, internal bool) string {
	if internal {
		return w.names.Repartition(topic)
	}
	return topic
}

// userTopics returns the topics that the pipeline reads and writes and that are the user's.
func (w *Worker) userTopics() []string {
	names := w.topology.UserSources()
	if !w.muted(false) {
		for _, topic := range w.topology.UserOutputs() {
			names = append(names, w.outputName(topic, false))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// planTopics decides how many partitions each topic has. A repartition topic has as many as the topics it must be
// co-partitioned with, else as many as it had when the application began, else as many as configured, else as many as the widest input of the step that writes it.
func (w *Worker) planTopics(user map[string]kafka.TopicInfo) error {
	w.counts = map[string]int32{}
	for name, info := range user {
		w.counts[name] = info.Partitions
	}
	// Each pass settles at least one more stage of the pipeline; a loop of stages settles with what is known.
	for range w.topology.SubTopologies {
		for i := range w.topology.SubTopologies {
			w.planOutputs(&w.topology.SubTopologies[i])
		}
	}
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			if name := w.topicName(src.Topic, src.Internal); w.counts[name] == 0 {
				return fmt.Errorf("no partition count can be found for topic %s: nothing that is known writes it", name)
			}
			if had := w.app.partitions[src.Topic]; src.Internal && had > 0 && w.cfg.RepartitionPartitions > 0 && had != int32(w.cfg.RepartitionPartitions) {
				w.listener.keepsPartitions(src.Topic, had)
			}
		}
	}
	return nil
}

func (w *Worker) planOutputs(s *topology.SubTopology) {
	var widest int32
	for _, src := range s.Sources {
		widest = max(widest, w.counts[w.topicName(src.Topic, src.Internal)])
	}
	for _, out := range s.Outputs {
		name := w.topicName(out.Topic, out.Internal)
		if !out.Internal || w.counts[name] != 0 || widest == 0 {
			continue
		}
		n := w.coPartitioned(out.Topic)
		if n == 0 {
			n = w.app.partitions[out.Topic]
		}
		if n == 0 {
			n = int32(w.cfg.RepartitionPartitions)
		}
		if n == 0 {
			n = widest
		}
		w.counts[name] = n
	}
}

// coPartitioned returns the partition count of the user topics that a repartition topic meets before a keyed step.
func (w *Worker) coPartitioned(step string) int32 {
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			if !src.Internal || src.Topic != step {
				continue
			}
			for _, other := range s.Sources {
				if s.Keyed() && !other.Internal {
					return w.counts[other.Topic]
				}
			}
		}
	}
	return 0
}

// internalTopics returns every internal topic with its partition count.
func (w *Worker) internalTopics() []kafka.InternalTopic {
	var topics []kafka.InternalTopic
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			if src.Internal {
				name := w.names.Repartition(src.Topic)
				topics = append(topics, kafka.InternalTopic{Name: name, Partitions: w.counts[name]})
			}
		}
		if s.Stateful() {
			tasks := int32(0)
			for _, src := range s.Sources {
				tasks = max(tasks, w.counts[w.topicName(src.Topic, src.Internal)])
			}
			topics = append(topics, kafka.InternalTopic{Name: w.names.Changelog(s.ID), Partitions: tasks})
		}
	}
	return topics
}

// ensureInternal creates the internal topics of an application that has none yet, and checks those of one that
// has: a missing or re-created one means lost data, never a fresh start.
func (w *Worker) ensureInternal(ctx context.Context) error {
	want := w.internalTopics()
	names := make([]string, len(want))
	for i, t := range want {
		names[i] = t.Name
	}
	before, err := w.cluster.Topics(ctx, names)
	if err != nil {
		return err
	}
	var create []kafka.InternalTopic
	for _, t := range want {
		got, ok := before[t.Name]
		switch recorded := w.app.topicIDs[t.Name]; {
		case ok && recorded != "" && recorded != got.ID:
			return fmt.Errorf("internal topic %s: %w: its id is %s, the application was started with %s; roll back to a checkpoint, or reset the application", t.Name, kafka.ErrTopicGone, got.ID, recorded)
		case !ok && recorded != "":
			return fmt.Errorf("internal topic %s: %w: the application was started with it (id %s); roll back to a checkpoint, or reset the application", t.Name, kafka.ErrTopicGone, recorded)
		case !ok:
			create = append(create, t)
		case got.Partitions != t.Partitions:
			return fmt.Errorf("internal topic %s has %d partitions, the pipeline now needs %d: %w", t.Name, got.Partitions, t.Partitions, ErrPartitionsChanged)
		}
	}
	if err := w.cluster.CreateInternal(ctx, create); err != nil {
		return err
	}
	w.app.internal, err = waitForTopics(ctx, names, createdPatience, w.cluster.Topics)
	return err
}

// How long topics are looked up before they count as unknown. One that was just created takes a moment to be known by
// every broker; brokers that have confirmed it will know it, however busy they are.
const (
	topicPatience   = 3 * time.Second
	createdPatience = time.Minute
)

// waitForTopics looks topics up until all are there. kafka.ErrUnknownTopic after the time of patience.
func waitForTopics(ctx context.Context, names []string, patience time.Duration, look func(context.Context, []string) (map[string]kafka.TopicInfo, error)) (map[string]kafka.TopicInfo, error) {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		got, err := look(ctx, names)
		if err != nil {
			return nil, err
		}
		err = kafka.Missing(names, got)
		if err == nil || time.Since(began) >= patience {
			return got, err
		}
		if err := kafka.Pause(ctx, backoff(attempt)); err != nil {
			return nil, err
		}
	}
}

// ErrPartitionsChanged marks a topic whose number of partitions no longer fits the state that was built with it.
var ErrPartitionsChanged = errors.New("the number of partitions has changed; keys would be looked up where they are not; take a savepoint, and rescale from it")

// firstStart records what the application starts from and commits the initial offsets, before anything is
// processed.
func (w *Worker) firstStart(ctx context.Context) error {
	if err := w.ensureInternal(ctx); err != nil {
		return err
	}
	topics := w.sourceTopics()
	starts, err := w.cluster.StartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	if err := w.createApplication(ctx, starts); err != nil {
		return err
	}
	var commits []kafka.OffsetCommit
	metadata := core.Metadata{Incarnation: w.names.Incarnation, ChangelogOffset: -1, TransactionalID: "-"}.Encode()
	for tp := range w.owner {
		at, ok := w.app.initial[tp]
		if !ok {
			at = starts[tp]
		}
		commits = append(commits, kafka.OffsetCommit{Partition: tp, Offset: at, Metadata: metadata})
	}
	if err := w.commitInitial(ctx, commits, nil); err != nil {
		return err
	}
	return w.markInitialized(ctx)
}

// commitInitial commits where to start for those inputs of which nothing is committed in this life, and in the same
// transaction fills repartition topics with what was in flight at the cut that the life begins from. Another worker may do the same
// and begin to work, even end, meanwhile: so the transactional id is taken first and what is committed is looked at
// afterwards, and a worker that was overtaken in between is fenced and looks again.
func (w *Worker) commitInitial(ctx context.Context, commits []kafka.OffsetCommit, channels []kafka.SavedChannel) error {
	for attempt := 0; ; attempt++ {
		done, err := w.tryCommitInitial(ctx, commits, channels)
		if done || ctx.Err() != nil {
			return err
		}
		w.listener.retrying("commit the initial offsets", err)
		if err := kafka.Pause(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

// tryCommitInitial says whether there is nothing more to try: all is committed, or the error is final.
func (w *Worker) tryCommitInitial(ctx context.Context, commits []kafka.OffsetCommit, channels []kafka.SavedChannel) (done bool, err error) {
	id, cfg := w.names.InitialTransactionalID(), *w.cfg
	if w.atLeastOnce() {
		id = ""
	}
	if len(channels) > 0 {
		cfg.TransactionTimeout = max(cfg.TransactionTimeout, seedTimeout)
	}
	p, err := kafka.NewProducer(ctx, &cfg, w.names.App, id)
	if err != nil {
		return true, err
	}
	defer p.Close()
	tps := make([]partition.TopicPartition, 0, len(commits))
	for _, c := range commits {
		tps = append(tps, c.Partition)
	}
	committed, err := w.cluster.StableOffsets(ctx, w.names.App, tps)
	if err != nil {
		return true, err
	}
	absent := slices.DeleteFunc(slices.Clone(commits), func(c kafka.OffsetCommit) bool { return w.ofThisLife(committed[c.Partition]) })
	if len(absent) == 0 {
		return true, nil
	}
	if err := w.refuseLateStart(ctx, absent, len(commits)); err != nil {
		return true, err
	}
	switch out, err := p.CommitInitial(ctx, absent, channels); out {
	case core.Confirmed:
		return true, nil
	case core.Refused:
		return true, err
	default:
		return false, err
	}
}

// ofThisLife says whether an offset was committed in this life of the application. One of an earlier life counts as none;
// one of something else counts, so that the restore refuses it.
func (w *Worker) ofThisLife(c kafka.Committed) bool {
	m, err := core.DecodeMetadata(c.Metadata)
	return c.Offset >= 0 && (err != nil || m.Incarnation >= w.names.Incarnation)
}

// refuseLateStart tells a first start from one whose offsets have gone, where no object store keeps a record of it.
func (w *Worker) refuseLateStart(ctx context.Context, absent []kafka.OffsetCommit, inputs int) error {
	if w.repo != nil {
		return nil
	}
	if len(absent) < inputs {
		return fmt.Errorf("group %s has committed offsets for some of its inputs and not for %v: %w", w.names.App, absent[0].Partition, ErrNoOffset)
	}
	for _, s := range w.topology.SubTopologies {
		if !s.Stateful() {
			continue
		}
		ends, err := w.cluster.HighWatermarks(ctx, w.names.Changelog(s.ID))
		if err != nil {
			return err
		}
		for tp, end := range ends {
			if end > 0 {
				return fmt.Errorf("group %s has no committed offsets, but its changelog %v has %d records: %w", w.names.App, tp, end, ErrNoOffset)
			}
		}
	}
	return nil
}

// userSources returns the user's topics that the application reads.
func (w *Worker) userSources() []string { return w.topology.UserSources() }

// sourceTopics returns the topics that the application reads, by their names on the cluster.
func (w *Worker) sourceTopics() []string {
	var names []string
	for _, s := range w.topology.SubTopologies {
		for _, src := range s.Sources {
			names = append(names, w.topicName(src.Topic, src.Internal))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
