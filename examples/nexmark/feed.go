// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// feed produces events. Records and their bytes are carved out of slabs, many to an allocation: the client holds on to
// them until they are written.
type feed struct {
	client  *kgo.Client
	topics  []string // by kind
	records [3]int64 // by kind
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

func newFeed(client *kgo.Client, topics []string) *feed { return &feed{client: client, topics: topics} }

// send produces event n for a time. It waits only for room in the client's buffer.
func (f *feed) send(ctx context.Context, from *model.Generator, n, at int64) error {
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

func (f *feed) written(r *kgo.Record, err error) {
	if err != nil {
		err = fmt.Errorf("write to topic %s: %w", r.Topic, err)
		f.failed.CompareAndSwap(nil, &err)
	}
}

// err is the first failure.
func (f *feed) err() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// end waits until all is written.
func (f *feed) end() error {
	if err := f.client.Flush(context.Background()); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return f.err()
}
