// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/core"
)

// Producer is one transactional id, or an idempotent producer where the guarantee is at least once. It is
// driven by one goroutine; only [Outbox] may be used by others, each by one.
type Producer struct {
	cfg   *config.Config
	cl    *kgo.Client
	group string
	id    string // transactional; empty: at least once
	begun bool
	sent  atomic.Bool // any record was produced in this epoch; set by outboxes
	added bool        // offsets were added explicitly in this transaction (brokers before transaction.version 2)
	tv2   bool

	mu struct {
		sync.Mutex
		err  error // of the record of this epoch that has failed
		size int   // of that record, if it is too large
	}
}

// NewProducer takes the transactional id: any transaction that the id has open is over when this returns.
// An empty id gives a producer for at-least-once.
func NewProducer(ctx context.Context, cfg *config.Config, group, transactionalID string) (*Producer, error) {
	opts, err := ClientOptions(cfg)
	if err != nil {
		return nil, err
	}
	compression, err := compressionCodec(cfg.Compression)
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(compression),
		kgo.MaxBufferedRecords(1<<20),
		kgo.MaxBufferedBytes(int(cfg.ProduceBufferBytes)),
		kgo.ProducerBatchMaxBytes(int32(cfg.ProduceBatchBytes)),
		// Batches fill while records are processed; the commit's flush does not wait for the linger.
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.ConcurrentTransactionsBackoff(txnBackoff),
		kgo.RetryTimeoutFn(func(key int16) time.Duration {
			if key == int16(kmsg.OffsetCommit) {
				return time.Nanosecond // see commitPlain
			}
			return cfg.RequestTimeout
		}),
	)
	if transactionalID != "" {
		opts = append(opts, kgo.TransactionalID(transactionalID), kgo.TransactionTimeout(cfg.TransactionTimeout))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("create producer: %w", err)
	}
	p := &Producer{cfg: cfg, cl: cl, group: group, id: transactionalID}
	if err := p.init(ctx); err != nil {
		cl.CloseAllowingRebalance()
		return nil, err
	}
	return p, nil
}

func (p *Producer) init(ctx context.Context) error {
	if p.id == "" {
		return nil
	}
	if _, _, err := p.cl.ProducerID(ctx); err != nil {
		return denied(fmt.Errorf("take transactional id %s: %w", p.id, err), onTransaction(p.id))
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "streamd", "0"
	resp, err := req.RequestWith(ctx, p.cl)
	if err != nil {
		return fmt.Errorf("ask for the broker's features: %w", err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel >= 2 {
			p.tv2 = true
		}
	}
	return nil
}

// Close drops the client and whatever it has buffered. It ends no transaction: the next owner of the id does.
func (p *Producer) Close() {
	p.cl.UnsafeAbortBufferedRecords()
	p.cl.CloseAllowingRebalance()
}

// begin opens the transaction with the first record of an epoch.
func (p *Producer) begin() error {
	if p.begun || p.id == "" {
		return nil
	}
	if err := p.cl.BeginTransaction(); err != nil {
		return fmt.Errorf("begin transaction %s: %w", p.id, err)
	}
	p.begun = true
	return nil
}

// Begin opens the transaction of an epoch. It sends nothing: the broker hears of it with the first record.
func (p *Producer) Begin() error { return p.begin() }

// fail notes why a record has failed. The first counts. But a batch that is too large fails with all its records, of
// which the largest is to blame; size is that of the record, and 0 for other errors.
func (p *Producer) fail(err error, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err == nil || p.mu.size > 0 && size > p.mu.size {
		p.mu.err, p.mu.size = err, size
	}
}

func (p *Producer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.err
}

// Flush waits until every record of the epoch is acknowledged. An error that comes with Refused is final for the
// record that it names; other failures only end the epoch.
func (p *Producer) Flush(ctx context.Context) (core.Outcome, error) {
	// The client's own delivery timeout counts from a record's timestamp, which here is an event time.
	ctx, cancel := context.WithTimeout(ctx, p.cfg.TransactionTimeout)
	defer cancel()
	if err := p.cl.Flush(ctx); err != nil {
		return core.Unknown, fmt.Errorf("flush: %w", err)
	}
	err := p.failure()
	switch {
	case err == nil:
		return core.Confirmed, nil
	case isFenced(err):
		return core.Fenced, err
	case isFinal(err):
		return core.Refused, err
	}
	return core.Unknown, err
}

// CommitOffsets adds offsets to the transaction, or commits them where there is none.
func (p *Producer) CommitOffsets(ctx context.Context, memberID string, generation int32, commits []OffsetCommit) (core.Outcome, error) {
	if p.id == "" || !p.sent.Load() {
		// A transaction without a record would end without a word to the broker. Offsets alone are atomic
		// anyway, and the membership fences them: see commitPlain.
		return p.commitPlain(ctx, memberID, generation, commits)
	}
	return p.commitInTransaction(ctx, memberID, generation, commits)
}

func (p *Producer) commitInTransaction(ctx context.Context, memberID string, generation int32, commits []OffsetCommit) (core.Outcome, error) {
	pid, epoch, err := p.cl.ProducerID(ctx)
	if err != nil {
		return outcome(err), fmt.Errorf("commit offsets: %w", err)
	}
	if !p.tv2 && !p.added {
		if err := p.addOffsets(ctx, pid, epoch); err != nil {
			return outcome(err), err
		}
		p.added = true
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = p.id, p.group
	req.ProducerID, req.ProducerEpoch = pid, epoch
	req.Generation, req.MemberID = generation, memberID
	topics := map[string]int{}
	for i := range commits {
		oc := &commits[i]
		at, ok := topics[oc.Partition.Topic]
		if !ok {
			t := kmsg.NewTxnOffsetCommitRequestTopic()
			t.Topic = oc.Partition.Topic
			at = len(req.Topics)
			topics[t.Topic] = at
			req.Topics = append(req.Topics, t)
		}
		part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset, part.Metadata = oc.Partition.Partition, oc.Offset, &oc.Metadata
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, part)
	}
	for {
		err := p.txnOffsetCommit(ctx, req)
		if !errors.Is(err, kerr.ConcurrentTransactions) && !errors.Is(err, kerr.CoordinatorLoadInProgress) {
			return outcome(err), err
		}
		if err := Pause(ctx, txnBackoff); err != nil {
			return core.Unknown, err
		}
	}
}

func (p *Producer) txnOffsetCommit(ctx context.Context, req *kmsg.TxnOffsetCommitRequest) error {
	resp, err := req.RequestWith(ctx, p.cl)
	if err != nil {
		return denied(fmt.Errorf("commit offsets in transaction %s: %w", p.id, err), onGroup(Read, p.group), onTransaction(p.id))
	}
	for _, t := range resp.Topics {
		for _, part := range t.Partitions {
			if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
				err = fmt.Errorf("commit offset of %s/%d in transaction %s: %w", t.Topic, part.Partition, p.id, err)
				return denied(err, onGroup(Read, p.group), onTopic(Read, t.Topic), onTransaction(p.id))
			}
		}
	}
	return nil
}

func (p *Producer) addOffsets(ctx context.Context, pid int64, epoch int16) error {
	for {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.Group = p.id, p.group
		req.ProducerID, req.ProducerEpoch = pid, epoch
		resp, err := req.RequestWith(ctx, p.cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return denied(fmt.Errorf("add offsets of group %s to transaction %s: %w", p.group, p.id, err), onGroup(Read, p.group), onTransaction(p.id))
		}
		if err := Pause(ctx, txnBackoff); err != nil {
			return err
		}
	}
}

// commitPlain commits offsets without a transaction. No producer epoch protects it from a request of its own that was
// given up and is executed later: it would move the offsets back. Only a new membership does, for whose predecessor
// the group accepts nothing. So it is tried once, and an outcome that is not known counts as Fenced.
func (p *Producer) commitPlain(ctx context.Context, memberID string, generation int32, commits []OffsetCommit) (core.Outcome, error) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = p.group, memberID, generation
	topics := map[string]int{}
	for i := range commits {
		oc := &commits[i]
		at, ok := topics[oc.Partition.Topic]
		if !ok {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = oc.Partition.Topic
			at = len(req.Topics)
			topics[t.Topic] = at
			req.Topics = append(req.Topics, t)
		}
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset, part.Metadata = oc.Partition.Partition, oc.Offset, &oc.Metadata
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, part)
	}
	resp, err := req.RequestWith(ctx, p.cl)
	if err != nil {
		return core.Fenced, denied(fmt.Errorf("commit offsets of group %s: %w", p.group, err), onGroup(Read, p.group))
	}
	for _, t := range resp.Topics {
		for _, part := range t.Partitions {
			err := kerr.ErrorForCode(part.ErrorCode)
			if errors.Is(err, kerr.RequestTimedOut) || errors.Is(err, kerr.UnknownServerError) {
				return core.Fenced, fmt.Errorf("commit offset of %s/%d in group %s: %w", t.Topic, part.Partition, p.group, err)
			}
			if err != nil {
				err = fmt.Errorf("commit offset of %s/%d in group %s: %w", t.Topic, part.Partition, p.group, err)
				return outcome(err), denied(err, onGroup(Read, p.group), onTopic(Read, t.Topic))
			}
		}
	}
	return core.Confirmed, nil
}

