// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// Topic is an output of a sub-topology as it is on the cluster.
type Topic struct {
	Name       string
	Partitions int32
	Internal   bool   // a repartition topic: its records name the task that wrote them, see frame.go
	Muted      bool   // what is emitted is thrown away
	Step       string // that writes to it, for errors
}

const (
	outboxRecords    = 1024     // records are allocated by this many
	outboxChunkBytes = 64 << 10 // and their bytes by this much; a longer record has a chunk of its own
	recordBytes      = int64(unsafe.Sizeof(kgo.Record{}))
)

// Outbox takes what one task emits and hands it to the producer. It owns the memory of an epoch's records and
// uses it again once the epoch has ended: nothing is allocated per record. One goroutine at a time.
type Outbox struct {
	p       *Producer
	task    partition.TaskID
	origin  []byte // what the keys of repartition records begin with
	topics  []Topic
	promise func(*kgo.Record, error)

	records [][]kgo.Record // slabs of outboxRecords; all before cur are full
	cur, n  int
	chunks  [][]byte
	chunk   int // the one being filled
	emitted int64
	bytes   int64

	bytesBefore int64         // bytes when the epoch began
	controls    []*kgo.Record // announcements of the epoch
	hashed      func(key []byte, partitions int32) int32
}

// NewOutbox returns the outbox of a task that writes to topics, in the order of its sub-topology's outputs.
func NewOutbox(task partition.TaskID, topics []Topic) *Outbox {
	return &Outbox{task: task, origin: appendOrigin(nil, task), topics: topics, hashed: partition.ForKey}
}

// Use directs the outbox to a producer. Before the first record, and after the producer was replaced.
func (o *Outbox) Use(p *Producer) {
	o.p = p
	o.promise = func(r *kgo.Record, err error) {
		if err != nil {
			size := 0
			if isTooLarge(err) {
				size = len(r.Key) + len(r.Value)
			}
			p.fail(o.attributed(p, r, err), size)
		}
	}
}

// attributed names who wrote the record that a broker, or the client of p, did not take. The outbox may have another
// producer by now.
func (o *Outbox) attributed(p *Producer, r *kgo.Record, err error) error {
	who := "task " + o.task.String()
	for _, t := range o.topics {
		if t.Name == r.Topic && t.Step != "" {
			who += ", step " + t.Step
		}
	}
	hint := ""
	if isTooLarge(err) {
		hint = "; make it smaller, or raise produce.batch-bytes and the topic's max.message.bytes"
	}
	err = fmt.Errorf("%s: write a record of %d bytes to %s/%d: %w%s", who, len(r.Key)+len(r.Value), r.Topic, r.Partition, err, hint)
	return denied(err, onTopic(Write, r.Topic), onTransaction(p.id), idempotence)
}

func isTooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}

// Reset forgets the records of the epoch. Only after the producer has let go of them: flushed or aborted.
func (o *Outbox) Reset() {
	for i := range o.chunks {
		o.chunks[i] = o.chunks[i][:0]
	}
	o.records = keep(o.records, 2*o.cur+1)
	o.chunks = keep(o.chunks, 2*o.chunk+1)
	o.cur, o.n, o.chunk, o.bytesBefore = 0, 0, 0, o.bytes
	o.controls = o.controls[:0]
}

// keep lets go of what an epoch like the last one does not use: a burst must not be held for ever.
func keep[T any](list []T, n int) []T {
	if n >= len(list) {
		return list
	}
	clear(list[n:])
	return list[:n]
}

// Drop forgets the memory of the epoch altogether, where the producer may still hold records of it.
func (o *Outbox) Drop() {
	o.records, o.chunks, o.controls = nil, nil, nil
	o.cur, o.n, o.chunk, o.bytesBefore = 0, 0, 0, o.bytes
}

// Held returns the bytes of memory that the records of the epoch take so far.
func (o *Outbox) Held() int64 {
	return int64(o.cur*outboxRecords+o.n)*recordBytes + o.bytes - o.bytesBefore
}

// Emitted returns how many records and bytes were emitted since the outbox was made.
func (o *Outbox) Emitted() (records, bytes int64) { return o.emitted, o.bytes }

