// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
)

func (b *bench) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(b.brokers, ",")...)}, opts...)...)
}

// producer is a client that writes records to the partitions that they name.
func (b *bench) producer(opts ...kgo.Opt) (*kgo.Client, error) {
	return b.client(append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
}

func (b *bench) admin() (*kadm.Client, error) {
	cl, err := b.client()
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

func (b *bench) createTopic(ctx context.Context, name string) error {
	adm, err := b.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	_, err = adm.CreateTopic(ctx, b.partitions, 1, nil, name)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

// source makes the records of an input: the key is the first 8 bytes of the value, the rest cannot be compressed.
type source struct {
	b     *bench
	topic string
	rand  *rand.Rand
	next  uint64
}

func (b *bench) source(topic string) *source {
	return &source{b: b, topic: topic, rand: rand.New(rand.NewPCG(1, 2))}
}

// record makes the next record; distinct: with a key that was not there before.
func (s *source) record(distinct bool) *kgo.Record {
	value := make([]byte, s.b.size)
	for i := 8; i+8 <= len(value); i += 8 {
		binary.LittleEndian.PutUint64(value[i:], s.rand.Uint64())
	}
	key := s.next * 0x9e3779b97f4a7c15 // odd, so that no two are equal, and in no order
	if !distinct {
		key = s.rand.Uint64N(s.b.keys)
	}
	s.next++
	binary.BigEndian.PutUint64(value, key)
	return &kgo.Record{Topic: s.topic, Key: value[:8:8], Value: value, Partition: partition.ForKey(value[:8], s.b.partitions)}
}

// load fills a topic with n records. One that an earlier run has filled on the same broker is used again.
func (b *bench) load(ctx context.Context, topic string, n int64, distinct bool) error {
	if err := b.createTopic(ctx, topic); err != nil {
		return err
	}
	switch held, err := b.held(ctx, topic); {
	case err != nil:
		return err
	case held == n:
		say("using the %d records in %s", n, topic)
		return nil
	case held != 0:
		return fmt.Errorf("topic %s holds %d records, expected %d: an earlier run was interrupted; delete the topic", topic, held, n)
	}
	cl, err := b.producer(kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	say("loading %d records of %d bytes into %s", n, b.size, topic)
	var failed error
	s := b.source(topic)
	for range n {
		cl.Produce(ctx, s.record(distinct), func(_ *kgo.Record, err error) {
			if err != nil && failed == nil { // promises run one after the other
				failed = err
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed
}

// held is the number of records, and of transaction markers, in a topic.
func (b *bench) held(ctx context.Context, topic string) (n int64, err error) {
	adm, err := b.admin()
	if err != nil {
		return 0, err
	}
	defer adm.Close()
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("look up the end of topic %s: %w", topic, err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}

// sizes adds up the bytes on the broker of topics by what they are to the application.
type sizes struct{ Output, Changelog, Repartition int64 }

func (b *bench) sizes(ctx context.Context, app, out string) (s sizes, err error) {
	adm, err := b.admin()
	if err != nil {
		return s, err
	}
	defer adm.Close()
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return s, fmt.Errorf("measure topics: %w", err)
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			switch {
			case p.Topic == out:
				s.Output += p.Size
			case strings.HasPrefix(p.Topic, app+"-") && strings.HasSuffix(p.Topic, "-changelog"):
				s.Changelog += p.Size
			case strings.HasPrefix(p.Topic, app+"-") && strings.HasSuffix(p.Topic, "-repartition"):
				s.Repartition += p.Size
			}
		})
	})
	return s, nil
}

// deleteTopics removes what a run has left, so that runs do not disturb each other.
func (b *bench) deleteTopics(ctx context.Context, app string) error {
	adm, err := b.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, name := range all.Names() {
		if strings.HasPrefix(name, app) {
			names = append(names, name)
		}
	}
	_, err = adm.DeleteTopics(ctx, names...)
	return err
}

// produceAt sends records at a steady rate, each stamped with the time at which it should have been sent, so that a
// late generator does not hide latency.
func (b *bench) produceAt(ctx context.Context, topic string, rate int, lasts time.Duration) error {
	cl, err := b.producer(kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer cl.Close()
	s, began := b.source(topic), time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var failed error
	for sent, total := 0, int(lasts.Seconds()*float64(rate)); sent < total; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for due := min(total, int(time.Since(began).Seconds()*float64(rate))); sent < due; sent++ {
			r := s.record(false)
			r.Timestamp = began.Add(time.Duration(float64(sent) / float64(rate) * float64(time.Second)))
			cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil && failed == nil {
					failed = err
				}
			})
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed
}
