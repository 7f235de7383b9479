// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"fmt"
	"slices"
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// appName is that of all pipelines.
const appName = "metamorphic"

// flow is what a step gives, by its kind.
type flow struct {
	stream stream.Stream[string, int64]
	table  stream.Table[string, int64]
}

// agreement is what runs must agree on in a topic.
type agreement int

const (
	sequences agreement = iota // the records of each key, in order
	multisets                  // the records of each key
	newest                     // the newest value of each key; null deletes it
	covered                    // what a twin says is the newest value of each of its keys; there may be more keys
	empty                      // that there is nothing
)

// output is a topic with results.
type output struct {
	topic string
	agree agreement
	twin  string // of newest or covered: the topic of windows on close that has the same results; "": there is none
}

// builder makes a pipeline of a plan.
type builder struct {
	*plan
	p       *stream.Pipeline
	shapes  []shape
	outputs []output
	global  *stream.GlobalTable[string, int64]
	watch   func() // called for each record of a source; nil: nobody cares
}

// build makes the pipeline, and says what there will be in which topics.
func (p *plan) build(watch func()) (*stream.Pipeline, []output) {
	b := &builder{plan: p, p: stream.NewPipeline(appName), shapes: p.mustShapes(), watch: watch}
	uses := p.uses()
	var flows []flow
	for i, s := range p.steps {
		at := place{args: s.args, number: i, name: fmt.Sprintf("%s-%d", s.verb, i)}
		var in []flow
		for _, n := range s.in {
			in, at.in = append(in, flows[n]), append(at.in, b.shapes[n])
		}
		f := verbs[s.verb].build(b, at, in)
		if uses[i] == 0 || s.tap {
			b.write(at, b.shapes[i], f)
		}
		flows = append(flows, f)
	}
	return b.p, b.outputs
}

// write sends the results of a step to a topic.
func (b *builder) write(at place, s shape, f flow) {
	switch s.kind {
	case aStream:
		b.writeStream(at.name, f.stream, s.ordered)
	case aTable:
		f.table.To(b.output(at.name, newest))
	}
}

func (b *builder) writeStream(name string, s stream.Stream[string, int64], ordered bool) {
	agree := multisets
	if ordered {
		agree = sequences
	}
	s.To(b.output(name, agree))
}

// output notes a topic and returns its name.
func (b *builder) output(step string, agree agreement) string {
	b.outputs = append(b.outputs, output{topic: "out-" + step, agree: agree})
	return "out-" + step
}

// sourceOptions are those of all sources.
func (b *builder) sourceOptions() []stream.SourceOption {
	return []stream.SourceOption{stream.OutOfOrder(b.ticks(int64(b.bound)))}
}

func (b *builder) ticks(n int64) time.Duration { return time.Duration(n) * b.tick }

// globals is the global table, made for the first that asks.
func (b *builder) globals() stream.GlobalTable[string, int64] {
	if b.global == nil {
		g := stream.GlobalTableFrom(b.p, globalTopic, codec.String, codec.Int64)
		b.global = &g
	}
	return *b.global
}

// joined is the sub-topology in which two inputs of a step meet.
func joined(in []shape, at place) int {
	if in[0].sub == in[1].sub {
		return in[0].sub
	}
	return at.fresh(0)
}

// streams brings two streams together that a step is to meet in one task. What has been sent through topics before is
// sent once more, so that no sub-topology is made to wait for itself.
func (b *builder) streams(at place, in []flow) (l, r stream.Stream[string, int64]) {
	l, r = in[0].stream, in[1].stream
	if at.in[0].sub != at.in[1].sub {
		l, r = l.Repartition(at.name+"-left"), r.Repartition(at.name+"-right")
	}
	return l, r
}

// tables is streams for tables.
func (b *builder) tables(at place, in []flow) (l, r stream.Table[string, int64]) {
	l, r = in[0].table, in[1].table
	if at.in[0].sub != at.in[1].sub {
		l, r = l.Repartition(at.name+"-left"), r.Repartition(at.name+"-right")
	}
	return l, r
}

// apart says whether a join may send requests straight from the sub-topology of a source to that of another, without
// anything that could come back: always from one whose first source is an earlier one.
func (b *builder) apart(l, r shape) bool {
	if l.sub != 0 || r.sub != 0 {
		return false
	}
	return b.component(l.from)&-b.component(l.from) < b.component(r.from)&-b.component(r.from)
}

// component returns the sources that some step reads in one task with these.
func (b *builder) component(from uint) uint {
	for range b.shapes {
		for _, s := range b.shapes {
			if s.sub == 0 && s.from&from != 0 {
				from |= s.from
			}
		}
	}
	return from
}

// mix makes a number of several, in which each change of any of them shows.
func mix(of ...int64) int64 {
	h := int64(17)
	for _, n := range of {
		h = (h*1_000_003 + n) ^ h>>29
	}
	return mod(h, 1_000_000_007)
}

func mod(v, n int64) int64 { return (v%n + n) % n }

// keyOf is the key of a number: there are n of them.
func keyOf(v, n int64) string { return fmt.Sprint("k", mod(v, n)) }

// numberOf is a number of a key.
func numberOf(k string) (n int64) {
	for _, c := range []byte(k) {
		n = n*31 + int64(c)
	}
	return n
}

// bag is an aggregate that is changed in place and refers to memory: numbers, sorted or in the order in which they
// came.
type bag []int64

func newBag() bag { return bag{} }

// insert keeps the numbers sorted, so that it does not matter in which order they come.
func (b bag) insert(v int64) bag {
	at, _ := slices.BinarySearch(b, v)
	return slices.Insert(b, at, v)
}

func (b bag) merge(other bag) bag {
	for _, v := range other {
		b = b.insert(v)
	}
	return b
}

func (b bag) hash() int64 { return mix(b...) }

// bagCodec is JSON: slow, and easily read where a run differs.
var bagCodec = codec.JSON[bag]()
