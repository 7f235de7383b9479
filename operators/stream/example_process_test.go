// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// exampleT is the testing.TB of examples about time, which the test kit runs; end ends it.
type exampleT struct{ cleanups []func() }

func (t *exampleT) Helper()                           {}
func (t *exampleT) Logf(string, ...any)               {}
func (t *exampleT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleT) end() {
	for _, f := range t.cleanups {
		f()
	}
}

// printAll prints the records of topics of text with their times, as seconds.
func printAll(d *streamtest.Driver, topics ...string) {
	for _, topic := range topics {
		for _, r := range d.Out(topic, codec.String, codec.String).Read() {
			fmt.Printf("%s: %s=%s at %gs\n", topic, r.Key, r.Value, r.Time.Sub(time.UnixMilli(0)).Seconds())
		}
	}
}

// An order that is not paid within ten minutes of event time is cancelled.
func ExampleSetup_Timer() {
	p := stream.NewPipeline("checkout")
	stream.From(p, "orders", codec.String, codec.String).
		Process("pay", func(s *stream.Setup) stream.Handler[string, string, string] {
			deadline := s.Timer("deadline", func(ctx *stream.Context[string], order string, at int64) error {
				ctx.Emit("cancelled")
				return nil
			})
			return func(ctx *stream.Context[string], order, event string) error {
				if event == "paid" {
					ctx.Emit("done")
					return deadline.Clear()
				}
				return deadline.SetAfter(10 * time.Minute)
			}
		}).
		To("results")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p, streamtest.Partitions(1))
	orders := d.In("orders", codec.String, codec.String)
	orders.SendAt(time.UnixMilli(0), "o-1", "placed")
	orders.SendAt(time.UnixMilli(30_000), "o-2", "placed")
	orders.SendAt(time.UnixMilli(60_000), "o-1", "paid")
	orders.SendAt(time.UnixMilli(3600_000), "o-3", "placed")
	d.Run()
	printAll(d, "results")
	// Output:
	// results: o-1=done at 60s
	// results: o-2=cancelled at 630s
}

// A user who has done nothing for half an hour, by the wall clock, is gone.
func ExampleSetup_ProcessingTimer() {
	p := stream.NewPipeline("presence")
	stream.From(p, "clicks", codec.String, codec.String).
		Process("presence", func(s *stream.Setup) stream.Handler[string, string, string] {
			gone := s.ProcessingTimer("gone", func(ctx *stream.Context[string], user string, at int64) error {
				ctx.Emit("gone")
				return nil
			})
			return func(ctx *stream.Context[string], user, page string) error {
				_, here, err := gone.Get()
				if err == nil && !here {
					ctx.Emit("here")
				}
				return errors.Join(err, gone.SetAfter(30*time.Minute))
			}
		}).
		To("presence")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p)
	clicks := d.In("clicks", codec.String, codec.String)
	clicks.SendAt(time.UnixMilli(1000), "ann", "/home")
	clicks.SendAt(time.UnixMilli(2000), "ann", "/cart")
	d.Run()
	d.Advance(time.Hour)
	d.Run()
	printAll(d, "presence")
	// Output:
	// presence: ann=here at 1s
	// presence: ann=gone at 2s
}

// A list keeps what came, in order.
func ExampleSetup_List() {
	p := stream.NewPipeline("baskets")
	stream.From(p, "events", codec.String, codec.String).
		Process("basket", func(s *stream.Setup) stream.Handler[string, string, string] {
			items := s.List("items", codec.String)
			return func(ctx *stream.Context[string], user, event string) error {
				if event != "pay" {
					return items.Append(event)
				}
				var all []string
				for item := range items.All() {
					all = append(all, item)
				}
				ctx.Emit(strings.Join(all, "+"))
				return items.Clear()
			}
		}).
		To("baskets")

	run := newRig(p)
	run.send("events", "ann", "tea", "bob", "coffee", "ann", "milk", "ann", "pay")
	run.print()
	// Output: baskets: ann=tea+milk
}

// Sub-keys are in order, so a part of them can be looked through.
func ExampleMapState_Range() {
	p := stream.NewPipeline("meters")
	stream.From(p, "readings", codec.String, codec.Int64).
		Process("sums", func(s *stream.Setup) stream.Handler[string, int64, int64] {
			readings := s.Map("readings", codec.Int64, codec.Int64) // by time
			return func(ctx *stream.Context[int64], meter string, v int64) error {
				if err := readings.Put(ctx.Time(), v); err != nil {
					return err
				}
				sum := int64(0)
				for _, v := range readings.Range(ctx.Time()-1, ctx.Time()+1) { // this one and the one before
					sum += v
				}
				ctx.Emit(sum)
				return nil
			}
		}).
		To("sums")

	run := newRig(p)
	for _, v := range []int64{5, 7, 11} {
		raw, _ := codec.Int64.Append(nil, v)
		run.send("readings", "m", string(raw))
	}
	run.print()
	// Output:
	// sums: m=5
	// sums: m=12
	// sums: m=18
}

