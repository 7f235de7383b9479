// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// region is the first word of a value like "north 12".
func region(_ int64, v string) string {
	name, _, _ := strings.Cut(v, " ")
	return name
}

func TestRowLeavesItsOldGroupAndJoinsTheNewOne(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	shops := stream.TableFrom(p, "shops", codec.Int64, codec.String)
	shops.GroupBy("by-region", region).Count("shops-per-region").To("counts")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("shops", codec.Int64, codec.String)
		in.Send(1, "north 1")
		in.Send(2, "north 2")
		in.Send(3, "south 3")
		d.Run()
		wantRecords(t, d.Out("counts", codec.String, codec.Int64), "north=1", "north=2", "south=1")
		in.Send(1, "north 5") // stays: one change, of the same count
		d.Run()
		wantRecords(t, d.Out("counts", codec.String, codec.Int64), "north=2")
		in.Send(1, "south 5")
		d.Run()
		wantRecords(t, d.Out("counts", codec.String, codec.Int64), "north=1", "south=2")
		in.Delete(2)
		d.Run()
		wantRecords(t, d.Out("counts", codec.String, codec.Int64), "north!")
		wantState(t, d.State("shops-per-region", codec.String, codec.Int64), map[string]int64{"south": 2})
	})
}

// groupedSales is the pipeline of the property test: three aggregations of a table's groups, of which one is changed in place.
func groupedSales() *stream.Pipeline {
	p := stream.NewPipeline("sales")
	amounts := stream.TableFrom(p, "sales", codec.Int64, codec.Int64)
	byRest := amounts.GroupBy("by-rest", func(_, v int64) int64 { return v % 3 })
	sums := byRest.Reduce("sums",
		func(kept, v int64) int64 { return kept + v },
		func(kept, v int64) int64 { return kept - v })
	byRest.Aggregate("values", func() map[int64]int { return map[int64]int{} },
		func(m map[int64]int, v int64) map[int64]int { m[v]++; return m },
		func(m map[int64]int, v int64) map[int64]int {
			if m[v]--; m[v] == 0 {
				delete(m, v)
			}
			return m
		}, codec.JSON[map[int64]int]()).
		Map(func(m map[int64]int) int64 { return int64(len(m)) }).
		GroupBy("by-size", func(_, size int64) int64 { return size }).
		Count("groups-per-size")
	sums.To("sums-of-groups")
	return p
}

// TestGroupsOfATableAgreeWithTheRowsInThem changes rows at random under random interleavings of the tasks. Invariant: in the
// end each aggregate is that of the rows which the table has, whatever the way there.
func TestGroupsOfATableAgreeWithTheRowsInThem(t *testing.T) {
	t.Parallel()
	p := groupedSales()
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, p, streamtest.Order(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "task") }))
		in := d.In("sales", codec.Int64, codec.Int64)
		rows := map[int64]int64{}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			k := rapid.Int64Range(0, 4).Draw(t, "key")
			switch v := rapid.Int64Range(-1, 7).Draw(t, "value"); v {
			case -1:
				in.Delete(k)
				delete(rows, k)
			default:
				in.Send(k, v)
				rows[k] = v
			}
			d.Process(rapid.IntRange(0, 3).Draw(t, "processed"))
			if rapid.Bool().Draw(t, "commit") {
				d.Commit()
			}
			if rapid.IntRange(0, 9).Draw(t, "crash") == 0 {
				d.Crash()
			}
		}
		d.Run()
		sums, distinct, sizes := map[int64]int64{}, map[int64]map[int64]int{}, map[int64]int64{}
		for _, v := range rows {
			sums[v%3] += v
			if distinct[v%3] == nil {
				distinct[v%3] = map[int64]int{}
			}
			distinct[v%3][v]++
		}
		for _, m := range distinct {
			sizes[int64(len(m))]++
		}
		got := maps.Collect(d.State("sums", codec.Int64, codec.Int64).All())
		if diff := cmp.Diff(sums, got); diff != "" {
			t.Fatalf("sums (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(sums, streamtest.ReadTable(d.Out("sums-of-groups", codec.Int64, codec.Int64))); diff != "" {
			t.Fatalf("topic of sums (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(distinct, maps.Collect(d.State("values", codec.Int64, codec.JSON[map[int64]int]()).All())); diff != "" {
			t.Fatalf("values (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(sizes, maps.Collect(d.State("groups-per-size", codec.Int64, codec.Int64).All())); diff != "" {
			t.Fatalf("groups per size (-want +got):\n%s", diff)
		}
	})
}

func TestRowWhoseGroupDependsOnMoreThanTheRowIsFoundOut(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	calls := int64(0)
	stream.TableFrom(p, "in", codec.Int64, codec.Int64).
		GroupBy("by", func(int64, int64) int64 { calls++; return calls }).
		Count("count")
	d := streamtest.New(t, p)
	in := d.In("in", codec.Int64, codec.Int64)
	in.Send(1, 1)
	in.Delete(1)
	if err := d.TryRun(); err == nil || !strings.Contains(err.Error(), "a row leaves a group that has no rows") {
		t.Fatalf("the run ended with %v", err)
	}
}

func TestRecordsOfChangesThatAreCutShortAreRefused(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.TableFrom(p, "in", codec.String, codec.Uint64).GroupBy("by", func(string, uint64) string { return "all" }).Count("count")
	r := start(t, p)
	r.send("in", "a", "12345678", "a", "87654321")
	var whole []byte
	for _, t := range r.tasks {
		t.proc = grab{t.proc, &whole}
	}
	r.send("in", "a", "00000000")
	if len(whole) != 1+1+4+8+8 {
		t.Fatalf("the change has %d bytes", len(whole))
	}
	change := whole
	for n := range change {
		rec := operators.Record{Topic: "by", Key: []byte("all"), Value: change[:n]}
		if err := r.feed(rec, true); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(change))
		}
	}
}

// grab keeps the value of the last record of a processor.
type grab struct {
	operators.Processor
	value *[]byte
}

func (g grab) Process(source int, rec *operators.Record) error {
	*g.value = slices.Clone(rec.Value)
	return g.Processor.Process(source, rec)
}
