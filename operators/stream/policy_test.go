// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

var (
	errOdd  = errors.New("odd")
	errAway = errors.New("away")
)

// even fails on odd numbers, and panics on those that end in 9.
func even(n int64) (int64, error) {
	switch {
	case n%10 == 9:
		panic("a nine")
	case n%2 != 0:
		return 0, errOdd
	}
	return n, nil
}

func numbers(p *stream.Pipeline, opts ...stream.SourceOption) stream.Stream[string, int64] {
	return stream.From(p, "numbers", codec.String, codec.Int64, opts...)
}

func sendNumbers(d *streamtest.Driver, ns ...int64) {
	in := d.In("numbers", codec.String, codec.Int64)
	for _, n := range ns {
		in.Send("k", n)
	}
}

func values[V any](d *streamtest.Driver, topic string, c codec.Codec[V]) []V {
	var all []V
	for _, rec := range d.Out(topic, codec.String, c).Read() {
		all = append(all, rec.Value)
	}
	return all
}

// want compares what a topic holds.
func want[V any](t *testing.T, d *streamtest.Driver, topic string, c codec.Codec[V], wanted ...V) {
	t.Helper()
	if diff := cmp.Diff(wanted, values(d, topic, c)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", topic, diff)
	}
}

func TestSkippedRecordStopsAtTheFailingStep(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	in := numbers(p)
	in.OnError(stream.Skip).TryMap(even).To("even")
	in.To("all")
	d := streamtest.New(t, p)
	sendNumbers(d, 1, 2, 9, 4)
	d.Run()
	want(t, d, "even", codec.Int64, 2, 4)
	want(t, d, "all", codec.Int64, 1, 2, 9, 4)
	got := d.Skipped()
	if len(got) != 2 || got[0].Step != "try-map-1" || got[0].Phase != operators.PhaseProcess || !errors.Is(got[0].Err, errOdd) || got[0].Offset != 0 {
		t.Fatalf("skipped %+v", got)
	}
	if p, ok := errors.AsType[*operators.PanicError](got[1].Err); !ok || p.Value != "a nine" || len(p.Stack) == 0 || strings.Contains(got[1].Err.Error(), "nine") {
		t.Fatalf("skipped %+v", got[1])
	}
}

func TestDeadLetterIsTheInputRecordOfTheTask(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	p.OnError(stream.DeadLetter("dead"))
	numbers(p).
		Map(func(n int64) int64 { return n * 3 }).
		TryMap(even).
		KeyBy("by-size", func(n int64) string { return strconv.Itoa(len(strconv.FormatInt(n, 10))) }).
		TryMap(func(n int64) (int64, error) {
			if n > 10 {
				return 0, errAway
			}
			return n, nil
		}).
		To("out")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	d.SendRaw("numbers", []byte("k"), []byte("no number"), operators.Header{Key: "trace", Value: []byte("7")})
	sendNumbers(d, 1, 2, 4)
	d.Run()
	want(t, d, "out", codec.Int64, 6)
	var got []string
	for _, rec := range d.Out("dead", codec.String, codec.Bytes).Read() {
		line := fmt.Sprintf("%s %x", rec.Key, rec.Value)
		for _, h := range rec.Headers {
			line += fmt.Sprintf("; %s=%s", h.Key, h.Value)
		}
		got = append(got, line)
	}
	wanted := []string{
		`k 6e6f206e756d626572; trace=7; streamd-error=step "from:numbers" on record numbers/0 offset 0: decode value as int64: int64 takes 8 bytes, found 9; ` +
			`streamd-step=from:numbers; streamd-phase=decode; streamd-topic=numbers; streamd-partition=0; streamd-offset=0`,
		`k 8000000000000001; streamd-error=step "try-map-2" on record numbers/0 offset 1: odd; ` +
			`streamd-step=try-map-2; streamd-phase=process; streamd-topic=numbers; streamd-partition=0; streamd-offset=1`,
		`2 800000000000000c; streamd-error=step "try-map-5" on record test-1-by-size-repartition/0 offset 2: away; ` +
			`streamd-step=try-map-5; streamd-phase=process; streamd-topic=test-1-by-size-repartition; streamd-partition=0; streamd-offset=2`,
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Fatalf("dead letters (-want +got):\n%s", diff)
	}
}

