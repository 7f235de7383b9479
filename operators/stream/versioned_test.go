// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// priced joins "orders" with the "prices" of their time in both ways, and writes what changes of the latest prices.
func priced(opts ...stream.SourceOption) *stream.Pipeline {
	p := stream.NewPipeline("priced")
	prices := stream.VersionedTableFrom(p, "prices", codec.String, codec.String, opts...)
	orders := stream.From(p, "orders", codec.String, codec.String)
	orders.JoinAsOf(prices, func(order, price string) string { return order + " at " + price }).To("inner")
	orders.LeftJoinAsOf(prices, func(order, price string, found bool) string { return fmt.Sprint(order, " ", price, " ", found) }).To("left")
	changes(prices.Latest(), "changes")
	return p
}

// market sends records with times in seconds, and has each processed before the next.
type market struct {
	d *streamtest.Driver
}

func (m market) at(second float64) time.Time {
	return time.UnixMilli(1_000_000 + int64(second*1000)).UTC()
}

func (m market) price(second float64, price string) {
	m.d.In("prices", codec.String, codec.String).SendAt(m.at(second), "k", price)
	m.d.Run()
}

func (m market) noPrice(second float64) {
	m.d.In("prices", codec.String, codec.String).DeleteAt(m.at(second), "k")
	m.d.Run()
}

func (m market) order(second float64, order string) {
	m.d.In("orders", codec.String, codec.String).SendAt(m.at(second), "k", order)
	m.d.Run()
}

// kept lists the versions that the state has, as "second value", the newest first.
func (m market) kept() []string {
	got := []string{}
	for _, v := range m.d.Versions("prices", codec.String, codec.String, "k") {
		text := v.Value
		if v.Deleted {
			text = "deleted"
		}
		got = append(got, fmt.Sprint(v.Time.Sub(m.at(0)).Seconds(), " ", text))
	}
	return got
}

func (m market) wantKept(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), m.kept()); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestRecordsAreJoinedWithTheVersionOfTheirTime(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, priced(stream.History(time.Hour)), func(d *streamtest.Driver) {
		m := market{d}
		m.order(1, "a") // before any price
		m.price(10, "10")
		m.price(20, "20")
		m.noPrice(30)
		m.price(40, "40")
		m.order(45, "b")
		m.order(30, "c") // the deletion's own time
		m.order(29.999, "d")
		m.order(20, "e")
		m.order(19.999, "f")
		m.order(9.999, "g")
		m.price(15, "15") // between versions
		m.price(35, "35") // in a gap
		m.price(5, "5")   // before all
		m.price(20, "21") // instead of one
		m.noPrice(40)     // instead of the newest
		m.order(19, "h")
		m.order(37, "i")
		m.order(6, "j")
		m.order(25, "k")
		m.order(50, "l")
		wantRecords(t, d.Out("inner", codec.String, codec.String), "k=b at 40", "k=d at 20", "k=e at 20", "k=f at 10",
			"k=h at 15", "k=i at 35", "k=j at 5", "k=k at 21")
		wantRecords(t, d.Out("left", codec.String, codec.String), "k=a  false", "k=b 40 true", "k=c  false", "k=d 20 true", "k=e 20 true",
			"k=f 10 true", "k=g  false", "k=h 15 true", "k=i 35 true", "k=j 5 true", "k=k 21 true", "k=l  false")
		wantRecords(t, d.Out("changes", codec.String, codec.String), "k=->10", "k=10>20", "k=20>-", "k=->40", "k=40>-")
		m.wantKept(t, "40 deleted", "35 35", "30 deleted", "20 21", "15 15", "10 10", "5 5")
	})
}

func TestResultOfAJoinAsOfHasTheTimeOfItsRecord(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, priced(stream.History(time.Minute)))
	m := market{d}
	m.price(10, "10")
	m.price(20, "20")
	m.order(15, "a")
	got := d.Out("inner", codec.String, codec.String).Read()
	if len(got) != 1 || !got[0].Time.Equal(m.at(15)) {
		t.Fatalf("want the record of second 15, found %v", got)
	}
}

