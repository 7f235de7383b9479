// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// SourceOption is an option of From.
type SourceOption func(*sourceOptions)

type sourceOptions struct {
	rules      rules
	name       string // of a table's store; "": the topic's
	eventTime  any    // func(K, V) time.Time
	outOfOrder time.Duration
	processing bool           // ProcessingTime
	history    *time.Duration // of a versioned table
}

// EventTime takes a record's time from its content instead of its Kafka timestamp. K and V are those of the source.
func EventTime[K, V any](of func(K, V) time.Time) SourceOption {
	return func(o *sourceOptions) { o.eventTime = of }
}

// ProcessingTime makes the time of a record that at which it is processed, by the worker's clock, and lets event time follow
// that clock: windows close when the clock says so, whether records come or not. Results then differ from run to run, also
// after a crash. Time never goes back, even where the clock does.
func ProcessingTime() SourceOption {
	return func(o *sourceOptions) { o.processing = true }
}

// OutOfOrder says by how much event time a record may come after a newer one of its partition without being late.
// The default is zero: within a partition time never goes back. A larger bound makes windows close that much later.
func OutOfOrder(d time.Duration) SourceOption {
	return func(o *sourceOptions) { o.outOfOrder = d }
}

// OnDecodeError says what a source does with a record whose key or value does not decode, or has no EventTime because that
// panics; the default is what Pipeline.OnError says. A null key or value counts as one, unless its codec is codec.Bytes.
func OnDecodeError(policy ErrorPolicy, when ...Condition) SourceOption {
	return func(o *sourceOptions) { o.rules = o.rules.with(policy, when) }
}

// From reads a topic.
func From[K, V any](p *Pipeline, topic string, key codec.Codec[K], value codec.Codec[V], opts ...SourceOption) Stream[K, V] {
	return FromTopics(p, []string{topic}, key, value, opts...)
}

// FromTopics reads several topics of one format as one stream. If a step with state hangs on it they must have
// equal partition counts.
func FromTopics[K, V any](p *Pipeline, topics []string, key codec.Codec[K], value codec.Codec[V], opts ...SourceOption) Stream[K, V] {
	o, label := newSourceOptions(p, opts), fromLabel(topics)
	if o.name != "" {
		p.fail(label, fmt.Sprintf("it has the option As(%q)", o.name),
			"leave it out: As names the store of TableFrom, and a stream has none")
	}
	o.noHistory(p, label)
	src := &sourceNode[K, V]{key: key, value: value, rules: o.rules, outOfOrder: outOfOrderOf(p, label, o), processing: processingOf(p, label, o)}
	if of := eventTimeOf[K, V](p, label, o); of != nil {
		src.time = func(k K, v V, _ operators.Time) operators.Time { return of(k, v).UnixMilli() }
	}
	src.keyID = needKey(p, label, "the key", key, "give From a key codec")
	src.valueID = need(p, label, "the value", value, "give From a value codec")
	src.read(p, topics...)
	out := Stream[K, V]{p: p, n: &src.node, key: own(key), value: own(value)}
	if key != nil && out.key.ID() != src.keyID {
		out.moved = fmt.Sprintf("the keys of %s are encoded as %q, where the bytes of one key may change", label, src.keyID)
	}
	return out
}

