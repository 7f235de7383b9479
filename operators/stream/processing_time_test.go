// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// byTheClock counts per key in windows of ten seconds, behind a repartition.
func byTheClock() *stream.Pipeline {
	p := stream.NewPipeline("clock")
	stream.From(p, "in", codec.String, codec.String, stream.ProcessingTime()).
		KeyBy("by-value", func(v string) string { return v }).
		Group().
		Window(stream.Tumbling(10 * time.Second).EmitOnClose()).
		Count("count").
		Stream().
		Map(inWindow).
		To("out")
	return p
}

func TestWindowsOfTheClockCloseByTheClock(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, byTheClock(), streamtest.Partitions(2))
	in := d.In("in", codec.String, codec.String)
	results := func() (all []string) {
		for _, r := range d.Out("out", codec.String, codec.String).Read() {
			all = append(all, r.Key+": "+r.Value)
		}
		return all
	}
	longAgo := time.UnixMilli(1)
	for range 3 {
		in.SendAt(longAgo, "k", "a") // the timestamps mean nothing
	}
	d.Run()
	d.Crash()
	d.Advance(5 * time.Second)
	in.SendAt(d.Now().Add(time.Hour), "k", "a")
	d.Run()
	if got := results(); len(got) > 0 {
		t.Errorf("before its end the window gave %v", got)
	}
	d.Advance(5 * time.Second)
	in.SendAt(longAgo, "k", "a")
	d.Run()
	d.Advance(10 * time.Second)
	d.Run() // nothing is sent: the clock is enough
	if diff := cmp.Diff([]string{"a: 4 in 00:00:00-00:00:10", "a: 1 in 00:00:10-00:00:20"}, results()); diff != "" {
		t.Error(diff)
	}
}

func TestProcessingTimeGoesWithNoOtherTime(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String, stream.ProcessingTime(), stream.OutOfOrder(time.Second))
	if _, err := p.Build(); err == nil {
		t.Error("it builds")
	}
}

func ExampleProcessingTime() {
	p := stream.NewPipeline("visits")
	stream.From(p, "visits", codec.String, codec.String, stream.ProcessingTime()).
		Group().
		Window(stream.Tumbling(time.Minute).EmitOnClose()).
		Count("per-minute").
		Stream().
		Map(inWindow).
		To("per-minute")

	run := newTimed(p)
	run.at(0, "visits", "home", "ann") // the record's own time plays no part
	run.at(0, "visits", "home", "bob")
	run.d.Advance(time.Minute)
	run.d.Run()
	run.print("per-minute")
	run.end()
	// Output: 1.735689659999e+09s per-minute: home=2 in 00:00:00-00:01:00
}
