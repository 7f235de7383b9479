// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/partition"
)

// Cluster is a worker's connection for everything but records. Safe for concurrent use.
type Cluster struct {
	cfg *config.Config
	id  *identity
	cl  *kgo.Client
	adm *kadm.Client
}

// Connect opens a connection and proves that a broker answers.
func Connect(ctx context.Context, cfg *config.Config) (*Cluster, error) {
	id := identityOf(cfg)
	if err := id.checkFiles(); err != nil {
		return nil, fmt.Errorf("connect to kafka: %w", err)
	}
	opts, err := ClientOptions(cfg)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConcurrentTransactionsBackoff(txnBackoff))...)
	if err != nil {
		return nil, fmt.Errorf("connect to kafka: %w", err)
	}
	if err := cl.Ping(ctx); err != nil {
		cl.Close()
		return nil, fmt.Errorf("connect to kafka at %v: %w", cfg.Brokers, explain(cfg, err))
	}
	return &Cluster{cfg: cfg, id: id, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close ends the connection.
func (c *Cluster) Close() { c.cl.Close() }

// Committed is what a group has committed for one partition.
type Committed struct {
	Offset   int64 // -1: nothing is committed
	Metadata string
}

// StableOffsets returns the committed offsets of the group for the partitions, waiting until no open
// transaction holds any of them: an offset of an unfinished transaction is neither there nor not there.
func (c *Cluster) StableOffsets(ctx context.Context, group string, tps []partition.TopicPartition) (map[partition.TopicPartition]Committed, error) {
	req := offsetFetch(group, tps)
	req.RequireStable = true
	for {
		got, err := c.fetchOffsets(ctx, req)
		if !errors.Is(err, kerr.UnstableOffsetCommit) {
			return got, err
		}
		if err := Pause(ctx, unstablePoll); err != nil {
			return nil, fmt.Errorf("fetch stable offsets of group %s: an open transaction holds them: %w", group, err)
		}
	}
}

// CommittedOffsets returns what is committed now, without waiting for open transactions: to watch progress, not to
// resume from.
func (c *Cluster) CommittedOffsets(ctx context.Context, group string, tps []partition.TopicPartition) (map[partition.TopicPartition]Committed, error) {
	return c.fetchOffsets(ctx, offsetFetch(group, tps))
}

func offsetFetch(group string, tps []partition.TopicPartition) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	for topic, ps := range byTopic(tps) {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, ps
		req.Topics = append(req.Topics, t)
	}
	return req
}

// unstablePoll is how often a stable fetch asks again: well below the time a commit takes, and a request of a
// few bytes.
const unstablePoll = 10 * time.Millisecond

// fetchOffsets asks until the group's coordinator answers: on a new cluster it has to be made first.
func (c *Cluster) fetchOffsets(ctx context.Context, req *kmsg.OffsetFetchRequest) (got map[partition.TopicPartition]Committed, err error) {
	err = c.retry(ctx, func() error {
		got, err = c.fetchOffsetsOnce(ctx, req)
		return err
	})
	return got, err
}

// retry calls f again while its error is one that the broker says will pass, for as long as a request may take, and while
// brokers refuse connections, for as long as that may pass.
func (c *Cluster) retry(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(c.cfg.RequestTimeout)
	for {
		err := insist(ctx, c.cfg, f)
		var ke *kerr.Error
		if !errors.As(err, &ke) || !ke.Retriable || errors.Is(err, kerr.UnstableOffsetCommit) || time.Now().After(deadline) {
			return err
		}
		if Pause(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

func (c *Cluster) fetchOffsetsOnce(ctx context.Context, req *kmsg.OffsetFetchRequest) (map[partition.TopicPartition]Committed, error) {
	resp, err := req.RequestWith(ctx, c.cl)
	if err != nil {
		return nil, denied(fmt.Errorf("fetch offsets of group %s: %w", req.Group, err), onGroup(Read, req.Group))
	}
	code, topics := resp.ErrorCode, resp.Topics
	if len(resp.Groups) > 0 {
		code = resp.Groups[0].ErrorCode
		for _, t := range resp.Groups[0].Topics {
			topic := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition{
					Partition: p.Partition, Offset: p.Offset, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
				})
			}
			topics = append(topics, topic)
		}
	}
	got := map[partition.TopicPartition]Committed{}
	for _, t := range req.Topics { // what the answer leaves out is not committed
		for _, p := range t.Partitions {
			got[partition.TopicPartition{Topic: t.Topic, Partition: p}] = Committed{Offset: -1}
		}
	}
	err = kerr.ErrorForCode(code)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return got, nil
	}
	if err != nil {
		return nil, denied(fmt.Errorf("fetch offsets of group %s: %w", req.Group, err), onGroup(Read, req.Group))
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, denied(fmt.Errorf("fetch offset of %s/%d in group %s: %w", t.Topic, p.Partition, req.Group, err), onTopic(Read, t.Topic))
			}
			cm := Committed{Offset: p.Offset}
			if p.Metadata != nil {
				cm.Metadata = *p.Metadata
			}
			got[partition.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = cm
		}
	}
	return got, nil
}

