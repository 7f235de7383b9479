// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// rest is the key that the pipelines of this file combine by.
func rest(v int64) string { return "rest " + strconv.FormatInt(v%3, 10) }

var sums = stream.Combiner[int64, sum]{Init: newSum, Add: sum.add, Merge: sum.merge, Codec: codec.JSON[sum]()}

func byRest(events []event) []event {
	for i := range events {
		events[i].key = rest(events[i].value)
	}
	return events
}

func TestCombinedAggregatesEqualThoseOfSingleRecords(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("combine")
	stream.From(p, "in", codec.String, codec.Int64).
		CombineBy("by-rest", rest, sums).
		Aggregate("sums").
		Stream().
		Map(func(s sum) int64 { return s.Total }).
		To("out")
	events := randomEvents(23, 150, 1000)
	want := map[string]sum{}
	for _, e := range events {
		want[rest(e.value)] = want[rest(e.value)].add(e.value)
	}
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		send(d, events)
		d.Run()
		wantState(t, d.State("sums", codec.String, codec.JSON[sum]()), want)
	}, streamtest.NewestOnly())
}

func TestCombinedWindowsEqualTheEvaluationByHand(t *testing.T) {
	t.Parallel()
	const disorder = 3 * time.Second
	for name, c := range map[string]struct {
		windows stream.Windows
		want    func([]event) map[string][]string
	}{
		"tumbling":         {stream.Tumbling(5 * time.Second), func(e []event) map[string][]string { return byHand(e, 5000, 5000) }},
		"hopping":          {stream.Hopping(10*time.Second, 4*time.Second), func(e []event) map[string][]string { return byHand(e, 10_000, 4000) }},
		"hopping with gap": {stream.Hopping(2*time.Second, 3*time.Second), func(e []event) map[string][]string { return byHand(e, 2000, 3000) }},
		"calendar":         {stream.Calendar(stream.Day, time.UTC), func(e []event) map[string][]string { return daysByHand(t, e, time.UTC) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := stream.NewPipeline("combine")
			stream.From(p, "in", codec.String, codec.Int64, stream.OutOfOrder(disorder)).
				CombineBy("by-rest", rest, sums).
				Window(c.windows.EmitOnClose()).
				Aggregate("sums").
				Stream().
				Map(func(w stream.Windowed[string], s sum) string { return s.show(w.Window) }).
				To("out")
			events := randomEvents(29, 150, disorder.Milliseconds())
			if name == "calendar" {
				for i := range events {
					events[i].at *= 400
				}
			}
			streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
				send(d, events)
				d.Finish()
				if d := cmp.Diff(c.want(byRest(events)), results(d, "out")); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// A record that goes into several windows must not make them share an aggregate that is changed in place.
func TestWindowsDoNotShareAPartialAggregate(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("combine")
	type counts = map[string]int
	stream.From(p, "in", codec.String, codec.String).
		CombineBy("by-all", func(string) string { return "all" }, stream.Combiner[string, counts]{
			Init: func() counts { return counts{} },
			Add:  func(c counts, word string) counts { c[word]++; return c },
			Merge: func(c, other counts) counts {
				for word, n := range other {
					c[word] += n
				}
				return c
			},
			Codec: codec.JSON[counts](),
		}).
		Window(stream.Hopping(4*time.Second, 2*time.Second)).
		Aggregate("words").
		Stream().
		Map(func(w stream.Windowed[string], c counts) string { return fmt.Sprintf("[%d,%d) %v", w.Start, w.End, c) }).
		To("out")
	d := streamtest.New(t, p)
	in := d.In("in", codec.String, codec.String)
	for _, at := range []int64{10_000, 11_000, 12_000, 14_000} {
		in.SendAt(time.UnixMilli(at), "k", "word")
		d.Run()
	}
	newest := map[string]bool{}
	for _, v := range results(d, "out")["all"] {
		newest[v] = true
	}
	for _, want := range []string{"[8000,12000) map[word:2]", "[10000,14000) map[word:3]", "[12000,16000) map[word:2]", "[14000,18000) map[word:1]"} {
		if !newest[want] {
			t.Errorf("there is no result %q among %v", want, newest)
		}
	}
}

// countPipelines count numbers by their rest, with and without combining them first.
func countPipelines() (combined, single *stream.Pipeline) {
	combined, single = stream.NewPipeline("test"), stream.NewPipeline("test")
	stream.From(combined, "in", codec.String, codec.String).
		CombineBy("by-value", func(v string) string { return v }, stream.Counting[string]()).
		Aggregate("counts").Stream(stream.EmitPerCommit()).To("out")
	stream.From(single, "in", codec.String, codec.String).
		KeyBy("by-value", func(v string) string { return v }).
		Group().Count("counts").Stream(stream.EmitPerCommit()).To("out")
	return combined, single
}

func TestCombiningSendsOneRecordPerKeyAndCommit(t *testing.T) {
	t.Parallel()
	p, q := countPipelines()
	combined, single := start(t, p), start(t, q)
	for epoch := range 4 {
		for i := range 100 {
			v := fmt.Sprint("v", (i+epoch)%7)
			combined.send("in", "k", v)
			single.send("in", "k", v)
		}
		combined.commit()
		single.commit()
	}
	last := func(r *rig) map[string]string {
		got := map[string]string{}
		for _, o := range r.out {
			got[show(o.key)] = fmt.Sprint(show(o.value), "@", o.time)
		}
		return got
	}
	if diff := cmp.Diff(last(single), last(combined)); diff != "" {
		t.Errorf("counts (-single +combined):\n%s", diff)
	}
	if sent := [2]int64{combined.next["by-value"], single.next["by-value"]}; sent != [2]int64{4 * 7, 4 * 100} {
		t.Errorf("combined sent %d records, single %d; want 28 and 400", sent[0], sent[1])
	}
}

func TestPartialAggregatesAreSentWhenThereAreTooMany(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String).
		CombineBy("by-value", func(v string) string { return v }, stream.Counting[string]()).
		Aggregate("counts").Stream().To("out")
	r := start(t, p)
	const most, keys = 8192, 10_000
	headers := []operators.Header{{Key: "trace", Value: []byte("1")}}
	for i := range keys {
		rec := operators.Record{Topic: "in", Key: []byte("k"), Value: strconv.AppendInt(nil, int64(i), 10), Time: 1, Headers: headers}
		if err := r.feed(rec, false); err != nil {
			t.Fatal(err)
		}
	}
	if sent := len(r.out); sent != most {
		t.Errorf("%d partial aggregates were sent before the commit, want %d", sent, most)
	}
	r.commit()
	if sent := len(r.out); sent != keys {
		t.Errorf("%d partial aggregates were sent in all, want %d", sent, keys)
	}
	for _, o := range r.out {
		if len(o.headers) > 0 {
			t.Fatalf("a partial aggregate has the headers %v of one of its records", o.headers)
		}
	}
}

func TestPartialAggregatesOfAnAbortedEpochAreGone(t *testing.T) {
	t.Parallel()
	p, _ := countPipelines()
	r := start(t, p)
	r.send("in", "k", "committed")
	r.commit()
	r.send("in", "k", "aborted", "k", "committed")
	r.abort()
	for _, task := range r.tasks {
		if err := task.proc.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	r.send("in", "k", "committed")
	r.commit()
	got := map[string]string{}
	for _, o := range r.out {
		got[show(o.key)] = show(o.value)
	}
	if diff := cmp.Diff(map[string]string{"committed": "2"}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// A task that begins anew announces itself before its first record. Windows that closed in the same epoch, since others had
// announced more before that record, have results that are sent at the commit only: they are not to be late.
func TestResultsThatAreHeldUntilTheCommitAreNotLateAfterACrash(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("stages")
	stream.From(p, "in", codec.String, codec.Int64).
		KeyBy("by-one", func(int64) string { return "one" }).
		Group().Window(stream.Tumbling(10*time.Second).EmitOnClose()).Count("tens").
		Stream().Map(func(_ stream.Windowed[string], n int64) int64 { return n }).
		CombineBy("by-all", func(int64) string { return "all" }, stream.Counting[int64]()).
		Window(stream.Tumbling(20 * time.Second).EmitOnClose()).Aggregate("twenties").
		Stream().Map(func(w stream.Windowed[string], n int64) int64 { return 1000*w.Start + n }).
		To("out")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	in := d.In("in", codec.String, codec.Int64)
	for _, second := range []int64{0, 100, 101} {
		in.SendAt(time.Unix(second, 0), "k", 1)
	}
	for range 3 { // of the first stage
		d.Process(1)
		d.Commit()
	}
	d.Process(2)
	d.Commit()
	d.Crash()
	d.Process(1) // after the announcement of 100 s
	d.Commit()
	d.Finish()
	var got []int64
	for _, r := range d.Out("out", codec.String, codec.Int64).Read() {
		got = append(got, r.Value)
	}
	if want := []int64{1, 1000*100_000 + 1}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
