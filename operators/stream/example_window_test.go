// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// In the examples of event time, newTimed runs a pipeline with the test kit: at gives it a record of text with a time in
// seconds, end finishes the input and closes all windows, and print prints what went to topics with its time.
type timed struct {
	d        *streamtest.Driver
	cleanups []func()
}

func newTimed(p *stream.Pipeline) *timed {
	t := &timed{}
	t.d = streamtest.New(t, p, streamtest.Partitions(1))
	return t
}

// Helper, Logf, Cleanup and Fatalf are the testing.TB of the kit, which an example does not have.
func (t *timed) Helper()                           {}
func (t *timed) Logf(string, ...any)               {}
func (t *timed) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *timed) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *timed) at(seconds int64, topic, key, value string) {
	t.d.In(topic, codec.String, codec.String).SendAt(time.Unix(seconds, 0), key, value)
	t.d.Run()
}

func (t *timed) print(topics ...string) {
	for _, topic := range topics {
		for _, r := range t.d.Out(topic, codec.String, codec.String).Read() {
			fmt.Printf("%gs %s: %s=%s\n", float64(r.Time.UnixMilli())/1000, topic, r.Key, r.Value)
		}
	}
}

func (t *timed) end(topics ...string) {
	t.d.Finish()
	t.print(topics...)
	for _, f := range t.cleanups {
		f()
	}
}

// inWindow shows a count with its window.
func inWindow(w stream.Windowed[string], n int64) string {
	return fmt.Sprintf("%d in %s-%s", n, w.StartTime().Format(time.TimeOnly), w.EndTime().Format(time.TimeOnly))
}

func ExampleTumbling() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnClose()).
		Count("per-minute").
		Stream().
		Map(inWindow).
		To("per-minute")

	run := newTimed(p)
	run.at(5, "clicks", "ann", "home")
	run.at(59, "clicks", "ann", "cart")
	run.at(60, "clicks", "ann", "pay")
	run.end("per-minute")
	// Output:
	// 59.999s per-minute: ann=2 in 00:00:00-00:01:00
	// 119.999s per-minute: ann=1 in 00:01:00-00:02:00
}

func ExampleHopping() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Hopping(time.Minute, 30*time.Second).EmitOnClose()).
		Count("last-minute").
		Stream().
		Map(inWindow).
		To("last-minute")

	run := newTimed(p)
	run.at(35, "clicks", "ann", "home")
	run.at(65, "clicks", "ann", "cart")
	run.end("last-minute")
	// Output:
	// 59.999s last-minute: ann=1 in 00:00:00-00:01:00
	// 89.999s last-minute: ann=2 in 00:00:30-00:01:30
	// 119.999s last-minute: ann=1 in 00:01:00-00:02:00
}

// Each record has the window that ends with it: how often has this happened in the minute up to now?
func ExampleSliding() {
	p := stream.NewPipeline("logins")
	stream.From(p, "failed-logins", codec.String, codec.String).
		Group().
		Window(stream.Sliding(time.Minute)).
		Count("last-minute").
		Stream().
		Map(func(_ stream.Windowed[string], n int64) string { return fmt.Sprint(n) }).
		To("last-minute")

	run := newTimed(p)
	run.at(10, "failed-logins", "ann", "")
	run.at(30, "failed-logins", "ann", "")
	run.at(75, "failed-logins", "ann", "")
	run.end("last-minute")
	// Output:
	// 10s last-minute: ann=1
	// 30s last-minute: ann=2
	// 75s last-minute: ann=2
}

// A visit ends when nothing has come for half a minute.
func ExampleSession() {
	p := stream.NewPipeline("visits")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Session(30*time.Second).EmitOnClose()).
		Reduce("visits", func(pages, page string) string { return pages + " " + page }).
		Stream().
		Map(func(_ stream.Windowed[string], pages string) string { return pages }).
		To("visits")

	run := newTimed(p)
	run.at(0, "clicks", "ann", "home")
	run.at(20, "clicks", "ann", "cart")
	run.at(60, "clicks", "ann", "help")
	run.end("visits")
	// Output:
	// 49.999s visits: ann=home cart
	// 89.999s visits: ann=help
}

