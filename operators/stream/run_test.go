// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// start is newRig for tests.
func start(t *testing.T, p *stream.Pipeline) *rig {
	t.Helper()
	r, err := tryRig(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// lines is what went to user topics, as topic: key=value@time.
func (r *rig) lines() []string {
	var all []string
	for _, o := range r.out {
		all = append(all, fmt.Sprintf("%s: %s=%s@%d", o.topic, show(o.key), show(o.value), o.time))
	}
	return all
}

func wantLines(t *testing.T, r *rig, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.lines()); diff != "" {
		t.Fatalf("outputs (-want +got):\n%s", diff)
	}
}

func TestUpdatesKeepHeadersAndNewestTime(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String).
		KeyBy("by-value", func(v string) string { return v }).
		Group().Count("count").Stream().To("out")
	r := start(t, p)
	headers := []operators.Header{{Key: "trace", Value: []byte("1")}}
	for _, at := range []operators.Time{10, 30, 20} {
		rec := operators.Record{Topic: "in", Key: []byte("k"), Value: []byte("v"), Time: at, Headers: headers}
		if err := r.feed(rec, false); err != nil {
			t.Fatal(err)
		}
	}
	wantLines(t, r, "out: v=1@10", "out: v=2@30", "out: v=3@30")
	if diff := cmp.Diff(headers, r.out[2].headers); diff != "" {
		t.Fatalf("headers (-want +got):\n%s", diff)
	}
}

func TestEmitPerCommitEmitsEachChangedKeyOncePerCommit(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	table := stream.From(p, "in", codec.String, codec.String).Group().Count("count")
	// The second table gets its input in the flush of the first, and is flushed after it.
	table.Stream(stream.EmitPerCommit()).Group().Count("commits").Stream(stream.EmitPerCommit()).To("commits")
	table.Stream(stream.EmitPerCommit()).To("counts")
	r := start(t, p)
	r.send("in", "a", "", "b", "", "a", "")
	wantLines(t, r)
	r.commit()
	wantLines(t, r, "counts: a=2@3", "counts: b=1@2", "commits: a=1@3", "commits: b=1@2")
	r.out = nil
	r.commit()
	wantLines(t, r)
	r.send("in", "b", "")
	r.commit()
	wantLines(t, r, "counts: b=2@4", "commits: b=2@4")
}

func TestAbortedEpochLeavesNoTraceInState(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String).Group().Count("count").Stream().To("out")
	r := start(t, p)
	r.send("in", "a", "")
	r.commit()
	r.send("in", "a", "", "b", "")
	r.abort()
	r.out = nil
	r.send("in", "a", "", "b", "")
	wantLines(t, r, "out: a=2@4", "out: b=1@5")
}

func TestUndecodableRecordFollowsThePolicy(t *testing.T) {
	t.Parallel()
	build := func(opts ...stream.SourceOption) *rig {
		p := stream.NewPipeline("test")
		stream.From(p, "in", codec.String, codec.Int64, opts...).To("out")
		return start(t, p)
	}
	bad := operators.Record{Topic: "in", Partition: 2, Key: []byte("k"), Value: []byte("secret"), Time: 7,
		Headers: []operators.Header{{Key: "trace", Value: []byte("1")}}}

	failing := build()
	err := failing.feed(bad, false)
	e, ok := errors.AsType[*operators.DecodeError](err)
	if !ok || e.Part != operators.PartValue || e.Codec != "int64" || e.Step != "from:in" || e.Partition != 2 {
		t.Fatalf("fail gave %#v", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Fatalf("the error shows the value: %s", err)
	}

	skipping := build(stream.OnDecodeError(stream.Skip))
	if err := skipping.feed(bad, false); err != nil || len(skipping.out) != 0 || len(skipping.skips) != 1 {
		t.Fatalf("skip gave %v, %v, %v", err, skipping.out, skipping.skips)
	}

	dead := build(stream.OnDecodeError(stream.DeadLetter("dlq")))
	if err := dead.feed(bad, false); err != nil {
		t.Fatal(err)
	}
	nulls := bad
	nulls.Key, nulls.Value = nil, nil
	if err := dead.feed(nulls, false); err != nil {
		t.Fatal(err)
	}
	wantLines(t, dead, "dlq: k=secret@7", "dlq: =@7")
	if dead.out[1].key != nil || dead.out[1].value != nil {
		t.Fatal("the dead letter's nulls are not null")
	}
	var headers []string
	for _, h := range dead.out[0].headers {
		headers = append(headers, h.Key+"="+string(h.Value))
	}
	want := []string{
		"trace=1",
		`streamd-error=step "from:in" on record in/2 offset 0: decode value as int64: int64 takes 8 bytes, found 6`,
		"streamd-step=from:in", "streamd-phase=decode", "streamd-topic=in", "streamd-partition=2", "streamd-offset=0",
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Fatalf("headers (-want +got):\n%s", diff)
	}
}

func TestNullIsADecodeErrorUnlessTheCodecIsBytes(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "text", codec.String, codec.String).To("text-out")
	stream.From(p, "bytes", codec.Bytes, codec.Bytes).To("bytes-out")
	r := start(t, p)
	if err := r.feed(operators.Record{Topic: "text", Value: []byte("v")}, false); !errors.Is(err, operators.ErrNullKey) {
		t.Fatalf("null key gave %v", err)
	}
	if err := r.feed(operators.Record{Topic: "text", Key: []byte("k")}, false); !errors.Is(err, operators.ErrNullValue) {
		t.Fatalf("null value gave %v", err)
	}
	for _, rec := range []operators.Record{{}, {Key: []byte{}, Value: []byte{}}} {
		rec.Topic = "bytes"
		if err := r.feed(rec, false); err != nil {
			t.Fatal(err)
		}
	}
	if o := r.out[0]; o.key != nil || o.value != nil {
		t.Fatalf("nulls came out as %v, %v", o.key, o.value)
	}
}