func TestFailingStepEmitsNothing(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	numbers(p).OnError(stream.Skip).
		FlatMap(func(n int64, yield func(int64)) {
			for i := range n {
				yield(i)
			}
			if n == 3 {
				panic(n)
			}
		}).
		To("out")
	d := streamtest.New(t, p)
	sendNumbers(d, 3, 2)
	d.Run()
	want(t, d, "out", codec.Int64, 0, 1)
}

func TestPolicyIsNotThatOfLaterSteps(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	numbers(p).OnError(stream.Skip).
		Map(func(n int64) int64 { return n }).
		FlatMap(func(n int64, yield func(int64)) { yield(n) }).
		Process("pass", func(*stream.Setup) stream.Handler[string, int64, int64] {
			return func(ctx *stream.Context[int64], _ string, n int64) error { ctx.Emit(n); return nil }
		}).
		OnError(stream.Fail).
		TryMap(even).
		To("out")
	d := streamtest.New(t, p)
	sendNumbers(d, 1)
	if err := d.TryRun(); !errors.Is(err, errOdd) {
		t.Fatalf("found %v", err)
	}
	sendNumbers(d, 9)
	if err := d.TryRun(); err == nil || len(d.Skipped()) > 0 {
		t.Fatalf("found %v", err)
	}
}

// tally keeps numbers in both kinds of state, and then fails as even does.
func tally(s *stream.Setup) stream.Handler[string, int64, int64] {
	sum, seen := s.Value("sum", codec.Int64), s.Map("seen", codec.Int64, codec.JSON[map[string]int]())
	return func(ctx *stream.Context[int64], k string, n int64) error {
		was, _, err := sum.Get()
		if err != nil {
			return err
		}
		counts, _, err := seen.Get(n / 10)
		if err != nil {
			return err
		}
		if counts == nil {
			counts = map[string]int{}
		}
		counts[strconv.FormatInt(n, 10)]++ // in place, as a Put of the changed value allows
		ctx.Emit(was + n)
		if err := errors.Join(sum.Put(was+n), seen.Put(n/10, counts), seen.Put(100, counts), seen.Delete(100)); err != nil {
			return err
		}
		_, err = even(n)
		return err
	}
}

func TestFailingStepLeavesItsStateAsItWas(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	in := numbers(p).OnError(stream.Skip)
	in.Process("tally", tally).To("sums")
	in.Group().Aggregate("lists", func() []int64 { return nil }, func(list []int64, n int64) []int64 {
		if len(list) > 0 {
			list[0]++ // in place
		}
		if _, err := even(n); err != nil {
			panic(err)
		}
		return append(list, n)
	}, codec.JSON[[]int64]()).Stream().To("lists", codec.JSON[[]int64]())
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		sendNumbers(d, 1, 2, 9, 3, 4, 12, 5)
		d.Run()
		want(t, d, "sums", codec.Int64, 2, 6, 18)
		want(t, d, "lists", codec.JSON[[]int64](), []int64{2}, []int64{3, 4}, []int64{4, 4, 12})
		if got, _ := d.State("tally.sum", codec.String, codec.Int64).Get("k"); got != 18 {
			t.Errorf("sum %d", got)
		}
		got := maps.Collect(d.MapState("tally.seen", codec.String, codec.Int64, codec.JSON[map[string]int]()).All("k"))
		if diff := cmp.Diff(map[int64]map[string]int{0: {"2": 1, "4": 1}, 1: {"12": 1}}, got); diff != "" {
			t.Errorf("seen (-want +got):\n%s", diff)
		}
	})
}

// op is one access to a state.
type op struct {
	kind     int
	key, val int64
}

