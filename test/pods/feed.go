// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
)

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
		ends []int64  // by partition: the offset of the next record
		sent int64
		// offsets are, by key, those of its events. Only if there are queries.
		offsets [][]uint32
	}
}

func newFeeder(o *options, brokers string) (*feeder, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("create the feeder: %w", err)
	}
	f := &feeder{opts: o, cl: cl, rand: rand.New(rand.NewPCG(o.Seed, 1))}
	f.mu.next, f.mu.ends = make([]uint32, o.keys()), make([]int64, o.Partitions)
	if o.Queries > 0 {
		f.mu.offsets = make([][]uint32, o.keys())
	}
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
	paced(ctx, f.opts.Rate, func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for ; f.mu.on && n > 0; n-- {
			f.sendLocked(ctx, f.rand.Uint64N(uint64(len(f.mu.next))))
		}
	})
}

// paceTick is how often the pace is taken.
const paceTick = 10 * time.Millisecond

// paced says again and again how many are due at a rate per second, until ctx ends.
func paced(ctx context.Context, rate int, do func(n int)) {
	tick := time.NewTicker(paceTick)
	defer tick.Stop()
	due, last := 0.0, time.Now()
	for {
		select {
		case now := <-tick.C:
			// A machine that was away does not make up for more than a second.
			due = min(due+float64(rate)*now.Sub(last).Seconds(), float64(rate))
			last = now
		case <-ctx.Done():
			return
		}
		do(int(due))
		due -= math.Floor(due)
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
	p := f.partitionOf(b[:8])
	offset := f.mu.ends[p]
	f.mu.ends[p]++
	if f.mu.offsets != nil {
		f.mu.offsets[key] = append(f.mu.offsets[key], uint32(offset))
	}
	f.cl.Produce(ctx, &kgo.Record{Topic: events, Partition: p, Key: b[:8:8], Value: b[8:]}, func(r *kgo.Record, err error) {
		if err == nil && r.Offset != offset {
			err = fmt.Errorf("a record of %s/%d is at offset %d, expected %d: somebody else writes, too", events, p, r.Offset, offset)
		}
		if err != nil {
			err = fmt.Errorf("write the input: %w", err)
			f.failed.CompareAndSwap(nil, &err)
		}
	})
}

func (f *feeder) partitionOf(key []byte) int32 {
	return partition.ForKey(key, int32(f.opts.Partitions))
}

// newest is the place of the newest record of a key, and its number.
func (f *feeder) newest(key uint64) (place string, number uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	offsets := f.mu.offsets[key]
	return fmt.Sprintf("%s/%d@%d", events, f.partitionOf(binary.BigEndian.AppendUint64(nil, key)), offsets[len(offsets)-1]), uint64(len(offsets))
}

// countBelow is how many records of a key are below an offset.
func (f *feeder) countBelow(key uint64, offset int64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, _ := slices.BinarySearchFunc(f.mu.offsets[key], offset, func(o uint32, offset int64) int { return cmp.Compare(int64(o), offset) })
	return uint64(n)
}