func TestNullKeyCannotBeGrouped(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.Bytes, codec.String).Group().Count("count")
	r := start(t, p)
	err := r.feed(operators.Record{Topic: "in", Value: []byte("v")}, false)
	if e, ok := errors.AsType[*operators.UserError](err); !ok || e.Step != "count" {
		t.Fatalf("null key gave %v", err)
	}
}

func TestUserErrorNamesStepAndPositionAndNoData(t *testing.T) {
	t.Parallel()
	broken := errors.New("no stock")
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String).
		Process("reserve", func(*stream.Setup) stream.Handler[string, string, string] {
			return func(ctx *stream.Context[string], k, v string) error {
				if v == "secret" {
					return broken
				}
				ctx.Emit(v)
				return nil
			}
		}).
		To("out")
	r := start(t, p)
	r.send("in", "k", "fine")
	err := r.feed(operators.Record{Topic: "in", Partition: 3, Key: []byte("k"), Value: []byte("secret")}, false)
	if !errors.Is(err, broken) || err.Error() != `step "reserve" on record in/3 offset 1: no stock` {
		t.Fatalf("error %v", err)
	}
}

// TestPanicIsAttributedToTheStepThatRan also covers steps that go on after a later step has run.
func TestPanicIsAttributedToTheStepThatRan(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	split := stream.From(p, "in", codec.String, codec.String).
		FlatMap(func(v string, yield func(string)) {
			for part := range strings.SplitSeq(v, ",") {
				yield(part)
			}
			if strings.HasSuffix(v, "!") {
				panic("in flat map")
			}
		})
	split.Map(func(v string) string {
		if v == "boom" {
			panic("in map")
		}
		return v
	}).To("out")
	r := start(t, p)
	for value, step := range map[string]string{"a,b!": "flat-map-1", "a,boom,b": "map-2"} {
		func() {
			defer func() {
				if got := r.tasks[0].ctx.Node; recover() == nil || got != step {
					t.Errorf("value %q: panic attributed to %q, want %q", value, got, step)
				}
			}()
			r.send("in", "k", value)
		}()
	}
}

func TestErrorOfALaterStepIsNotTheHandlersError(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	refuse := codec.New("refuse",
		func(dst []byte, _ string) ([]byte, error) { return dst, errors.New("refused") },
		func([]byte) (string, error) { return "", nil })
	stream.From(p, "in", codec.String, codec.String).
		Process("handler", func(*stream.Setup) stream.Handler[string, string, string] {
			return func(ctx *stream.Context[string], _, v string) error {
				ctx.Emit(v)
				ctx.Emit(v)
				return errors.New("never seen")
			}
		}).
		To("out", refuse)
	r := start(t, p)
	err := r.feed(operators.Record{Topic: "in", Key: []byte("k"), Value: []byte("v")}, false)
	if e, ok := errors.AsType[*operators.UserError](err); !ok || e.Step != "to:out" {
		t.Fatalf("error %v", err)
	}
}

