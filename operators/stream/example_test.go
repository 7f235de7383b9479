// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"strings"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// In the examples, newRig runs a pipeline in memory: send gives it records as key, value, key, value, and print
// commits and prints what went to topics.

func Example() {
	type Order struct {
		Customer string `json:"customer"`
		Cents    int64  `json:"cents"`
		Paid     bool   `json:"paid"`
	}
	p := stream.NewPipeline("spend")
	stream.From(p, "orders", codec.String, codec.JSON[Order]()).
		Filter(func(o Order) bool { return o.Paid }).
		KeyBy("by-customer", func(o Order) string { return o.Customer }).
		Group().
		Aggregate("spend", func() int64 { return 0 }, func(sum int64, o Order) int64 { return sum + o.Cents }).
		Stream().
		To("spend-by-customer")

	run := newRig(p)
	run.send("orders",
		"1", `{"customer":"ann","cents":250,"paid":true}`,
		"2", `{"customer":"bob","cents":100}`,
		"3", `{"customer":"ann","cents":50,"paid":true}`)
	run.print()
	// Output:
	// spend-by-customer: ann=250
	// spend-by-customer: ann=300
}

func ExampleFrom() {
	p := stream.NewPipeline("copy")
	stream.From(p, "in", codec.String, codec.String).To("out")

	run := newRig(p)
	run.send("in", "k", "hello")
	run.print()
	// Output: out: k=hello
}

func ExampleFromTopics() {
	p := stream.NewPipeline("all-regions")
	stream.FromTopics(p, []string{"orders-eu", "orders-us"}, codec.String, codec.String).To("orders")

	run := newRig(p)
	run.send("orders-eu", "1", "tea")
	run.send("orders-us", "2", "coffee")
	run.print()
	// Output:
	// orders: 1=tea
	// orders: 2=coffee
}

func ExampleOnDecodeError() {
	p := stream.NewPipeline("strict")
	stream.From(p, "orders", codec.String, codec.JSON[int](), stream.OnDecodeError(stream.DeadLetter("orders-bad"))).
		To("numbers")

	run := newRig(p)
	run.send("orders", "a", "1", "b", "one")
	run.print()
	// Output:
	// numbers: a=1
	// orders-bad: b=one
}

func ExampleDeadLetter() {
	p := stream.NewPipeline("strict")
	stream.From(p, "in", codec.String, codec.JSON[int](), stream.OnDecodeError(stream.DeadLetter("bad"))).To("out")

	run := newRig(p)
	run.send("in", "a", "one")
	for _, h := range run.out[0].headers {
		fmt.Printf("%s: %s\n", h.Key, h.Value)
	}
	run.close()
	// Output:
	// streamd-error: step "from:in" on record in/0 offset 0: decode value as json:int: json at byte 0: syntax error
	// streamd-step: from:in
	// streamd-phase: decode
	// streamd-topic: in
	// streamd-partition: 0
	// streamd-offset: 0
}

func ExampleUseCodec() {
	type Point struct{ X, Y int }
	p := stream.NewPipeline("points")
	stream.UseCodec(p, codec.JSON[Point]())
	stream.From(p, "in", codec.String, codec.String).
		Map(func(s string) Point { return Point{X: len(s)} }).
		To("points") // the codec of Point is known

	run := newRig(p)
	run.send("in", "k", "abc")
	run.print()
	// Output: points: k={"X":3,"Y":0}
}

func ExamplePipeline_Build() {
	p := stream.NewPipeline("broken")
	s := stream.From(p, "in", codec.String, codec.String)
	s.Map(func(v string) []int { return []int{len(v)} }).To("out")
	s.MapKV(func(k, v string) (string, string) { return v, k }).Group().Count("count")

	_, err := p.Build()
	fmt.Println(err)
	// Output:
	// step "to:out": the value, type []int, has no codec; give it to To("out", codec)
	// step "count": MapKV step "map-kv-3" changed the key, so records of one key may be in several partitions; add .Repartition(name) after it, or use KeyBy(name, fn)
}

