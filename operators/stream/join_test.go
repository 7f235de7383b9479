// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

func TestStreamSeesTheRowsOfItsTime(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	orders := stream.From(p, "orders", codec.Int64, codec.String)
	names := stream.TableFrom(p, "names", codec.Int64, codec.String)
	orders.Join(names, func(o, n string) string { return o + " for " + n }).To("inner")
	orders.LeftJoin(names.Filter(func(n string) bool { return n != "bob" }),
		func(o, n string, found bool) string { return fmt.Sprint(o, " ", n, " ", found) }).To("left")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		at := func(second int) time.Time { return d.Now().Add(time.Duration(second) * time.Second) }
		o, n := d.In("orders", codec.Int64, codec.String), d.In("names", codec.Int64, codec.String)
		// The table's records are sent last, and still come in between.
		o.SendAt(at(1), 1, "tea")
		o.SendAt(at(3), 1, "rum")
		o.SendAt(at(5), 1, "gin")
		o.SendAt(at(7), 1, "ale")
		n.SendAt(at(2), 1, "ann")
		n.SendAt(at(4), 1, "bob")
		n.DeleteAt(at(6), 1)
		d.Run()
		wantRecords(t, d.Out("inner", codec.Int64, codec.String), "1=rum for ann", "1=gin for bob")
		wantRecords(t, d.Out("left", codec.Int64, codec.String), "1=tea  false", "1=rum ann true", "1=gin  false", "1=ale  false")
	})
}

func TestJoinedRowsCanBeLookedUp(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	both := func(a, b string) string { return a + b }
	a, b := stream.TableFrom(p, "a", codec.Int64, codec.String), stream.TableFrom(p, "b", codec.Int64, codec.String)
	stream.From(p, "in", codec.Int64, codec.String).
		LeftJoin(a.Join(b.Map(func(v string) string { return "+" + v }), both), func(v, ab string, found bool) string {
			return fmt.Sprint(v, ab, found)
		}).
		To("out")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		send := func(topic string, v string) {
			d.Advance(time.Second)
			d.In(topic, codec.Int64, codec.String).Send(1, v)
		}
		send("in", "1")
		send("a", "x")
		send("in", "2")
		send("b", "y")
		send("in", "3")
		d.Run()
		wantRecords(t, d.Out("out", codec.Int64, codec.String), "1=1false", "1=2false", "1=3x+ytrue")
	})
}

// pairs joins two tables in three ways. The left one is aggregated in place.
func pairs() *stream.Pipeline {
	p := stream.NewPipeline("pairs")
	l := stream.From(p, "l", codec.Int64, codec.String).Group().
		Aggregate("left", func() []string { return nil }, func(all []string, v string) []string {
			if len(all) > 2 {
				all = all[:0]
			}
			return append(all, v)
		}, codec.JSON[[]string]()).
		Filter(func(all []string) bool { return len(all) > 1 })
	r := stream.TableFrom(p, "r", codec.Int64, codec.String)
	show := func(has bool, v any) string {
		if !has {
			return "-"
		}
		return fmt.Sprint(v)
	}
	changes(l.Join(r, func(l []string, r string) string { return show(true, l) + show(true, r) }), "inner")
	changes(l.LeftJoin(r, func(l []string, r string, found bool) string { return show(true, l) + show(found, r) }), "left")
	changes(l.OuterJoin(r, func(l []string, hasL bool, r string, hasR bool) string { return show(hasL, l) + show(hasR, r) }), "outer")
	return p
}

// TestJoinOfTablesIsTheTableOfTheJoinedRows changes two tables at random. Invariants: the changes of each result form a chain in
// which the old side is what the one before left; each change of an input is at most one of the result; and in the
// end the result is the join of the two tables.
func TestJoinOfTablesIsTheTableOfTheJoinedRows(t *testing.T) {
	t.Parallel()
	p := pairs()
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, p)
		left, right := map[int64][]string{}, map[int64]string{}
		sent := 0
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			d.Advance(time.Second) // so that the order of sending is that of processing
			k, v := rapid.Int64Range(0, 2).Draw(t, "key"), fmt.Sprint(sent)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				d.In("l", codec.Int64, codec.String).Send(k, v)
				if len(left[k]) > 2 {
					left[k] = nil
				}
				left[k] = append(left[k], v)
			case 2:
				d.In("r", codec.Int64, codec.String).Send(k, v)
				right[k] = v
			case 3:
				d.In("r", codec.Int64, codec.String).Delete(k)
				delete(right, k)
			}
			sent++
			if rapid.IntRange(0, 5).Draw(t, "crash") == 0 {
				d.Crash()
			}
			d.Run()
		}
		maps.DeleteFunc(left, func(_ int64, all []string) bool { return len(all) < 2 })
		want := map[string]map[int64]string{"inner": {}, "left": {}, "outer": {}}
		for k := range int64(3) {
			l, hasL := left[k]
			r, hasR := right[k]
			ls, rs := fmt.Sprint(l), r
			if !hasL {
				ls = "-"
			}
			if !hasR {
				rs = "-"
			}
			if hasL && hasR {
				want["inner"][k] = ls + rs
			}
			if hasL {
				want["left"][k] = ls + rs
			}
			if hasL || hasR {
				want["outer"][k] = ls + rs
			}
		}
		for _, topic := range []string{"inner", "left", "outer"} {
			got, n := chain(t, d, topic)
			if diff := cmp.Diff(want[topic], got); diff != "" {
				t.Fatalf("%s join (-want +got):\n%s", topic, diff)
			}
			if n > sent {
				t.Fatalf("%s join: %d changes of %d", topic, n, sent)
			}
		}
	})
}