func TestStateIsKeptByKeyAndSurvivesCommits(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String).
		Process("p", func(s *stream.Setup) stream.Handler[string, string, string] {
			last := s.Value("last", codec.Bytes)
			seen := s.Map("seen", codec.Int64, codec.String)
			n := s.Value("n", codec.Int64)
			return func(ctx *stream.Context[string], _, v string) error {
				before, found, err := last.Get()
				if err != nil {
					return err
				}
				count, _, err := n.Get()
				if err != nil {
					return err
				}
				all := fmt.Sprintf("%s/%t", before, found)
				for i, old := range seen.All() {
					all += fmt.Sprintf(" %d=%s", i, old)
				}
				ctx.Emit(all)
				if v == "clear" {
					return errors.Join(last.Delete(), seen.Delete(0))
				}
				return errors.Join(last.Put([]byte(v)), seen.Put(-count, v), n.Put(count+1))
			}
		}).
		To("out")
	r := start(t, p)
	r.send("in", "a", "x", "b", "y", "a", "z")
	r.commit()
	r.send("in", "a", "clear", "a", "w", "b", "end")
	wantLines(t, r,
		"out: a=/false@1", "out: b=/false@2", "out: a=x/true 0=x@3",
		"out: a=z/true -1=z 0=x@4", "out: a=/false -1=z@5", "out: b=y/true 0=y@6")
}

func TestStateOutsideOfARecordIsRefused(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	var errs []error
	stream.From(p, "in", codec.String, codec.String).
		Process("p", func(s *stream.Setup) stream.Handler[string, string, string] {
			v := s.Value("v", codec.Int64)
			m := s.Map("m", codec.Int64, codec.Int64)
			_, _, err := v.Get()
			errs = append(errs, err, v.Put(1), v.Delete(), m.Put(1, 1), m.Delete(1))
			return func(*stream.Context[string], string, string) error { return nil }
		})
	start(t, p)
	if len(errs) != 10 {
		t.Fatalf("open was called for %d errors", len(errs))
	}
	for _, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "only usable while a record is processed") {
			t.Errorf("error %v", err)
		}
	}
}

func TestStateDeclaredAtRunTimeOnlyIsRefused(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	calls := 0
	stream.From(p, "in", codec.String, codec.String).
		Process("p", func(s *stream.Setup) stream.Handler[string, string, string] {
			if calls++; calls > 1 {
				s.Value("late", codec.Int64)
			}
			return func(*stream.Context[string], string, string) error { return nil }
		})
	if _, err := tryRig(p); err == nil || !strings.Contains(err.Error(), `open store "p.late": it is not part of the pipeline`) {
		t.Fatalf("started with %v", err)
	}
}

func TestMergedStreamsShareOneState(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	a := stream.From(p, "a", codec.String, codec.String)
	b := stream.From(p, "b", codec.String, codec.String)
	a.Merge(b).Group().Count("count").Stream().To("out")
	r := start(t, p)
	r.send("a", "k", "")
	r.send("b", "k", "")
	wantLines(t, r, "out: k=1@1", "out: k=2@1")
}

// TestValuesKeptByUserCodeDoNotChange reuses the fetch buffer, as the engine may.
func TestValuesKeptByUserCodeDoNotChange(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	var kept [][]byte
	stream.From(p, "in", codec.Bytes, codec.Bytes).
		Peek(func(k, v []byte) { kept = append(kept, k, v) }).
		Group().Reduce("last", func(_, v []byte) []byte { return v }).Stream(stream.EmitPerCommit()).To("out")
	r := start(t, p)
	buf := make([]byte, 8)
	for _, text := range []string{"k1", "k2"} {
		copy(buf, text)
		if err := r.feed(operators.Record{Topic: "in", Key: buf[:2], Value: buf[1:2]}, false); err != nil {
			t.Fatal(err)
		}
	}
	clear(buf)
	r.commit()
	wantLines(t, r, "out: k1=1@0", "out: k2=2@0")
	if diff := cmp.Diff([][]byte{[]byte("k1"), []byte("1"), []byte("k2"), []byte("2")}, kept); diff != "" {
		t.Fatalf("kept (-want +got):\n%s", diff)
	}
}
