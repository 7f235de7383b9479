// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
)

// feeder writes the input: half of the records to each topic, at a pace that makes them last until the scenario ends.
type feeder struct {
	run  *run
	cl   *kgo.Client
	rand *rand.Rand
	next [2][]uint64 // by topic: how many values each key has had

	// remaining is how long the scenario will take from now, in nanoseconds: what is left is spread over it.
	remaining atomic.Int64
	sent      atomic.Int64
	failed    atomic.Pointer[error]
}

var inputs = [2]string{clicks, orders}

// feedTick is how often the pace is taken.
const feedTick = 10 * time.Millisecond

func newFeeder(r *run) (*feeder, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.Broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("create the feeder: %w", err)
	}
	f := &feeder{run: r, cl: cl, rand: rand.New(rand.NewPCG(r.opts.Seed, 1))}
	for i := range f.next {
		f.next[i] = make([]uint64, r.opts.Keys)
	}
	return f, nil
}

// feed writes all records and returns when they are acknowledged. Producing is idempotent, so that the input itself
// has neither gaps nor repetitions.
func (f *feeder) feed(ctx context.Context) error {
	defer f.cl.Close()
	tick := time.NewTicker(feedTick)
	defer tick.Stop()
	due := 0.0
	for total := f.run.opts.Records; f.sent.Load() < total; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		left := total - f.sent.Load()
		if horizon := time.Duration(f.remaining.Load()); horizon > 0 {
			due += float64(left) * float64(feedTick) / float64(max(horizon, 2*time.Second))
		} else {
			due = float64(min(left, 20_000))
		}
		for ; due >= 1 && left > 0; due, left = due-1, left-1 {
			f.send()
		}
		if err := f.failed.Load(); err != nil {
			return *err
		}
	}
	if err := f.cl.Flush(ctx); err != nil {
		return fmt.Errorf("write the input: %w", err)
	}
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *feeder) send() {
	n := f.sent.Add(1)
	topic := int(n % 2)
	key := f.rand.Uint64N(f.run.opts.Keys)
	f.next[topic][key]++
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), key)
	b = binary.BigEndian.AppendUint64(b, f.next[topic][key])
	f.cl.Produce(context.Background(), &kgo.Record{
		Topic: inputs[topic], Partition: partition.ForKey(b[:8], int32(f.run.opts.Partitions)), Key: b[:8:8], Value: b[8:],
	}, func(_ *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("write the input: %w", err)
			f.failed.CompareAndSwap(nil, &err)
		}
	})
}
