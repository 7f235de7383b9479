// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// A window has one result, when no record of it can come any more.
func ExampleWindows_EmitOnClose() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).Grace(10 * time.Second).EmitOnClose()).
		Count("per-minute").
		Stream().
		Map(inWindow).
		To("per-minute")

	run := newTimed(p)
	run.at(5, "clicks", "ann", "home")
	run.at(65, "clicks", "ann", "pay")
	run.at(50, "clicks", "ann", "cart") // in time: the grace is not over
	run.print("per-minute")
	run.at(70, "clicks", "ann", "home")
	run.end("per-minute")
	// Output:
	// 59.999s per-minute: ann=2 in 00:00:00-00:01:00
	// 119.999s per-minute: ann=2 in 00:01:00-00:02:00
}

// A table of windows: each count belongs to a key and a window. A session ends a gap after its last record.
func ExampleWindowedGroup_Count() {
	p := stream.NewPipeline("logins")
	stream.From(p, "logins", codec.String, codec.String).
		Group().
		Window(stream.Session(5 * time.Minute).EmitOnClose()).
		Count("per-session").
		Stream().
		Map(inWindow).
		To("per-session")

	run := newTimed(p)
	run.at(0, "logins", "ann", "")
	run.at(200, "logins", "ann", "")
	run.at(900, "logins", "ann", "")
	run.end("per-session")
	// Output:
	// 499.999s per-session: ann=2 in 00:00:00-00:08:20
	// 1199.999s per-session: ann=1 in 00:15:00-00:20:00
}

// The longest word of each minute.
func ExampleWindowedGroup_Reduce() {
	p := stream.NewPipeline("words")
	stream.From(p, "words", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnClose()).
		Reduce("longest", func(kept, word string) string {
			if len(word) > len(kept) {
				return word
			}
			return kept
		}).
		Stream().
		Map(func(_ stream.Windowed[string], word string) string { return word }).
		To("longest")

	run := newTimed(p)
	run.at(1, "words", "ann", "stream")
	run.at(2, "words", "ann", "processing")
	run.at(61, "words", "ann", "engine")
	run.end("longest")
	// Output:
	// 59.999s longest: ann=processing
	// 119.999s longest: ann=engine
}

// What was ordered and paid, the one within an hour of the other.
func ExampleWithin() {
	p := stream.NewPipeline("checkout")
	payments := stream.From(p, "payments", codec.String, codec.String)
	stream.From(p, "orders", codec.String, codec.String).
		JoinStream("paid", payments, stream.Within(time.Hour), func(order, payment string) string { return order + " by " + payment }).
		To("paid")

	run := newTimed(p)
	run.at(0, "orders", "o-1", "tea")
	run.at(3600, "payments", "o-1", "card")
	run.at(3600, "payments", "o-2", "cash") // before its order
	run.at(5000, "orders", "o-2", "rum")
	run.at(9000, "payments", "o-1", "card") // too late for o-1
	run.end("paid")
	// Output:
	// 3600s paid: o-1=tea by card
	// 5000s paid: o-2=rum by cash
}

// A payment may arrive ten minutes of event time late and still meet its order.
func ExampleJoinWindow_Grace() {
	p := stream.NewPipeline("checkout")
	payments := stream.From(p, "payments", codec.String, codec.String)
	stream.From(p, "orders", codec.String, codec.String).
		JoinStream("paid", payments, stream.Within(time.Minute).Grace(10*time.Minute), func(order, payment string) string { return order + " by " + payment }).
		To("paid")

	run := newTimed(p)
	run.at(0, "orders", "o-1", "tea")
	run.at(500, "orders", "o-2", "rum")
	run.at(30, "payments", "o-1", "card")
	run.end("paid")
	// Output: 30s paid: o-1=tea by card
}

// Retried, and in the end put aside.
func ExampleErrorPolicy_Then() {
	fmt.Println(stream.Retry(3, 100*time.Millisecond).Then(stream.DeadLetter("payments-dead")))
	// Output: retry 3 times from 100ms, then dead-letter:payments-dead
}
