// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func ExampleStream_TryMap() {
	p := stream.NewPipeline("numbers")
	stream.From(p, "texts", codec.String, codec.String).
		OnError(stream.Skip).
		TryMap(strconv.Atoi).
		To("numbers", codec.JSON[int]())

	run := newRig(p)
	run.send("texts", "a", "1", "b", "two", "c", "3")
	run.print()
	// Output:
	// numbers: a=1
	// numbers: c=3
}

func ExampleStream_OnError() {
	p := stream.NewPipeline("ratios")
	stream.From(p, "divisors", codec.String, codec.JSON[int]()).
		OnError(stream.DeadLetter("divisors-dead")).
		Map(func(n int) int { return 100 / n }). // panics on zero
		To("ratios")

	run := newRig(p)
	run.send("divisors", "a", "4", "b", "0")
	run.print()
	// Output:
	// ratios: a=25
	// divisors-dead: b=0
}

func ExamplePipeline_OnError() {
	p := stream.NewPipeline("numbers")
	p.OnError(stream.DeadLetter("dead")) // of sources and steps alike
	stream.From(p, "texts", codec.String, codec.JSON[string]()).
		TryMap(strconv.Atoi).
		To("numbers", codec.JSON[int]())

	run := newRig(p)
	run.send("texts", "a", `"1"`, "b", `"two"`, "c", "three")
	run.print()
	// Output:
	// numbers: a=1
	// dead: b="two"
	// dead: c=three
}

func ExampleTable_OnError() {
	p := stream.NewPipeline("prices")
	stream.TableFrom(p, "cents", codec.String, codec.JSON[int]()).
		OnError(stream.Skip).
		Map(func(cents int) string {
			if cents < 0 {
				panic("no price")
			}
			return fmt.Sprintf("%d.%02d", cents/100, cents%100)
		}).
		To("prices", codec.String)

	run := newRig(p)
	run.send("cents", "bolt", "500", "bolt", "-1", "bolt", "700")
	run.print()
	// Output:
	// prices: bolt=5.00
	// prices: bolt=
	// prices: bolt=7.00
}

func ExampleWindowedStream_OnError() {
	p := stream.NewPipeline("shares")
	stream.From(p, "parts", codec.String, codec.JSON[int]()).
		Group().
		Window(stream.Tumbling(time.Second)).
		Reduce("sums", func(kept, n int) int { return kept + n }).
		Stream().
		OnError(stream.Skip).
		Map(func(_ stream.Windowed[string], sum int) string { return fmt.Sprint(100/sum, "%") }). // panics on zero
		To("shares", codec.String)

	run := newRig(p)
	run.send("parts", "a", "0", "b", "5", "a", "4")
	run.print()
	// Output:
	// shares: b=20%
	// shares: a=25%
}

func ExampleRetry() {
	calls := 0
	lookUp := func(city string) (string, error) {
		if calls++; calls < 3 {
			return "", errors.New("the service is away")
		}
		return city + ", Norway", nil
	}
	p := stream.NewPipeline("places")
	stream.From(p, "cities", codec.String, codec.String).
		OnError(stream.Retry(5, time.Millisecond).Then(stream.DeadLetter("cities-dead"))).
		TryMap(lookUp).
		To("places")

	run := newRig(p)
	run.send("cities", "1", "Oslo")
	run.print()
	fmt.Println(calls, "calls")
	// Output:
	// places: 1=Oslo, Norway
	// 3 calls
}

func ExampleIfError() {
	errClosed := errors.New("the account is closed")
	p := stream.NewPipeline("payments")
	stream.From(p, "payments", codec.String, codec.String).
		OnError(stream.DeadLetter("dead")).
		OnError(stream.Skip, stream.IfError(func(err error) bool { return errors.Is(err, errClosed) })).
		TryMap(func(account string) (string, error) {
			switch account {
			case "old":
				return "", errClosed
			case "":
				return "", errors.New("no account")
			}
			return account, nil
		}).
		To("booked")

	run := newRig(p)
	run.send("payments", "1", "ann", "2", "old", "3", "")
	run.print()
	// Output:
	// booked: 1=ann
	// dead: 3=
}

func ExampleInPhase() {
	p := stream.NewPipeline("strict")
	// Skips what does not decode; an error of a step still ends the epoch.
	p.OnError(stream.Skip, stream.InPhase(operators.PhaseDecode))
	stream.From(p, "in", codec.String, codec.JSON[int]()).To("out")

	run := newRig(p)
	run.send("in", "a", "one", "b", "2")
	run.print()
	// Output: out: b=2
}
