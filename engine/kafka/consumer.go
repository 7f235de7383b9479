// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// ErrTopicGone marks an input partition that the broker does not have (any more), or has anew under its name.
var ErrTopicGone = errors.New("the topic was deleted or created again")

// ErrOffsetExpired marks a position below the start of the log: retention was faster than the pipeline.
var ErrOffsetExpired = errors.New("the position is no longer in the log")

// Consumer reads partitions from given positions, committed records only. Add, Remove and Close may be called
// while Poll runs.
type Consumer struct{ cl *kgo.Client }

// NewConsumer returns a consumer of no partition.
func NewConsumer(cfg *config.Config) (*Consumer, error) {
	opts, err := ClientOptions(cfg)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Markers and aborted records take offsets: with them the position is exact, so that "at the end" and
		// lag are what they should be.
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(cfg.FetchMaxWait),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxBytes(int32(cfg.FetchMaxBytes)),
		kgo.FetchMaxPartitionBytes(int32(cfg.FetchMaxPartitionBytes)),
	)...)
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	return &Consumer{cl}, nil
}

// Add starts reading partitions at offsets.
func (c *Consumer) Add(from map[partition.TopicPartition]int64) {
	m := map[string]map[int32]kgo.Offset{}
	for tp, offset := range from {
		if m[tp.Topic] == nil {
			m[tp.Topic] = map[int32]kgo.Offset{}
		}
		m[tp.Topic][tp.Partition] = kgo.NewOffset().At(offset)
	}
	c.cl.AddConsumePartitions(m)
}

// Remove stops reading partitions. A batch of them may still be on its way out of Poll.
func (c *Consumer) Remove(tps []partition.TopicPartition) { c.cl.RemoveConsumePartitions(byTopic(tps)) }

// Pause keeps partitions but fetches nothing more of them until Resume.
func (c *Consumer) Pause(tps []partition.TopicPartition) { c.cl.PauseFetchPartitions(byTopic(tps)) }

// Resume ends a pause.
func (c *Consumer) Resume(tps []partition.TopicPartition) { c.cl.ResumeFetchPartitions(byTopic(tps)) }

// Close ends the consumer; a Poll that runs returns.
func (c *Consumer) Close() { c.cl.CloseAllowingRebalance() }

// Batch is what one fetch has brought of one partition.
type Batch struct {
	Partition     partition.TopicPartition
	HighWatermark int64
	StableEnd     int64 // last stable offset: nothing beyond is committed yet
	// Internal says that it is of a repartition topic, whose keys begin with the origin of the record.
	Internal bool
	records  []*kgo.Record
}

// Len is the number of records, markers included.
func (b *Batch) Len() int { return len(b.records) }

// First is the offset of the first record.
func (b *Batch) First() int64 { return b.records[0].Offset }

// Last is the offset of the last record.
func (b *Batch) Last() int64 { return b.records[len(b.records)-1].Offset }

// TimeAt returns the timestamp of record i; operators.MinTime if it is a transaction marker.
func (b *Batch) TimeAt(i int) operators.Time {
	if b.records[i].Attrs.IsControl() {
		return operators.MinTime
	}
	return b.records[i].Timestamp.UnixMilli()
}

// Record fills r with record i. False: it is a transaction marker, which has an offset and no content. ErrNotRepartition:
// the topic is a repartition topic, and somebody else has written to it.
func (b *Batch) Record(i int, r *operators.Record) (bool, error) {
	k := b.records[i]
	r.Topic, r.Partition, r.Offset = k.Topic, k.Partition, k.Offset
	if k.Attrs.IsControl() {
		return false, nil
	}
	r.Time = k.Timestamp.UnixMilli()
	r.Key, r.Value = k.Key, k.Value
	if b.Internal {
		var err error
		if _, r.Key, err = cutOrigin(k.Key); err != nil {
			return false, fmt.Errorf("%s/%d at offset %d: %w", k.Topic, k.Partition, k.Offset, err)
		}
	}
	r.Headers = r.Headers[:0]
	for _, h := range k.Headers {
		r.Headers = append(r.Headers, operators.Header{Key: h.Key, Value: h.Value})
	}
	return true, nil
}

// Poll waits for records and returns at most limit of them. Nothing and nil: ctx has ended. Errors that heal by
// themselves (a broker away, a leader moved) are not returned.
func (c *Consumer) Poll(ctx context.Context, limit int) ([]Batch, error) {
	fetches := c.cl.PollRecords(ctx, limit)
	if fetches.IsClientClosed() || ctx.Err() != nil && fetches.NumRecords() == 0 {
		return nil, nil
	}
	var errs []error
	fetches.EachError(func(topic string, p int32, err error) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return
		}
		errs = append(errs, fetchError(topic, p, err))
	})
	var batches []Batch
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		if len(fp.Records) > 0 {
			batches = append(batches, Batch{
				Partition:     partition.TopicPartition{Topic: fp.Topic, Partition: fp.Partition},
				HighWatermark: fp.HighWatermark, StableEnd: fp.LastStableOffset, records: fp.Records,
			})
		}
	})
	return batches, errors.Join(errs...)
}

// readFrom hands over what is committed in a partition from an offset on, until take is done.
func readFrom(ctx context.Context, cfg *config.Config, tp partition.TopicPartition, from int64, take func(*Batch) (done bool, err error)) error {
	c, err := NewConsumer(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	c.Add(map[partition.TopicPartition]int64{tp: from})
	for {
		batches, err := c.Poll(ctx, 10000)
		if err != nil {
			return fmt.Errorf("read from offset %d: %w", from, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range batches {
			if done, err := take(&batches[i]); done || err != nil {
				return err
			}
		}
	}
}