// Buffer implements operators.Output. Before what it returns lies the origin, so that a repartition record's key can
// begin with it at no cost.
func (o *Outbox) Buffer() []byte {
	for o.chunk < len(o.chunks) {
		if c := o.chunks[o.chunk]; cap(c)-len(c) >= outboxChunkBytes/16 {
			return o.behindOrigin(c)
		}
		o.chunk++
	}
	o.chunks = append(o.chunks, make([]byte, 0, outboxChunkBytes))
	return o.behindOrigin(o.chunks[o.chunk])
}

func (o *Outbox) behindOrigin(chunk []byte) []byte {
	b := append(chunk, o.origin...)
	return b[len(b):]
}

// Emit implements operators.Output.
func (o *Outbox) Emit(e operators.Emission) {
	t := &o.topics[e.Topic]
	if t.Muted {
		return
	}
	framed := o.take(e.Buf)
	r := o.next()
	*r = kgo.Record{Topic: t.Name, Partition: e.Partition, Timestamp: time.UnixMilli(e.Time)}
	value := e.Buf
	if e.KeyLen >= 0 {
		r.Key = e.Buf[:e.KeyLen:e.KeyLen]
		value = e.Buf[e.KeyLen:len(e.Buf):len(e.Buf)]
	}
	if !e.NullValue {
		r.Value = value
	}
	for _, h := range e.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if e.Partition < 0 {
		r.Partition = 0
		if e.KeyLen >= 0 {
			r.Partition = o.hashed(r.Key, t.Partitions)
		} else {
			r.Partition = int32(o.emitted % int64(t.Partitions))
		}
	}
	if t.Internal {
		if framed == nil {
			framed = append(slices.Clone(o.origin), r.Key...)
		}
		r.Key = framed[: len(o.origin)+len(r.Key) : len(o.origin)+len(r.Key)]
		markNullKey(r.Key, e.KeyLen < 0)
	}
	if e.Control {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: operators.ControlHeader})
		o.controls = append(o.controls, r)
	}
	o.send(r)
}

// take keeps what was written behind the last Buffer, and returns it with the origin before it. Nil: the record has
// outgrown the chunk and has memory of its own.
func (o *Outbox) take(buf []byte) []byte {
	c := o.chunks[o.chunk]
	begin, end := len(c)+len(o.origin), len(c)+len(o.origin)+len(buf)
	if end > cap(c) || len(buf) > 0 && &buf[0] != &c[:cap(c)][begin] {
		return nil
	}
	o.chunks[o.chunk] = c[:end]
	return c[len(c):end]
}

// Announced returns, by topic and partition, the offset of the newest announcement of the epoch. Valid after a flush
// that was confirmed, until Reset.
func (o *Outbox) Announced() map[string]map[int32]int64 {
	at := map[string]map[int32]int64{}
	for _, r := range o.controls {
		if at[r.Topic] == nil {
			at[r.Topic] = map[int32]int64{}
		}
		at[r.Topic][r.Partition] = r.Offset
	}
	return at
}

// Append produces one record to a partition: a changelog entry. The slices must stay unchanged until Reset.
// The result's offset is valid after a flush that was confirmed.
func (o *Outbox) Append(tp partition.TopicPartition, key, value []byte) *Appended {
	r := o.next()
	*r = kgo.Record{Topic: tp.Topic, Partition: tp.Partition, Key: key, Value: value}
	o.send(r)
	return &Appended{r}
}

// Appended is a record on its way.
type Appended struct{ r *kgo.Record }

// Offset of the record, once it was acknowledged.
func (a *Appended) Offset() int64 { return a.r.Offset }

func (o *Outbox) next() *kgo.Record {
	if o.cur == len(o.records) {
		o.records = append(o.records, make([]kgo.Record, outboxRecords))
	}
	r := &o.records[o.cur][o.n]
	if o.n++; o.n == outboxRecords {
		o.cur, o.n = o.cur+1, 0
	}
	return r
}

func (o *Outbox) send(r *kgo.Record) {
	o.emitted++
	o.bytes += int64(len(r.Key) + len(r.Value))
	if !o.p.sent.Load() {
		o.p.sent.Store(true)
	}
	o.p.cl.Produce(context.Background(), r, o.promise)
}