// Days of a time zone: in Vienna the second of January begins while it is still the first in UTC.
func ExampleCalendar() {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		panic(err)
	}
	p := stream.NewPipeline("days")
	stream.From(p, "sales", codec.String, codec.String).
		Group().
		Window(stream.Calendar(stream.Day, vienna).EmitOnClose()).
		Count("per-day").
		Stream().
		Map(func(w stream.Windowed[string], n int64) string {
			return fmt.Sprintf("%d on %s", n, w.StartTime().In(vienna).Format(time.DateOnly))
		}).
		To("per-day")

	run := newTimed(p)
	run.at(22*3600, "sales", "shop", "tea")
	run.at(23*3600, "sales", "shop", "rum")
	run.end("per-day")
	// Output:
	// 82799.999s per-day: shop=1 on 1970-01-01
	// 169199.999s per-day: shop=1 on 1970-01-02
}

func ExampleWindows_Grace() {
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
	run.at(69, "clicks", "ann", "cart")
	run.at(59, "clicks", "ann", "late, and still in time")
	run.at(70, "clicks", "ann", "the first minute is over now")
	run.print("per-minute")
	run.end("per-minute")
	// Output:
	// 59.999s per-minute: ann=2 in 00:00:00-00:01:00
	// 119.999s per-minute: ann=2 in 00:01:00-00:02:00
}

func ExampleWindowedGroup_Late() {
	p := stream.NewPipeline("clicks")
	minutes := stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnClose())
	minutes.Count("per-minute").Stream().Map(inWindow).To("per-minute")
	minutes.Late().To("late-clicks")

	run := newTimed(p)
	run.at(5, "clicks", "ann", "home")
	run.at(60, "clicks", "ann", "cart")
	run.at(59, "clicks", "ann", "help")
	run.end("per-minute", "late-clicks")
	// Output:
	// 59.999s per-minute: ann=1 in 00:00:00-00:01:00
	// 119.999s per-minute: ann=1 in 00:01:00-00:02:00
	// 59s late-clicks: ann=help
}

func ExampleWindows_EmitOnUpdate() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnUpdate()).
		Count("per-minute").
		Stream().
		Map(inWindow).
		To("per-minute")

	run := newTimed(p)
	run.at(5, "clicks", "ann", "home")
	run.at(30, "clicks", "ann", "cart")
	run.end("per-minute")
	// Output:
	// 5s per-minute: ann=1 in 00:00:00-00:01:00
	// 30s per-minute: ann=2 in 00:00:00-00:01:00
}

// What has changed is emitted every twenty seconds of event time, and at the end.
func ExampleWindows_EmitEvery() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).EmitEvery(20 * time.Second)).
		Count("per-minute").
		Stream().
		Map(inWindow).
		To("per-minute")

	run := newTimed(p)
	run.at(3, "clicks", "ann", "home")
	run.at(5, "clicks", "ann", "cart")
	run.at(20, "clicks", "ann", "help") // event time has come to 20 s
	run.at(30, "clicks", "ann", "cart")
	run.end("per-minute")
	// Output:
	// 20s per-minute: ann=3 in 00:00:00-00:01:00
	// 30s per-minute: ann=4 in 00:00:00-00:01:00
}

func ExampleWindowedGroup_Aggregate() {
	p := stream.NewPipeline("pages")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnClose()).
		Aggregate("pages", func() string { return "" }, func(pages, page string) string { return pages + "/" + page }, nil).
		Stream().
		Map(func(_ stream.Windowed[string], pages string) string { return pages }).
		To("pages")

	run := newTimed(p)
	run.at(1, "clicks", "ann", "home")
	run.at(2, "clicks", "ann", "cart")
	run.end("pages")
	// Output: 59.999s pages: ann=/home/cart
}

func ExampleWindowedStream_Filter() {
	p := stream.NewPipeline("busy")
	stream.From(p, "clicks", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnClose()).
		Count("per-minute").
		Stream().
		Filter(func(_ stream.Windowed[string], n int64) bool { return n > 1 }).
		Map(inWindow).
		To("busy")

	run := newTimed(p)
	run.at(1, "clicks", "ann", "home")
	run.at(2, "clicks", "bob", "home")
	run.at(3, "clicks", "ann", "cart")
	run.end("busy")
	// Output: 59.999s busy: ann=2 in 00:00:00-00:01:00
}

// The time of a record is what its value says, not when it came to Kafka.
func ExampleEventTime() {
	p := stream.NewPipeline("readings")
	stream.From(p, "readings", codec.String, codec.String, stream.EventTime(func(_, reading string) time.Time {
		at, _ := time.Parse(time.RFC3339, reading)
		return at
	})).
		Group().
		Window(stream.Tumbling(time.Hour).EmitOnClose()).
		Count("per-hour").
		Stream().
		Map(inWindow).
		To("per-hour")

	run := newTimed(p)
	run.at(0, "readings", "meter", "1970-01-01T06:59:00Z")
	run.at(0, "readings", "meter", "1970-01-01T07:00:00Z")
	run.end("per-hour")
	// Output:
	// 25199.999s per-hour: meter=1 in 06:00:00-07:00:00
	// 28799.999s per-hour: meter=1 in 07:00:00-08:00:00
}

