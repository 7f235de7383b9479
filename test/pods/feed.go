// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
)

// feedTick is how often the pace is taken.
const feedTick = 10 * time.Millisecond

// feeder writes the input: a record for each key when it is told to, and records of random keys at a constant rate while it
// is on.
// Producing is idempotent, so that the input itself has neither gaps nor repetitions.
type feeder struct {
	opts *options
	cl   *kgo.Client
	rand *rand.Rand

	failed atomic.Pointer[error]
	mu     struct {
		sync.Mutex
		on   bool
		next []uint32 // by key: how many events it has had
		sent int64
	}
}

func newFeeder(o *options, brokers string) (*feeder, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("create the feeder: %w", err)
	}
	f := &feeder{opts: o, cl: cl, rand: rand.New(rand.NewPCG(o.Seed, 1))}
	f.mu.next = make([]uint32, o.keys())
	return f, nil
}

// fill writes one event of each key, as fast as it goes.
func (f *feeder) fill(ctx context.Context) error {
	for key := range f.opts.keys() {
		f.mu.Lock()
		f.sendLocked(ctx, key)
		f.mu.Unlock()
		if err := f.err(); err != nil {
			return err
		}
	}
	return f.flush(ctx)
}

// feed writes at the constant rate, while it is on, until ctx ends.
func (f *feeder) feed(ctx context.Context) {
	tick := time.NewTicker(feedTick)
	defer tick.Stop()
	due, last := 0.0, time.Now()
	for {
		select {
		case now := <-tick.C:
			// A machine that was away does not make up for more than a second.
			due = min(due+float64(f.opts.Rate)*now.Sub(last).Seconds(), float64(f.opts.Rate))
			last = now
		case <-ctx.Done():
			return
		}
		f.mu.Lock()
		if !f.mu.on {
			due = 0
		}
		for ; due >= 1; due-- {
			f.sendLocked(ctx, f.rand.Uint64N(uint64(len(f.mu.next))))
		}
		f.mu.Unlock()
	}
}

// start lets the load begin, or go on.
func (f *feeder) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.on = true
}

// pause stops the load and returns when all of it is acknowledged.
func (f *feeder) pause(ctx context.Context) error {
	f.mu.Lock()
	f.mu.on = false
	f.mu.Unlock()
	return f.flush(ctx)
}

func (f *feeder) flush(ctx context.Context) error {
	if err := f.cl.Flush(ctx); err != nil {
		return fmt.Errorf("write the input: %w", err)
	}
	return f.err()
}

func (f *feeder) err() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// sent is how many records were written.
func (f *feeder) sent() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.sent
}

func (f *feeder) sendLocked(ctx context.Context, key uint64) {
	f.mu.next[key]++
	f.mu.sent++
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+pairBytes), key)
	b = appendPair(b, key, uint64(f.mu.next[key]))
	f.cl.Produce(ctx, &kgo.Record{
		Topic: events, Partition: partition.ForKey(b[:8], int32(f.opts.Partitions)), Key: b[:8:8], Value: b[8:],
	}, func(_ *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("write the input: %w", err)
			f.failed.CompareAndSwap(nil, &err)
		}
	})
}
