// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/fleet"
)

// watcher reads what is committed, checks each update against the one before, and notes when each partition had output.
type watcher struct {
	opts   *options
	faults *fleet.Faults
	cl     *kgo.Client

	mu struct {
		sync.Mutex
		counts   []uint32      // by key: the newest count
		faulty   []uint32      // by key: how many faults the state has counted
		arrivals [][]time.Time // by partition, in the order of time
		seen     int64
	}
}

func newWatcher(o *options, faults *fleet.Faults, brokers string) (*watcher, error) {
	w := &watcher{opts: o, faults: faults}
	w.mu.counts, w.mu.faulty = make([]uint32, o.keys()), make([]uint32, o.keys())
	w.mu.arrivals = make([][]time.Time, o.Partitions)
	from := map[int32]kgo.Offset{}
	for p := range int32(o.Partitions) {
		from[p] = kgo.NewOffset().AtStart()
	}
	var err error
	w.cl, err = kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{updates: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("create the watcher: %w", err)
	}
	return w, nil
}

// watch runs until ctx ends.
func (w *watcher) watch(ctx context.Context) {
	defer w.cl.Close()
	for ctx.Err() == nil {
		fetches := w.cl.PollRecords(ctx, 50_000)
		w.take(fetches, time.Now())
	}
}

func (w *watcher) take(fetches kgo.Fetches, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		w.mu.arrivals[p.Partition] = append(w.mu.arrivals[p.Partition], now)
		for _, r := range p.Records {
			w.checkLocked(r)
		}
	})
}

// checkLocked compares one record with what came before it.
func (w *watcher) checkLocked(r *kgo.Record) {
	w.mu.seen++
	fault := func(format string, args ...any) {
		w.faults.Add("%s/%d at offset %d: %s", r.Topic, r.Partition, r.Offset, fmt.Sprintf(format, args...))
	}
	u, err := updateCodec.Decode(r.Value)
	if err != nil || len(r.Key) != 8 {
		fault("a key of %d and a value of %d bytes: %v", len(r.Key), len(r.Value), err)
		return
	}
	key := binary.BigEndian.Uint64(r.Key)
	if want := partition.ForKey(r.Key, int32(w.opts.Partitions)); want != r.Partition || key >= uint64(len(w.mu.counts)) {
		fault("key %d belongs in partition %d", key, want)
		return
	}
	switch before := uint64(w.mu.counts[key]); {
	case u.Count <= before:
		fault("count %d of key %d follows %d: repeated, or out of order", u.Count, key, before)
	case u.Count > before+1:
		fault("count %d of key %d follows %d: updates between them are lost", u.Count, key, before)
	}
	if u.Faults != uint64(w.mu.faulty[key]) {
		fault("count %d of key %d came from a state that was not that of the count before", u.Count, key)
	}
	w.mu.counts[key], w.mu.faulty[key] = uint32(u.Count), uint32(u.Faults)
}

// seen is how many updates have come.
func (w *watcher) seen() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.seen
}

// arrivals returns when each partition had output from some time on.
func (w *watcher) arrivals(since time.Time) [][]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([][]time.Time, len(w.mu.arrivals))
	for p, times := range w.mu.arrivals {
		first, _ := slices.BinarySearchFunc(times, since, time.Time.Compare)
		all[p] = slices.Clone(times[first:])
	}
	return all
}

// compare says of the keys whose newest count is not what was written.
func (w *watcher) compare(written []uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, want := range written {
		if got := w.mu.counts[key]; got != want {
			w.faults.Add("output: the last count of key %d is %d, the input holds %d", key, got, want)
		}
	}
}