func newSourceOptions(p *Pipeline, opts []SourceOption) sourceOptions {
	o := sourceOptions{rules: p.rules}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// eventTimeOf returns what EventTime gave, nil if nothing.
func eventTimeOf[K, V any](p *Pipeline, label string, o sourceOptions) func(K, V) time.Time {
	if o.eventTime == nil {
		return nil
	}
	of, ok := o.eventTime.(func(K, V) time.Time)
	if !ok {
		p.fail(label, fmt.Sprintf("EventTime has a %T", o.eventTime), fmt.Sprintf("give it a %v", reflect.TypeFor[func(K, V) time.Time]()))
	}
	return of
}

// processingOf says whether the source goes by the clock.
func processingOf(p *Pipeline, label string, o sourceOptions) bool {
	if o.processing && (o.eventTime != nil || o.outOfOrder != 0) {
		p.fail(label, "it has ProcessingTime, and EventTime or OutOfOrder", "leave the latter out: by the clock, records come in order")
	}
	return o.processing
}

// outOfOrderOf returns what OutOfOrder gave, in milliseconds.
func outOfOrderOf(p *Pipeline, label string, o sourceOptions) int64 {
	if o.outOfOrder < 0 {
		p.fail(label, fmt.Sprintf("OutOfOrder(%v) is negative", o.outOfOrder), "give a bound of zero or more")
	}
	return o.outOfOrder.Milliseconds()
}

type sourceNode[K, V any] struct {
	node[K, V]
	label          string
	key            codec.Codec[K]
	value          codec.Codec[V]
	keyID, valueID string
	internal       bool
	former         []string                                  // of an internal topic's values
	rules          rules                                     // for records that do not decode
	time           func(K, V, operators.Time) operators.Time // of a record with this timestamp; nil: just that
	outOfOrder     int64                                     // milliseconds
	processing     bool                                      // the time is that of the clock
}

// read declares the source as one of topics of the user's.
func (s *sourceNode[K, V]) read(p *Pipeline, topics ...string) {
	n := p.add(topology.KindSource, "")
	n.Label = fromLabel(topics)
	s.label = n.Label
	if len(topics) == 0 {
		p.fail(n.Label, "it has no topic", "name at least one")
	}
	s.rules = s.rules.within(operators.PhaseDecode)
	s.rules.deadLetters(n)
	opensForReading(p, s.key)
	opensForReading(p, s.value)
	s.declare(p, n, false, topics...)
}

// fromLabel is what a source is called.
func fromLabel(topics []string) string { return "from:" + strings.Join(topics, ",") }

// declare makes the source that of a node. It returns no Stream, and neither does any other method of sourceNode: repartition
// topics carry types that contain those of the table they come from, and for the compiler a way from there back to
// Stream and Table would be an endless chain of types.
func (s *sourceNode[K, V]) declare(p *Pipeline, n *topology.Node, internal bool, topics ...string) {
	s.id, s.internal = n.ID, internal
	for _, topic := range topics {
		p.graph.Sources = append(p.graph.Sources, topology.GraphSource{
			Node: n.ID, Topic: topic, Internal: internal, KeyCodec: s.keyID, ValueCodec: s.valueID, FormerValueCodecs: s.former, OnDecodeError: s.rules.String(),
			OutOfOrder: s.outOfOrder, ProcessingTime: s.processing,
		})
	}
	p.openers[n.ID] = s
}

func (s *sourceNode[K, V]) open(t *task) (func(*operators.Record) error, error) {
	next, err := s.node.open(t)
	if err != nil {
		return nil, err
	}
	ctx, label, timeOf := t.rt.Context, s.label, s.time
	if s.processing {
		timeOf = func(K, V, operators.Time) operators.Time { return max(t.rt.Now().UnixMilli(), ctx.Watermark) }
	}
	decodeKey, decodeValue := decoder(s.key), decoder(s.value)
	if s.internal {
		decodeValue = unversioned(s.value, decodeValue)
	}
	keyed, valued := nullOf(s.key) == nil, nullOf(s.value) == nil
	reject := s.rejector(t)
	read := false
	take := func(rec *operators.Record) error {
		read = false
		ctx.Node, ctx.Time = label, operators.MinTime
		if keyed && rec.Key == nil {
			return reject(rec, operators.PartKey, operators.ErrNullKey)
		}
		k, err := decodeKey(rec.Key)
		if err != nil {
			return reject(rec, operators.PartKey, err)
		}
		if valued && rec.Value == nil {
			return reject(rec, operators.PartValue, operators.ErrNullValue)
		}
		v, err := decodeValue(rec.Value)
		if err != nil {
			return reject(rec, operators.PartValue, err)
		}
		at := rec.Time
		if timeOf != nil {
			at = timeOf(k, v, at)
		}
		ctx.Time, read = at, true
		return next(k, v, at)
	}
	if len(s.rules) == 0 {
		return take, nil
	}
	return func(rec *operators.Record) (err error) {
		defer func() {
			if read {
				return // A panic is that of a step.
			}
			if p := recover(); p != nil {
				err = reject(rec, operators.PartValue, &operators.PanicError{Value: p, Stack: debug.Stack()})
			}
		}()
		return take(rec)
	}, nil
}

// rejector returns what is done with a record that does not decode.
func (s *sourceNode[K, V]) rejector(t *task) func(*operators.Record, operators.Part, error) error {
	codecs := map[operators.Part]string{operators.PartKey: s.keyID, operators.PartValue: s.valueID}
	return func(rec *operators.Record, part operators.Part, err error) error {
		e := &operators.DecodeError{
			Step: s.label, Part: part, Codec: codecs[part],
			Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Err: err,
		}
		if errors.Is(err, codec.ErrUnavailable) {
			return e // Nothing is wrong with the record.
		}
		f := operators.Failure{Step: s.label, Phase: operators.PhaseDecode, Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Err: e}
		return t.settle(s.rules.of(operators.PhaseDecode, err), f)
	}
}
