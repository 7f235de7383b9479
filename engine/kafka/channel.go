// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// Channel is what is in flight in one partition of a repartition topic: the committed records from From on, of each
// upstream task those below an offset of its own.
type Channel struct {
	Partition partition.TopicPartition
	From      int64
	Until     map[partition.TaskID]int64 // by upstream task; each is the offset of a committed record
	File      string                     // where SaveChannel writes to
}

func (c Channel) end() int64 {
	end := int64(0)
	for _, until := range c.Until {
		end = max(end, until)
	}
	return end
}

// SaveChannel writes the records of a channel to its file, in the order of their offsets, and returns how many there are.
// Without any there is no file.
func SaveChannel(ctx context.Context, cfg *config.Config, c Channel) (records int64, err error) {
	if c.From >= c.end() {
		return 0, nil
	}
	file, err := os.Create(c.File)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	w := bufio.NewWriterSize(file, 1<<20)
	var buf []byte
	err = c.read(ctx, cfg, func(r *kgo.Record) error {
		id, _, err := cutOrigin(r.Key)
		if err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		until, ok := c.Until[id]
		if !ok {
			return fmt.Errorf("offset %d: task %v wrote it, which is none that writes to the topic", r.Offset, id)
		}
		if r.Offset >= until {
			return nil
		}
		records++
		buf = appendRecord(buf[:0], r)
		_, err = w.Write(buf)
		return err
	})
	if err == nil {
		err = w.Flush()
	}
	return records, err
}

// read hands over the committed records of the partition up to where all that is in flight has been seen.
func (c Channel) read(ctx context.Context, cfg *config.Config, take func(*kgo.Record) error) error {
	consumer, err := NewConsumer(cfg)
	if err != nil {
		return err
	}
	defer consumer.Close()
	consumer.Add(map[partition.TopicPartition]int64{c.Partition: c.From})
	end := c.end()
	for at := c.From; at < end; {
		batches, err := consumer.Poll(ctx, 10000)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, b := range batches {
			for _, r := range b.records {
				if r.Offset < end && !r.Attrs.IsControl() {
					if err := take(r); err != nil {
						return err
					}
				}
			}
			at = b.Last() + 1
		}
	}
	return nil
}

// A channel file is a sequence of records, each as its length and then
//
//	varint time    byte 1 if the value is null    key    value    uvarint headers    (key    value)*
//
// where keys and values are preceded by their lengths. The key begins with the record's origin.

const (
	maxSavedRecord = 1 << 30
	nullValueFlag  = 1
)

// errChannelFile marks a file that appendRecord has not written.
var errChannelFile = errors.New("not a file of records in flight")

func appendRecord(dst []byte, r *kgo.Record) []byte {
	var body []byte
	body = binary.AppendVarint(body, r.Timestamp.UnixMilli())
	flags := byte(0)
	if r.Value == nil {
		flags = nullValueFlag
	}
	body = append(body, flags)
	body = appendBytes(body, r.Key)
	body = appendBytes(body, r.Value)
	body = binary.AppendUvarint(body, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		body = appendBytes(body, []byte(h.Key))
		body = appendBytes(body, h.Value)
	}
	return appendBytes(dst, body)
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// readRecord reads what appendRecord has written; io.EOF at the end of the file.
func readRecord(r *bufio.Reader) (*kgo.Record, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > maxSavedRecord {
		return nil, fmt.Errorf("%w: a record of %d bytes", errChannelFile, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("%w: it ends within a record", errChannelFile)
	}
	return decodeRecord(body)
}

func decodeRecord(body []byte) (*kgo.Record, error) {
	ms, n := binary.Varint(body)
	if n <= 0 || n == len(body) {
		return nil, errChannelFile
	}
	rec := &kgo.Record{Timestamp: time.UnixMilli(ms)}
	null := body[n]&nullValueFlag != 0
	body, ok := body[n+1:], true
	if rec.Key, body, ok = takeBytes(body); !ok {
		return nil, errChannelFile
	}
	if rec.Value, body, ok = takeBytes(body); !ok {
		return nil, errChannelFile
	}
	if null {
		rec.Value = nil
	}
	headers, n := binary.Uvarint(body)
	if n <= 0 {
		return nil, errChannelFile
	}
	body = body[n:]
	for range headers {
		var key, value []byte
		if key, body, ok = takeBytes(body); ok {
			value, body, ok = takeBytes(body)
		}
		if !ok {
			return nil, errChannelFile
		}
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: string(key), Value: value})
	}
	if len(body) > 0 {
		return nil, errChannelFile
	}
	return rec, nil
}

func takeBytes(b []byte) (taken, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return b[n:end:end], b[end:], true
}

// SavedChannel is a channel's file, and where its records belong now.
type SavedChannel struct {
	Partition partition.TopicPartition
	File      string
	Records   int64
}

// produceChannels writes the records of channels to their partitions, in the order in which they were in flight, and
// waits until all are acknowledged.
func (p *Producer) produceChannels(ctx context.Context, channels []SavedChannel) (core.Outcome, error) {
	if len(channels) == 0 {
		return core.Confirmed, nil
	}
	if err := p.begin(); err != nil {
		return core.Unknown, err
	}
	for _, c := range channels {
		if err := p.produceChannel(ctx, c); err != nil {
			return core.Refused, fmt.Errorf("carry over what was in flight to %v: %w", c.Partition, err)
		}
	}
	return p.Flush(ctx)
}

func (p *Producer) produceChannel(ctx context.Context, c SavedChannel) error {
	file, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<20)
	for n := int64(0); ; n++ {
		rec, err := readRecord(r)
		if errors.Is(err, io.EOF) {
			if n != c.Records {
				return fmt.Errorf("%w: it has %d records, not %d", errChannelFile, n, c.Records)
			}
			return nil
		}
		if err != nil {
			return err
		}
		rec.Topic, rec.Partition = c.Partition.Topic, c.Partition.Partition
		p.sent.Store(true)
		p.cl.Produce(ctx, rec, func(_ *kgo.Record, err error) {
			if err != nil {
				p.fail(err, 0)
			}
		})
	}
}