// TestStateHoldsWhatSucceeded runs handlers that do anything to their states and then fail or not, with commits between,
// and compares the states with those of a model that knows only of the handlers that succeeded.
func TestStateHoldsWhatSucceeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var ops []op
		p := stream.NewPipeline("test")
		numbers(p).OnError(stream.Skip).Process("do", func(s *stream.Setup) stream.Handler[string, int64, int64] {
			single, many := s.Value("single", codec.Int64), s.Map("many", codec.Int64, codec.Int64)
			return func(_ *stream.Context[int64], _ string, fate int64) error {
				for _, o := range ops {
					if err := do(o, single, many); err != nil {
						return err
					}
				}
				_, err := even(fate)
				return err
			}
		})
		d := streamtest.New(rt, p, streamtest.Partitions(1))
		model, single := map[int64]int64{}, int64(-1)
		for range rapid.IntRange(1, 20).Draw(rt, "records") {
			ops = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) op {
				return op{rapid.IntRange(0, 6).Draw(rt, "kind"), rapid.Int64Range(0, 3).Draw(rt, "key"), rapid.Int64Range(0, 99).Draw(rt, "value")}
			}), 0, 6).Draw(rt, "ops")
			fate := rapid.SampledFrom([]int64{0, 1, 9}).Draw(rt, "fate")
			sendNumbers(d, fate)
			d.Process(1)
			if rapid.Bool().Draw(rt, "commit") {
				d.Commit()
			}
			if fate != 0 {
				continue
			}
			for _, o := range ops {
				single = o.model(model, single)
			}
		}
		d.Run()
		if diff := cmp.Diff(model, maps.Collect(d.MapState("do.many", codec.String, codec.Int64, codec.Int64).All("k"))); diff != "" {
			rt.Fatalf("many (-want +got):\n%s", diff)
		}
		if got, found := d.State("do.single", codec.String, codec.Int64).Get("k"); found != (single >= 0) || found && got != single {
			rt.Fatalf("single is %d, %v, want %d", got, found, single)
		}
	})
}

func do(o op, single *stream.ValueState[int64], many *stream.MapState[int64, int64]) error {
	switch o.kind {
	case 0:
		_, _, err := single.Get()
		return err
	case 1:
		return single.Put(o.val)
	case 2:
		return single.Delete()
	case 3:
		_, _, err := many.Get(o.key)
		return err
	case 4:
		return many.Put(o.key, o.val)
	case 5:
		return many.Delete(o.key)
	default:
		for key := range many.All() {
			if err := many.Put(key, o.val); err != nil {
				return err
			}
		}
		return nil
	}
}

func (o op) model(many map[int64]int64, single int64) int64 {
	switch o.kind {
	case 1:
		return o.val
	case 2:
		return -1
	case 4:
		many[o.key] = o.val
	case 5:
		delete(many, o.key)
	case 6:
		for key := range many {
			many[key] = o.val
		}
	}
	return single
}

func TestRetriedRecordCountsOnce(t *testing.T) {
	t.Parallel()
	away := 0 // How often the step still fails.
	p := stream.NewPipeline("test")
	numbers(p).OnError(stream.Retry(3, time.Second).Then(stream.DeadLetter("dead"))).
		Process("call", func(s *stream.Setup) stream.Handler[string, int64, int64] {
			sum := s.Value("sum", codec.Int64)
			return func(ctx *stream.Context[int64], _ string, n int64) error {
				was, _, err := sum.Get()
				if err != nil {
					return err
				}
				ctx.Emit(was + n)
				if err := sum.Put(was + n); err != nil {
					return err
				}
				if away > 0 {
					away--
					return errAway
				}
				return nil
			}
		}).
		To("sums")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	for _, c := range []struct {
		away   int
		waited time.Duration
		sums   []int64 // since the case before
		dead   int
	}{
		{0, 0, []int64{2}, 0},
		{2, 3 * time.Second, []int64{4}, 0},
		{3, 7 * time.Second, []int64{6}, 0},
		{4, 7 * time.Second, nil, 1},
		{0, 0, []int64{8}, 0},
	} {
		away = c.away
		before := d.Now()
		sendNumbers(d, 2)
		d.Run()
		if got := d.Now().Sub(before); got != c.waited {
			t.Errorf("%d failures: waited %v, want %v", c.away, got, c.waited)
		}
		want(t, d, "sums", codec.Int64, c.sums...)
		if got := values(d, "dead", codec.Int64); len(got) != c.dead {
			t.Errorf("%d failures: dead letters %v", c.away, got)
		}
	}
}

// picky is a codec that refuses to write 13.
var picky = codec.New("picky", func(dst []byte, n int64) ([]byte, error) {
	if n == 13 {
		return dst, errAway
	}
	return codec.Int64.Append(dst, n)
}, codec.Int64.Decode)

