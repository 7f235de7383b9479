// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// foreignKey takes 7 from a value like "some 7"; a value like "some" refers to nothing.
func foreignKey(v string) (int64, bool) {
	_, after, ok := strings.Cut(v, " ")
	n, err := strconv.ParseInt(after, 10, 64)
	return n, ok && err == nil
}

// foreigns joins orders with customers by foreign key, in both ways. Customers whose name is "off" do not count.
func foreigns() *stream.Pipeline {
	p := stream.NewPipeline("foreigns")
	orders := stream.TableFrom(p, "orders", codec.Int64, codec.String)
	customers := stream.TableFrom(p, "customers", codec.Int64, codec.String).Filter(func(name string) bool { return name != "off" })
	changes(orders.JoinForeign("inner", foreignKey, customers, func(o, c string) string { return o + ":" + c }), "inner-changes")
	changes(orders.LeftJoinForeign("left", foreignKey, customers, func(o, c string, found bool) string {
		return fmt.Sprint(o, ":", c, ":", found)
	}), "left-changes")
	return p
}

func TestRowsFollowTheRowsThatTheyReferTo(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, foreigns(), func(d *streamtest.Driver) {
		orders, customers := d.In("orders", codec.Int64, codec.String), d.In("customers", codec.Int64, codec.String)
		step := func(inner, left []string) {
			t.Helper()
			d.Run()
			wantRecords(t, d.Out("inner-changes", codec.Int64, codec.String), inner...)
			wantRecords(t, d.Out("left-changes", codec.Int64, codec.String), left...)
			d.Advance(time.Second)
		}
		orders.Send(1, "tea 7")
		step([]string{}, []string{"1=->tea 7::false"})
		customers.Send(7, "ann")
		step([]string{"1=->tea 7:ann"}, []string{"1=tea 7::false>tea 7:ann:true"})
		customers.Send(8, "bob")
		step([]string{}, []string{})
		orders.Send(1, "tea 8")
		step([]string{"1=tea 7:ann>tea 8:bob"}, []string{"1=tea 7:ann:true>tea 8:bob:true"})
		customers.Send(7, "anne") // nobody refers to it any more
		step([]string{}, []string{})
		orders.Send(1, "rum")
		step([]string{"1=tea 8:bob>-"}, []string{"1=tea 8:bob:true>rum::false"})
		orders.Send(1, "gin")
		step([]string{}, []string{"1=rum::false>gin::false"})
		orders.Send(1, "gin 8")
		step([]string{"1=->gin 8:bob"}, []string{"1=gin::false>gin 8:bob:true"})
		customers.Send(8, "off") // filtered out: as good as deleted
		step([]string{"1=gin 8:bob>-"}, []string{"1=gin 8:bob:true>gin 8::false"})
		customers.Send(8, "bert")
		step([]string{"1=->gin 8:bert"}, []string{"1=gin 8::false>gin 8:bert:true"})
		orders.Delete(1)
		step([]string{"1=gin 8:bert>-"}, []string{"1=gin 8:bert:true>-"})
		customers.Send(8, "bertram")
		step([]string{}, []string{})
		orders.Send(1, "ale 8") // the key comes back, and its version goes on
		step([]string{"1=->ale 8:bertram"}, []string{"1=->ale 8:bertram:true"})
		orders.Send(2, "ale")
		orders.Delete(2)
		orders.Delete(3)
		step([]string{}, []string{"2=->ale::false", "2=ale::false>-"})
	})
}

func TestChangeOfOneRowChangesAllThatReferToIt(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, foreigns())
	orders, customers := d.In("orders", codec.Int64, codec.String), d.In("customers", codec.Int64, codec.String)
	want := map[int64]string{}
	for i := range int64(40) {
		orders.Send(i, fmt.Sprintf("o%d %d", i, i%2))
		want[i] = fmt.Sprintf("o%d %d:new%d", i, i%2, i%2)
	}
	customers.Send(0, "old0")
	customers.Send(1, "old1")
	d.Run()
	customers.Send(0, "new0")
	customers.Send(1, "new1")
	d.Run()
	wantState(t, d.State("inner", codec.Int64, codec.String), want)
	customers.Delete(0)
	d.Run()
	maps.DeleteFunc(want, func(k int64, _ string) bool { return k%2 == 0 })
	wantState(t, d.State("inner", codec.Int64, codec.String), want)
}

// TestAnswersOfAFormerForeignKeyDoNotCount lets rows change what they refer to, and what they refer to change, while
// the tasks on the way are differently far: the next task is chosen at random, and so is when to commit and to crash. Values
// of orders are numbered. Invariants: a result is never followed by one of an older value of its order; changes form
// a chain; in the end the results are the join of the two tables.
func TestAnswersOfAFormerForeignKeyDoNotCount(t *testing.T) {
	t.Parallel()
	p := foreigns()
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, p, streamtest.Partitions(rapid.IntRange(2, 4).Draw(t, "partitions")),
			streamtest.Order(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "task") }))
		orders, customers := map[int64]string{}, map[int64]string{}
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			k := rapid.Int64Range(0, 2).Draw(t, "key")
			if rapid.Bool().Draw(t, "order") {
				sendOrDelete(t, d.In("orders", codec.Int64, codec.String), orders, k, fmt.Sprintf("%d %s", i, rapid.SampledFrom([]string{"0", "1", "2", "3", "none"}).Draw(t, "refers to")))
			} else {
				sendOrDelete(t, d.In("customers", codec.Int64, codec.String), customers, k, rapid.SampledFrom([]string{fmt.Sprint("c", i), "off"}).Draw(t, "name"))
			}
			d.Process(rapid.IntRange(0, 4).Draw(t, "processed"))
			if rapid.Bool().Draw(t, "commit") {
				d.Commit()
			}
			if rapid.IntRange(0, 14).Draw(t, "crash") == 0 {
				d.Crash()
			}
		}
		d.Run()
		wantInner, wantLeft := map[int64]string{}, map[int64]string{}
		for k, o := range orders {
			to, _ := foreignKey(o)
			name, found := customers[to]
			if _, refers := foreignKey(o); !refers || !found || name == "off" {
				wantLeft[k] = o + "::false"
				continue
			}
			wantLeft[k], wantInner[k] = o+":"+name+":true", o+":"+name
		}
		checkResults(t, d, "inner", wantInner)
		checkResults(t, d, "left", wantLeft)
	})
}

