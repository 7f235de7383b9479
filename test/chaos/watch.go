// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
)

// watcher reads what is committed, checks each update against the one before, and notes when partitions that somebody
// waits for have output again.
type watcher struct {
	run    *run
	cl     *kgo.Client
	counts []uint64 // by key: the newest count
	steps  []uint64 // by key: its newest update within its group
	totals []total  // by group
	seen   atomic.Int64

	mu struct {
		sync.Mutex
		next    map[partition.TopicPartition]int64
		awaited map[partition.TopicPartition]*comeback
	}
}

// comeback is the wait for output of one partition at or beyond an offset.
type comeback struct {
	from int64
	at   time.Time
	done chan struct{}
}

func newWatcher(r *run) (*watcher, error) {
	w := &watcher{run: r, counts: make([]uint64, r.opts.Keys), steps: make([]uint64, r.opts.Keys), totals: make([]total, r.opts.Groups)}
	w.mu.next = map[partition.TopicPartition]int64{}
	w.mu.awaited = map[partition.TopicPartition]*comeback{}
	from := map[string]map[int32]kgo.Offset{}
	for _, t := range []string{counts, totals} {
		from[t] = map[int32]kgo.Offset{}
		for p := range int32(r.opts.Partitions) {
			from[t][p] = kgo.NewOffset().AtStart()
		}
	}
	var err error
	w.cl, err = kgo.NewClient(kgo.SeedBrokers(r.Broker.Addr()), kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
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
		now := time.Now()
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) == 0 {
				return
			}
			w.arrived(partition.TopicPartition{Topic: p.Topic, Partition: p.Partition}, p.Records, now)
			for _, r := range p.Records {
				if !r.Attrs.IsControl() {
					w.check(r)
				}
			}
			w.mu.Lock()
			w.mu.next[partition.TopicPartition{Topic: p.Topic, Partition: p.Partition}] = p.Records[len(p.Records)-1].Offset + 1
			w.mu.Unlock()
		})
	}
}

// arrived ends the wait for a partition.
func (w *watcher) arrived(tp partition.TopicPartition, records []*kgo.Record, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.mu.awaited[tp]
	if c == nil {
		return
	}
	for _, r := range records {
		if r.Offset >= c.from && !r.Attrs.IsControl() {
			c.at = now
			close(c.done)
			delete(w.mu.awaited, tp)
			return
		}
	}
}

// await waits for output of a partition at or beyond an offset. The time is in the result once it is done.
func (w *watcher) await(tp partition.TopicPartition, from int64) *comeback {
	c := &comeback{from: from, done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.awaited[tp] = c
	return c
}

// reached says whether everything below ends was read.
func (w *watcher) reached(ends map[partition.TopicPartition]int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for tp, end := range ends {
		if w.mu.next[tp] < end {
			return false
		}
	}
	return true
}

// check compares one record with what came before it.
func (w *watcher) check(r *kgo.Record) {
	w.seen.Add(1)
	if len(r.Key) != 8 {
		w.fault(r, "key of %d bytes", len(r.Key))
		return
	}
	key := binary.BigEndian.Uint64(r.Key)
	if want := partition.ForKey(r.Key, int32(w.run.opts.Partitions)); want != r.Partition {
		w.fault(r, "key %d belongs in partition %d", key, want)
	}
	if r.Topic == counts {
		w.checkCount(r, key)
		return
	}
	w.checkTotal(r, key)
}

func (w *watcher) fault(r *kgo.Record, format string, args ...any) {
	w.run.Faults.Add("%s/%d at offset %d: %s", r.Topic, r.Partition, r.Offset, fmt.Sprintf(format, args...))
}

func kindOf(before, now uint64) string {
	if now <= before {
		return "repeated, or out of order"
	}
	return "updates between them are lost"
}

func (w *watcher) checkCount(r *kgo.Record, key uint64) {
	if key >= uint64(len(w.counts)) || len(r.Value) != 8 {
		w.fault(r, "key %d with a value of %d bytes", key, len(r.Value))
		return
	}
	n := binary.BigEndian.Uint64(r.Value) ^ 1<<63 // codec.Int64 keeps the order of signed numbers
	if before := w.counts[key]; n != before+1 {
		w.fault(r, "count %d of key %d follows %d: %s", n, key, before, kindOf(before, n))
	}
	w.counts[key] = n
}

func (w *watcher) checkTotal(r *kgo.Record, group uint64) {
	t, err := totalCodec.Decode(r.Value)
	if err != nil || group >= uint64(len(w.totals)) || t.Key >= uint64(len(w.steps)) {
		w.fault(r, "group %d, key %d: %v", group, t.Key, err)
		return
	}
	if before := w.totals[group].Updates; t.Updates != before+1 {
		w.fault(r, "update %d of group %d follows %d: %s", t.Updates, group, before, kindOf(before, t.Updates))
	}
	if before := w.steps[t.Key]; t.Count != before+1 {
		w.fault(r, "update %d of key %d in group %d follows %d: %s", t.Count, t.Key, group, before, kindOf(before, t.Count))
	}
	if t.Faults != w.totals[group].Faults {
		w.fault(r, "group %d has seen %d values out of their key's order", group, t.Faults)
	}
	w.totals[group], w.steps[t.Key] = t, t.Count
}
