// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

type order struct {
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
}

func customerOf(o order) string { return o.Customer }

// orders reads the topic that the pipelines of this file begin with.
func orders(p *stream.Pipeline) stream.Stream[string, order] {
	return stream.From(p, "orders", codec.String, codec.JSON[order]())
}

// mistakes has one pipeline per mistake, and the whole text of its error.
var mistakes = map[string]struct {
	declare func(*stream.Pipeline)
	want    []string
}{
	"empty pipeline": {
		declare: func(*stream.Pipeline) {},
		want:    []string{`pipeline "test": it reads no topic; start it with stream.From`},
	},
	"missing name": {
		declare: func(p *stream.Pipeline) { orders(p).Group().Count("") },
		want:    []string{`step "count-1": count has no name; give it one: the name is the identity of its state or topic`},
	},
	"invalid names": {
		declare: func(p *stream.Pipeline) { orders(p).KeyBy("by.customer", customerOf) },
		want:    []string{`step "by.customer": the name is not valid; use 1 to 100 letters, digits, '-' and '_'`},
	},
	"duplicate name": {
		declare: func(p *stream.Pipeline) { orders(p).KeyBy("x", customerOf).Group().Count("x") },
		want: []string{`step "x": a repartition step and a count step have this name; ` +
			`give each its own: the name is the identity of the step's state or topic`},
	},
	"duplicate state": {
		declare: func(p *stream.Pipeline) {
			orders(p).Process("p", func(s *stream.Setup) stream.Handler[string, order, order] {
				s.Value("v", codec.Int64)
				s.Value("v", codec.Int64)
				return nil
			})
		},
		want: []string{`step "p": it declares the state "p.v" twice; give each state its own name`},
	},
	"no codec for a source": {
		declare: func(p *stream.Pipeline) { stream.From[string, order](p, "orders", codec.String, nil) },
		want:    []string{`step "from:orders": the value, type stream_test.order, has no codec; give From a value codec`},
	},
	"no value codec for a sink": {
		declare: func(p *stream.Pipeline) {
			stream.From(p, "in", codec.String, codec.String).Map(func(string) order { return order{} }).To("out")
		},
		want: []string{`step "to:out": the value, type stream_test.order, has no codec; give it to To("out", codec)`},
	},
	"no value codec for a repartition": {
		declare: func(p *stream.Pipeline) {
			stream.From(p, "in", codec.String, codec.String).Map(func(string) order { return order{} }).KeyBy("by", customerOf)
		},
		want: []string{`step "by": the value, type stream_test.order, has no codec; add .WithValue(codec) before it`},
	},
	"no key codec for KeyBy": {
		declare: func(p *stream.Pipeline) { orders(p).KeyBy("by", func(o order) order { return o }) },
		want:    []string{`step "by": the key, type stream_test.order, has no codec; give it to KeyBy(name, fn, codec)`},
	},
	"no codec for an aggregate": {
		declare: func(p *stream.Pipeline) {
			orders(p).Group().Aggregate("a", func() []order { return nil }, func(a []order, o order) []order { return append(a, o) })
		},
		want: []string{`step "a": the aggregate, type []stream_test.order, has no codec; give it as the last argument`},
	},
	"two codecs": {
		declare: func(p *stream.Pipeline) { orders(p).To("out", codec.JSON[order](), codec.JSON[order]()) },
		want:    []string{`step "to:out": 2 codecs are given; give one`},
	},
	"key changed before a group": {
		declare: func(p *stream.Pipeline) {
			orders(p).MapKV(func(_ string, o order) (string, order) { return o.Customer, o }).Group().Count("c")
		},
		want: []string{`step "c": MapKV step "map-kv-1" changed the key, so records of one key may be in several partitions; ` +
			`add .Repartition(name) after it, or use KeyBy(name, fn)`},
	},
	"key changed before a state": {
		declare: func(p *stream.Pipeline) {
			orders(p).FlatMapKV(func(_ string, o order, yield func(string, order)) { yield(o.Customer, o) }).
				Filter(func(order) bool { return true }).
				Process("p", func(s *stream.Setup) stream.Handler[string, order, order] {
					s.Value("v", codec.Int64)
					return nil
				})
		},
		want: []string{`step "p": FlatMapKV step "flat-map-kv-1" changed the key, so records of one key may be in several partitions; ` +
			`add .Repartition(name) after it, or use KeyBy(name, fn)`},
	},
	"keys of two encodings merged": {
		declare: func(p *stream.Pipeline) {
			other := stream.From(p, "other", codec.JSON[string](), codec.JSON[order]())
			orders(p).Merge(other).Group().Count("c")
		},
		want: []string{`step "c": Merge step "merge-2" brings together keys encoded as "string" and as "json:string", ` +
			`so records of one key may be in several partitions; add .Repartition(name) after it, or use KeyBy(name, fn)`},
	},
	"topic read and written": {
		declare: func(p *stream.Pipeline) { orders(p).To("orders") },
		want: []string{`step "to:orders": the topic "orders" is both read and written by this pipeline; ` +
			`use the stream itself, or Repartition, instead of a topic in between`},
	},
	"topic is its own dead-letter topic": {
		declare: func(p *stream.Pipeline) {
			stream.From(p, "in", codec.String, codec.String, stream.OnDecodeError(stream.DeadLetter("in")))
		},
		want: []string{`step "from:in": the topic "in" is both read and written by this pipeline; ` +
			`use the stream itself, or Repartition, instead of a topic in between`},
	},
	"topic read twice": {
		declare: func(p *stream.Pipeline) { orders(p); orders(p) },
		want: []string{`step "from:orders": the topic "orders" is read twice; ` +
			`call From once and use the stream that it returns in both places`},
	},
	"invalid topic": {
		declare: func(p *stream.Pipeline) { orders(p).To("a b") },
		want:    []string{`step "to:a b": "a b" is not a valid topic name; use 1 to 249 letters, digits, '.', '-' and '_'`},
	},
	"topic of the engine": {
		declare: func(p *stream.Pipeline) { orders(p).To("test-1-by-repartition") },
		want: []string{`step "to:test-1-by-repartition": the topic "test-1-by-repartition" has a name that internal topics have; ` +
			`use another topic, or another name for the pipeline`},
	},
	"retries that hold up the task": {
		declare: func(p *stream.Pipeline) {
			p.OnError(stream.Retry(-1, time.Second))
			orders(p).OnError(stream.Retry(4, time.Second).Then(stream.Skip)).To("out")
		},
		want: []string{`pipeline "test": Retry(-1, 1s) is negative; give a number and a pause of zero or more`,
			`step "from:orders": Retry(4, 1s) may take longer than 10s or 20 attempts; retry less: the whole task waits with the record`},
	},
	"dead letters into a topic that is read": {
		declare: func(p *stream.Pipeline) { orders(p).OnError(stream.DeadLetter("orders")).To("out") },
		want: []string{`step "to:out": the topic "orders" is both read and written by this pipeline; ` +
			`use the stream itself, or Repartition, instead of a topic in between`},
	},
	"codec without id": {
		declare: func(p *stream.Pipeline) { orders(p).To("out", codec.New[order]("", nil, nil)) },
		want:    []string{`step "to:out": the codec of the value has no id; give codec.New an id`},
	},
	"two default codecs": {
		declare: func(p *stream.Pipeline) {
			orders(p)
			stream.UseCodec(p, codec.JSON[order]())
			stream.UseCodec(p, codec.New[order]("order", nil, nil))
		},
		want: []string{`pipeline "test": UseCodec gives stream_test.order the codecs "json:order" and "order"; ` +
			`keep one, and give the other to the steps that need it`},
	},
	"dropped and in use": {
		declare: func(p *stream.Pipeline) { p.Drop("c"); orders(p).Group().Count("c") },
		want:    []string{`step "c": it is dropped and in use; remove the step or the Drop`},
	},
	"streams of two pipelines": {
		declare: func(p *stream.Pipeline) { orders(p).Merge(orders(stream.NewPipeline("other"))) },
		want:    []string{`step "merge-1": it merges a stream of pipeline "other"; merge streams of one pipeline`},
	},
	"several at once": {
		declare: func(p *stream.Pipeline) {
			orders(p).Map(func(order) []order { return nil }).To("out")
			orders(p).Group().Count("")
		},
		want: []string{
			`step "to:out": the value, type []stream_test.order, has no codec; give it to To("out", codec)`,
			`step "count-4": count has no name; give it one: the name is the identity of its state or topic`,
			`step "from:orders": the topic "orders" is read twice; call From once and use the stream that it returns in both places`,
		},
	},
}

func TestBuildSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range mistakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := stream.NewPipeline("test")
			c.declare(p)
			_, err := p.Build()
			if err == nil {
				t.Fatal("the pipeline was built")
			}
			if got, want := err.Error(), strings.Join(c.want, "\n"); got != want {
				t.Fatalf("found\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestPipelineNameIsChecked(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "a.b", "a b", strings.Repeat("x", 101)} {
		p := stream.NewPipeline(name)
		stream.From(p, "in", codec.String, codec.String)
		if _, err := p.Build(); err == nil || !strings.Contains(err.Error(), "the name is not valid") {
			t.Errorf("name %q gave %v", name, err)
		}
	}
}

func TestStepAfterBuildIsRefusedByTheNextBuild(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	s := stream.From(p, "in", codec.String, codec.String)
	if _, err := p.Build(); err != nil {
		t.Fatal(err)
	}
	s.To("out")
	if _, err := p.Build(); err == nil || !strings.Contains(err.Error(), "declared after Build") {
		t.Fatalf("second build: %v", err)
	}
}

func TestCodecsGoAlongWhileTypesStay(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	s := stream.From(p, "in", codec.JSON[order](), codec.JSON[order]())
	s.Map(func(o order) order { return o }).
		Filter(func(order) bool { return true }).
		Repartition("again").
		Group().
		Reduce("last", func(_, o order) order { return o }).
		Stream().
		To("out")
	stream.UseCodec(p, codec.JSON[[]order]())
	s.Map(func(o order) []order { return []order{o} }).To("lists")
	topo, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	store := topo.SubTopologies[1].Stores[0]
	if store.KeyCodec != "json:order" || store.ValueCodec != "json:order" {
		t.Fatalf("store %+v", store)
	}
}

func TestWithKeyOfAnotherEncodingNeedsARepartition(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String).WithKey(codec.JSON[string]()).Group().Count("c")
	_, err := p.Build()
	if err == nil || !strings.Contains(err.Error(), `WithKey changed the key's codec from "string" to "json:string"`) {
		t.Fatalf("built with %v", err)
	}
}