func TestRecordsAndUpdatesOlderThanTheHistoryAreDropped(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, priced(stream.History(10*time.Second)), func(d *streamtest.Driver) {
		m := market{d}
		m.price(0, "0")
		m.price(5, "5")
		m.price(20, "20") // the watermark
		m.order(9.999, "late")
		m.order(10, "in time")
		m.price(9.999, "late")
		m.order(10, "still 5")
		m.price(10, "10")
		m.order(10, "now 10")
		m.noPrice(25)
		m.price(12, "late")
		m.order(40, "none")
		wantRecords(t, d.Out("left", codec.String, codec.String), "k=in time 5 true", "k=still 5 5 true", "k=now 10 10 true", "k=none  false")
		wantRecords(t, d.Out("changes", codec.String, codec.String), "k=->0", "k=0>5", "k=5>20", "k=20>-")
	})
}

func TestLateRecordsAndUpdatesAreCounted(t *testing.T) {
	t.Parallel()
	run := newRig(priced(stream.History(5 * time.Millisecond)))
	for _, task := range run.tasks {
		task.ctx.Watermark = 10
	}
	run.send("prices", "a", "1", "a", "2", "a", "3", "a", "4", "a", "5") // the times of records are 1 to 5
	run.send("orders", "a", "1")
	run.close()
	want := []string{"prices", "prices", "prices", "prices", "join-as-of-3", "left-join-as-of-5"}
	if diff := cmp.Diff(want, run.late); diff != "" {
		t.Errorf("late (-want +got):\n%s", diff)
	}
}

func TestVersionsOutOfReachAreForgotten(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, priced(stream.History(8*time.Second)), func(d *streamtest.Driver) {
		m := market{d}
		m.price(0, "0")
		m.price(2, "2")
		m.price(4, "4")
		m.price(6, "6")
		m.wantKept(t, "6 6", "4 4", "2 2", "0 0")
		m.order(11.999, "-")
		m.wantKept(t, "6 6", "4 4", "2 2")
		m.order(12, "-")
		m.wantKept(t, "6 6", "4 4")
		m.order(4, "the oldest that can be asked for")
		m.order(14, "-")
		m.wantKept(t, "6 6")
		m.price(17, "17")
		m.price(14, "14")
		m.price(10, "10")
		m.wantKept(t, "17 17", "14 14", "10 10", "6 6")
		m.order(40, "-")
		m.wantKept(t, "17 17")
		wantRecords(t, d.Out("inner", codec.String, codec.String), "k=- at 6", "k=- at 6", "k=the oldest that can be asked for at 4",
			"k=- at 6", "k=- at 17")
	})
}

func TestDeletionOutOfReachLeavesNothing(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, priced(stream.History(8*time.Second)), func(d *streamtest.Driver) {
		m := market{d}
		m.noPrice(0) // of a row that was never there
		m.wantKept(t, "0 deleted")
		m.price(2, "2")
		m.noPrice(4)
		m.price(6, "6")
		m.wantKept(t, "6 6", "4 deleted", "2 2", "0 deleted")
		m.order(12, "-")
		m.wantKept(t, "6 6", "4 deleted")
		m.order(14, "-")
		m.wantKept(t, "6 6")
		m.noPrice(18)
		m.order(40, "-")
		m.wantKept(t)
		m.price(35, "35")
		wantRecords(t, d.Out("changes", codec.String, codec.String), "k=->2", "k=2>-", "k=->6", "k=6>-", "k=->35")
	})
}

func TestManyVersionsOfAKeyAreForgottenAtOnce(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, priced(stream.History(time.Minute)), streamtest.Partitions(1))
	m := market{d}
	for i := range 1000 {
		d.In("prices", codec.String, codec.String).SendAt(m.at(float64(i)/100), "k", fmt.Sprint(i))
	}
	d.Run()
	if got := len(m.kept()); got != 1000 {
		t.Fatalf("%d versions are kept, want all", got)
	}
	m.order(9.5, "a")
	d.CommitAndCrash()
	m.order(100, "b")
	m.wantKept(t, "9.99 999")
	m.order(40, "c")
	wantRecords(t, d.Out("inner", codec.String, codec.String), "k=a at 950", "k=b at 999", "k=c at 999")
}

