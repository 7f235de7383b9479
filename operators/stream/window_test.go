// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// sum is an aggregate that depends on every value once, and on nothing else.
type sum struct {
	N     int64 `json:"n"`
	Total int64 `json:"total"`
}

func newSum() sum                 { return sum{} }
func (s sum) add(v int64) sum     { return sum{s.N + 1, s.Total + v} }
func (s sum) merge(other sum) sum { return sum{s.N + other.N, s.Total + other.Total} }
func (s sum) show(w stream.Window) string {
	return fmt.Sprintf("[%d,%d) n=%d total=%d", w.Start, w.End, s.N, s.Total)
}

// windowPipeline aggregates "in" by windows into "out", and sends what is late to "late".
func windowPipeline(w stream.Windows, source ...stream.SourceOption) *stream.Pipeline {
	p := stream.NewPipeline("windows")
	g := stream.From(p, "in", codec.String, codec.Int64, source...).Group().Window(w)
	g.Aggregate("sums", newSum, sum.add, sum.merge, codec.JSON[sum]()).
		Stream().
		Map(func(w stream.Windowed[string], s sum) string { return s.show(w.Window) }).
		To("out")
	g.Late().To("late")
	return p
}

type event struct {
	key   string
	at    int64 // milliseconds
	value int64
}

// randomEvents are out of order by up to disorder. Their keys are of several lengths, in another order than the keys are.
func randomEvents(seed uint64, n int, disorder int64) []event {
	r := rand.New(rand.NewPCG(seed, 1))
	events := make([]event, n)
	now := int64(1_000_000)
	for i := range events {
		now += r.Int64N(400)
		if r.IntN(20) == 0 {
			now += r.Int64N(20_000)
		}
		events[i] = event{fmt.Sprint("k", 7*r.IntN(5)), now - r.Int64N(disorder+1), r.Int64N(100)}
	}
	return events
}

// byHand evaluates windows that begin at multiples of every.
func byHand(events []event, size, every int64) map[string][]string {
	type at struct {
		key   string
		start int64
	}
	sums := map[at]sum{}
	for _, e := range events {
		for start := e.at - e.at%every; start > e.at-size; start -= every {
			sums[at{e.key, start}] = sums[at{e.key, start}].add(e.value)
		}
	}
	keys := slices.SortedFunc(maps.Keys(sums), func(a, b at) int { return cmp.Compare(a.start, b.start) })
	got := map[string][]string{}
	for _, k := range keys {
		got[k.key] = append(got[k.key], sums[k].show(stream.Window{Start: k.start, End: k.start + size}))
	}
	return got
}

// sessionsByHand evaluates sessions.
func sessionsByHand(events []event, gap int64) map[string][]string {
	got := map[string][]string{}
	byKey := map[string][]event{}
	for _, e := range events {
		byKey[e.key] = append(byKey[e.key], e)
	}
	for key, all := range byKey {
		slices.SortFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
		for len(all) > 0 {
			n, s := 1, newSum().add(all[0].value)
			for n < len(all) && all[n].at-all[n-1].at <= gap {
				s = s.add(all[n].value)
				n++
			}
			got[key] = append(got[key], s.show(stream.Window{Start: all[0].at, End: all[n-1].at + gap}))
			all = all[n:]
		}
	}
	return got
}

// slidesByHand evaluates the window that ends with each record.
func slidesByHand(events []event, size int64) map[string][]string {
	got := map[string][]string{}
	all := slices.Clone(events)
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	done := map[event]bool{}
	for _, e := range all {
		id := event{key: e.key, at: e.at}
		if done[id] {
			continue
		}
		done[id] = true
		s := newSum()
		for _, o := range all {
			if o.key == e.key && o.at > e.at-size && o.at <= e.at {
				s = s.add(o.value)
			}
		}
		got[e.key] = append(got[e.key], s.show(stream.Window{Start: e.at - size + 1, End: e.at + 1}))
	}
	return got
}

