// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// wantRecords compares what a topic has got since the last look, as key=value, with key! for a tombstone.
func wantRecords[K, V any](t *testing.T, out *streamtest.Output[K, V], want ...string) {
	t.Helper()
	got := []string{}
	for _, r := range out.Read() {
		if r.Null {
			got = append(got, fmt.Sprintf("%v!", r.Key))
		} else {
			got = append(got, fmt.Sprintf("%v=%v", r.Key, r.Value))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// wantState compares all rows of a table's store.
func wantState[K comparable, V any](t *testing.T, s *streamtest.State[K, V], want map[K]V) {
	t.Helper()
	if diff := cmp.Diff(want, maps.Collect(s.All())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// changes writes every change of a table, as old>new with - for none, to a topic.
func changes[K any](t stream.Table[K, string], topic string) {
	side := func(v string, has bool) string {
		if !has {
			return "-"
		}
		return v
	}
	stream.Changes(t).
		Map(func(c stream.Change[string]) string { return side(c.Old, c.HasOld) + ">" + side(c.New, c.HasNew) }).
		To(topic, codec.String)
}

func TestATopicReadAsATableKeepsTheNewestValueAndDeletesByNull(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	names := stream.TableFrom(p, "names", codec.Int64, codec.String)
	names.Stream().To("updates")
	names.To("copy")
	changes(names, "changes")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("names", codec.Int64, codec.String)
		in.Send(1, "ann")
		in.Send(2, "bob")
		in.SendAt(d.Now().Add(-time.Hour), 1, "anne") // An older time does not make it older.
		in.Delete(3)
		in.Delete(2)
		in.Delete(2)
		in.Send(2, "bert")
		in.Delete(1)
		d.Run()
		wantState(t, d.State("names", codec.Int64, codec.String), map[int64]string{2: "bert"})
		wantRecords(t, d.Out("updates", codec.Int64, codec.String), "1=ann", "2=bob", "1=anne", "2=bert")
		wantRecords(t, d.Out("copy", codec.Int64, codec.String), "1=ann", "2=bob", "1=anne", "2!", "2=bert", "1!")
		wantRecords(t, d.Out("changes", codec.Int64, codec.String),
			"1=->ann", "2=->bob", "1=ann>anne", "2=bob>-", "2=->bert", "1=anne>-")
	})
}

func TestAStreamMadeATableKeepsTheNewestValue(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.Bytes).
		KeyBy("by-first", func(v []byte) string { return string(v[:1]) }).
		Filter(func(v []byte) bool { return len(v) > 1 }).
		Map(func(v []byte) []byte {
			if string(v[1:]) == "gone" {
				return nil
			}
			return v[1:]
		}).
		Table("newest").
		To("out")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("in", codec.String, codec.Bytes)
		for i, v := range []string{"a1", "b1", "a2", "b", "bgone", "cgone"} {
			in.Send(fmt.Sprint(i), []byte(v))
			d.Run()
		}
		wantState(t, d.State("newest", codec.String, codec.Bytes), map[string][]byte{"a": []byte("2")})
		wantRecords(t, d.Out("out", codec.String, codec.String), "a=1", "b=1", "a=2", "b!")
	})
}

func TestRecordWithoutAKeyFollowsThePolicyOfItsTable(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.TableFrom(p, "names", codec.String, codec.Int64, stream.OnDecodeError(stream.Skip)).Stream().To("out")
	d := streamtest.New(t, p)
	d.SendRaw("names", nil, []byte("12345678"))
	d.SendRaw("names", []byte("k"), []byte("1"))
	d.In("names", codec.String, codec.Int64).Send("k", 7)
	d.Run()
	if got := len(d.Skipped()); got != 2 {
		t.Errorf("%d records were skipped, want 2", got)
	}
	wantRecords(t, d.Out("out", codec.String, codec.Int64), "k=7")
}

func TestFilteredTableLosesTheRowsThatNoLongerFit(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	names := stream.TableFrom(p, "names", codec.Int64, codec.String)
	short := names.Filter(func(v string) bool { return len(v) < 4 })
	changes(short, "short")
	changes(short.Map(strings.ToUpper).FilterKV(func(k int64, v string) bool { return k != 2 }), "upper")
	short.MapWithKey(func(k int64, v string) string { return fmt.Sprint(k, " ", v) }).Store("numbered")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("names", codec.Int64, codec.String)
		in.Send(1, "ann")
		in.Send(2, "bob")
		in.Send(3, "charles")
		in.Send(1, "annabel")
		in.Send(1, "annabella")
		in.Send(3, "cha")
		in.Delete(1)
		in.Delete(2)
		d.Run()
		wantRecords(t, d.Out("short", codec.Int64, codec.String), "1=->ann", "2=->bob", "1=ann>-", "3=->cha", "2=bob>-")
		wantRecords(t, d.Out("upper", codec.Int64, codec.String), "1=->ANN", "1=ANN>-", "3=->CHA")
		wantState(t, d.State("numbered", codec.Int64, codec.String), map[int64]string{3: "3 cha"})
	})
}