func TestManyKeysAreForgottenAFewAtATime(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, priced(stream.History(time.Second)), streamtest.Partitions(1))
	m := market{d}
	const keys = 1000 // more than are looked through at a time
	for i := range 2 * keys {
		d.In("prices", codec.String, codec.String).SendAt(m.at(float64(i)/keys), fmt.Sprint(i%keys), fmt.Sprint(i))
	}
	d.Run()
	m.order(60, "-") // from here on all but the newest versions are out of reach
	for i := range keys {
		if got := d.Versions("prices", codec.String, codec.String, fmt.Sprint(i)); len(got) != 1 || got[0].Value != fmt.Sprint(keys+i) {
			t.Fatalf("of key %d the versions %v are kept", i, got)
		}
	}
}

// TestReaderBehindAWindowLooksAtTheTimesOfItsWindows has a step that holds results back by more than the history.
func TestReaderBehindAWindowLooksAtTheTimesOfItsWindows(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	prices := stream.VersionedTableFrom(p, "prices", codec.String, codec.String, stream.History(time.Second))
	stream.From(p, "orders", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(10*time.Second).Grace(30*time.Second).EmitOnClose()).
		Count("per-10s").
		Stream().
		Map(func(_ stream.Windowed[string], n int64) string { return fmt.Sprint(n) }).
		JoinAsOf(prices, func(n, price string) string { return n + " at " + price }).
		To("out")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		m := market{d}
		m.price(0, "0")
		m.price(10, "10")
		m.price(20, "20")
		m.price(30, "30")
		m.order(5, "a")
		m.order(12, "b")
		m.price(16, "16") // which the windows that are still open have to see
		m.order(28, "c")
		m.wantKept(t, "30 30", "20 20", "16 16", "10 10", "0 0")
		m.price(49.998, "50")
		wantRecords(t, d.Out("out", codec.String, codec.String), "k=1 at 0")
		d.Finish()
		wantRecords(t, d.Out("out", codec.String, codec.String), "k=1 at 16", "k=1 at 20")
		m.wantKept(t, "49.998 50")
	})
}

func TestLatestIsATableLikeOthers(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	latest := stream.From(p, "in", codec.String, codec.Bytes).
		KeyBy("by-first", func(v []byte) string { return string(v[:1]) }).
		Map(func(v []byte) []byte {
			if len(v) == 1 {
				return nil
			}
			return v[1:]
		}).
		VersionedTable("newest", time.Hour).
		Latest()
	latest.To("out")
	latest.Stream(stream.EmitPerCommit()).To("per-commit")
	latest.GroupBy("by-length", func(_ string, v []byte) int64 { return int64(len(v)) }, codec.Int64).Count("lengths")
	stream.From(p, "asked", codec.String, codec.String).
		LeftJoin(latest, func(v string, row []byte, found bool) string { return fmt.Sprint(v, string(row), found) }).
		To("answers")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		for i, v := range []string{"ax", "byy", "az", "c", "dzz", "d"} {
			d.Advance(time.Second)
			d.In("in", codec.String, codec.Bytes).Send(fmt.Sprint(i), []byte(v))
			d.Run()
		}
		d.In("in", codec.String, codec.Bytes).SendAt(d.Now().Add(-time.Minute), "old", []byte("aold"))
		d.Run()
		for _, k := range []string{"a", "b", "c", "d"} {
			d.In("asked", codec.String, codec.String).Send(k, "?")
		}
		d.Run()
		wantState(t, d.State("newest", codec.String, codec.Bytes), map[string][]byte{"a": []byte("z"), "b": []byte("yy")})
		wantState(t, d.State("lengths", codec.Int64, codec.Int64), map[int64]int64{1: 1, 2: 1})
		got := streamtest.ReadTable(d.Out("answers", codec.String, codec.String))
		if diff := cmp.Diff(map[string]string{"a": "?ztrue", "b": "?yytrue", "c": "?false", "d": "?false"}, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		table := streamtest.ReadTable(d.Out("out", codec.String, codec.String))
		if diff := cmp.Diff(map[string]string{"a": "z", "b": "yy"}, table); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
	}, streamtest.NewestOnly("per-commit"))
}

