// SPDX-License-Identifier: Apache-2.0

package streamtest_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

func TestNothingIsVisibleBeforeItsCommit(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, words())
	d.In("lines", codec.Bytes, codec.String).Send(nil, "a b a")
	out := d.Out("updates", codec.String, codec.Int64)

	if n := d.Process(10); n != 1 {
		t.Fatalf("processed %d records before a commit, want the line only", n)
	}
	d.Commit()
	if n := d.Process(10); n != 3 {
		t.Fatalf("processed %d records of the repartition topic, want 3", n)
	}
	if got := out.Read(); len(got) != 0 {
		t.Fatalf("uncommitted records are visible: %v", got)
	}
	if got := maps.Collect(d.State("counts", codec.String, codec.Int64).All()); len(got) != 0 {
		t.Fatalf("uncommitted state is visible: %v", got)
	}
	d.Commit()
	want := map[string]int64{"a": 2, "b": 1}
	if diff := cmp.Diff(want, streamtest.ReadTable(out)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if got := out.Read(); len(got) != 3 {
		t.Errorf("Read gave %d records, want every update", len(got))
	}
	if got := out.Read(); len(got) != 0 {
		t.Errorf("Read gave %v again", got)
	}
	if diff := cmp.Diff(want, maps.Collect(d.State("counts", codec.String, codec.Int64).All())); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if n, found := d.State("counts", codec.String, codec.Int64).Get("c"); found {
		t.Errorf("found %d for a key that was never counted", n)
	}
}

func TestTablesAreEmittedOncePerCommit(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, words())
	d.In("lines", codec.Bytes, codec.String).Send(nil, "a a a")
	d.Run()
	got := d.Out("newest", codec.String, codec.Int64).Read()
	if len(got) != 1 || got[0].Key != "a" || got[0].Value != 3 {
		t.Errorf("got %v, want one record with the count 3", got)
	}
}

func TestMarkersOfCommitsTakeOffsets(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, accounts(), streamtest.Partitions(1))
	payments := d.In("payments", codec.String, codec.Int64)
	at := time.UnixMilli(1700000000000).UTC()
	payments.SendAt(at, "ann", 1)
	payments.Send("ann", 2)
	d.Run()
	d.Advance(time.Second)
	payments.Send("ann", 3)
	d.Run()
	type record = streamtest.Record[string, int64]
	want := []record{
		{Key: "ann", Value: 1, Time: at, Offset: 0},
		{Key: "ann", Value: 3, Time: d.Now().Add(-time.Second), Offset: 1},
		{Key: "ann", Value: 6, Time: d.Now(), Offset: 3},
	}
	if diff := cmp.Diff(want, d.Out("balances", codec.String, codec.Int64).Read()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestWhatWasNotCommittedIsProcessedAgain(t *testing.T) {
	t.Parallel()
	restarts := map[string]func(*streamtest.Driver){
		"crash":              (*streamtest.Driver).Crash,
		"lost disk":          (*streamtest.Driver).LoseDisk,
		"restore checkpoint": (*streamtest.Driver).RestoreCheckpoint,
	}
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := streamtest.New(t, accounts())
			payments := d.In("payments", codec.String, codec.Int64)
			payments.Send("ann", 1)
			d.Process(1)
			d.Checkpoint()
			payments.Send("ann", 2)
			d.Run()
			payments.Send("ann", 4)
			if d.Process(1) != 1 {
				t.Fatal("the last payment was not waiting")
			}
			restart(d)
			balance := d.State("book.balance", codec.String, codec.Int64)
			if got, _ := balance.Get("ann"); got != 3 {
				t.Errorf("balance after the restart is %d, want 3", got)
			}
			d.Run()
			if got, _ := balance.Get("ann"); got != 7 {
				t.Errorf("balance in the end is %d, want 7", got)
			}
			var seen []int64
			for _, r := range d.Out("balances", codec.String, codec.Int64).Read() {
				seen = append(seen, r.Value)
			}
			if diff := cmp.Diff([]int64{1, 3, 7}, seen); diff != "" {
				t.Errorf("balances (-want +got):\n%s", diff)
			}
			statement := d.MapState("book.statement", codec.String, codec.Int64, codec.Int64)
			if diff := cmp.Diff(map[int64]int64{0: 1, 1: 2, 2: 4}, maps.Collect(statement.All("ann"))); diff != "" {
				t.Errorf("statement (-want +got):\n%s", diff)
			}
			if got, found := statement.Get("ann", 1); got != 2 || !found {
				t.Errorf("statement of payment 1 is %d, %v", got, found)
			}
			if _, found := statement.Get("ann", 3); found {
				t.Error("there is a statement of a payment that was not made")
			}
		})
	}
}