// End commits or aborts the transaction. Only Confirmed says that it has ended as asked.
func (p *Producer) End(ctx context.Context, commit bool) (core.Outcome, error) {
	p.mu.Lock()
	p.mu.err, p.mu.size = nil, 0
	p.mu.Unlock()
	p.added = false
	p.sent.Store(false)
	if !p.begun {
		return core.Confirmed, nil
	}
	try := kgo.TryCommit
	if !commit {
		try = kgo.TryAbort
		if err := p.cl.AbortBufferedRecords(ctx); err != nil {
			return core.Unknown, fmt.Errorf("drop buffered records: %w", err)
		}
	}
	if err := p.cl.EndTransaction(ctx, try); err != nil {
		if isFenced(err) {
			return core.Fenced, fmt.Errorf("end transaction %s: %w", p.id, err)
		}
		return core.Unknown, fmt.Errorf("end transaction %s: %w", p.id, err)
	}
	p.begun = false
	return core.Confirmed, nil
}

// outcome reads what an error of an offset commit says. A transport error says nothing.
func outcome(err error) core.Outcome {
	var ke *kerr.Error
	switch {
	case err == nil:
		return core.Confirmed
	case isFenced(err):
		return core.Fenced
	case isOutdated(err):
		return core.Outdated
	case errors.As(err, &ke) && ke != kerr.UnknownServerError:
		return core.Refused
	}
	return core.Unknown
}

// isFenced says whether another producer holds the transactional id now.
func isFenced(err error) bool {
	for _, fence := range []error{kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.FencedInstanceID} {
		if errors.Is(err, fence) {
			return true
		}
	}
	return false
}

// isOutdated says whether the group has refused offsets for being in a later generation, or about to enter one.
func isOutdated(err error) bool {
	return errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress)
}

// isFinal says whether writing the same record again would fail again.
func isFinal(err error) bool {
	for _, final := range []error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.TopicAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.UnknownTopicOrPartition, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.InvalidTopicException,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

func compressionCodec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none", "":
		return kgo.NoCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), fmt.Errorf("compression %q is not known: use none, lz4, snappy or zstd", name)
}
