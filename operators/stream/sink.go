// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// To writes the stream to a topic of the user's, in the transaction that moves past its input. The
// partition is that of the key, as Kafka's own producers choose it. The value codec is needed if the stream has
// none; the key's is given with WithKey.
func (s Stream[K, V]) To[Topic ~string](topic Topic, value ...codec.Codec[V]) {
	n := s.p.add(topology.KindSink, "", s.n.id)
	n.Label = "to:" + string(topic)
	n.Writes = []string{string(topic)}
	w := &writer[K, V]{label: n.Label, topic: string(topic), rules: s.p.stepRules(s.rules, n), key: s.key, value: whereGiven(s.p, n.Label, value, s.value)}
	needKey(s.p, n.Label, "the key", w.key, "add .WithKey(codec) before To")
	need(s.p, n.Label, "the value", w.value, fmt.Sprintf("give it to To(%q, codec)", string(topic)))
	opensForWriting(s.p, w.key)
	opensForWriting(s.p, w.value)
	s.n.children = append(s.n.children, w.open)
}

// KeyBy gives each record the key that fn takes from its value and sends it to where that key lives, through the
// repartition topic of this name. The codec is needed if K2 has none of its own (see UseCodec).
func (s Stream[K, V]) KeyBy[K2 any](name string, fn func(V) K2, key ...codec.Codec[K2]) Stream[K2, V] {
	n := s.p.addNamed(topology.KindRepartition, name, s.n.id)
	w := &writer[K2, V]{label: n.Label, rules: s.p.stepRules(s.rules, n), policies: s.p.policies(s.rules), key: choose(s.p, n.Label, key, carry[K2](s.p, s.key)), value: own(s.value)}
	s.n.children = append(s.n.children, func(t *task) (emit[K, V], error) {
		g := t.guard(w.label, w.rules)
		write, err := w.write(t, g)
		if err != nil {
			return nil, err
		}
		c := caller{ctx: t.rt.Context, label: w.label}
		return guardedStep(g, func(_ K, v V, t operators.Time) error {
			c.enter()
			return write(fn(v), v, t)
		}), nil
	})
	out := readBack(s.p, n, w, "give it to KeyBy(name, fn, codec)", valueBefore)
	out.rules = s.rules
	return out
}

// Repartition sends each record to where its key lives, through the repartition topic of this name. It
// belongs between MapKV or FlatMapKV and a step that relies on keys.
func (s Stream[K, V]) Repartition[Name ~string](name Name, key ...codec.Codec[K]) Stream[K, V] {
	n := s.p.addNamed(topology.KindRepartition, string(name), s.n.id)
	w := &writer[K, V]{label: n.Label, rules: s.p.stepRules(s.rules, n), policies: s.p.policies(s.rules), key: choose(s.p, n.Label, key, s.key), value: own(s.value)}
	s.n.children = append(s.n.children, w.open)
	out := readBack(s.p, n, w, "give it to Repartition(name, codec)", valueBefore)
	out.rules = s.rules
	return out
}

// valueBefore is what to do about a stream whose values have no codec.
const valueBefore = "add .WithValue(codec) before it"

// readBack makes w the writer of a repartition topic, and returns the stream that is read from it.
func readBack[K, V any](p *Pipeline, n *topology.Node, w *writer[K, V], giveKey, giveValue string) Stream[K, V] {
	keyID := needKey(p, w.label, "the key", w.key, giveKey)
	valueID := need(p, w.label, "the value", w.value, giveValue)
	src := &sourceNode[K, V]{key: w.key, value: w.value, keyID: keyID, valueID: valueID, rules: w.policies.within(operators.PhaseDecode)}
	through(p, n, w, src)
	return Stream[K, V]{p: p, n: &src.node, key: w.key, value: w.value}
}

// through makes w the writer of node n's repartition topic, and src the source that reads it.
func through[K, K2, V any](p *Pipeline, n *topology.Node, w *writer[K, V], src *sourceNode[K2, V]) {
	w.topic, w.internal = n.Label, true
	n.Writes = []string{w.topic}
	from := p.add(topology.KindSource, "")
	from.Label = "from:" + w.label
	src.label, src.former = from.Label, former(w.value)
	src.rules.deadLetters(from)
	src.declare(p, from, true, w.topic)
}

