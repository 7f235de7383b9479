// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

func showRanked(r stream.Ranked[int64]) string { return fmt.Sprintf("%d: %d", r.Rank, r.Value) }

// topPipeline ranks by tens only, so that there are ties whose winner shows.
func topPipeline(n int) *stream.Pipeline {
	p := stream.NewPipeline("top")
	g := stream.From(p, "in", codec.String, codec.Int64).Group()
	stream.TopN(g, "top", n, func(a, b int64) bool { return a/10 > b/10 }).Map(showRanked).To("out")
	return p
}

// topByHand sorts all values of a key anew for each, and compares what is at each rank before and after.
func topByHand(events []event, n int) map[string][]string {
	got, byKey := map[string][]string{}, map[string][]event{}
	ranks := func(key string) []int { // indexes into byKey[key]
		all := byKey[key]
		order := make([]int, len(all))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(all[b].value/10, all[a].value/10) })
		return order[:min(n, len(order))]
	}
	for _, e := range events {
		before := ranks(e.key)
		byKey[e.key] = append(byKey[e.key], e)
		for i, at := range ranks(e.key) {
			if i >= len(before) || before[i] != at {
				got[e.key] = append(got[e.key], showRanked(stream.Ranked[int64]{Rank: i + 1, Value: byKey[e.key][at].value}))
			}
		}
	}
	return got
}

func TestTopNEmitsTheRanksThatChangeAndNoOthers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			events := randomEvents(13, 150, 1000)
			streamtest.ThreeWays(t, topPipeline(n), func(d *streamtest.Driver) {
				send(d, events)
				d.Run()
				if d := diff.Diff(topByHand(events, n), results(d, "out")); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestRanksHaveTheNewestTimeOfThoseThatTookOne(t *testing.T) {
	t.Parallel()
	r := start(t, topPipeline(2))
	for _, rec := range []struct{ value, at int64 }{{50, 10}, {30, 40}, {10, 70}, {70, 20}} {
		value, err := codec.Int64.Append(nil, rec.value)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.feed(operators.Record{Topic: "in", Key: []byte("k"), Value: value, Time: rec.at}, false); err != nil {
			t.Fatal(err)
		}
	}
	wantLines(t, r, "out: k=1: 50@10", "out: k=2: 30@40", "out: k=1: 70@40", "out: k=2: 50@40")
}
