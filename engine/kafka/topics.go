// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/streamd/streamd/partition"
)

// ErrUnknownTopic marks a topic of the pipeline that the cluster does not have.
var ErrUnknownTopic = errors.New("unknown topic")

// TopicInfo is what the cluster says of a topic.
type TopicInfo struct {
	Name       string
	ID         string // hexadecimal topic id: a topic created again under its name has another
	Partitions int32
}

// Topics returns those of names that exist.
func (c *Cluster) Topics(ctx context.Context, names []string) (map[string]TopicInfo, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var details kadm.TopicDetails
	err := c.retry(ctx, func() (err error) {
		details, err = c.adm.ListTopics(ctx, names...)
		return err
	})
	if IsDenied(err) {
		err = c.deniedTopic(ctx, names, err)
	}
	if err != nil {
		return nil, fmt.Errorf("look up topics: %w", err)
	}
	got := map[string]TopicInfo{}
	for _, d := range details.Sorted() {
		switch {
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		case d.Err != nil:
			return nil, fmt.Errorf("look up topic %s: %w", d.Topic, d.Err)
		default:
			got[d.Topic] = TopicInfo{Name: d.Topic, ID: fmt.Sprintf("%x", [16]byte(d.ID)), Partitions: int32(len(d.Partitions))}
		}
	}
	return got, nil
}

// deniedTopic finds the first of the topics that we may not describe: an answer about many does not say which it is.
func (c *Cluster) deniedTopic(ctx context.Context, names []string, err error) error {
	for _, name := range names {
		if _, one := c.adm.ListTopics(ctx, name); IsDenied(one) {
			return denied(fmt.Errorf("%s: %w", name, one), onTopic(Describe, name))
		}
	}
	return err
}

// InternalTopic is a repartition or changelog topic that must exist.
type InternalTopic struct {
	Name       string
	Partitions int32
}

// CreateInternal creates the topics that do not exist. Nothing in them may go by itself: the engine deletes
// what recovery no longer needs.
func (c *Cluster) CreateInternal(ctx context.Context, topics []InternalTopic) error {
	text := func(s string) *string { return &s }
	configs := map[string]*string{
		"cleanup.policy":                  text("delete"),
		"retention.ms":                    text("-1"),
		"retention.bytes":                 text("-1"),
		"message.timestamp.type":          text("CreateTime"),
		"max.message.bytes":               text(fmt.Sprint(max(c.cfg.ProduceBatchBytes, c.cfg.ChangelogMaxRecordBytes) + 4096)),
		"message.timestamp.before.max.ms": text("9223372036854775807"),
		"message.timestamp.after.max.ms":  text("9223372036854775807"),
	}
	for _, t := range topics {
		resp, err := c.adm.CreateTopic(ctx, t.Partitions, int16(c.cfg.ReplicationFactor), configs, t.Name)
		if err == nil {
			err = resp.Err
		}
		if errors.Is(err, kerr.InvalidConfig) { // brokers before 3.6 do not know the timestamp bounds
			delete(configs, "message.timestamp.before.max.ms")
			delete(configs, "message.timestamp.after.max.ms")
			_, err = c.adm.CreateTopic(ctx, t.Partitions, int16(c.cfg.ReplicationFactor), configs, t.Name)
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			err = fmt.Errorf("create topic %s with %d partitions and replication factor %d: %w", t.Name, t.Partitions, c.cfg.ReplicationFactor, err)
			return denied(err, onTopic(Create, t.Name))
		}
	}
	return nil
}

// StartOffsets returns the first offset of each partition of the topics.
func (c *Cluster) StartOffsets(ctx context.Context, topics ...string) (map[partition.TopicPartition]int64, error) {
	return c.offsets(ctx, c.adm.ListStartOffsets, topics)
}

// EndOffsets returns the last stable offset of each partition: the end of what is committed.
func (c *Cluster) EndOffsets(ctx context.Context, topics ...string) (map[partition.TopicPartition]int64, error) {
	return c.offsets(ctx, c.adm.ListCommittedOffsets, topics)
}

// HighWatermarks returns the end of each partition, open transactions included.
func (c *Cluster) HighWatermarks(ctx context.Context, topics ...string) (map[partition.TopicPartition]int64, error) {
	return c.offsets(ctx, c.adm.ListEndOffsets, topics)
}

func (c *Cluster) offsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (map[partition.TopicPartition]int64, error) {
	var listed kadm.ListedOffsets
	err := c.retry(ctx, func() (err error) {
		listed, err = list(ctx, topics...)
		return err
	})
	if IsDenied(err) {
		err = c.deniedTopic(ctx, topics, err)
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	m := map[partition.TopicPartition]int64{}
	for _, partitions := range listed {
		for _, o := range partitions {
			if o.Err != nil {
				return nil, denied(fmt.Errorf("list offsets of %s/%d: %w", o.Topic, o.Partition, o.Err), onTopic(Describe, o.Topic))
			}
			m[partition.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.Offset
		}
	}
	return m, nil
}

// DeleteRecordsBefore deletes what lies before the offsets. Where that is gone already it does nothing.
func (c *Cluster) DeleteRecordsBefore(ctx context.Context, before map[partition.TopicPartition]int64) error {
	var os kadm.Offsets
	for tp, at := range before {
		os.Add(kadm.Offset{Topic: tp.Topic, Partition: tp.Partition, At: at})
	}
	resps, err := c.adm.DeleteRecords(ctx, os)
	if err != nil {
		return fmt.Errorf("trim internal topics: %w", err)
	}
	var errs []error
	for _, r := range resps.Sorted() {
		if r.Err != nil && !errors.Is(r.Err, kerr.OffsetOutOfRange) {
			err := fmt.Errorf("trim %s/%d before %d: %w", r.Topic, r.Partition, before[partition.TopicPartition{Topic: r.Topic, Partition: r.Partition}], r.Err)
			errs = append(errs, denied(err, onTopic(Delete, r.Topic)))
		}
	}
	return errors.Join(errs...)
}

// Missing returns an error that names the topics of want which got lacks; nil where there is none.
func Missing(want []string, got map[string]TopicInfo) error {
	var missing []string
	for _, name := range want {
		if _, ok := got[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("%w: %v: the pipeline reads or writes what the cluster does not have; create it, or check the name and the right to describe it", ErrUnknownTopic, missing)
}