func ExamplePipeline_Drop() {
	p := stream.NewPipeline("spend")
	p.Drop("spend-per-day") // a step of the last release
	stream.From(p, "in", codec.String, codec.String).To("out")

	t, _ := p.Build()
	fmt.Println(t.Dropped)
	// Output: [spend-per-day]
}

func ExampleStream_Map() {
	p := stream.NewPipeline("upper")
	stream.From(p, "in", codec.String, codec.String).Map(strings.ToUpper).To("out")

	run := newRig(p)
	run.send("in", "k", "hello")
	run.print()
	// Output: out: k=HELLO
}

func ExampleStream_MapWithKey() {
	p := stream.NewPipeline("greet")
	stream.From(p, "in", codec.String, codec.String).
		MapWithKey(func(name, greeting string) string { return greeting + " " + name }).
		To("out")

	run := newRig(p)
	run.send("in", "ann", "hello")
	run.print()
	// Output: out: ann=hello ann
}

func ExampleStream_MapKV() {
	p := stream.NewPipeline("swap")
	stream.From(p, "in", codec.String, codec.String).
		MapKV(func(k, v string) (string, string) { return v, k }).
		To("out")

	run := newRig(p)
	run.send("in", "k", "v")
	run.print()
	// Output: out: v=k
}

func ExampleStream_FlatMap() {
	p := stream.NewPipeline("words")
	stream.From(p, "lines", codec.String, codec.String).
		FlatMap(func(line string, yield func(string)) {
			for word := range strings.FieldsSeq(line) {
				yield(word)
			}
		}).
		To("words")

	run := newRig(p)
	run.send("lines", "1", "to be")
	run.print()
	// Output:
	// words: 1=to
	// words: 1=be
}

func ExampleStream_FlatMapKV() {
	p := stream.NewPipeline("index")
	stream.From(p, "lines", codec.String, codec.String).
		FlatMapKV(func(line, text string, yield func(string, string)) {
			for word := range strings.FieldsSeq(text) {
				yield(word, line)
			}
		}).
		To("lines-by-word")

	run := newRig(p)
	run.send("lines", "1", "to be")
	run.print()
	// Output:
	// lines-by-word: to=1
	// lines-by-word: be=1
}

func ExampleStream_Filter() {
	p := stream.NewPipeline("long")
	stream.From(p, "in", codec.String, codec.String).
		Filter(func(v string) bool { return len(v) > 3 }).
		To("out")

	run := newRig(p)
	run.send("in", "1", "tea", "2", "coffee")
	run.print()
	// Output: out: 2=coffee
}

func ExampleStream_FilterKV() {
	p := stream.NewPipeline("others")
	stream.From(p, "messages", codec.String, codec.String).
		FilterKV(func(sender, text string) bool { return !strings.HasPrefix(text, sender) }).
		To("out")

	run := newRig(p)
	run.send("messages", "ann", "ann was here", "bob", "hello")
	run.print()
	// Output: out: bob=hello
}

func ExampleStream_Branch() {
	p := stream.NewPipeline("sizes")
	long, short := stream.From(p, "in", codec.String, codec.String).
		Branch(func(v string) bool { return len(v) > 3 })
	long.To("long")
	short.To("short")

	run := newRig(p)
	run.send("in", "1", "tea", "2", "coffee")
	run.print()
	// Output:
	// short: 1=tea
	// long: 2=coffee
}

func ExampleStream_Merge() {
	p := stream.NewPipeline("both")
	web := stream.From(p, "web", codec.String, codec.String)
	app := stream.From(p, "app", codec.String, codec.String)
	web.Merge(app).To("clicks")

	run := newRig(p)
	run.send("web", "1", "home")
	run.send("app", "2", "cart")
	run.print()
	// Output:
	// clicks: 1=home
	// clicks: 2=cart
}

