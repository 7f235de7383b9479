// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
)

const (
	leastValue, mostValue = 100, 1000 // bytes
	// maxBacklog is how many records the generator is ahead of the engine at most: enough that the engine never waits, and
	// little enough that the topic stays small.
	maxBacklog = 100_000
)

// changes writes new values for keys at the pace of the engine, and knows which keys it has changed.
type changes struct {
	b     *bench
	topic string
	keys  uint64
	pool  []byte // bytes that cannot be compressed

	sent      atomic.Int64
	processed atomic.Int64 // by the engine, of what was sent

	mu      sync.Mutex
	changed []uint64 // bits, by key
	bytes   int64    // of the keys that are set there, with their values
	from    uint64   // the keys that are changed now are those from here on
	span    uint64
	fresh   uint64 // of these, how many have had their first change
}

func (b *bench) changes(topic string, state int64) *changes {
	c := &changes{b: b, topic: topic, pool: make([]byte, 1<<20)}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(c.pool) // it never fails
	const mean = (leastValue + mostValue) / 2
	c.keys = uint64(state) / (mean + 8)
	c.changed = make([]uint64, c.keys/64+1)
	return c
}

// valueBytes is the size of a key's values, the same for all of them.
func valueBytes(key uint64) int {
	return leastValue + int(key*0x9e3779b97f4a7c15>>32%(mostValue-leastValue+1))
}

// stateBytes is what keys and values have together when all are there.
func (c *changes) stateBytes() (total int64) {
	for k := range c.keys {
		total += int64(valueBytes(k)) + 8
	}
	return total
}

// move lets other keys change from now on: so many, after those of before.
func (c *changes) move(span uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from, c.span, c.fresh = (c.from+c.span)%c.keys, span, 0
}

// warm says whether almost all of the keys that change now have done so: the engine has read what they had.
func (c *changes) warm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fresh*20 >= c.span*19
}

// take returns how many bytes the keys have, with their values, that were changed since the last call.
func (c *changes) take() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.bytes
	clear(c.changed)
	c.bytes = 0
	return n
}

// next makes a value for one of the keys whose turn it is; in order, or for any of them.
func (c *changes) next(random *rand.Rand, inOrder bool) *kgo.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := uint64(c.sent.Add(1) - 1)
	if !inOrder {
		n = random.Uint64N(c.span)
	}
	k := (c.from + n) % c.keys
	size := valueBytes(k)
	if bit := uint64(1) << (k % 64); c.changed[k/64]&bit == 0 {
		c.changed[k/64] |= bit
		c.bytes += int64(size) + 8
		c.fresh++
	}
	at := random.IntN(len(c.pool) - size)
	// An odd factor: keys that change together lie far apart.
	key := binary.BigEndian.AppendUint64(nil, k*0x9e3779b97f4a7c15)
	return &kgo.Record{Topic: c.topic, Key: key, Value: c.pool[at : at+size], Partition: partition.ForKey(key, c.b.partitions)}
}

// run produces until ctx ends, or if load is set, a value for each key.
func (c *changes) run(ctx context.Context, load bool) error {
	cl, err := c.b.producer(kgo.MaxBufferedRecords(maxBacklog))
	if err != nil {
		return err
	}
	defer cl.Close()
	random := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var first atomic.Pointer[error]
	failed := func() error {
		if err := first.Load(); err != nil {
			return *err
		}
		return nil
	}
	for n := uint64(0); !load || n < c.keys; n++ {
		for c.backlog() >= maxBacklog {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
		if err := failed(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		cl.Produce(ctx, c.next(random, load), func(_ *kgo.Record, err error) {
			if err != nil && ctx.Err() == nil {
				first.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed()
}

// backlog is how many records the engine has before it.
func (c *changes) backlog() int64 { return c.sent.Load() - c.processed.Load() }
