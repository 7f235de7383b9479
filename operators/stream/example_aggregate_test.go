// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func ExampleStream_Distinct() {
	p := stream.NewPipeline("alarms")
	stream.From(p, "alarms", codec.String, codec.String).
		Distinct("first-alarms", 2*time.Millisecond). // The rig sends one record per millisecond.
		To("first-alarms")

	run := newRig(p)
	run.send("alarms", "pump", "hot", "pump", "hotter", "pump", "on fire")
	run.print()
	// Output:
	// first-alarms: pump=hot
	// first-alarms: pump=on fire
}

func ExampleStream_DistinctBy() {
	p := stream.NewPipeline("payments")
	stream.From(p, "payments", codec.String, codec.String).
		DistinctBy("once", 24*time.Hour, func(v string) string {
			id, _, _ := strings.Cut(v, " ")
			return id
		}).
		To("payments-once")

	run := newRig(p)
	run.send("payments", "ann", "p1 5€", "ann", "p1 5€", "ann", "p2 5€", "bob", "p1 7€")
	run.print()
	// Output:
	// payments-once: ann=p1 5€
	// payments-once: ann=p2 5€
	// payments-once: bob=p1 7€
}

func ExampleTopN() {
	p := stream.NewPipeline("longest")
	words := stream.From(p, "words", codec.String, codec.String).Group()
	stream.TopN(words, "longest-words", 2, func(a, b string) bool { return len(a) > len(b) }).
		Map(func(r stream.Ranked[string]) string { return fmt.Sprintf("%d is %s", r.Rank, r.Value) }).
		To("longest-words")

	run := newRig(p)
	run.send("words", "en", "tea", "en", "coffee", "en", "rum", "en", "water")
	run.print()
	// Output:
	// longest-words: en=1 is tea
	// longest-words: en=1 is coffee
	// longest-words: en=2 is tea
	// longest-words: en=2 is water
}

func ExampleGrouped_Cogroup() {
	p := stream.NewPipeline("visitors")
	visits := stream.From(p, "visits", codec.String, codec.String).Group()
	orders := stream.From(p, "orders", codec.String, codec.String).Group()
	visits.
		Cogroup(func() string { return "" }, func(seen, page string) string { return seen + " " + page }).
		Add(orders, func(seen, article string) string { return seen + ", bought " + article }).
		Aggregate("visitors").
		To("visitors")

	run := newRig(p)
	run.send("visits", "ann", "home", "ann", "shoes")
	run.send("orders", "ann", "boots")
	run.print()
	// Output:
	// visitors: ann= home
	// visitors: ann= home shoes
	// visitors: ann= home shoes, bought boots
}

func ExampleCogrouped_Window() {
	p := stream.NewPipeline("traffic")
	count := func(n int64, _ string) int64 { return n + 1 }
	in := stream.From(p, "in", codec.String, codec.String).Group()
	out := stream.From(p, "out", codec.String, codec.String).Group()
	in.Cogroup(func() int64 { return 0 }, count).
		Add(out, func(n int64, _ string) int64 { return n - 1 }).
		Window(stream.Tumbling(time.Minute)).
		Aggregate("inside", nil).
		Stream().
		Map(func(w stream.Windowed[string], n int64) string {
			return fmt.Sprintf("%d since %s", n, w.StartTime().Format("15:04"))
		}).
		To("inside")

	run := newRig(p)
	run.send("in", "shop", "ann", "shop", "bob")
	run.send("out", "shop", "ann")
	run.print()
	// Output:
	// inside: shop=1 since 00:00
	// inside: shop=2 since 00:00
	// inside: shop=1 since 00:00
}

func ExampleStream_CombineBy() {
	p := stream.NewPipeline("words")
	stream.From(p, "words", codec.String, codec.String).
		CombineBy("by-word", func(word string) string { return word }, stream.Counting[string]()).
		Aggregate("counts").
		To("counts")

	run := newRig(p)
	run.send("words", "1", "tea", "2", "rum", "3", "tea") // The tea goes to its counter as one record of two.
	run.print()
	// Output:
	// counts: tea=2
	// counts: rum=1
}

func ExampleCombined_Window() {
	p := stream.NewPipeline("longest")
	longer := func(a, b string) string {
		if len(b) > len(a) {
			return b
		}
		return a
	}
	initial := func(word string) string { return word[:1] }
	stream.From(p, "words", codec.String, codec.String).
		CombineBy("by-initial", initial, stream.Combiner[string, string]{
			Init: func() string { return "" }, Add: longer, Merge: longer,
		}).
		Window(stream.Tumbling(2 * time.Millisecond)).
		Aggregate("longest").
		Stream().
		Map(func(w stream.Windowed[string], word string) string { return fmt.Sprintf("%s from %d", word, w.Start) }).
		To("longest")

	run := newRig(p)
	run.send("words", "1", "tea", "2", "rum", "3", "rumour", "4", "tee", "5", "turmoil")
	run.print()
	// Output:
	// longest: t=tea from 0
	// longest: r=rumour from 2
	// longest: t=turmoil from 4
}