func ExampleStream_Peek() {
	p := stream.NewPipeline("look")
	stream.From(p, "in", codec.String, codec.String).
		Peek(func(k, v string) { fmt.Println("saw", k, v) }).
		To("out")

	run := newRig(p)
	run.send("in", "k", "v")
	run.print()
	// Output:
	// saw k v
	// out: k=v
}

func ExampleStream_WithKey() {
	p := stream.NewPipeline("rekey")
	stream.From(p, "in", codec.String, codec.String).
		MapKV(func(k, v string) ([2]int, string) { return [2]int{len(k), len(v)}, v }).
		WithKey(codec.JSON[[2]int]()).
		To("out")

	run := newRig(p)
	run.send("in", "k", "abc")
	run.print()
	// Output: out: [1,3]=abc
}

func ExampleStream_WithValue() {
	p := stream.NewPipeline("sizes")
	stream.From(p, "in", codec.String, codec.String).
		Map(func(v string) int { return len(v) }).
		WithValue(codec.JSON[int]()).
		Repartition("spread").
		To("out")

	run := newRig(p)
	run.send("in", "k", "abc")
	run.print()
	// Output: out: k=3
}

func ExampleStream_KeyBy() {
	p := stream.NewPipeline("by-first-letter")
	stream.From(p, "words", codec.String, codec.String).
		KeyBy("by-letter", func(word string) string { return word[:1] }).
		To("out")

	run := newRig(p)
	run.send("words", "1", "tea", "2", "coffee")
	run.print()
	// Output:
	// out: t=tea
	// out: c=coffee
}

func ExampleStream_Repartition() {
	p := stream.NewPipeline("words")
	stream.From(p, "lines", codec.String, codec.String).
		FlatMapKV(func(line, text string, yield func(string, string)) {
			for word := range strings.FieldsSeq(text) {
				yield(word, line)
			}
		}).
		Repartition("by-word").
		Group().
		Count("words").
		Stream().
		To("counts")

	run := newRig(p)
	run.send("lines", "1", "to be or not to be")
	run.print()
	// Output:
	// counts: to=1
	// counts: be=1
	// counts: or=1
	// counts: not=1
	// counts: to=2
	// counts: be=2
}

func ExampleStream_Group() {
	p := stream.NewPipeline("clicks")
	clicks := stream.From(p, "clicks", codec.String, codec.String).Group()
	clicks.Count("clicks-per-user").Stream().To("counts")
	clicks.Reduce("last-click", func(_, page string) string { return page }).Stream().To("last")

	run := newRig(p)
	run.send("clicks", "ann", "home", "ann", "cart")
	run.print()
	// Output:
	// counts: ann=1
	// last: ann=home
	// counts: ann=2
	// last: ann=cart
}

func ExampleGrouped_Count() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).Group().Count("clicks").Stream().To("counts")

	run := newRig(p)
	run.send("clicks", "ann", "home", "bob", "home", "ann", "cart")
	run.print()
	// Output:
	// counts: ann=1
	// counts: bob=1
	// counts: ann=2
}

func ExampleGrouped_Reduce() {
	p := stream.NewPipeline("longest")
	stream.From(p, "words", codec.String, codec.String).
		Group().
		Reduce("longest", func(kept, word string) string {
			if len(word) > len(kept) {
				return word
			}
			return kept
		}).
		Stream().
		To("longest-word")

	run := newRig(p)
	run.send("words", "en", "tea", "en", "coffee", "en", "milk")
	run.print()
	// Output:
	// longest-word: en=tea
	// longest-word: en=coffee
	// longest-word: en=coffee
}

func ExampleGrouped_Aggregate() {
	type Stats struct{ Words, Letters int }
	p := stream.NewPipeline("stats")
	stream.From(p, "words", codec.String, codec.String).
		Group().
		Aggregate("stats",
			func() Stats { return Stats{} },
			func(s Stats, word string) Stats { return Stats{Words: s.Words + 1, Letters: s.Letters + len(word)} },
			codec.JSON[Stats]()).
		Stream().
		To("stats-by-language")

	run := newRig(p)
	run.send("words", "en", "tea", "en", "milk")
	run.print()
	// Output:
	// stats-by-language: en={"Words":1,"Letters":3}
	// stats-by-language: en={"Words":2,"Letters":7}
}