// A card used in two countries within an hour is suspicious: what is older is forgotten by itself.
func ExampleTTL() {
	p := stream.NewPipeline("fraud")
	stream.From(p, "payments", codec.String, codec.String).
		Process("countries", func(s *stream.Setup) stream.Handler[string, string, string] {
			last := s.Value("last", codec.String, stream.TTL(time.Hour))
			return func(ctx *stream.Context[string], card, country string) error {
				before, found, err := last.Get()
				if err == nil && found && before != country {
					ctx.Emit(before + " and " + country)
				}
				return errors.Join(err, last.Put(country))
			}
		}).
		To("alerts")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p)
	payments := d.In("payments", codec.String, codec.String)
	payments.SendAt(time.UnixMilli(0), "card", "AT")
	payments.SendAt(time.UnixMilli(3600_000), "card", "US")
	payments.SendAt(time.UnixMilli(3700_000), "card", "BR")
	d.Run()
	printAll(d, "alerts")
	// Output: alerts: card=US and BR at 3700s
}

// A token that is looked up stays known; one that is not used for a minute, by the wall clock, is forgotten.
func ExampleRefreshOnRead() {
	p := stream.NewPipeline("tokens")
	stream.From(p, "uses", codec.String, codec.String).
		Process("tokens", func(s *stream.Setup) stream.Handler[string, string, string] {
			owner := s.Value("owner", codec.String, stream.ProcessingTTL(time.Minute), stream.RefreshOnRead())
			return func(ctx *stream.Context[string], token, user string) error {
				if user != "" {
					return owner.Put(user)
				}
				user, found, err := owner.Get()
				if err == nil {
					ctx.Emit(fmt.Sprintf("%s %t", user, found))
				}
				return err
			}
		}).
		To("users")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p)
	uses := d.In("uses", codec.String, codec.String)
	uses.SendAt(time.UnixMilli(1000), "t-1", "ann")
	for range 3 {
		d.Advance(40 * time.Second)
		uses.SendAt(time.UnixMilli(1000), "t-1", "")
		d.Run()
	}
	d.Advance(60 * time.Second)
	uses.SendAt(time.UnixMilli(2000), "t-1", "")
	d.Run()
	printAll(d, "users")
	// Output:
	// users: t-1=ann true at 1s
	// users: t-1=ann true at 1s
	// users: t-1=ann true at 1s
	// users: t-1= false at 2s
}

var late = stream.NewSideOutput[string]("late")

// What comes after its time is up goes to a stream of its own.
func ExampleStream_Side() {
	p := stream.NewPipeline("punctual")
	onTime := stream.From(p, "in", codec.String, codec.String, stream.OutOfOrder(time.Minute)).
		Process("sort", func(s *stream.Setup) stream.Handler[string, string, string] {
			toLate, watermark := s.Side(late), s.Watermark()
			return func(ctx *stream.Context[string], k, v string) error {
				if ctx.Time() < watermark() {
					toLate(v)
				} else {
					ctx.Emit(v)
				}
				return nil
			}
		})
	onTime.To("on-time")
	onTime.Side(late).To("late")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p)
	in := d.In("in", codec.String, codec.String)
	for _, seconds := range []int64{100, 50, 200, 130} {
		in.SendAt(time.UnixMilli(1000*seconds), "k", fmt.Sprint("of ", seconds))
	}
	d.Run()
	printAll(d, "on-time", "late")
	// Output:
	// on-time: k=of 100 at 100s
	// on-time: k=of 50 at 50s
	// on-time: k=of 200 at 200s
	// late: k=of 130 at 130s
}

// The watermark of a step tells whether anything is known of event time, and how far it has come.
func ExampleSetup_Watermark() {
	p := stream.NewPipeline("watermarks")
	stream.From(p, "in", codec.String, codec.String).
		Process("look", func(s *stream.Setup) stream.Handler[string, string, string] {
			watermark := s.Watermark()
			return func(ctx *stream.Context[string], k, v string) error {
				if w := watermark(); w == operators.MinTime {
					ctx.Emit("nothing is known")
				} else {
					ctx.Emit(time.UnixMilli(w).UTC().Format(time.TimeOnly))
				}
				return nil
			}
		}).
		To("out")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p)
	in := d.In("in", codec.String, codec.String)
	in.SendAt(time.UnixMilli(1000), "k", "")
	in.SendAt(time.UnixMilli(2000), "k", "")
	d.Run()
	printAll(d, "out")
	// Output:
	// out: k=nothing is known at 1s
	// out: k=00:00:01 at 2s
}