func daysByHand(t *testing.T, events []event, zone *time.Location) map[string][]string {
	t.Helper()
	type at struct {
		key   string
		start int64
	}
	sums, ends := map[at]sum{}, map[at]int64{}
	for _, e := range events {
		y, m, d := time.UnixMilli(e.at).In(zone).Date()
		k := at{e.key, time.Date(y, m, d, 0, 0, 0, 0, zone).UnixMilli()}
		sums[k] = sums[k].add(e.value)
		ends[k] = time.Date(y, m, d+1, 0, 0, 0, 0, zone).UnixMilli()
	}
	got := map[string][]string{}
	for _, k := range slices.SortedFunc(maps.Keys(sums), func(a, b at) int { return cmp.Compare(a.start, b.start) }) {
		got[k.key] = append(got[k.key], sums[k].show(stream.Window{Start: k.start, End: ends[k]}))
	}
	return got
}

// send sends the events, running now and then.
func send(d *streamtest.Driver, events []event) {
	in := d.In("in", codec.String, codec.Int64)
	for i, e := range events {
		in.SendAt(time.UnixMilli(e.at), e.key, e.value)
		if i%17 == 0 {
			d.Process(5)
			d.Commit()
		}
	}
}

// results reads what there is of a topic, by key.
func results(d *streamtest.Driver, topic string) map[string][]string {
	got := map[string][]string{}
	for _, r := range d.Out(topic, codec.String, codec.String).Read() {
		got[r.Key] = append(got[r.Key], r.Value)
	}
	return got
}

func TestWindowsOnCloseEqualTheEvaluationByHand(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	const disorder = 3000
	seconds := func(n int64) time.Duration { return time.Duration(n) * time.Second }
	for name, c := range map[string]struct {
		windows stream.Windows
		want    func([]event) map[string][]string
	}{
		"tumbling":         {stream.Tumbling(seconds(5)), func(e []event) map[string][]string { return byHand(e, 5000, 5000) }},
		"hopping":          {stream.Hopping(seconds(10), seconds(4)), func(e []event) map[string][]string { return byHand(e, 10_000, 4000) }},
		"hopping with gap": {stream.Hopping(seconds(2), seconds(3)), func(e []event) map[string][]string { return byHand(e, 2000, 3000) }},
		"session":          {stream.Session(seconds(2)), func(e []event) map[string][]string { return sessionsByHand(e, 2000) }},
		"sliding":          {stream.Sliding(seconds(4)), func(e []event) map[string][]string { return slidesByHand(e, 4000) }},
		"calendar":         {stream.Calendar(stream.Day, berlin), func(e []event) map[string][]string { return daysByHand(t, e, berlin) }},
	} {
		for _, late := range []struct {
			name    string
			windows stream.Windows
			source  []stream.SourceOption
		}{
			{"bound of disorder", c.windows, []stream.SourceOption{stream.OutOfOrder(disorder * time.Millisecond)}},
			{"grace", c.windows.Grace(disorder * time.Millisecond), nil},
		} {
			t.Run(name+"/"+late.name, func(t *testing.T) {
				t.Parallel()
				events := randomEvents(7, 120, disorder)
				if name == "calendar" {
					for i := range events {
						events[i].at *= 400
					}
				}
				streamtest.ThreeWays(t, windowPipeline(late.windows.EmitOnClose(), late.source...), func(d *streamtest.Driver) {
					send(d, events)
					d.Finish()
					if d := diff.Diff(c.want(events), results(d, "out")); d != "" {
						t.Error(d)
					}
					if late := d.Out("late", codec.String, codec.Int64).Read(); len(late) > 0 {
						t.Errorf("%d records were late, and none was", len(late))
					}
				})
			})
		}
	}
}