func TestConditionsChooseAmongPolicies(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	p.OnError(stream.DeadLetter("dead"), stream.InPhase(operators.PhaseSerialize))
	p.OnError(stream.Skip, stream.IfError(func(err error) bool { return errors.Is(err, errOdd) }))
	even := numbers(p).TryMap(even)
	even.To("out")
	numbersPlus := even.Map(func(n int64) int64 { return n + 1 })
	numbersPlus.To("picked", picky)
	d := streamtest.New(t, p)
	sendNumbers(d, 3, 12, 2)
	d.Run()
	want(t, d, "out", codec.Int64, 12, 2)
	want(t, d, "picked", codec.Int64, 3)
	want(t, d, "dead", codec.Int64, 12)
	sendNumbers(d, 19)
	if err := d.TryRun(); err == nil {
		t.Fatal("a panic that no policy covers was dropped")
	}
}

func TestDecodePolicyOfASourceComesBeforeThePipelines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []stream.SourceOption
		fail bool
	}{
		"pipeline's": {nil, false},
		"own":        {[]stream.SourceOption{stream.OnDecodeError(stream.Fail)}, true},
	} {
		p := stream.NewPipeline("test")
		p.OnError(stream.Retry(3, time.Second).Then(stream.Skip))
		numbers(p, c.opts...).To("out")
		d := streamtest.New(t, p)
		d.SendRaw("numbers", nil, []byte("junk"))
		before := d.Now()
		if err := d.TryRun(); (err != nil) != c.fail || d.Now() != before {
			t.Errorf("%s policy: %v after %v", name, err, d.Now().Sub(before))
		}
	}
}

func TestAbsentRegistryIsNoFaultOfTheRecord(t *testing.T) {
	t.Parallel()
	away := codec.New("away", codec.Int64.Append, func([]byte) (int64, error) {
		return 0, fmt.Errorf("fetch a schema: %w", codec.ErrUnavailable)
	})
	p := stream.NewPipeline("test")
	p.OnError(stream.Skip)
	stream.From(p, "numbers", codec.String, away).To("out")
	d := streamtest.New(t, p)
	d.SendRaw("numbers", []byte("k"), []byte("v"))
	if err := d.TryRun(); !errors.Is(err, codec.ErrUnavailable) || len(d.Skipped()) > 0 {
		t.Fatalf("found %v", err)
	}
}

func TestSourceThatPanicsFollowsThePolicy(t *testing.T) {
	t.Parallel()
	nine := func(n int64) time.Time {
		if n == 9 {
			panic("a nine")
		}
		return time.UnixMilli(n)
	}
	fragile := codec.New("fragile", codec.Int64.Append, func(b []byte) (int64, error) {
		n, err := codec.Int64.Decode(b)
		nine(n)
		return n, err
	})
	for name, from := range map[string]func(*stream.Pipeline) stream.Stream[string, int64]{
		"codec": func(p *stream.Pipeline) stream.Stream[string, int64] {
			return stream.From(p, "numbers", codec.String, fragile)
		},
		"event time": func(p *stream.Pipeline) stream.Stream[string, int64] {
			return numbers(p, stream.EventTime(func(_ string, n int64) time.Time { return nine(n) }))
		},
	} {
		p := stream.NewPipeline("test")
		p.OnError(stream.Skip, stream.InPhase(operators.PhaseDecode))
		from(p).TryMap(even).To("out", codec.Int64)
		d := streamtest.New(t, p)
		for _, n := range []int64{2, 9, 4} {
			raw, err := codec.Int64.Append(nil, n)
			if err != nil {
				t.Fatal(err)
			}
			d.SendRaw("numbers", []byte("k"), raw)
		}
		d.Run()
		want(t, d, "out", codec.Int64, 2, 4)
		if got := d.Skipped(); len(got) != 1 || got[0].Phase != operators.PhaseDecode || !isPanic(got[0].Err) {
			t.Errorf("%s: skipped %+v", name, got)
		}
		d.SendRaw("numbers", []byte("k"), []byte{128, 0, 0, 0, 0, 0, 0, 19}) // on which the step panics, not the source
		if err := d.TryRun(); err == nil {
			t.Errorf("%s: a panic of a step was taken for one of the source", name)
		}
	}
}

// forgetful is a codec that does not read 13.
var forgetful = codec.New("forgetful", codec.Int64.Append, func(b []byte) (int64, error) {
	n, err := codec.Int64.Decode(b)
	if n == 13 {
		err = errAway
	}
	return n, err
})