// Every task knows the limits, whatever keys it has.
func ExampleStream_ProcessWith() {
	p := stream.NewPipeline("limits")
	limits := stream.From(p, "limits", codec.String, codec.Int64).Broadcast("limits")
	stream.From(p, "payments", codec.String, codec.Int64).
		ProcessWith("check", limits, func(_ *stream.Setup, limits *stream.BroadcastState[string, int64]) stream.Handler[string, int64, string] {
			return func(ctx *stream.Context[string], account string, cents int64) error {
				limit, found, err := limits.Get("payment")
				if found && cents > limit {
					ctx.Emit(fmt.Sprintf("%d is more than %d", cents, limit))
				}
				return err
			}
		}, codec.String).
		To("alerts")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p)
	d.In("limits", codec.String, codec.Int64).Send("payment", 1000)
	d.Run()
	payments := d.In("payments", codec.String, codec.Int64)
	payments.SendAt(time.UnixMilli(1000), "ann", 700)
	payments.SendAt(time.UnixMilli(1000), "bob", 1700)
	d.Run()
	printAll(d, "alerts")
	// Output: alerts: bob=1700 is more than 1000 at 1s
}

// A closed shop is taken out of the table that every task has.
func ExampleStream_Broadcast() {
	p := stream.NewPipeline("shops")
	shops := stream.From(p, "shops", codec.String, codec.String).
		Broadcast("shops", func(state string) bool { return state == "closed" })
	stream.From(p, "orders", codec.String, codec.String).
		ProcessWith("known", shops, func(_ *stream.Setup, shops *stream.BroadcastState[string, string]) stream.Handler[string, string, string] {
			return func(ctx *stream.Context[string], order, shop string) error {
				_, open, err := shops.Get(shop)
				ctx.Emit(fmt.Sprintf("%s open: %t", shop, open))
				return err
			}
		}).
		To("orders-checked")

	run := newRig(p)
	run.send("shops", "vienna", "open", "graz", "open", "graz", "closed")
	run.send("orders", "1", "graz", "2", "vienna")
	run.print()
	// Output:
	// orders-checked: 1=graz open: false
	// orders-checked: 2=vienna open: true
}

// The rates come from a service that is asked for many records at a time. It is given the same key when it is asked
// again for the same record.
func ExampleStream_AsyncOrdered() {
	p := stream.NewPipeline("invoices")
	stream.From(p, "invoices", codec.String, codec.String).
		OnError(stream.Retry(3, 100*time.Millisecond)).
		AsyncOrdered("convert", func(ctx context.Context, amount string) (string, error) {
			key := stream.IdempotencyKey(ctx) // a header of the request
			return amount + " is 7 USD, asked under " + key, nil
		}, stream.Concurrency(50), stream.CallTimeout(time.Second)).
		To("converted")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p, streamtest.Partitions(1))
	d.In("invoices", codec.String, codec.String).SendAt(time.UnixMilli(1000), "i-1", "6 EUR")
	d.Run()
	printAll(d, "converted")
	// Output: converted: i-1=6 EUR is 7 USD, asked under invoices/convert/invoices/0/0 at 1s
}

// A call that fails is made again, and those after it do not wait for it.
func ExampleStream_AsyncUnordered() {
	p := stream.NewPipeline("names")
	failed := false
	stream.From(p, "ids", codec.String, codec.String).
		OnError(stream.Retry(3, time.Second)).
		AsyncUnordered("look-up", func(_ context.Context, id string) (string, error) {
			if id == "1" && !failed {
				failed = true // calls run at the same time, but not in the test kit
				return "", errors.New("no answer")
			}
			return "name of " + id, nil
		}).
		To("names")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p, streamtest.Partitions(1))
	ids := d.In("ids", codec.String, codec.String)
	ids.SendAt(time.UnixMilli(1000), "a", "1")
	ids.SendAt(time.UnixMilli(2000), "b", "2")
	d.Run()
	d.Advance(time.Second)
	d.Run()
	printAll(d, "names")
	// Output:
	// names: b=name of 2 at 2s
	// names: a=name of 1 at 1s
}
