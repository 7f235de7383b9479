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
	"github.com/streamd/streamd/operators"
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
// What tasks have announced of themselves is left out: they say it again where the records are read anew. Without any there is
// no file.
func SaveChannel(ctx context.Context, cfg *config.Config, c Channel) (records int64, err error) {
	if c.From >= c.end() {
		return 0, nil
	}
	w, err := newChannelWriter(c.File)
	if err != nil {
		return 0, err
	}
	defer w.file.Close()
	err = readRange(ctx, cfg, c.Partition, [2]int64{c.From, c.end()}, func(r *kgo.Record) error {
		id, _, err := cutOrigin(r.Key)
		if err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		until, ok := c.Until[id]
		if !ok {
			return fmt.Errorf("offset %d: task %v wrote it, which is none that writes to the topic", r.Offset, id)
		}
		if r.Offset >= until || isAnnouncement(r) {
			return nil
		}
		return w.write(r)
	})
	if err == nil {
		err = w.w.Flush()
	}
	return w.records, err
}

// readRange hands over the committed records of a partition from the one offset on and below the other.
func readRange(ctx context.Context, cfg *config.Config, tp partition.TopicPartition, offsets [2]int64, take func(*kgo.Record) error) error {
	from, end := offsets[0], offsets[1]
	if from >= end {
		return nil
	}
	return readFrom(ctx, cfg, tp, from, func(b *Batch) (done bool, err error) {
		for _, r := range b.records {
			if r.Offset < end && !r.Attrs.IsControl() {
				if err := take(r); err != nil {
					return false, err
				}
			}
		}
		return b.Last()+1 >= end, nil
	})
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
	return c.each(func(rec *kgo.Record) error {
		rec.Topic, rec.Partition = c.Partition.Topic, c.Partition.Partition
		p.sent.Store(true)
		p.cl.Produce(ctx, rec, func(_ *kgo.Record, err error) {
			if err != nil {
				p.fail(err, 0)
			}
		})
		return nil
	})
}

// each hands over the records of the channel's file, which must be as many as it says.
func (c SavedChannel) each(take func(*kgo.Record) error) error {
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
		if err == nil {
			err = take(rec)
		}
		if err != nil {
			return err
		}
	}
}

// Rerouting divides the content of channels of one topic among another number of partitions.
type Rerouting struct {
	From, To  int32           // partitions of the topic
	Tasks     map[int32]int32 // how many tasks each sub-topology has afterwards
	Broadcast bool            // every partition holds the same
	Prefix    string          // of the files that are written
}

// Write reads the channels of the topic, in the order of their partitions, and writes each record to where its key leads
// now. A record of a task that there is no more counts as one of another task of the same sub-topology: it comes before all that this one writes.
func (re Rerouting) Write(channels []SavedChannel) ([]SavedChannel, error) {
	targets := make([]*channelWriter, re.To)
	defer func() {
		for _, t := range targets {
			if t != nil {
				t.file.Close()
			}
		}
	}()
	n := int32(0)
	for _, c := range channels {
		if re.Broadcast && re.From != re.To && c.Partition.Partition > 0 {
			continue // the state of the first task goes to all, so that what it had not seen does, too
		}
		err := c.each(func(rec *kgo.Record) error {
			n++
			return re.route(rec, c.Partition.Partition, n, func(p int32, rec *kgo.Record) error {
				if targets[p] == nil {
					t, err := newChannelWriter(fmt.Sprintf("%s.%d", re.Prefix, p))
					if err != nil {
						return err
					}
					targets[p] = t
				}
				return targets[p].write(rec)
			})
		})
		if err != nil {
			return nil, err
		}
	}
	var written []SavedChannel
	for p, t := range targets {
		if t == nil {
			continue
		}
		if err := t.w.Flush(); err != nil {
			return nil, err
		}
		written = append(written, SavedChannel{Partition: partition.TopicPartition{Partition: int32(p)}, File: t.file.Name(), Records: t.records})
	}
	return written, nil
}

// route hands a record to the partitions that it belongs to now. n numbers records without a key.
func (re Rerouting) route(rec *kgo.Record, at, n int32, put func(int32, *kgo.Record) error) error {
	id, key, err := cutOrigin(rec.Key)
	if err != nil {
		return err
	}
	tasks := re.Tasks[id.SubTopology]
	if id.Partition >= tasks && tasks > 0 {
		id.Partition %= tasks
		framed := append(appendOrigin(nil, id), key...)
		markNullKey(framed, key == nil)
		rec.Key = framed
	}
	switch {
	case re.From == re.To:
		return put(at, rec)
	case re.Broadcast:
		for p := range re.To {
			if err := put(p, rec); err != nil {
				return err
			}
		}
		return nil
	case key == nil:
		return put(n%re.To, rec)
	}
	return put(partition.ForKey(key, re.To), rec)
}

func isAnnouncement(rec *kgo.Record) bool {
	return len(rec.Headers) == 1 && rec.Headers[0].Key == operators.ControlHeader
}

// channelWriter writes a channel file.
type channelWriter struct {
	file    *os.File
	w       *bufio.Writer
	buf     []byte
	records int64
}

func newChannelWriter(path string) (*channelWriter, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &channelWriter{file: file, w: bufio.NewWriterSize(file, 1<<16)}, nil
}

func (c *channelWriter) write(r *kgo.Record) error {
	c.records++
	c.buf = appendRecord(c.buf[:0], r)
	_, err := c.w.Write(c.buf)
	return err
}

// Misplaced counts the records of a partition, in a range of offsets, whose keys do not lead there if the topic has so many
// partitions, and returns the offset of the first.
func Misplaced(ctx context.Context, cfg *config.Config, tp partition.TopicPartition, offsets [2]int64, partitions int32) (n, first int64, err error) {
	err = readRange(ctx, cfg, tp, offsets, func(r *kgo.Record) error {
		if r.Key != nil && partition.ForKey(r.Key, partitions) != tp.Partition {
			if n++; n == 1 {
				first = r.Offset
			}
		}
		return nil
	})
	return n, first, err
}