func TestACommitStandsIfTheProcessDiesBeforeItKnows(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, accounts())
	d.In("payments", codec.String, codec.Int64).Send("ann", 5)
	d.Process(1)
	d.CommitAndCrash()
	if n := d.Process(1); n != 0 {
		t.Error("a committed record was processed again")
	}
	if got, _ := d.State("book.balance", codec.String, codec.Int64).Get("ann"); got != 5 {
		t.Errorf("balance is %d, want 5", got)
	}
	if got := d.Out("balances", codec.String, codec.Int64).Read(); len(got) != 1 {
		t.Errorf("outputs are %v, want one", got)
	}
}

func TestErrorsOfRecordsAbortTheEpoch(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, accounts(), streamtest.Partitions(1))
	payments := d.In("payments", codec.String, codec.Int64)
	payments.Send("ann", 1)
	d.Run()
	payments.Send("ann", 2)
	payments.Send("ann", -1)
	for range 2 {
		err := d.TryRun()
		user, ok := errors.AsType[*operators.UserError](err)
		if !ok || user.Step != "book" || user.Offset != 2 || !errors.Is(err, errNegative) {
			t.Fatalf("TryRun gave %v, want the error of the record at offset 2", err)
		}
		if got, _ := d.State("book.balance", codec.String, codec.Int64).Get("ann"); got != 1 {
			t.Fatalf("balance is %d, want that of the last commit", got)
		}
	}
}

func TestAnAbortedEpochLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	broken := true // for as long as something outside does not answer
	p := stream.NewPipeline("flaky")
	stream.From(p, "in", codec.String, codec.Int64).
		Process("sum", func(s *stream.Setup) stream.Handler[string, int64, int64] {
			sum := s.Value("sum", codec.Int64)
			return func(ctx *stream.Context[int64], _ string, v int64) error {
				n, _, err := sum.Get()
				if err != nil {
					return err
				}
				if err := sum.Put(n + v); err != nil {
					return err
				}
				ctx.Emit(n + v)
				if v == 2 && broken {
					return errors.New("no answer")
				}
				return nil
			}
		}).
		To("out")
	d := streamtest.New(t, p)
	in := d.In("in", codec.String, codec.Int64)
	for v := range int64(4) {
		in.Send("k", v)
	}
	if err := d.TryRun(); err == nil {
		t.Fatal("the handler's error was not returned")
	}
	broken = false
	d.Run()
	var got []int64
	for _, r := range d.Out("out", codec.String, codec.Int64).Read() {
		got = append(got, r.Value)
	}
	if diff := cmp.Diff([]int64{0, 1, 3, 6}, got); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
}

func TestPanicsOfUserCodeAreErrors(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, accounts())
	d.In("payments", codec.String, codec.Int64).Send("ann", 13)
	err := d.TryRun()
	if p, ok := errors.AsType[*task.PanicError](err); !ok || p.Step != "book" || p.Topic != "payments" {
		t.Errorf("TryRun gave %v, want the panic of step book", err)
	}
}

func TestSkippedRecordsAreTold(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, accounts(), streamtest.Partitions(1))
	d.SendRaw("payments", []byte("ann"), []byte("not 8 bytes"))
	d.Process(1)
	if got := d.Skipped(); len(got) != 0 {
		t.Errorf("skipped before the commit: %v", got)
	}
	d.Crash()
	d.Run()
	got := d.Skipped()
	if len(got) != 1 || got[0].Phase != operators.PhaseDecode || got[0].Offset != 0 {
		t.Errorf("skipped are %v, want the one record", got)
	}
}