func TestStoreMakesATableEmitPerCommit(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.TableFrom(p, "names", codec.Int64, codec.String, stream.As("all")).
		Filter(func(v string) bool { return v != "" }).
		Store("named").
		Stream(stream.EmitPerCommit()).
		To("out")
	d := streamtest.New(t, p)
	in := d.In("names", codec.Int64, codec.String)
	in.Send(1, "ann")
	in.Send(1, "anne")
	in.Send(2, "bob")
	in.Send(2, "")
	d.Run()
	wantRecords(t, d.Out("out", codec.Int64, codec.String), "1=anne")
	wantState(t, d.State("all", codec.Int64, codec.String), map[int64]string{1: "anne", 2: ""})
	wantState(t, d.State("named", codec.Int64, codec.String), map[int64]string{1: "anne"})
}

// TestChangesOfAggregatesKeepTheirOldSide has an aggregate that is changed in place, where the old value would
// silently be the new one.
func TestChangesOfAggregatesKeepTheirOldSide(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	lists := stream.From(p, "in", codec.String, codec.Int64).Group().
		Aggregate("lists", func() map[string]int64 { return map[string]int64{} },
			func(m map[string]int64, v int64) map[string]int64 { m["n"]++; m["sum"] += v; return m },
			codec.JSON[map[string]int64]())
	lists.Stream().To("updates")
	text := lists.Map(func(m map[string]int64) string { return fmt.Sprint(m["n"], " ", m["sum"]) })
	changes(text, "changes")
	changes(lists.Store("copy").Map(func(m map[string]int64) string { return fmt.Sprint(m["n"]) }), "copies")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("in", codec.String, codec.Int64)
		in.Send("a", 1)
		in.Send("a", 2)
		d.Run()
		in.Send("a", 3)
		d.Run()
		wantRecords(t, d.Out("changes", codec.String, codec.String), "a=->1 1", "a=1 1>2 3", "a=2 3>3 6")
		wantRecords(t, d.Out("copies", codec.String, codec.String), "a=->1", "a=1>2", "a=2>3")
	})
}

func TestTablesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		declare func(*stream.Pipeline)
		want    string
	}{
		"topic that is no name": {
			func(p *stream.Pipeline) { stream.TableFrom(p, "db.names", codec.String, codec.String) },
			`step "from:db.names": its store cannot have the name of the topic "db.names"; give it another with stream.As(name)`,
		},
		"name of a stream": {
			func(p *stream.Pipeline) { stream.From(p, "in", codec.String, codec.String, stream.As("x")) },
			`step "from:in": it has the option As("x"); leave it out: As names the store of TableFrom, and a stream has none`,
		},
		"no codec": {
			func(p *stream.Pipeline) { stream.TableFrom[string, order](p, "in", codec.String, nil) },
			`step "from:in": the value, type stream_test.order, has no codec; give the table a value codec`,
		},
		"nothing tells what a commit changed": {
			func(p *stream.Pipeline) {
				stream.TableFrom(p, "in", codec.String, codec.String).Map(strings.ToUpper).Stream(stream.EmitPerCommit())
			},
			`step "stream-3": table "map-2" has no store of its own, so that nothing tells which rows a commit changed; ` +
				`add .Store(name) before .Stream(stream.EmitPerCommit())`,
		},
		"key changed": {
			func(p *stream.Pipeline) {
				orders(p).MapKV(func(_ string, o order) (string, order) { return o.Customer, o }).Table("t")
			},
			`step "t": MapKV step "map-kv-1" changed the key, so records of one key may be in several partitions; ` +
				`add .Repartition(name) after it, or use KeyBy(name, fn)`,
		},
		"no codec for a sink": {
			func(p *stream.Pipeline) {
				stream.TableFrom(p, "in", codec.String, codec.String).Map(func(string) order { return order{} }).To("out")
			},
			`step "to:out": the value, type stream_test.order, has no codec; give it to To("out", codec)`,
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
