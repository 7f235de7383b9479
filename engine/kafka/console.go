// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/partition"
)

// This file is what a person at a terminal needs: to put records into a topic and to watch what comes out.

// Feed writes values without keys to a topic, spread over its partitions, and waits until all are acknowledged. It
// returns how many it has written.
func Feed(ctx context.Context, cfg *config.Config, topic string, values iter.Seq2[[]byte, error]) (int64, error) {
	opts, err := ClientOptions(cfg)
	if err != nil {
		return 0, err
	}
	cl, err := kgo.NewClient(append(opts,
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerLinger(10*time.Millisecond),
		kgo.ProducerBatchMaxBytes(int32(cfg.ProduceBatchBytes)),
	)...)
	if err != nil {
		return 0, fmt.Errorf("feed topic %s: %w", topic, err)
	}
	defer cl.Close()
	var outcome struct {
		sync.Mutex
		written int64
		err     error
	}
	for v, err := range values {
		if err != nil {
			return 0, fmt.Errorf("feed topic %s: %w", topic, err)
		}
		cl.Produce(ctx, &kgo.Record{Topic: topic, Value: v}, func(_ *kgo.Record, err error) {
			outcome.Lock()
			defer outcome.Unlock()
			if err == nil {
				outcome.written++
			}
			outcome.err = errors.Join(outcome.err, err)
		})
		outcome.Lock()
		failed := outcome.err
		outcome.Unlock()
		if failed != nil {
			return 0, fmt.Errorf("feed topic %s: %w", topic, failed)
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return 0, fmt.Errorf("feed topic %s: %w", topic, err)
	}
	if outcome.err != nil {
		return 0, fmt.Errorf("feed topic %s: %w", topic, outcome.err)
	}
	return outcome.written, nil
}

// Message is a record as a reader sees it. Its slices belong to the one who gets it.
type Message struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte // nil: no key
	Value     []byte // nil: null
}

// Follower shows committed records of some topics from the moment it was made. Used by one goroutine.
type Follower struct {
	cluster *Cluster
	cl      *kgo.Client
	topics  []string
	next    map[partition.TopicPartition]int64
}

// Follow makes a Follower that begins at the present end of the topics.
func (c *Cluster) Follow(ctx context.Context, topics ...string) (*Follower, error) {
	f := &Follower{cluster: c, topics: topics}
	if len(topics) == 0 {
		return f, nil
	}
	var err error
	if f.next, err = c.HighWatermarks(ctx, topics...); err != nil {
		return nil, err
	}
	opts, err := ClientOptions(c.cfg)
	if err != nil {
		return nil, err
	}
	from := map[string]map[int32]kgo.Offset{}
	for tp, at := range f.next {
		if from[tp.Topic] == nil {
			from[tp.Topic] = map[int32]kgo.Offset{}
		}
		from[tp.Topic][tp.Partition] = kgo.NewOffset().At(at)
	}
	f.cl, err = kgo.NewClient(append(opts,
		kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // so that next passes markers, and CatchUp knows when it is at the end
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(c.cfg.FetchMaxWait),
	)...)
	if err != nil {
		return nil, fmt.Errorf("follow topics %v: %w", topics, err)
	}
	return f, nil
}

// Run hands records to show, in the order of each partition, until ctx ends (nil) or reading fails.
func (f *Follower) Run(ctx context.Context, show func(Message)) error {
	for ctx.Err() == nil {
		if err := f.poll(ctx, show); err != nil {
			return err
		}
	}
	return nil
}

// CatchUp hands on what was committed until now and returns.
func (f *Follower) CatchUp(ctx context.Context, show func(Message)) error {
	if len(f.topics) == 0 {
		return nil
	}
	ends, err := f.cluster.EndOffsets(ctx, f.topics...)
	if err != nil {
		return err
	}
	for behind(f.next, ends) {
		if err := f.poll(ctx, show); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func behind(next, ends map[partition.TopicPartition]int64) bool {
	for tp, end := range ends {
		if next[tp] < end {
			return true
		}
	}
	return false
}

func (f *Follower) poll(ctx context.Context, show func(Message)) error {
	if f.cl == nil {
		<-ctx.Done()
		return nil
	}
	fetches := f.cl.PollFetches(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err := fetches.Err0(); err != nil {
		return fmt.Errorf("follow topics %v: %w", f.topics, err)
	}
	for _, e := range fetches.Errors() {
		return fmt.Errorf("follow topic %s/%d: %w", e.Topic, e.Partition, e.Err)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		f.next[partition.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = r.Offset + 1
		if !r.Attrs.IsControl() {
			show(Message{r.Topic, r.Partition, r.Offset, r.Timestamp, r.Key, r.Value})
		}
	})
	return nil
}

// Close ends the Follower's connection.
func (f *Follower) Close() {
	if f.cl != nil {
		f.cl.Close()
	}
}
