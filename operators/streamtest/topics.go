// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// Input sends records to a topic that the pipeline reads.
type Input[K, V any] struct {
	d     *Driver
	topic string
	key   codec.Codec[K]
	value codec.Codec[V]
}

// In returns the input of a topic. The codecs must be those that the pipeline reads it with.
func (d *Driver) In[K, V any](topic string, key codec.Codec[K], value codec.Codec[V]) *Input[K, V] {
	d.t.Helper()
	src := d.source(topic)
	if src.KeyCodec != key.ID() {
		d.fail("In(%q): the pipeline reads its keys as %q, given is %q; SendRaw sends what does not decode", topic, src.KeyCodec, key.ID())
	}
	if src.ValueCodec != value.ID() {
		d.fail("In(%q): the pipeline reads its values as %q, given is %q; SendRaw sends what does not decode", topic, src.ValueCodec, value.ID())
	}
	return &Input[K, V]{d: d, topic: topic, key: key, value: value}
}

// source finds the user topic that a sub-topology reads, or a global table.
func (d *Driver) source(name string) topology.Source {
	d.t.Helper()
	var names []string
	for _, sub := range d.topology.SubTopologies {
		for _, src := range sub.Sources {
			if src.Internal {
				continue
			}
			if src.Topic == name {
				return src
			}
			names = append(names, src.Topic)
		}
	}
	for _, g := range d.topology.Globals {
		if g.Topic == name {
			return topology.Source{Topic: g.Topic, KeyCodec: g.KeyCodec, ValueCodec: g.ValueCodec}
		}
		names = append(names, g.Topic)
	}
	d.fail("pipeline %q does not read topic %q; it reads %s", d.topology.App, name, list(names))
	return topology.Source{}
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// Send sends a record with the time of the test.
func (in *Input[K, V]) Send(k K, v V) {
	in.d.t.Helper()
	in.SendAt(in.d.now, k, v)
}

// SendAt sends a record with a time of its own, of which Kafka keeps the milliseconds.
func (in *Input[K, V]) SendAt(at time.Time, k K, v V) {
	in.d.t.Helper()
	key, err := encode(in.key, k)
	if err != nil {
		in.d.fail("send to %q: encode key as %s: %v", in.topic, in.key.ID(), err)
	}
	value, err := encode(in.value, v)
	if err != nil {
		in.d.fail("send to %q: encode value as %s: %v", in.topic, in.value.ID(), err)
	}
	in.d.send(in.topic, entry{time: at.UnixMilli(), key: key, value: value})
}

// Delete sends a record with a null value and the time of the test: a tombstone, which deletes the key's row of a table.
func (in *Input[K, V]) Delete(k K) {
	in.d.t.Helper()
	in.DeleteAt(in.d.now, k)
}

// DeleteAt is Delete with a time of its own.
func (in *Input[K, V]) DeleteAt(at time.Time, k K) {
	in.d.t.Helper()
	key, err := encode(in.key, k)
	if err != nil {
		in.d.fail("send to %q: encode key as %s: %v", in.topic, in.key.ID(), err)
	}
	in.d.send(in.topic, entry{time: at.UnixMilli(), key: key})
}

// encode gives nil for the null of codec.Bytes, and only for that.
func encode[T any](c codec.Codec[T], v T) ([]byte, error) {
	if any(c) == any(codec.Bytes) && any(v).([]byte) == nil {
		return nil, nil
	}
	return c.Append([]byte{}, v)
}

// SendRaw sends bytes as they are, to a topic that the pipeline reads. A nil key or value is null.
func (d *Driver) SendRaw(topic string, key, value []byte, headers ...operators.Header) {
	d.t.Helper()
	d.source(topic)
	d.send(topic, entry{
		time: d.now.UnixMilli(), key: cloneBytes(key), value: cloneBytes(value), headers: cloneHeaders(headers),
	})
}

func (d *Driver) send(topic string, e entry) {
	e.sequence = d.nextSequence()
	t := d.topic(topic, false)
	t.append(t.partitionFor(e.key), e)
}

// Record is a record of an output topic.
type Record[K, V any] struct {
	Key       K
	Value     V
	Null      bool // the value is null: a tombstone
	Time      time.Time
	Partition int32
	Offset    int64
	Headers   []operators.Header
}

// Output reads a topic that the pipeline writes, as a read_committed reader does.
type Output[K, V any] struct {
	d     *Driver
	topic *topic
	key   codec.Codec[K]
	value codec.Codec[V]
}

// Out returns the output of a topic.
func (d *Driver) Out[K, V any](topic string, key codec.Codec[K], value codec.Codec[V]) *Output[K, V] {
	d.t.Helper()
	names := d.outputs()
	if !slices.Contains(names, topic) {
		d.fail("pipeline %q does not write topic %q; it writes %s", d.topology.App, topic, list(names))
	}
	return &Output[K, V]{d: d, topic: d.topic(topic, false), key: key, value: value}
}

// outputs returns the user topics that the pipeline writes.
func (d *Driver) outputs() []string {
	var names []string
	for _, sub := range d.topology.SubTopologies {
		for _, sink := range sub.Outputs {
			if !sink.Internal {
				names = append(names, sink.Topic)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Read returns the committed records of the topic that no Read of it has returned before, in the order in which the
// pipeline emitted them, commit by commit. For each key that is the order of offsets.
func (o *Output[K, V]) Read() []Record[K, V] {
	o.d.t.Helper()
	records := make([]Record[K, V], 0, len(o.topic.arrived)-o.topic.read)
	for _, p := range o.topic.arrived[o.topic.read:] {
		r, err := o.decode(p)
		if err != nil {
			o.d.fail("%v", err)
		}
		records = append(records, r)
	}
	o.topic.read = len(o.topic.arrived)
	return records
}

func (o *Output[K, V]) decode(p arrival) (Record[K, V], error) {
	e := o.topic.at(p)
	r := Record[K, V]{Time: time.UnixMilli(e.time).UTC(), Partition: p.partition, Offset: p.offset, Headers: e.headers}
	var err error
	if r.Key, err = decodeKey(o.key, e.key); err != nil {
		return r, fmt.Errorf("read %s/%d at offset %d: decode key %s as %s: %w", o.topic.name, p.partition, p.offset, show(e.key), o.key.ID(), err)
	}
	if r.Null = e.value == nil; r.Null {
		return r, nil
	}
	if r.Value, err = o.value.Decode(e.value); err != nil {
		return r, fmt.Errorf("read %s/%d at offset %d: decode value %s as %s: %w", o.topic.name, p.partition, p.offset, show(e.value), o.value.ID(), err)
	}
	return r, nil
}

func decodeKey[K any](c codec.Codec[K], b []byte) (K, error) {
	if b == nil && any(c) != any(codec.Bytes) {
		var zero K
		return zero, fmt.Errorf("it is null, which only codec.Bytes can read")
	}
	return c.Decode(b)
}

// ReadTable returns the newest value of each key of all committed records: the topic seen as a table. A null value
// removes its key, and records without a key do not count. It leaves alone what Read returns.
func ReadTable[K comparable, V any](o *Output[K, V]) map[K]V {
	o.d.t.Helper()
	table := map[K]V{}
	for _, p := range o.topic.arrived {
		e := o.topic.at(p)
		if e.key == nil {
			continue
		}
		if e.value == nil {
			k, err := o.key.Decode(e.key)
			if err != nil {
				o.d.fail("read %s/%d at offset %d: decode key %s as %s: %v", o.topic.name, p.partition, p.offset, show(e.key), o.key.ID(), err)
			}
			delete(table, k)
			continue
		}
		r, err := o.decode(p)
		if err != nil {
			o.d.fail("%v", err)
		}
		table[r.Key] = r.Value
	}
	return table
}
