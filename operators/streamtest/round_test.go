// SPDX-License-Identifier: Apache-2.0

package streamtest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
	"github.com/streamd/streamd/partition"
)

// staged counts, mixes the counts over other keys, and sums them up in windows: three stages with two shuffles.
func staged() *stream.Pipeline {
	p := stream.NewPipeline("staged")
	stream.From(p, "in", codec.String, codec.String).
		Group().Count("first").Stream().
		MapWithKey(func(k string, n int64) string { return fmt.Sprint(k, n%3) }).
		KeyBy("mixed", func(v string) string { return v }).
		Group().Count("second").Stream().
		MapWithKey(func(k string, _ int64) string { return k[:1] }).
		KeyBy("back", func(v string) string { return v }).
		Group().Window(stream.Tumbling(10 * time.Second).EmitOnClose()).Count("third").
		Stream().Map(func(w stream.Windowed[string], n int64) string { return fmt.Sprint(w.Start, " ", n) }).
		To("out")
	return p
}

// run sends records and sets the pipeline back now and then, if that is asked for; it returns what is left in the end.
func runStaged(t *testing.T, seed uint64, back bool) (out, state map[string]string, rollbacks int) {
	r := rand.New(rand.NewPCG(seed, 1))
	opts := []streamtest.Option{streamtest.Partitions(3)}
	if back {
		opts = append(opts, streamtest.Order(r.IntN))
	}
	d := streamtest.New(t, staged(), opts...)
	in := d.In("in", codec.String, codec.String)
	for i := range 300 {
		in.SendAt(time.Unix(int64(i), 0), fmt.Sprint("k", i%7), "v")
		switch n := r.IntN(30); {
		case !back:
		case n < 8:
			d.Process(r.IntN(10))
		case n < 16:
			d.Commit()
		case n == 16:
			d.BeginRound()
		case n == 17:
			d.Crash()
		case n == 18 && d.Rollback():
			rollbacks++
		}
	}
	d.Finish()
	out = map[string]string{}
	for _, r := range d.Out("out", codec.String, codec.String).Read() {
		if _, twice := out[r.Key+r.Value]; twice {
			t.Errorf("seed %d: %s of %s was emitted twice", seed, r.Value, r.Key)
		}
		out[r.Key+r.Value] = r.Time.String()
	}
	return out, d.Contents(), rollbacks
}

func TestAPipelineThatIsSetBackEndsAsOneThatWasNot(t *testing.T) {
	t.Parallel()
	wantOut, wantState, _ := runStaged(t, 0, false)
	rollbacks := 0
	for seed := range uint64(40) {
		out, state, n := runStaged(t, seed, true)
		rollbacks += n
		if diff := cmp.Diff(wantOut, out); diff != "" {
			t.Fatalf("seed %d, after %d rollbacks, the output differs:\n%s", seed, n, diff)
		}
		if diff := cmp.Diff(wantState, state); diff != "" {
			t.Fatalf("seed %d, after %d rollbacks, the state differs:\n%s", seed, n, diff)
		}
	}
	if rollbacks < 30 {
		t.Errorf("only %d rollbacks in all", rollbacks)
	}
	t.Logf("%d rollbacks", rollbacks)
}

func ExampleDriver_Rollback() {
	p := stream.NewPipeline("visits")
	stream.From(p, "visits", codec.String, codec.String).Group().Count("count").Stream().To("counts")
	t := &exampleTest{}
	d := streamtest.New(t, p)
	visits := d.In("visits", codec.String, codec.String)
	visits.Send("home", "ann")
	d.BeginRound()
	d.Run()
	visits.Send("home", "bob")
	d.Run()
	fmt.Println(d.Rollback())
	d.Run() // bob's visit is counted once more, from where ann's was counted
	for _, r := range d.Out("counts", codec.String, codec.Int64).Read() {
		fmt.Println(r.Key, r.Value)
	}
	t.end()
	// Output:
	// true
	// home 1
	// home 2
}

// A task that was idle before a restart may have records afterwards. Those downstream wait for it, although the others are
// heard first.
func TestWhatWasIdleBeforeARestartIsWaitedFor(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("idle")
	stream.From(p, "in", codec.String, codec.Int64).
		KeyBy("one", func(int64) string { return "all" }).
		Group().Window(stream.Tumbling(time.Minute).EmitOnClose()).Count("count").
		Stream().Map(func(_ stream.Windowed[string], n int64) int64 { return n }).
		WithValue(codec.Int64).
		To("out")
	last := func(n int) int { return n - 1 } // tasks downstream first
	d := streamtest.New(t, p, streamtest.Partitions(2), streamtest.Order(last))
	in := d.In("in", codec.String, codec.Int64)
	keys := keysOf(2)
	for _, k := range keys {
		in.SendAt(time.Unix(0, 0), k, 1)
	}
	d.Run() // both are idle
	d.Crash()
	in.SendAt(time.Unix(30, 0), keys[0], 1)
	for i := range 10 {
		in.SendAt(time.Unix(int64(1000+i), 0), keys[1], 1) // far ahead
	}
	for range 6 { // of partition 1 first, and what comes of them
		d.Process(2)
		d.Commit()
	}
	d.Finish()
	var got []int64
	for _, r := range d.Out("out", codec.String, codec.Int64).Read() {
		got = append(got, r.Value)
	}
	if diff := cmp.Diff([]int64{3, 10}, got); diff != "" {
		t.Errorf("windows closed too early:\n%s", diff)
	}
}

// keysOf returns a key of each partition.
func keysOf(partitions int32) []string {
	keys := make([]string, partitions)
	for i := range 100 {
		k := fmt.Sprint("k", i)
		keys[partition.ForKey([]byte(k), partitions)] = k
	}
	return keys
}