// Whatever is emitted on the way, the newest result of each window is the final one.
func TestEveryEmitModeEndsWithTheSameResults(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]stream.Windows{
		"tumbling": stream.Tumbling(5 * time.Second),
		"hopping":  stream.Hopping(6*time.Second, 2*time.Second),
		"session":  stream.Session(2 * time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events := randomEvents(11, 150, 2000)
			final := func(w stream.Windows) (map[string]map[string]string, int) {
				d := streamtest.New(t, windowPipeline(w.Grace(2*time.Second)))
				send(d, events)
				d.Finish()
				newest, n := map[string]map[string]string{}, 0
				for key, list := range results(d, "out") {
					newest[key] = map[string]string{}
					for _, r := range list {
						// A session's window grows: its start tells which it is, in the end.
						window, value, _ := strings.Cut(r, ") ")
						if start, _, _ := strings.Cut(window, ","); name == "session" {
							window = start
						}
						newest[key][window] = value
						n++
					}
				}
				return newest, n
			}
			want, closed := final(w.EmitOnClose())
			every, ticked := final(w.EmitEvery(time.Second))
			update, updated := final(w.EmitOnUpdate())
			if name == "session" { // Sessions that were brought together have left results of earlier starts.
				for key, windows := range want {
					for start, value := range windows {
						if update[key][start] != value || every[key][start] != value {
							t.Errorf("key %s, session from %s: %q on close, %q on update, %q every second", key, start, value, update[key][start], every[key][start])
						}
					}
				}
			} else {
				if d := diff.Diff(want, update); d != "" {
					t.Errorf("on update:\n%s", d)
				}
				if d := diff.Diff(want, every); d != "" {
					t.Errorf("every second:\n%s", d)
				}
			}
			if closed > ticked || ticked > updated || closed == updated {
				t.Errorf("%d results on close, %d every second, %d on update", closed, ticked, updated)
			}
		})
	}
}

func TestLateRecordsGoToTheSideOutputAndChangeNothing(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]stream.Windows{
		"tumbling":      stream.Tumbling(10 * time.Second),
		"hopping panes": stream.Hopping(10*time.Second, 5*time.Second),
		"session":       stream.Session(10 * time.Second),
		"sliding":       stream.Sliding(10 * time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			streamtest.ThreeWays(t, windowPipeline(w.Grace(time.Second).EmitOnClose()), func(d *streamtest.Driver) {
				in := d.In("in", codec.String, codec.Int64)
				at := func(s int64) time.Time { return time.UnixMilli(1_000_000 + s*1000) }
				in.SendAt(at(1), "k", 1)
				in.SendAt(at(60), "other", 1)
				d.Run()
				before := len(results(d, "out")["k"])
				in.SendAt(at(2), "k", 10)
				d.Run()
				if got := results(d, "out")["k"]; len(got) > 0 {
					t.Errorf("a late record gave %v", got)
				}
				if before == 0 {
					t.Error("the window had not closed")
				}
				if late := d.Out("late", codec.String, codec.Int64).Read(); len(late) != 1 || late[0].Value != 10 {
					t.Errorf("the side output has %v", late)
				}
			})
		})
	}
}

func TestWindowsOfResultsCloseAfterThoseTheyComeFrom(t *testing.T) {
	t.Parallel()
	build := func(shuffle bool) *stream.Pipeline {
		p := stream.NewPipeline("stages")
		sums := stream.From(p, "in", codec.String, codec.Int64).
			Group().Window(stream.Tumbling(time.Second).Grace(2*time.Second).EmitOnClose()).
			Aggregate("seconds", newSum, sum.add, nil, codec.JSON[sum]()).
			Stream().
			Map(func(w stream.Windowed[string], s sum) sum { return s }).
			WithValue(codec.JSON[sum]())
		if shuffle {
			sums = sums.KeyBy("all", func(sum) string { return "all" }, codec.String)
		}
		sums.Group().Window(stream.Tumbling(10*time.Second).EmitOnClose()).
			Aggregate("tens", newSum, func(a, s sum) sum { return a.merge(s) }, nil, codec.JSON[sum]()).
			Stream().
			Map(func(w stream.Windowed[string], s sum) string { return s.show(w.Window) }).
			To("out")
		return p
	}
	for _, shuffle := range []bool{false, true} {
		t.Run(fmt.Sprint("shuffle=", shuffle), func(t *testing.T) {
			t.Parallel()
			events := randomEvents(3, 150, 2000)
			streamtest.ThreeWays(t, build(shuffle), func(d *streamtest.Driver) {
				send(d, events)
				d.Finish()
				if shuffle {
					for i := range events {
						events[i].key = "all"
					}
				}
				if d := diff.Diff(byHand(events, 10_000, 10_000), results(d, "out")); d != "" {
					t.Error(d)
				}
			})
		})
	}
}
