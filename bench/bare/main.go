// SPDX-License-Identifier: Apache-2.0

// Command bare is a measuring stick for bench: the keyed count as one would write it by hand for one process that
// never fails. Transactions, a Go map per partition in front of Pebble, a changelog of what each commit changed. It has
// no group, commits no offsets, recovers nothing and checks nothing: what an engine takes beyond it is the price of those.
//
//	bare keyedcount --in T --out T2 --brokers H:P [--bounded] [--commit 100ms] [--coalesce]
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	fs := flag.NewFlagSet("bare", flag.ExitOnError)
	in, out := fs.String("in", "", "input topic"), fs.String("out", "", "output topic")
	brokers := fs.String("brokers", "127.0.0.1:9092", "brokers")
	commit := fs.Duration("commit", 100*time.Millisecond, "commit interval")
	coalesce := fs.Bool("coalesce", false, "write each changed key once per commit")
	fs.Bool("bounded", true, "it always ends at the end of the input")
	if len(os.Args) < 2 || os.Args[1] != "keyedcount" || fs.Parse(os.Args[2:]) != nil {
		fmt.Fprintln(os.Stderr, "usage: bare keyedcount --in T --out T2 --brokers H:P")
		os.Exit(2)
	}
	l := &loop{in: *in, out: *out, changelog: *out + "-bare-changelog", interval: *commit, coalesce: *coalesce}
	if err := l.run(context.Background(), strings.Split(*brokers, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

// loop is the whole program.
type loop struct {
	in, out, changelog string
	interval           time.Duration
	coalesce           bool
	producer           *kgo.Client
	shards             map[int32]*shard
}

// shard is one partition.
type shard struct {
	l       *loop
	number  int32
	counts  map[uint64]uint64
	changed map[uint64]struct{}
	db      *pebble.DB
}

func (l *loop) run(ctx context.Context, brokers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, l.in)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l.shards = map[int32]*shard{}
	from, left := map[int32]kgo.Offset{}, int64(0)
	for p, end := range ends[l.in] {
		s := &shard{l: l, number: p, counts: map[uint64]uint64{}, changed: map[uint64]struct{}{}}
		if s.db, err = pebble.Open(filepath.Join(dir, strconv.Itoa(int(p))), &pebble.Options{DisableWAL: true, MemTableSize: 16 << 20}); err != nil {
			return err
		}
		defer s.db.Close()
		l.shards[p], from[p], left = s, kgo.NewOffset().AtStart(), left+end.Offset
	}
	if _, err := admin.CreateTopic(ctx, int32(len(from)), 1, nil, l.changelog); err != nil {
		return err
	}
	if l.producer, err = kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(l.out+"-bare"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(1<<20), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchCompression(kgo.Lz4Compression())); err != nil {
		return err
	}
	defer l.producer.Close()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.in: from}))
	if err != nil {
		return err
	}
	defer consumer.Close()
	return l.drain(ctx, consumer, left)
}

// drain reads, counts and commits until nothing is left.
func (l *loop) drain(ctx context.Context, consumer *kgo.Client, left int64) error {
	fmt.Fprintln(os.Stderr, "READY")
	if err := l.producer.BeginTransaction(); err != nil {
		return err
	}
	for began := time.Now(); ; {
		fetches := consumer.PollRecords(ctx, 10_000)
		if errs := fetches.Errors(); len(errs) > 0 {
			return errs[0].Err
		}
		left -= int64(fetches.NumRecords())
		var all sync.WaitGroup
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			all.Go(func() { l.shards[p.Partition].count(p.Records) })
		})
		all.Wait()
		if left > 0 && time.Since(began) < l.interval {
			continue
		}
		if err := l.commit(ctx); err != nil || left <= 0 {
			return err
		}
		if err := l.producer.BeginTransaction(); err != nil {
			return err
		}
		began = time.Now()
	}
}

func (l *loop) commit(ctx context.Context) error {
	batches, failed := make([]*pebble.Batch, len(l.shards)), make([]error, len(l.shards))
	var all sync.WaitGroup
	for p, s := range l.shards {
		all.Go(func() { batches[p], failed[p] = s.encode() })
	}
	all.Wait()
	if err := errors.Join(append(failed, l.producer.Flush(ctx))...); err != nil {
		return err
	}
	if err := l.producer.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	for p, s := range l.shards {
		all.Go(func() { failed[p] = s.db.Apply(batches[p], pebble.NoSync) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// count takes records of the shard's partition.
func (s *shard) count(records []*kgo.Record) {
	for _, r := range records {
		key := binary.BigEndian.Uint64(r.Value)
		s.counts[key]++ // everything fits into memory, so Pebble is only written
		s.changed[key] = struct{}{}
		if !s.l.coalesce {
			s.write(s.l.out, key)
		}
	}
}

// encode writes what has changed to the changelog, and to a batch for Pebble.
func (s *shard) encode() (*pebble.Batch, error) {
	batch := s.db.NewBatch()
	for key := range s.changed {
		if s.l.coalesce {
			s.write(s.l.out, key)
		}
		if err := batch.Set(s.write(s.l.changelog, key), binary.BigEndian.AppendUint64(nil, s.counts[key]), nil); err != nil {
			return nil, err
		}
	}
	clear(s.changed)
	return batch, nil
}

// write sends the present count of a key and returns the encoded key.
func (s *shard) write(topic string, key uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), key)
	b = binary.BigEndian.AppendUint64(b, s.counts[key])
	s.l.producer.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: s.number, Key: b[:8:8], Value: b[8:]}, nil)
	return b[:8]
}