func ExampleTable_Stream() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Count("clicks").
		Stream().
		Filter(func(n int64) bool { return n == 2 }).
		To("returning-users")

	run := newRig(p)
	run.send("clicks", "ann", "home", "bob", "home", "ann", "cart")
	run.print()
	// Output: returning-users: ann=2
}

func ExampleEmitPerCommit() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Count("clicks").
		Stream(stream.EmitPerCommit()).
		To("counts")

	run := newRig(p)
	run.send("clicks", "ann", "home", "bob", "home", "ann", "cart")
	run.print() // commits
	// Output:
	// counts: ann=2
	// counts: bob=1
}

func ExampleStream_To() {
	p := stream.NewPipeline("sizes")
	stream.From(p, "in", codec.String, codec.String).
		Map(func(v string) int { return len(v) }).
		To("out", codec.JSON[int]())

	run := newRig(p)
	run.send("in", "k", "abc")
	run.print()
	// Output: out: k=3
}

// A handler that lets each order through once, and numbers them by customer.
func ExampleStream_Process() {
	p := stream.NewPipeline("dedupe")
	stream.From(p, "orders", codec.String, codec.String).
		Process("once", func(s *stream.Setup) stream.Handler[string, string, string] {
			seen := s.Map("seen", codec.String, codec.Int64)
			count := s.Value("count", codec.Int64)
			return func(ctx *stream.Context[string], customer, order string) error {
				if _, found, err := seen.Get(order); found || err != nil {
					return err
				}
				n, _, err := count.Get()
				if err != nil {
					return err
				}
				ctx.Emit(fmt.Sprintf("%s is order %d", order, n+1))
				if err := seen.Put(order, ctx.Time()); err != nil {
					return err
				}
				return count.Put(n + 1)
			}
		}).
		To("numbered")

	run := newRig(p)
	run.send("orders", "ann", "tea", "ann", "tea", "ann", "coffee", "bob", "tea")
	run.print()
	// Output:
	// numbered: ann=tea is order 1
	// numbered: ann=coffee is order 2
	// numbered: bob=tea is order 1
}

func ExampleMapState_All() {
	p := stream.NewPipeline("baskets")
	stream.From(p, "items", codec.String, codec.String).
		Process("basket", func(s *stream.Setup) stream.Handler[string, string, string] {
			items := s.Map("items", codec.String, codec.Int64)
			return func(ctx *stream.Context[string], _, item string) error {
				n, _, err := items.Get(item)
				if err != nil {
					return err
				}
				if err := items.Put(item, n+1); err != nil {
					return err
				}
				var all []string
				for item, n := range items.All() {
					all = append(all, fmt.Sprintf("%d %s", n, item))
				}
				ctx.Emit(strings.Join(all, ", "))
				return nil
			}
		}).
		To("baskets")

	run := newRig(p)
	run.send("items", "ann", "tea", "ann", "milk", "ann", "tea")
	run.print()
	// Output:
	// baskets: ann=1 tea
	// baskets: ann=1 milk, 1 tea
	// baskets: ann=1 milk, 2 tea
}

func ExampleContext_Metadata() {
	p := stream.NewPipeline("where")
	stream.From(p, "in", codec.String, codec.String).
		Process("where", func(*stream.Setup) stream.Handler[string, string, string] {
			return func(ctx *stream.Context[string], _, v string) error {
				topic, partition, offset := ctx.Metadata()
				ctx.Emit(fmt.Sprintf("%s from %s/%d at offset %d and time %d", v, topic, partition, offset, ctx.Time()))
				return nil
			}
		}).
		To("out")

	run := newRig(p)
	run.send("in", "k", "v")
	run.print()
	// Output: out: k=v from in/0 at offset 0 and time 1
}
