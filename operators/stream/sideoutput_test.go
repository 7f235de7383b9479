// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

var (
	tooLate = stream.NewSideOutput[int64]("too-late")
	unused  = stream.NewSideOutput[string]("unused")
)

// punctual sends by how much a record is late to a side output, and all others on.
func punctual() *stream.Pipeline {
	p := stream.NewPipeline("punctual")
	onTime := stream.From(p, "in", codec.String, codec.String, stream.OutOfOrder(3*time.Millisecond)).
		Process("sort", func(s *stream.Setup) stream.Handler[string, string, string] {
			toLate, toUnused, watermark := s.Side(tooLate), s.Side(unused), s.Watermark()
			return func(ctx *stream.Context[string], _, v string) error {
				toUnused(v)
				if w := watermark(); w != operators.MinTime && ctx.Time() < w {
					toLate(w - ctx.Time())
					return nil
				}
				ctx.Emit(v)
				return nil
			}
		})
	onTime.To("out")
	onTime.Side(tooLate).To("late")
	onTime.Side(tooLate).Map(func(n int64) int64 { return -n }).To("late-again")
	return p
}

func TestSideOutputsHaveTheKeyAndTimeOfTheirRecord(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, punctual(), func(d *streamtest.Driver) {
		sendAll(d, "a", 10, "x", "a", 7, "y", "a", 6, "z", "a", 20, "u", "a", 1, "v")
		d.Run()
		wantRead(t, d, "out", "x@10", "y@7", "u@20")
		for topic, sign := range map[string]int64{"late": 1, "late-again": -1} {
			var got []int64
			for _, r := range d.Out(topic, codec.String, codec.Int64).Read() {
				got = append(got, r.Value*sign, r.Time.UnixMilli())
				if r.Key != "a" {
					t.Errorf("key %q", r.Key)
				}
			}
			if diff := gocmp.Diff([]int64{1, 6, 16, 1}, got); diff != "" {
				t.Errorf("%s: %s", topic, diff)
			}
		}
	})
}

func TestASideOutputThatNobodyHasOpenedIsRefused(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	s := stream.From(p, "in", codec.String, codec.String)
	s.Side(tooLate).To("a")
	s.Process("p", func(*stream.Setup) stream.Handler[string, string, string] { return nil }).Side(tooLate).To("b")
	_, err := p.Build()
	want := `step "from:in": it has no side output "too-late"; call Side on the stream that Process has returned, with a tag that its setup was given
step "p": it has no side output "too-late"; call Side on the stream that Process has returned, with a tag that its setup was given`
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}

func TestErrorsOfAStepOnASideOutputEndTheEpoch(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	side := stream.NewSideOutput[string]("side")
	s := stream.From(p, "in", codec.String, codec.String).
		Process("p", func(s *stream.Setup) stream.Handler[string, string, string] {
			emit := s.Side(side)
			return func(ctx *stream.Context[string], _, v string) error {
				emit(v)
				ctx.Emit("after it")
				return nil
			}
		})
	s.To("out")
	s.Side(side).Process("fail", func(*stream.Setup) stream.Handler[string, string, string] {
		return func(*stream.Context[string], string, string) error { return errNo }
	})
	d := streamtest.New(t, p)
	sendAll(d, "a", 1, "x")
	err := d.TryRun()
	if e, ok := err.(*operators.UserError); !ok || e.Step != "fail" {
		t.Errorf("error %v", err)
	}
	d.Commit()
	if got := slices.Concat(read(d, "out")); len(got) > 0 {
		t.Errorf("committed %v", got)
	}
}