func TestVersionsOfAFormerReleaseAreUpgraded(t *testing.T) {
	t.Parallel()
	release := func(c codec.Codec[string]) *stream.Pipeline {
		p := stream.NewPipeline("test")
		prices := stream.VersionedTableFrom(p, "prices", codec.String, c, stream.History(time.Minute))
		stream.From(p, "orders", codec.String, codec.String).
			JoinAsOf(prices, func(order, price string) string { return order + " at " + price }).To("out")
		return p
	}
	euros := codec.Migrate(codec.String, codec.New("euros", codec.String.Append, codec.String.Decode), func(s string) string { return s + " EUR" })
	d := streamtest.New(t, release(codec.String))
	m := market{d}
	m.price(0, "1")
	m.noPrice(10)
	m.price(20, "3")
	d.Upgrade(release(euros))
	d.In("prices", codec.String, euros).SendAt(m.at(30), "k", "4 USD")
	d.Run()
	for _, second := range []float64{30, 20, 15, 5} {
		m.order(second, fmt.Sprint(second))
	}
	wantRecords(t, d.Out("out", codec.String, codec.String), "k=30 at 4 USD", "k=20 at 3 EUR", "k=5 at 1 EUR")
}

func TestVersionedTablesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	first := func(a, _ string) string { return a }
	for name, c := range map[string]struct {
		declare func(*stream.Pipeline)
		want    string
	}{
		"no history": {
			func(p *stream.Pipeline) { stream.VersionedTableFrom(p, "in", codec.String, codec.String) },
			`step "from:in": nothing says how far the table looks back; give VersionedTableFrom the option stream.History(d)`,
		},
		"negative history": {
			func(p *stream.Pipeline) {
				stream.VersionedTableFrom(p, "in", codec.String, codec.String, stream.History(-time.Second))
			},
			`step "in": its history -1s is negative; give zero or more`,
		},
		"history of a stream": {
			func(p *stream.Pipeline) { stream.From(p, "in", codec.String, codec.String, stream.History(time.Hour)) },
			`step "from:in": it has the option History(1h0m0s); leave it out, or read the topic with VersionedTableFrom`,
		},
		"history of a table": {
			func(p *stream.Pipeline) {
				stream.TableFrom(p, "in", codec.String, codec.String, stream.History(time.Hour))
			},
			`step "from:in": it has the option History(1h0m0s); leave it out, or read the topic with VersionedTableFrom`,
		},
		"history of a global table": {
			func(p *stream.Pipeline) {
				g := stream.GlobalTableFrom(p, "g", codec.String, codec.String, stream.History(time.Hour))
				stream.From(p, "in", codec.String, codec.String).JoinGlobal(g, func(k, _ string) string { return k }, first)
			},
			`step "global:g": it has the option History(1h0m0s); leave it out, or read the topic with VersionedTableFrom`,
		},
		"no name": {
			func(p *stream.Pipeline) {
				stream.From(p, "in", codec.String, codec.String).VersionedTable("", time.Hour)
			},
			`step "versioned-table-1": versioned-table has no name; give it one: the name is the identity of its state or topic`,
		},
		"no codec": {
			func(p *stream.Pipeline) { orders(p).WithValue(nil).VersionedTable("t", time.Hour) },
			`step "t": the value, type stream_test.order, has no codec; add .WithValue(codec) before VersionedTable`,
		},
		"key changed": {
			func(p *stream.Pipeline) {
				orders(p).MapKV(func(_ string, o order) (string, order) { return o.Customer, o }).VersionedTable("t", time.Hour)
			},
			`step "t": MapKV step "map-kv-1" changed the key, so records of one key may be in several partitions; ` +
				`add .Repartition(name) after it, or use KeyBy(name, fn)`,
		},
		"two pipelines": {
			func(p *stream.Pipeline) {
				other := stream.VersionedTableFrom(stream.NewPipeline("other"), "t", codec.String, codec.String, stream.History(0))
				stream.From(p, "in", codec.String, codec.String).JoinAsOf(other, first)
			},
			`step "join-as-of-1": it joins a versioned table of pipeline "other"; join versioned tables of one pipeline`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := stream.NewPipeline("test")
			c.declare(p)
			if _, err := p.Build(); err == nil || err.Error() != c.want {
				t.Fatalf("found\n%v\nwant\n%s", err, c.want)
			}
		})
	}
}

// ledger is the plain evaluation of priced: it forgets nothing.
type ledger struct {
	history   int64
	watermark int64
	updates   map[string][]update // in the order of their times, of equal times the later one last
	followed  map[update]int64    // what must be out of reach for a version to be forgotten, by its time and key
}

type update struct {
	at    int64
	value string // "": the row is deleted
}

