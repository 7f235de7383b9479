// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// joinPipeline joins "left" and "right" into "out".
func joinPipeline(kind string, w stream.JoinWindow, source ...stream.SourceOption) *stream.Pipeline {
	p := stream.NewPipeline("joins")
	left := stream.From(p, "left", codec.String, codec.Int64, source...)
	right := stream.From(p, "right", codec.String, codec.Int64, source...)
	show := func(l int64, hasL bool, r int64, hasR bool) string {
		a, b := "-", "-"
		if hasL {
			a = fmt.Sprint(l)
		}
		if hasR {
			b = fmt.Sprint(r)
		}
		return a + " " + b
	}
	var out stream.Stream[string, string]
	switch kind {
	case "inner":
		out = left.JoinStream("pairs", right, w, func(l, r int64) string { return show(l, true, r, true) })
	case "left":
		out = left.LeftJoinStream("pairs", right, w, func(l, r int64, has bool) string { return show(l, true, r, has) })
	case "outer":
		out = left.OuterJoinStream("pairs", right, w, show)
	}
	out.To("out")
	return p
}

// joinByHand pairs the events: the value of a pair and its time, by key, sorted.
func joinByHand(kind string, left, right []event, lower, upper int64) map[string][]string {
	got := map[string][]string{}
	add := func(key string, at int64, l, r string) {
		got[key] = append(got[key], fmt.Sprintf("%s %s at %d", l, r, at))
	}
	met := map[event]bool{}
	for _, l := range left {
		found := false
		for _, r := range right {
			if l.key == r.key && r.at >= l.at+lower && r.at <= l.at+upper {
				found = true
				met[r] = true
				add(l.key, max(l.at, r.at), fmt.Sprint(l.value), fmt.Sprint(r.value))
			}
		}
		if !found && kind != "inner" {
			add(l.key, l.at, fmt.Sprint(l.value), "-")
		}
	}
	for _, r := range right {
		if kind == "outer" && !met[r] {
			add(r.key, r.at, "-", fmt.Sprint(r.value))
		}
	}
	for _, list := range got {
		slices.Sort(list)
	}
	return got
}

// distinct gives each event a value of its own.
func distinct(events []event, from int64) []event {
	for i := range events {
		events[i].value = from + int64(i)
	}
	return events
}

func TestStreamsAreJoinedAsTheEvaluationByHandSays(t *testing.T) {
	t.Parallel()
	const disorder = 2000
	for _, kind := range []string{"inner", "left", "outer"} {
		for name, bounds := range map[string][2]int64{"around": {-3000, 3000}, "after": {500, 4000}, "same time": {0, 0}} {
			for _, late := range []string{"bound of disorder", "grace"} {
				t.Run(kind+"/"+name+"/"+late, func(t *testing.T) {
					t.Parallel()
					w := stream.Between(time.Duration(bounds[0])*time.Millisecond, time.Duration(bounds[1])*time.Millisecond)
					var source []stream.SourceOption
					if late == "grace" {
						w = w.Grace(disorder * time.Millisecond)
					} else {
						source = append(source, stream.OutOfOrder(disorder*time.Millisecond))
					}
					left, right := distinct(randomEvents(1, 60, disorder), 0), distinct(randomEvents(2, 60, disorder), 1000)
					for i := range left {
						left[i].at -= left[i].at % 500 // so that some times are equal
						right[i].at -= right[i].at % 500
					}
					streamtest.ThreeWays(t, joinPipeline(kind, w, source...), func(d *streamtest.Driver) {
						l, r := d.In("left", codec.String, codec.Int64), d.In("right", codec.String, codec.Int64)
						for i := range left {
							l.SendAt(time.UnixMilli(left[i].at), left[i].key, left[i].value)
							r.SendAt(time.UnixMilli(right[i].at), right[i].key, right[i].value)
						}
						d.Finish()
						got := map[string][]string{}
						for _, rec := range d.Out("out", codec.String, codec.String).Read() {
							got[rec.Key] = append(got[rec.Key], fmt.Sprintf("%s at %d", rec.Value, rec.Time.UnixMilli()))
						}
						for _, list := range got {
							slices.Sort(list)
						}
						if d := diff.Diff(joinByHand(kind, left, right, bounds[0], bounds[1]), got); d != "" {
							t.Error(d)
						}
					}, streamtest.AnyOrder("out"))
				})
			}
		}
	}
}

func TestUnmatchedRecordsAreEmittedOnceNoneCanMeetThem(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, joinPipeline("left", stream.Within(5*time.Second).Grace(time.Second)), streamtest.Partitions(1))
	l, r := d.In("left", codec.String, codec.Int64), d.In("right", codec.String, codec.Int64)
	at := func(s int64) time.Time { return time.UnixMilli(1_000_000 + s*1000) }
	l.SendAt(at(0), "k", 1)
	r.SendAt(at(6), "k", 2)
	d.Run()
	if got := d.Out("out", codec.String, codec.String).Read(); len(got) > 0 {
		t.Fatalf("there was still grace, but there is %v", got)
	}
	r.SendAt(at(7), "k", 3)
	d.Run()
	got := d.Out("out", codec.String, codec.String).Read()
	if len(got) != 1 || got[0].Value != "1 -" || !got[0].Time.Equal(at(0)) {
		t.Fatalf("want the left record without a right one, found %v", got)
	}
}
