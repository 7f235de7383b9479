// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// distinctByHand keeps all times that have passed, by what tells records apart, and forgets none.
func distinctByHand(events []event, within int64, tell func(event) string) map[string][]string {
	passed := map[string][]int64{}
	got := map[string][]string{}
next:
	for _, e := range events {
		id := tell(e)
		for _, at := range passed[id] {
			if max(at-e.at, e.at-at) < within {
				continue next
			}
		}
		passed[id] = append(passed[id], e.at)
		got[e.key] = append(got[e.key], fmt.Sprint(e.value))
	}
	return got
}

func TestDistinctEqualsTheEvaluationByHand(t *testing.T) {
	t.Parallel()
	const within = 4 * time.Second
	for name, c := range map[string]struct {
		declare func(stream.Stream[string, int64]) stream.Stream[string, int64]
		tell    func(event) string
	}{
		"by key": {
			func(s stream.Stream[string, int64]) stream.Stream[string, int64] { return s.Distinct("once", within) },
			func(e event) string { return e.key },
		},
		"by id": {
			func(s stream.Stream[string, int64]) stream.Stream[string, int64] {
				return s.DistinctBy("once", within, func(v int64) int64 { return v % 4 })
			},
			func(e event) string { return fmt.Sprint(e.key, " ", e.value%4) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := stream.NewPipeline("distinct")
			c.declare(stream.From(p, "in", codec.String, codec.Int64)).
				Map(func(v int64) string { return fmt.Sprint(v) }).To("out")
			events := randomEvents(5, 200, 3000)
			want := distinctByHand(events, within.Milliseconds(), c.tell)
			streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
				send(d, events)
				d.Finish()
				if d := cmp.Diff(want, results(d, "out")); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestDistinctDropsWhatIsTooLateToBeCompared(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("distinct")
	stream.From(p, "in", codec.String, codec.String).Distinct("once", time.Second).To("out")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("in", codec.String, codec.String)
		at := func(ms int64) time.Time { return time.UnixMilli(10_000 + ms) }
		in.SendAt(at(1000), "k", "newest")
		d.Run()
		in.SendAt(at(0), "k", "late, and not too late")
		in.SendAt(at(-1), "k", "too late")
		d.Run()
		wantRecords(t, d.Out("out", codec.String, codec.String), "k=newest", "k=late, and not too late")
	})
}

func TestDistinctForgetsWhatNoRecordCanRepeat(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("distinct")
	stream.From(p, "in", codec.String, codec.String).Distinct("once", 10*time.Millisecond).To("out")
	r := start(t, p)
	task := r.tasks[0]
	for _, at := range []operators.Time{5, 17, 31} {
		if err := r.feed(operators.Record{Topic: "in", Key: []byte("k"), Value: []byte("v"), Time: at}, false); err != nil {
			t.Fatal(err)
		}
	}
	r.commit()
	if err := task.proc.Restart(); err != nil {
		t.Fatal(err)
	}
	var dues []operators.Time
	for due := task.proc.Due(); due != operators.MaxTime; due = task.proc.Due() {
		dues = append(dues, due)
		task.ctx.Watermark = due
		if err := task.proc.Advance(due); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]operators.Time{30, 40, 60}, dues); d != "" {
		t.Errorf("event times at which something is forgotten (-want +got):\n%s", d)
	}
}

func TestRecordsThatDistinctAndTopNFailOnLeaveNothing(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("policies")
	in := stream.From(p, "in", codec.String, codec.Int64).OnError(stream.Skip)
	in.DistinctBy("once", time.Minute, func(v int64) int64 {
		if v < 0 {
			panic("negative")
		}
		return v
	}).Map(func(v int64) string { return fmt.Sprint(v) }).To("distinct")
	stream.TopN(in.Group(), "top", 1, func(a, b int64) bool {
		if a < 0 {
			panic("negative")
		}
		return a > b
	}).Map(showRanked).To("top")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("in", codec.String, codec.Int64)
		for _, v := range []int64{1, -1, 1, 2} {
			in.Send("k", v)
		}
		d.Run()
		wantRecords(t, d.Out("distinct", codec.String, codec.String), "k=1", "k=2")
		wantRecords(t, d.Out("top", codec.String, codec.String), "k=1: 1", "k=1: 2")
	})
}