// Records may come up to half a minute after newer ones: event time stays that much behind the newest.
func ExampleOutOfOrder() {
	p := stream.NewPipeline("clicks")
	stream.From(p, "clicks", codec.String, codec.String, stream.OutOfOrder(30*time.Second)).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnClose()).
		Count("per-minute").
		Stream().
		Map(inWindow).
		To("per-minute")

	run := newTimed(p)
	run.at(10, "clicks", "ann", "home")
	run.at(80, "clicks", "ann", "cart") // event time is 50 s
	run.at(51, "clicks", "ann", "help") // in time
	run.end("per-minute")
	// Output:
	// 59.999s per-minute: ann=2 in 00:00:00-00:01:00
	// 119.999s per-minute: ann=1 in 00:01:00-00:02:00
}

func ExampleStream_JoinStream() {
	p := stream.NewPipeline("paid-orders")
	payments := stream.From(p, "payments", codec.String, codec.String)
	stream.From(p, "orders", codec.String, codec.String).
		JoinStream("paid", payments, stream.Within(time.Hour), func(order, payment string) string {
			return order + " paid by " + payment
		}).
		To("paid-orders")

	run := newTimed(p)
	run.at(0, "orders", "o-1", "tea")
	run.at(10, "orders", "o-2", "rum")
	run.at(60, "payments", "o-1", "card")
	run.at(4000, "payments", "o-2", "cash") // too late: more than an hour
	run.end("paid-orders")
	// Output: 60s paid-orders: o-1=tea paid by card
}

func ExampleStream_LeftJoinStream() {
	p := stream.NewPipeline("unpaid-orders")
	payments := stream.From(p, "payments", codec.String, codec.String)
	stream.From(p, "orders", codec.String, codec.String).
		LeftJoinStream("paid", payments, stream.Between(0, time.Hour), func(order, payment string, paid bool) string {
			if !paid {
				return order + " not paid within an hour"
			}
			return order + " paid by " + payment
		}).
		To("orders-settled")

	run := newTimed(p)
	run.at(0, "orders", "o-1", "tea")
	run.at(10, "orders", "o-2", "rum")
	run.at(60, "payments", "o-1", "card")
	run.end("orders-settled")
	// Output:
	// 60s orders-settled: o-1=tea paid by card
	// 10s orders-settled: o-2=rum not paid within an hour
}

func ExampleStream_OuterJoinStream() {
	p := stream.NewPipeline("reconcile")
	bank := stream.From(p, "bank", codec.String, codec.String)
	stream.From(p, "books", codec.String, codec.String).
		OuterJoinStream("both", bank, stream.Within(time.Hour), func(book string, booked bool, paid string, received bool) string {
			switch {
			case !received:
				return book + " is booked only"
			case !booked:
				return paid + " is in the bank only"
			}
			return book + " and " + paid
		}).
		To("reconciled")

	run := newTimed(p)
	run.at(0, "books", "i-1", "10 EUR")
	run.at(5, "bank", "i-2", "20 EUR")
	run.at(7, "books", "i-3", "30 EUR")
	run.at(9, "bank", "i-3", "31 EUR")
	run.end("reconciled")
	// Output:
	// 9s reconciled: i-3=30 EUR and 31 EUR
	// 0s reconciled: i-1=10 EUR is booked only
	// 5s reconciled: i-2=20 EUR is in the bank only
}

func ExampleBetween() {
	p := stream.NewPipeline("clicks-of-ads")
	clicks := stream.From(p, "clicks", codec.String, codec.String)
	stream.From(p, "ads-shown", codec.String, codec.String).
		// A click counts for the ads shown in the ten seconds before it.
		JoinStream("clicked", clicks, stream.Between(0, 10*time.Second), func(ad, click string) string { return ad + ", " + click }).
		To("clicked")

	run := newTimed(p)
	run.at(0, "ads-shown", "ann", "tea")
	run.at(8, "ads-shown", "ann", "rum")
	run.at(10, "clicks", "ann", "at 10")
	run.at(18, "clicks", "ann", "at 18")
	run.end("clicked")
	// Output:
	// 10s clicked: ann=tea, at 10
	// 10s clicked: ann=rum, at 10
	// 18s clicked: ann=rum, at 18
}
