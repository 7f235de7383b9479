// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// dueStep is a step that fails as time passes, on key "bad", after records of the keys "bad" and "good" at one time.
type dueStep struct {
	name  string
	build func(in stream.Stream[string, int64], f *fate, to func(stream.Stream[string, string]))
	want  []string // what it emits of a key that it does not fail on
}

// dueSteps are all that call user code when time has passed. The values of key "bad" add up to poison where two meet.
func dueSteps() []dueStep {
	merging := func(f *fate) func(a, b int64) int64 {
		return func(a, b int64) int64 { f.must(a + b); return a + b }
	}
	zero, plus := func() int64 { return 0 }, func(a, b int64) int64 { return a + b }
	show := func(w stream.Windowed[string], n int64) string { return fmt.Sprint(w.Start, "-", w.End, " ", n) }
	return []dueStep{
		{"hopping windows on close", func(in stream.Stream[string, int64], f *fate, to func(stream.Stream[string, string])) {
			to(in.Group().Window(stream.Hopping(4*time.Second, 2*time.Second).EmitOnClose()).
				Aggregate("sums", zero, plus, merging(f), codec.Int64).Stream().Map(show))
		}, []string{"8000-12000 1", "10000-14000 2", "12000-16000 1"}},
		{"sliding windows on close", func(in stream.Stream[string, int64], f *fate, to func(stream.Stream[string, string])) {
			to(in.Group().Window(stream.Sliding(4*time.Second).EmitOnClose()).
				Aggregate("sums", zero, plus, merging(f), codec.Int64).Stream().Map(show))
		}, []string{"6002-10002 1", "9002-13002 2"}},
		{"left join of streams", func(in stream.Stream[string, int64], f *fate, to func(stream.Stream[string, string])) {
			none := in.Filter(func(int64) bool { return false })
			to(in.LeftJoinStream("met", none, stream.Within(time.Second), func(v, _ int64, found bool) string {
				f.must(2 * v)
				return fmt.Sprint(v, found)
			}))
		}, []string{"1 false", "1 false"}},
		{"outer join of streams", func(in stream.Stream[string, int64], f *fate, to func(stream.Stream[string, string])) {
			none := in.Filter(func(int64) bool { return false })
			to(none.OuterJoinStream("met", in, stream.Within(time.Second), func(_ int64, found bool, v int64, _ bool) string {
				f.must(2 * v)
				return fmt.Sprint(v, found)
			}))
		}, []string{"1 false", "1 false"}},
		{"timer", func(in stream.Stream[string, int64], f *fate, to func(stream.Stream[string, string])) {
			to(timerStep(in, f))
		}, []string{"side 10", "timer 10", "side 13", "timer 13"}},
	}
}

// timerStep has a timer that changes all that it can before it fails.
func timerStep(in stream.Stream[string, int64], f *fate) stream.Stream[string, string] {
	side := stream.NewSideOutput[string]("side")
	out := in.Process("timed", func(s *stream.Setup) stream.Handler[string, int64, string] {
		last, fired, put := s.Value("last", codec.Int64), s.Value("fired", bags), s.Side(side)
		other := s.Timer("other", func(ctx *stream.Context[string], _ string, _ operators.Time) error {
			ctx.Emit("never")
			return nil
		})
		timer := s.Timer("timer", func(ctx *stream.Context[string], _ string, at operators.Time) error {
			n, _, err := last.Get()
			b, found, err2 := fired.Get()
			if !found {
				b = newBag()
			}
			b["times"]++
			put(fmt.Sprint("side ", at/1000))
			ctx.Emit(fmt.Sprint("timer ", at/1000))
			err = errors.Join(err, err2, fired.Put(b), other.SetAfter(time.Second))
			return errors.Join(err, f.meet(2*n), other.Clear())
		})
		return func(_ *stream.Context[string], _ string, n int64) error {
			return errors.Join(last.Put(n), timer.SetAfter(0))
		}
	})
	return out.Side(side).Merge(out)
}

// play sends records of two keys at two times, and lets time pass.
func (s *dueStep) play(d *streamtest.Driver) {
	in := d.In("in", codec.String, codec.Int64)
	for _, at := range []int64{10_001, 13_001} {
		in.SendAt(time.UnixMilli(at), "bad", poison/2)
		in.SendAt(time.UnixMilli(at), "good", 1)
		d.Run()
	}
	d.Finish()
}

