// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// FeedOptions are what the client of a Feed needs beside its connection: keys go to partitions as Kafka's own producers
// send them.
func FeedOptions() []kgo.Opt {
	return []kgo.Opt{kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(100_000)}
}

// Feed produces events. Records and their bytes are carved out of slabs, many to an allocation: the client holds on to
// them until they are written. A Feed is for one goroutine.
type Feed struct {
	client  *kgo.Client
	topics  []string // by kind
	records []int64  // by kind
	bytes   int64    // of values
	failed  atomic.Pointer[error]

	free []kgo.Record
	room []byte
}

const (
	slabRecords = 256
	slabBytes   = 128 << 10
	// largestEvent is more than the key and value of any event take.
	largestEvent = 4 << 10
)

// NewFeed returns a feed of topics that exist.
func NewFeed(client *kgo.Client, topics model.Topics) *Feed {
	all := topics.All()
	return &Feed{client: client, topics: all, records: make([]int64, len(all))}
}

// Send produces event n for a time, in Unix milliseconds. It waits only for room in the client's buffer. The error may be
// of an earlier event.
func (f *Feed) Send(ctx context.Context, from *model.Generator, n, at int64) error {
	if cap(f.room)-len(f.room) < largestEvent {
		f.room = make([]byte, 0, slabBytes)
	}
	if len(f.free) == 0 {
		f.free = make([]kgo.Record, slabRecords)
	}
	const keyBytes = 8
	begin := len(f.room)
	key, buf, err := from.AppendValue(f.room[:begin+keyBytes], n, at)
	if err != nil {
		return fmt.Errorf("encode event %d: %w", n, err)
	}
	binary.BigEndian.PutUint64(buf[begin:], uint64(key))
	f.room = buf
	kind := model.KindOf(n)
	r := &f.free[0]
	f.free = f.free[1:]
	r.Topic, r.Timestamp = f.topics[kind], time.UnixMilli(at)
	r.Key, r.Value = buf[begin:begin+keyBytes:begin+keyBytes], buf[begin+keyBytes:len(buf):len(buf)]
	f.records[kind]++
	f.bytes += int64(len(r.Value))
	f.client.Produce(ctx, r, f.written)
	return f.err()
}

// Fill produces the events from number 0 to, and without, number n with the times of their generator, and waits until
// they are written.
func (f *Feed) Fill(ctx context.Context, from *model.Generator, n int64) error {
	for i := range n {
		if err := f.Send(ctx, from, i, from.Time(i)); err != nil {
			return err
		}
	}
	return f.End()
}

func (f *Feed) written(r *kgo.Record, err error) {
	if err != nil {
		err = fmt.Errorf("write to topic %s: %w", r.Topic, err)
		f.failed.CompareAndSwap(nil, &err)
	}
}

// err is the first failure.
func (f *Feed) err() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// End waits until all is written.
func (f *Feed) End() error {
	if err := f.client.Flush(context.Background()); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return f.err()
}

// Sent returns how many records went to each topic, and the bytes of their values.
func (f *Feed) Sent() (records map[string]int64, bytes int64) {
	records = map[string]int64{}
	for kind, n := range f.records {
		records[f.topics[kind]] = n
	}
	return records, f.bytes
}