// Members returns how many members the group of an application has.
func (c *Cluster) Members(ctx context.Context, app string) (int, error) {
	d, err := c.describeGroup(ctx, app)
	return len(d.Members), err
}

// OffsetCommit is one position to be committed, and what stands beside it.
type OffsetCommit struct {
	Partition partition.TopicPartition
	Offset    int64
	Metadata  string
}

// Fence aborts the open transactions of the application (ids that begin with prefix) whose ids are not in
// live, and returns the ids that it fenced. A dead worker's transaction so ends at once, not at its timeout.
func (c *Cluster) Fence(ctx context.Context, prefix string, live, remembered []string) ([]string, error) {
	alive := map[string]bool{}
	for _, id := range live {
		alive[id] = true
	}
	ids, err := c.openTransactions(ctx, prefix)
	if err != nil {
		ids = remembered // a broker without ListTransactions (before 3.0), or without the right to use it
	}
	var fenced []string
	for _, id := range ids {
		if alive[id] {
			continue
		}
		if err := c.initProducerID(ctx, id); err != nil {
			return fenced, denied(fmt.Errorf("fence transactional id %s: %w", id, err), onTransaction(id))
		}
		fenced = append(fenced, id)
	}
	return fenced, nil
}

// Settled says whether no transaction of ids with the prefix is open or still being ended: readers of committed records
// see all there is. A commit is confirmed before its markers are written. Brokers that cannot list transactions say
// nothing of it, and count as settled.
func (c *Cluster) Settled(ctx context.Context, prefix string) (bool, error) {
	open, err := c.openTransactions(ctx, prefix)
	if errors.Is(err, kerr.UnsupportedVersion) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return true, nil
	}
	return err == nil && len(open) == 0, err
}

func (c *Cluster) openTransactions(ctx context.Context, prefix string) ([]string, error) {
	var all kadm.ListedTransactions
	err := c.retry(ctx, func() (err error) {
		all, err = c.listOpen(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list transactions: %w", err)
	}
	var ids []string
	for _, t := range all.Sorted() {
		ended := t.State == "Empty" || t.State == "Dead" || strings.HasPrefix(t.State, "Complete") // a broker may not filter
		if strings.HasPrefix(t.TxnID, prefix) && !ended {
			ids = append(ids, t.TxnID)
		}
	}
	return ids, nil
}

func (c *Cluster) listOpen(ctx context.Context) (kadm.ListedTransactions, error) {
	return c.adm.ListTransactions(ctx, nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"})
}

// initProducerID takes over a transactional id: the broker raises its epoch and aborts what was open.
func (c *Cluster) initProducerID(ctx context.Context, id string) error {
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID = &id
		req.TransactionTimeoutMillis = int32(c.cfg.TransactionTimeout.Milliseconds())
		req.ProducerID, req.ProducerEpoch = -1, -1
		resp, err := req.RequestWith(ctx, c.cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		if err := Pause(ctx, txnBackoff); err != nil {
			return err
		}
	}
}

// txnBackoff is how long a request waits that came while the coordinator still completes the transaction
// before: completion takes a few milliseconds, and a longer wait would be seen in every commit.
const txnBackoff = 3 * time.Millisecond

// Pause waits, unless ctx ends: then it returns the cause.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func byTopic(tps []partition.TopicPartition) map[string][]int32 {
	m := map[string][]int32{}
	for _, tp := range tps {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}