// passes says whether a record of a time is not late, and lets event time follow.
func (l *ledger) passes(at int64) bool {
	ok := at >= l.watermark-l.history
	l.watermark = max(l.watermark, at)
	return ok
}

func (l *ledger) asOf(key string, at int64) (value string) {
	for _, u := range l.updates[key] {
		if u.at <= at {
			value = u.value
		}
	}
	return value
}

// add returns the change of the latest row, "" for none.
func (l *ledger) add(key string, u update) string {
	was, all := l.asOf(key, operators.MaxTime), l.updates[key]
	if n := len(all); n > 0 {
		newest := all[n-1].at
		if version := (update{min(newest, u.at), key}); newest != u.at && l.followed[version] == 0 {
			l.followed[version] = max(newest, u.at)
		}
	}
	all = append(all, u)
	slices.SortStableFunc(all, func(a, b update) int { return int(a.at - b.at) })
	l.updates[key] = all
	if last := all[len(all)-1]; last != u || was == "" && u.value == "" {
		return ""
	}
	side := func(v string) string {
		if v == "" {
			return "-"
		}
		return v
	}
	return side(was) + ">" + side(u.value)
}

// TestJoinAsOfEqualsTheEvaluationByHand sends records and updates in a random order, with crashes. Invariants: each record
// that is not late is joined with the last version of its time, whatever has been forgotten; the changes of the latest rows
// are those that the updates make in the order of their times; and what is kept could be asked for a second ago, as far as could
// be told when it was followed by another version.
func TestJoinAsOfEqualsTheEvaluationByHand(t *testing.T) {
	t.Parallel()
	pipelines := map[int64]*stream.Pipeline{}
	for _, history := range []int64{0, 1500, 4000, 60_000} {
		pipelines[history] = priced(stream.History(time.Duration(history) * time.Millisecond))
	}
	rapid.Check(t, func(t *rapid.T) {
		history := rapid.SampledFrom([]int64{0, 1500, 4000, 60_000}).Draw(t, "history")
		d := streamtest.New(t, pipelines[history], streamtest.Partitions(1))
		l := &ledger{history: history, updates: map[string][]update{}, followed: map[update]int64{}}
		var wantJoined, wantChanges []string
		now := int64(1_000_000)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 100, 500, 2000}).Draw(t, "pass")
			at := now - rapid.SampledFrom([]int64{0, 0, 0, 500, 1000, 5000}).Draw(t, "behind")
			k, v := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), fmt.Sprint(i)
			what := rapid.IntRange(0, 4).Draw(t, "what")
			switch {
			case what < 2:
				d.In("orders", codec.String, codec.String).SendAt(time.UnixMilli(at), k, v)
			case what < 4:
				d.In("prices", codec.String, codec.String).SendAt(time.UnixMilli(at), k, v)
			default:
				d.In("prices", codec.String, codec.String).DeleteAt(time.UnixMilli(at), k)
				v = ""
			}
			if rapid.IntRange(0, 5).Draw(t, "crash") == 0 {
				d.Crash()
			}
			d.Run()
			if !l.passes(at) {
				continue
			}
			if what < 2 {
				price := l.asOf(k, at)
				wantJoined = append(wantJoined, fmt.Sprint(k, "=", v, " ", price, " ", price != ""))
			} else if change := l.add(k, update{at, v}); change != "" {
				wantChanges = append(wantChanges, k+"="+change)
			}
			for _, k := range []string{"a", "b"} {
				l.wantInReach(t, k, d.Versions("prices", codec.String, codec.String, k))
			}
		}
		for topic, want := range map[string][]string{"left": wantJoined, "changes": wantChanges} {
			var got []string
			for _, r := range d.Out(topic, codec.String, codec.String).Read() {
				got = append(got, r.Key+"="+r.Value)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", topic, diff)
			}
		}
	})
}

// wantInReach checks the versions that are kept of a key.
func (l *ledger) wantInReach(t *rapid.T, key string, versions []streamtest.Version[string]) {
	reach := l.watermark - l.history - 1000
	for i, v := range versions {
		until, followed := l.followed[update{v.Time.UnixMilli(), key}]
		if !followed && v.Deleted {
			until = v.Time.UnixMilli()
		}
		if (followed || v.Deleted || i > 0) && until <= reach {
			t.Fatalf("version %d of key %s is out of reach, which is from %d: %v", i, key, reach, versions)
		}
	}
}