// sendOrDelete changes a row, in the topic and in the model of it.
func sendOrDelete(t *rapid.T, in *streamtest.Input[int64, string], model map[int64]string, k int64, v string) {
	if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
		in.Delete(k)
		delete(model, k)
		return
	}
	in.Send(k, v)
	model[k] = v
}

func checkResults(t *rapid.T, d *streamtest.Driver, join string, want map[int64]string) {
	number := func(result string) int { // of the order's value; -1: there is no result
		first, _, _ := strings.Cut(result, " ")
		n, err := strconv.Atoi(first)
		if err != nil {
			return -1
		}
		return n
	}
	rows, newest := map[int64]string{}, map[int64]int{}
	for _, r := range d.Out(join+"-changes", codec.Int64, codec.String).Read() {
		old, now, _ := strings.Cut(r.Value, ">")
		if was, ok := rows[r.Key]; old != "-" && old != was || old == "-" && ok {
			t.Fatalf("%s: a change of %d is from %q, the one before led to %q", join, r.Key, old, was)
		}
		rows[r.Key] = now
		if now == "-" {
			delete(rows, r.Key)
			continue
		}
		if number(now) < newest[r.Key] {
			t.Fatalf("%s: row %d is %q after a result of value %d", join, r.Key, now, newest[r.Key])
		}
		newest[r.Key] = number(now)
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Fatalf("%s: changes (-want +got):\n%s", join, diff)
	}
	if diff := cmp.Diff(want, maps.Collect(d.State(join, codec.Int64, codec.String).All())); diff != "" {
		t.Fatalf("%s: rows (-want +got):\n%s", join, diff)
	}
}

// TestTableIsJoinedWithItselfByWayOfACopy looks up employees' managers, who are employees.
func TestTableIsJoinedWithItselfByWayOfACopy(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	staff := stream.TableFrom(p, "staff", codec.Int64, codec.String)
	staff.LeftJoinForeign("with-manager", foreignKey, staff.Repartition("managers"), func(e, m string, found bool) string { return fmt.Sprint(e, "<", m) })
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		in := d.In("staff", codec.Int64, codec.String)
		in.Send(1, "ann")
		in.Send(2, "bob 1")
		in.Send(3, "cem 2")
		d.Run()
		in.Send(2, "bob 3")
		in.Delete(1)
		d.Run()
		wantState(t, d.State("managers", codec.Int64, codec.String), map[int64]string{2: "bob 3", 3: "cem 2"})
		wantState(t, d.State("with-manager", codec.Int64, codec.String),
			map[int64]string{2: "bob 3<cem 2", 3: "cem 2<bob 3"})
	})
}

func TestJoinsByForeignKeySayWhatIsWrong(t *testing.T) {
	t.Parallel()
	key := func(v order) (string, bool) { return v.Customer, true }
	first := func(a order, _ string) order { return a }
	for name, c := range map[string]struct {
		declare func(*stream.Pipeline)
		want    string
	}{
		"two pipelines": {
			func(p *stream.Pipeline) {
				stream.TableFrom(p, "a", codec.String, codec.JSON[order]()).
					JoinForeign("j", key, stream.TableFrom(stream.NewPipeline("other"), "b", codec.String, codec.String), first)
			},
			`step "j": it joins a table of pipeline "other"; join tables of one pipeline`,
		},
		"a table with itself": {
			func(p *stream.Pipeline) {
				a := stream.TableFrom(p, "a", codec.String, codec.String)
				a.JoinForeign("j", func(v string) (string, bool) { return v, true }, a, func(a, _ string) string { return a })
			},
			`step "j-requests": what it sends can come back to it, so that event time and the end of a bounded run would wait for themselves; ` +
				`add .Repartition(name) to the stream or table where it comes back: in a join of a table with itself, to one side`,
		},
		"no name": {
			func(p *stream.Pipeline) {
				stream.TableFrom(p, "a", codec.String, codec.JSON[order]()).
					JoinForeign("", key, stream.TableFrom(p, "b", codec.String, codec.String), first)
			},
			`step "foreign-join-9": foreign-join has no name; give it one: the name is the identity of its state or topic`,
		},
		"no codec of the result": {
			func(p *stream.Pipeline) {
				stream.TableFrom(p, "a", codec.String, codec.JSON[order]()).
					JoinForeign("j", key, stream.TableFrom(p, "b", codec.String, codec.String), func(order, string) []order { return nil })
			},
			`step "j": the value, type []stream_test.order, has no codec; give it as the last argument`,
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