func TestHeadersAndNullsArriveAsSent(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("copy")
	stream.From(p, "in", codec.Bytes, codec.Bytes).To("out")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	header := operators.Header{Key: "h", Value: []byte("v")}
	d.SendRaw("in", nil, []byte("no key"), header)
	d.SendRaw("in", []byte("k"), []byte{})
	d.SendRaw("in", []byte("k"), nil)
	d.Run()
	got := d.Out("out", codec.Bytes, codec.Bytes).Read()
	if len(got) != 3 {
		t.Fatalf("got %d records, want 3", len(got))
	}
	if got[0].Key != nil || len(got[0].Headers) != 1 || got[0].Headers[0].Key != "h" {
		t.Errorf("first is %v, want a null key and the header", got[0])
	}
	if got[1].Value == nil || len(got[1].Value) != 0 || got[2].Value != nil {
		t.Errorf("got %v and %v, want an empty value and a null one", got[1].Value, got[2].Value)
	}
	table := streamtest.ReadTable(d.Out("out", codec.String, codec.String))
	if len(table) != 0 {
		t.Errorf("table is %v, want the null value to have removed the key", table)
	}
}

func TestDeadLettersAreCommittedWithTheirEpoch(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("strict")
	stream.From(p, "in", codec.String, codec.Int64, stream.OnDecodeError(stream.DeadLetter("dead"))).To("out")
	d := streamtest.New(t, p)
	d.SendRaw("in", []byte("k"), []byte("junk"))
	d.Process(1)
	d.Crash()
	d.Run()
	got := d.Out("dead", codec.String, codec.String).Read()
	if len(got) != 1 || got[0].Value != "junk" {
		t.Errorf("dead letters are %v, want the one record", got)
	}
}

func TestMisuseIsToldInWords(t *testing.T) {
	t.Parallel()
	cases := []struct {
		want []string
		do   func(*streamtest.Driver)
	}{
		{[]string{`does not read topic "line"`, "it reads lines"}, func(d *streamtest.Driver) { d.In("line", codec.Bytes, codec.String) }},
		{[]string{`values as "string"`, `given is "int64"`, "SendRaw"}, func(d *streamtest.Driver) { d.In("lines", codec.Bytes, codec.Int64) }},
		{[]string{`does not write topic "lines"`, "it writes newest, updates"}, func(d *streamtest.Driver) { d.Out("lines", codec.Bytes, codec.String) }},
		{[]string{`state "count"`, "it has counts (table)"}, func(d *streamtest.Driver) { d.State("count", codec.String, codec.Int64) }},
		{[]string{`state "counts"`, `values are encoded as "int64"`}, func(d *streamtest.Driver) { d.State("counts", codec.String, codec.String) }},
		{[]string{"no checkpoint"}, (*streamtest.Driver).RestoreCheckpoint},
		{[]string{"does not go back"}, func(d *streamtest.Driver) { d.Advance(-1) }},
		{[]string{"read updates/", `"a"`, "decode value", "as uint64"}, func(d *streamtest.Driver) {
			d.In("lines", codec.Bytes, codec.String).Send(nil, "a")
			d.Run()
			d.Out("updates", codec.String, codec.New[uint64]("uint64", nil, func([]byte) (uint64, error) { return 0, errors.New(`"a"`) })).Read()
		}},
	}
	for _, c := range cases {
		got := failure(func(r *recorder) { c.do(streamtest.New(r, words())) })
		if !strings.HasPrefix(got, "streamtest: ") {
			t.Errorf("message %q does not say where it comes from", got)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("message %q does not contain %q", got, want)
			}
		}
	}
	broken := stream.NewPipeline("no such name!")
	if got := failure(func(r *recorder) { streamtest.New(r, broken) }); !strings.Contains(got, "does not build") {
		t.Errorf("message of a pipeline that does not build is %q", got)
	}
}
