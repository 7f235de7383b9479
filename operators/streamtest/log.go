// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"bytes"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// topic is a topic of the broker that there is not.
type topic struct {
	name       string
	partitions [][]entry
	arrived    []arrival // its records in the order of arrival, over all partitions
	unkeyed    int       // records without a key so far
	read       int       // how many of arrived Output.Read has returned
}

// entry is a record, or the marker that ends a transaction. Its offset is its index.
type entry struct {
	sequence   int64 // order of arrival over all topics
	time       operators.Time
	key, value []byte
	headers    []operators.Header
	marker     bool
	origin     partition.TaskID // of what a task has written
	control    bool             // it is an announcement
}

// arrival is where a record lies in a topic.
type arrival struct {
	partition int32
	offset    int64
}

func newTopic(name string, partitions int32) *topic {
	return &topic{name: name, partitions: make([][]entry, partitions)}
}

// partitionFor chooses the partition of a key; records without one go round.
func (t *topic) partitionFor(key []byte) int32 {
	if key == nil {
		t.unkeyed++
		return int32((t.unkeyed - 1) % len(t.partitions))
	}
	return partition.ForKey(key, int32(len(t.partitions)))
}

// partition names a partition of the topic.
func (t *topic) partition(p int32) partition.TopicPartition {
	return partition.TopicPartition{Topic: t.name, Partition: p}
}

func (t *topic) append(p int32, e entry) {
	t.arrived = append(t.arrived, arrival{p, int64(len(t.partitions[p]))})
	t.partitions[p] = append(t.partitions[p], e)
}

func (t *topic) mark(p int32, sequence int64) {
	t.partitions[p] = append(t.partitions[p], entry{sequence: sequence, marker: true})
}

func (t *topic) at(p arrival) *entry { return &t.partitions[p.partition][p.offset] }

// batch is what a task is given of a partition. It implements task.Batch.
type batch struct {
	tp      partition.TopicPartition
	first   int64
	entries []entry
	scratch *scratch
}

// Len implements task.Batch.
func (b *batch) Len() int { return len(b.entries) }

// First implements task.Batch.
func (b *batch) First() int64 { return b.first }

// Last implements task.Batch.
func (b *batch) Last() int64 { return b.first + int64(len(b.entries)) - 1 }

// TimeAt implements task.Batch.
func (b *batch) TimeAt(i int) operators.Time {
	if b.entries[i].marker {
		return operators.MinTime
	}
	return b.entries[i].time
}

// Record implements task.Batch. The slices are valid until the next call, as a fetch buffer's are.
func (b *batch) Record(i int, r *operators.Record) (bool, error) {
	e := &b.entries[i]
	b.scratch.scribble()
	*r = operators.Record{
		Topic: b.tp.Topic, Partition: b.tp.Partition, Offset: b.first + int64(i), Time: e.time,
		Key: b.scratch.copy(e.key), Value: b.scratch.copy(e.value), Headers: e.headers,
	}
	return !e.marker, nil
}

// scratch holds the bytes of the one record that a task processes.
type scratch struct{ buf []byte }

func (s *scratch) copy(b []byte) []byte {
	if len(b) == 0 {
		return cloneBytes(b)
	}
	at := len(s.buf)
	s.buf = append(s.buf, b...)
	return s.buf[at:len(s.buf):len(s.buf)]
}

// scribble makes rubbish of what was handed out.
func (s *scratch) scribble() {
	for i := range s.buf {
		s.buf[i] = 0xA5
	}
	s.buf = s.buf[:0]
}

// outbox takes what a task emits, until the commit. It implements operators.Output.
type outbox struct {
	d       *Driver
	task    partition.TaskID
	topics  []*topic // as SubTopology.Outputs
	buf     []byte
	emitted []emitted
	unkeyed int
}

type emitted struct {
	topic     *topic
	partition int32
	entry     entry
}

// Buffer implements operators.Output.
func (o *outbox) Buffer() []byte { return o.buf[:0] }

// Emit implements operators.Output.
func (o *outbox) Emit(e operators.Emission) {
	o.buf = e.Buf
	if e.Control {
		e.Headers = []operators.Header{{Key: operators.ControlHeader}}
	}
	r := emitted{topic: o.topics[e.Topic], partition: e.Partition, entry: entry{
		origin: o.task, control: e.Control, sequence: o.d.nextSequence(), time: e.Time, headers: cloneHeaders(e.Headers),
		key: cloneBytes(e.Key()), value: cloneBytes(e.Value()),
	}}
	switch n := int32(len(r.topic.partitions)); {
	case e.Partition >= 0:
	case r.entry.key == nil:
		r.partition = int32(o.unkeyed) % n
		o.unkeyed++
	default:
		r.partition = partition.ForKey(r.entry.key, n)
	}
	o.emitted = append(o.emitted, r)
}

// cloneBytes keeps the difference between null and empty.
func cloneBytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func cloneHeaders(headers []operators.Header) []operators.Header {
	if len(headers) == 0 {
		return nil
	}
	cloned := make([]operators.Header, len(headers))
	for i, h := range headers {
		cloned[i] = operators.Header{Key: h.Key, Value: bytes.Clone(h.Value)}
	}
	return cloned
}