// writer encodes records for an output topic.
type writer[K, V any] struct {
	label    string
	topic    string
	internal bool
	rules    rules
	policies rules // of the stream that is written: those of an internal topic's source for what does not decode
	// everywhere sends each record to all partitions, and not to that of its key.
	everywhere bool
	key        codec.Codec[K]
	value      codec.Codec[V]
}

// open makes the writer as a step.
func (w *writer[K, V]) open(t *task) (emit[K, V], error) {
	g := t.guard(w.label, w.rules)
	write, err := w.write(t, g)
	return guardedStep(g, write), err
}

// write makes what writes, within the units of a guard.
func (w *writer[K, V]) write(t *task, g *guard) (emit[K, V], error) {
	topic := t.output(w.topic, w.internal)
	if topic < 0 {
		return nil, fmt.Errorf("open step %q: topic %q is not an output of sub-topology %d", w.label, w.topic, t.sub.ID)
	}
	ctx, out, label, key, value, internal := t.rt.Context, t.rt.Output, w.label, w.key, w.value, w.internal
	nullKey, nullValue := nullOf(key), nullOf(value)
	if w.internal {
		value = codec.Stored(value)
	}
	send := out.Emit
	if w.everywhere {
		send = toAll(out, t.rt.Partitions[topic])
	}
	send = holdEmissions(g, out, send)
	limit := t.rt.MaxRecord
	return func(k K, v V, tm operators.Time) error {
		ctx.Node = label
		e := operators.Emission{Topic: topic, Partition: -1, Time: tm}
		var err error
		if e.Buf, err = key.Append(out.Buffer(), k); err != nil {
			return operators.NewSerializeError(ctx, fmt.Errorf("encode key as %s: %w", key.ID(), err))
		}
		e.KeyLen = len(e.Buf)
		if nullKey != nil && nullKey(k) {
			e.KeyLen = -1
		}
		if e.Buf, err = value.Append(e.Buf, v); err != nil {
			return operators.NewSerializeError(ctx, fmt.Errorf("encode value as %s: %w", value.ID(), err))
		}
		e.NullValue = nullValue != nil && nullValue(v)
		if ctx.Record != nil && len(ctx.Record.Headers) > 0 {
			e.Headers = ctx.Record.Headers
			if internal {
				e.Headers = withoutControl(e.Headers)
			}
		}
		if limit > 0 && len(e.Buf) > limit-headerBytes(e.Headers) {
			return operators.NewProduceError(ctx, tooLarge(w.topic, len(e.Buf)+headerBytes(e.Headers), limit))
		}
		send(e)
		return nil
	}, nil
}

// headerBytes is what headers take of a record, or a little more.
func headerBytes(headers []operators.Header) (n int) {
	const lengths = 10
	for _, h := range headers {
		n += len(h.Key) + len(h.Value) + lengths
	}
	return n
}

func tooLarge(topic string, size, limit int) error {
	return fmt.Errorf("send a record of %d bytes to %s, which may have %d: %w; make it smaller, or raise produce.batch-bytes and the topic's max.message.bytes",
		size, topic, limit, operators.ErrRecordTooLarge)
}

// toAll returns what emits to every partition of a topic.
func toAll(out operators.Output, partitions int32) func(operators.Emission) {
	var buf []byte
	return func(e operators.Emission) {
		buf = append(buf[:0], e.Buf...) // the output takes back its own at every Emit
		for e.Partition = range partitions {
			e.Buf = append(out.Buffer(), buf...)
			out.Emit(e)
		}
	}
}

// withoutControl takes off what only the engine may say on a repartition topic.
func withoutControl(headers []operators.Header) []operators.Header {
	control := func(h operators.Header) bool { return h.Key == operators.ControlHeader }
	if !slices.ContainsFunc(headers, control) {
		return headers
	}
	return slices.DeleteFunc(slices.Clone(headers), control)
}
