// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// cogroupSums has one sum of "in", and of the lengths of the texts in "texts".
func cogroupSums(p *stream.Pipeline, source ...stream.SourceOption) stream.Cogrouped[string, sum] {
	numbers := stream.From(p, "in", codec.String, codec.Int64, source...)
	return numbers.Group().
		Cogroup(newSum, sum.add).
		Add(stream.From(p, "texts", codec.String, codec.String, source...).Group(),
			func(s sum, text string) sum { return s.add(int64(len(text))) })
}

// sendBoth sends every third event as a text, and runs now and then.
func sendBoth(d *streamtest.Driver, events []event) {
	in, texts := d.In("in", codec.String, codec.Int64), d.In("texts", codec.String, codec.String)
	for i, e := range events {
		if at := time.UnixMilli(e.at); i%3 == 0 {
			texts.SendAt(at, e.key, fmt.Sprintf("%*s", e.value, ""))
		} else {
			in.SendAt(at, e.key, e.value)
		}
		if i%17 == 0 {
			d.Process(5)
			d.Commit()
		}
	}
}

func TestAllStreamsOfACogroupAddToOneAggregate(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("cogroup")
	cogroupSums(p).Aggregate("sums", codec.JSON[sum]()).Stream().Map(func(s sum) int64 { return s.Total }).To("out")
	events := randomEvents(17, 120, 1000)
	want := map[string]sum{}
	for _, e := range events {
		want[e.key] = want[e.key].add(e.value)
	}
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		sendBoth(d, events)
		d.Run()
		wantState(t, d.State("sums", codec.String, codec.JSON[sum]()), want)
	}, streamtest.NewestOnly())
}

func TestCogroupByWindowEqualsTheEvaluationByHand(t *testing.T) {
	t.Parallel()
	const disorder = 3 * time.Second
	for name, c := range map[string]struct {
		windows stream.Windows
		want    func([]event) map[string][]string
	}{
		"tumbling": {stream.Tumbling(5 * time.Second), func(e []event) map[string][]string { return byHand(e, 5000, 5000) }},
		"hopping":  {stream.Hopping(10*time.Second, 4*time.Second), func(e []event) map[string][]string { return byHand(e, 10_000, 4000) }},
		"session":  {stream.Session(2 * time.Second), func(e []event) map[string][]string { return sessionsByHand(e, 2000) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := stream.NewPipeline("cogroup")
			cogroupSums(p, stream.OutOfOrder(disorder)).Window(c.windows.EmitOnClose()).
				Aggregate("sums", sum.merge, codec.JSON[sum]()).
				Stream().
				Map(func(w stream.Windowed[string], s sum) string { return s.show(w.Window) }).
				To("out")
			events := randomEvents(19, 120, disorder.Milliseconds())
			streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
				sendBoth(d, events)
				d.Finish()
				if d := cmp.Diff(c.want(events), results(d, "out")); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// A Cogrouped is a value: what is added to a copy is not in the original.
func TestCogroupsThatBeginAlikeAreApart(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("cogroup")
	add := func(all string, v string) string { return all + v }
	from := func(topic string) stream.Grouped[string, string] {
		return stream.From(p, topic, codec.String, codec.String).Group()
	}
	common := from("a").Cogroup(func() string { return "" }, add)
	common.Add(from("b"), add).Aggregate("ab")
	common.Add(from("c"), add).Aggregate("ac")
	d := streamtest.New(t, p)
	for _, topic := range []string{"a", "b", "c"} {
		d.In(topic, codec.String, codec.String).Send("k", topic)
		d.Run()
	}
	got := map[string]string{}
	for _, store := range []string{"ab", "ac"} {
		for _, v := range maps.Collect(d.State(store, codec.String, codec.String).All()) {
			got[store] = v
		}
	}
	if diff := cmp.Diff(map[string]string{"ab": "ab", "ac": "ac"}, got); diff != "" {
		t.Errorf("aggregates (-want +got):\n%s", diff)
	}
}