// chain reads what the function changes wrote, and returns the rows that it leads to and the number of changes.
func chain(t *rapid.T, d *streamtest.Driver, topic string) (rows map[int64]string, n int) {
	rows = map[int64]string{}
	for _, r := range d.Out(topic, codec.Int64, codec.String).Read() {
		i := slices.Index([]byte(r.Value), '>')
		old, now := r.Value[:i], r.Value[i+1:]
		was, ok := rows[r.Key]
		if !ok {
			was = "-"
		}
		if old != was {
			t.Fatalf("%s: change %d of key %d is from %s, the one before led to %s", topic, n, r.Key, old, was)
		}
		if rows[r.Key] = now; now == "-" {
			delete(rows, r.Key)
		}
		n++
	}
	return rows, n
}

func TestTablesAreJoinedThroughCrashesAndOtherPartitions(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, pairs(), func(d *streamtest.Driver) {
		for i := range 24 {
			d.Advance(time.Second)
			topic := "l"
			if i%3 == 0 {
				topic = "r"
			}
			d.In(topic, codec.Int64, codec.String).Send(int64(i%4), fmt.Sprint(i))
			if i%8 == 7 {
				d.In("r", codec.Int64, codec.String).Delete(int64(i % 5))
			}
		}
		d.Run()
	})
}

func TestResultOfAJoinHasTheNewestTimeOfItsSides(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	a, b := stream.TableFrom(p, "a", codec.String, codec.String), stream.TableFrom(p, "b", codec.String, codec.String)
	joined := a.OuterJoin(b, func(a string, _ bool, b string, _ bool) string { return a + b })
	joined.Stream().To("out")
	joined.Join(stream.TableFrom(p, "c", codec.String, codec.String), func(ab, c string) string { return ab + c }).Stream().To("all")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		at := func(second int) time.Time { return d.Now().Add(time.Duration(second) * time.Second) }
		times := func(topic string) (seconds []int) {
			for _, r := range d.Out(topic, codec.String, codec.String).Read() {
				seconds = append(seconds, int(r.Time.Sub(d.Now())/time.Second))
			}
			return seconds
		}
		for i, topic := range []string{"a", "b", "a", "c"} {
			d.In(topic, codec.String, codec.String).SendAt(at([]int{5, 3, 4, 1}[i]), "k", topic)
			d.Run()
		}
		if diff := cmp.Diff([]int{5, 5, 4}, times("out")); diff != "" {
			t.Errorf("times (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{4}, times("all")); diff != "" {
			t.Errorf("times of the second join (-want +got):\n%s", diff)
		}
	})
}

func TestJoinsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	first := func(a, _ string) string { return a }
	table := func(p *stream.Pipeline, topic string) stream.Table[string, string] {
		return stream.TableFrom(p, topic, codec.String, codec.String)
	}
	for name, c := range map[string]struct {
		declare func(*stream.Pipeline)
		want    string
	}{
		"keys of two encodings": {
			func(p *stream.Pipeline) {
				stream.From(p, "in", codec.JSON[string](), codec.String).Join(table(p, "t"), first)
			},
			`step "join-3": its sides encode their keys as "json:string" and "string", so that equal keys may be in several partitions; ` +
				`give both topics one key codec, or send one side to its keys again with Repartition(name, codec)`,
		},
		"key changed": {
			func(p *stream.Pipeline) {
				stream.From(p, "in", codec.String, codec.String).
					MapKV(func(k, v string) (string, string) { return v, k }).Join(table(p, "t"), first)
			},
			`step "join-4": MapKV step "map-kv-1" changed the key, so records of one key may be in several partitions; ` +
				`add .Repartition(name) after it, or use KeyBy(name, fn)`,
		},
		"two pipelines": {
			func(p *stream.Pipeline) { table(p, "a").Join(table(stream.NewPipeline("other"), "b"), first) },
			`step "join-2": it joins a table of pipeline "other"; join tables of one pipeline`,
		},
		"a table with its own copy": {
			func(p *stream.Pipeline) {
				a := table(p, "a")
				a.Stream().Table("copy").Join(a.Filter(func(string) bool { return true }), first)
			},
			`step "join-5": both of its sides come from table "a", so that one change of it is two changes here; ` +
				`compute both from the one table with Map`,
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