func (s *dueStep) results(d *streamtest.Driver) map[string][]string {
	got := map[string][]string{}
	for _, rec := range d.Out("out", codec.String, codec.String).Read() {
		got[rec.Key] = append(got[rec.Key], rec.Value)
	}
	return got
}

func (s *dueStep) pipeline(policy stream.ErrorPolicy, f *fate, when ...stream.Condition) *stream.Pipeline {
	p := stream.NewPipeline("test")
	p.OnError(policy, when...)
	s.build(stream.From(p, "in", codec.String, codec.Int64), f, func(out stream.Stream[string, string]) { out.To("out") })
	return p
}

func TestWhatAStepFailsToDoAsTimePassesIsDropped(t *testing.T) {
	t.Parallel()
	for _, s := range dueSteps() {
		f := &fate{failed: map[int64]bool{}}
		p := s.pipeline(stream.Skip, f, stream.InPhase(operators.PhaseTimer))
		streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
			s.play(d)
			got := s.results(d)
			if diff := diff.Diff(s.want, got["good"]); diff != "" {
				t.Errorf("%s: key good (-want +got):\n%s", s.name, diff)
			}
			for _, line := range got["bad"] {
				if slices.Contains(s.want, line) {
					t.Errorf("%s: key bad has %q", s.name, line)
				}
			}
			skipped := d.Skipped()
			if len(skipped) == 0 {
				t.Fatalf("%s: nothing was skipped", s.name)
			}
			for _, f := range skipped {
				if f.Phase != operators.PhaseTimer || f.Topic != "" || f.Offset != -1 || !errors.Is(f.Err, errPoison) && !isPanic(f.Err) {
					t.Errorf("%s: skipped %+v", s.name, f)
				}
			}
		})
	}
}

func isPanic(err error) bool {
	_, ok := errors.AsType[*operators.PanicError](err)
	return ok
}

func TestWhatAStepFailsToDoAsTimePassesIsRetried(t *testing.T) {
	t.Parallel()
	for _, s := range dueSteps() {
		run := func(policy stream.ErrorPolicy, f *fate) map[string][]string {
			d := streamtest.New(t, s.pipeline(policy, f))
			s.play(d)
			return s.results(d)
		}
		want := run(stream.Fail, &fate{once: true, failed: map[int64]bool{poison: true}})
		got := run(stream.Retry(1, 0), &fate{once: true, failed: map[int64]bool{}})
		if diff := diff.Diff(want, got); diff != "" || len(got["bad"]) == 0 {
			t.Errorf("%s: results (-without a failure +with):\n%s", s.name, diff)
		}
	}
}

func TestWhatIsDueAsTimePassesHasNoDeadLetter(t *testing.T) {
	t.Parallel()
	for _, s := range dueSteps() {
		d := streamtest.New(t, s.pipeline(stream.DeadLetter("dead"), &fate{failed: map[int64]bool{}}))
		in := d.In("in", codec.String, codec.Int64)
		in.SendAt(time.UnixMilli(10_001), "bad", poison/2)
		in.SendAt(time.UnixMilli(13_001), "bad", poison/2)
		in.SendAt(time.UnixMilli(60_000), "bad", 1)
		err := d.TryRun()
		if user, ok := errors.AsType[*operators.UserError](err); !ok || user.Phase != operators.PhaseTimer || user.Topic != "" {
			t.Errorf("%s: found %v", s.name, err)
		}
	}
}

// TestTimerThatIsDroppedIsGone looks at what is left of one.
func TestTimerThatIsDroppedIsGone(t *testing.T) {
	t.Parallel()
	s := dueSteps()[4]
	d := streamtest.New(t, s.pipeline(stream.Skip, &fate{failed: map[int64]bool{}}))
	d.In("in", codec.String, codec.Int64).SendAt(time.UnixMilli(10_000), "bad", poison/2)
	d.Run()
	for _, timer := range []string{"timed.timer", "timed.other"} {
		if at, set := d.Timer(timer, codec.String, "bad"); set {
			t.Errorf("%s is set to %v", timer, at)
		}
	}
	if b, found := d.State("timed.fired", codec.String, bags).Get("bad"); found {
		t.Errorf("the state has %v", b)
	}
	if n, _ := d.State("timed.last", codec.String, codec.Int64).Get("bad"); n != poison/2 {
		t.Errorf("the record before the timer is not in the state: %d", n)
	}
}