func TestRecordsOfARepartitionTopicFollowThePolicy(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	numbers(p).OnError(stream.DeadLetter("dead")).WithValue(forgetful).
		KeyBy("by-self", func(n int64) string { return "x" + strconv.FormatInt(n, 10) }).
		To("out", codec.Int64)
	d := streamtest.New(t, p)
	sendNumbers(d, 12, 13, 14)
	d.Run()
	want(t, d, "out", codec.Int64, 12, 14)
	want(t, d, "dead", codec.Int64, 13)
}

func TestPartialAggregateThatIsNotWrittenIsDropped(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	c := stream.Combiner[int64, int64]{
		Init: func() int64 { return 0 }, Add: func(kept, n int64) int64 { return kept + n },
		Merge: func(kept, n int64) int64 { return kept + n }, Codec: picky,
	}
	numbers(p).OnError(stream.Skip).
		CombineBy("by-rest", func(n int64) int64 { return n % 2 }, c).
		Aggregate("sums").To("out")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	sendNumbers(d, 6, 7, 6) // 12 and 7
	d.Run()
	sendNumbers(d, 10, 6, 1, 5, 7) // 16 and 13
	d.Run()
	sums := streamtest.ReadTable(d.Out("out", codec.Int64, picky))
	if diff := cmp.Diff(map[int64]int64{0: 28, 1: 7}, sums); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	if got := d.Skipped(); len(got) != 1 || got[0].Phase != operators.PhaseSerialize || got[0].Topic != "" {
		t.Errorf("skipped %+v", got)
	}
}

// TestPolicyOfAWindowIsNotThatOfLaterSteps has steps fail on what is emitted as time passes, below ones that skip.
func TestPolicyOfAWindowIsNotThatOfLaterSteps(t *testing.T) {
	t.Parallel()
	fail := func(s stream.Stream[string, string]) {
		s.OnError(stream.Fail).TryMap(func(string) (string, error) { return "", errAway }).To("failed")
	}
	for _, s := range dueSteps() {
		p := stream.NewPipeline("test")
		p.OnError(stream.Skip)
		s.build(stream.From(p, "in", codec.String, codec.Int64), &fate{failed: map[int64]bool{}}, fail)
		d := streamtest.New(t, p)
		in := d.In("in", codec.String, codec.Int64)
		in.SendAt(time.UnixMilli(10_001), "good", 1)
		in.SendAt(time.UnixMilli(60_000), "good", 1)
		if err := d.TryRun(); !errors.Is(err, errAway) || len(d.Skipped()) > 0 {
			t.Errorf("%s: found %v, skipped %v", s.name, err, d.Skipped())
		}
	}
}

func TestRowWithoutAnInputRecordHasNoDeadLetter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy stream.ErrorPolicy
		fails  bool
	}{{stream.DeadLetter("dead"), true}, {stream.Skip, false}} {
		p := stream.NewPipeline("test")
		numbers(p).Group().Count("count").
			Stream(stream.EmitPerCommit()).
			OnError(c.policy).
			TryMap(even).
			To("out")
		d := streamtest.New(t, p)
		sendNumbers(d, 1)
		if err := d.TryRun(); (err != nil) != c.fails {
			t.Errorf("%v: %v", c.policy, err)
		}
	}
}

func TestPoliciesAreDescribed(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	p.OnError(stream.Retry(2, time.Second).Then(stream.DeadLetter("dead")), stream.InPhase(operators.PhaseProcess))
	numbers(p).OnError(stream.Skip, stream.IfError(func(error) bool { return true })).TryMap(even).OnError(stream.Fail).To("out")
	topo, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	sub := topo.SubTopologies[0]
	var got []string
	for _, n := range sub.Nodes {
		got = append(got, n.Label+": "+n.OnError)
	}
	wanted := []string{"from:numbers: ", "try-map-1: skip for some errors; retry 2 times from 1s, then dead-letter:dead in [process]", "to:out: "}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	var topics []string
	for _, out := range sub.Outputs {
		topics = append(topics, out.Topic)
	}
	if !slices.Equal(topics, []string{"dead", "out"}) {
		t.Errorf("outputs %q", topics)
	}
}
