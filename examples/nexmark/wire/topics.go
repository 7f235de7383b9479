// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/examples/nexmark/reference"
)

const (
	// seenEvery is how often a new topic is looked for, seenTimeout how long.
	seenEvery   = 50 * time.Millisecond
	seenTimeout = 30 * time.Second
)

// Create creates a topic if it does not exist, and waits until the brokers know it: they learn of it after the answer.
func Create(ctx context.Context, client *kgo.Client, topic string, partitions int32) error {
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, partitions, -1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	ctx, cancel := context.WithTimeout(ctx, seenTimeout)
	defer cancel()
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		ends, err := admin.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err == nil && len(ends[topic]) > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for topic %s to be there: %w", topic, errors.Join(ctx.Err(), err))
		}
	}
}

// ReadOptions are what the client of ReadAll needs beside its connection. Control records are kept, so that the end of a
// partition can be seen.
func ReadOptions() []kgo.Opt {
	return []kgo.Opt{kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()}
}

// ReadAll reads what is committed in a topic, up to its end at the start. Records of a partition come in their order.
// The client must read nothing else meanwhile.
func ReadAll(ctx context.Context, client *kgo.Client, topic string, each func(*kgo.Record) error) error {
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("look at topic %s: %w", topic, err)
	}
	left := map[int32]int64{} // ends of the partitions that are not read yet
	from := map[int32]kgo.Offset{}
	for p, end := range ends[topic] {
		if end.Offset > 0 {
			left[p], from[p] = end.Offset, kgo.NewOffset().AtStart()
		}
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	defer client.PurgeTopicsFromConsuming(topic)
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s: %w", topic, err)
		}
		var failed error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				end, reading := left[p.Partition]
				if !reading || failed != nil {
					return
				}
				if r.Offset+1 >= end {
					delete(left, p.Partition)
				}
				if r.Attrs.IsControl() || r.Offset >= end {
					continue
				}
				failed = each(r)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// ReadResults reads what is committed in the topic of a query's results.
func ReadResults(ctx context.Context, client *kgo.Client, topic string) ([]reference.Record, error) {
	var records []reference.Record
	err := ReadAll(ctx, client, topic, func(r *kgo.Record) error {
		records = append(records, reference.Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value})
		return nil
	})
	return records, err
}
