// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// batch is a run of records with consecutive offsets from first; marker is the offset of a transaction marker, or -1.
type batch struct {
	first, marker int64
	times         []int64
}

func (b batch) Len() int           { return len(b.times) }
func (b batch) First() int64       { return b.first }
func (b batch) Last() int64        { return b.first + int64(len(b.times)) - 1 }
func (b batch) TimeAt(i int) int64 { return b.times[i] }

func (b batch) Record(i int, r *operators.Record) (bool, error) {
	r.Offset, r.Time = b.first+int64(i), b.times[i]
	return r.Offset != b.marker, nil
}

// script is a processor that notes what it is given and fails where it is told to.
type script struct {
	ctx  *operators.Context
	seen []string
	fail func(*operators.Record) error
	call func(f func(context.Context), done func() error)
	full bool

	calls []func() // made and not run yet
	woken int
}

func (s *script) Process(source int, r *operators.Record) error {
	s.ctx.Record, s.ctx.Node = r, "step"
	s.seen = append(s.seen, fmt.Sprintf("%d:%d", source, r.Offset))
	if s.fail != nil {
		return s.fail(r)
	}
	return nil
}

func (s *script) Restart() error                   { return nil }
func (s *script) Held() operators.Time             { return operators.MaxTime }
func (s *script) Full() bool                       { return s.full }
func (s *script) Flush() error                     { return nil }
func (s *script) Due() operators.Time              { return operators.MaxTime }
func (s *script) Advance(operators.Time) error     { return nil }
func (s *script) WallDue() operators.Time          { return operators.MaxTime }
func (s *script) AdvanceWall(operators.Time) error { return nil }

func newTask(t *testing.T, inputs ...string) (*Task, *script) {
	t.Helper()
	s := &script{}
	sub := &topology.SubTopology{New: func(rt *operators.Runtime) (operators.Processor, error) {
		s.ctx, s.call = rt.Context, rt.Call
		return s, nil
	}}
	var tps []partition.TopicPartition
	for _, name := range inputs {
		tps = append(tps, partition.TopicPartition{Topic: name})
	}
	task, err := New(Options{SubTopology: sub, Inputs: tps, Now: time.Now, Go: func(f func()) { s.calls = append(s.calls, f) }, Wake: func() { s.woken++ }})
	if err != nil {
		t.Fatal(err)
	}
	return task, s
}

func at(topic string) partition.TopicPartition { return partition.TopicPartition{Topic: topic} }

func TestOffsetsOnlyGrow(t *testing.T) {
	t.Parallel()
	task, s := newTask(t, "a")
	task.Seek(Position{at("a"): 5})
	if err := task.Enqueue(at("a"), batch{first: 4, marker: -1, times: []int64{1, 2}}); !errors.Is(err, ErrStaleRecord) {
		t.Fatalf("a batch from before the position gave %v", err)
	}
	for _, first := range []int64{5, 9} { // a gap is normal: markers, aborted records
		if err := task.Enqueue(at("a"), batch{first: first, marker: -1, times: []int64{1, 2}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := task.Enqueue(at("a"), batch{first: 10, marker: -1, times: []int64{1}}); !errors.Is(err, ErrStaleRecord) {
		t.Fatalf("a batch that overlaps a waiting one gave %v", err)
	}
	if n, err := task.Process(100); n != 4 || err != nil {
		t.Fatalf("processed %d, %v", n, err)
	}
	if diff := cmp.Diff([]string{"0:5", "0:6", "0:9", "0:10"}, s.seen); diff != "" {
		t.Error(diff)
	}
	if got, _ := task.At(at("a")); got != 11 {
		t.Errorf("position %d, want 11", got)
	}
}

func TestMarkersMoveThePositionAndReachNobody(t *testing.T) {
	t.Parallel()
	task, s := newTask(t, "a")
	if err := task.Enqueue(at("a"), batch{first: 0, marker: 1, times: []int64{1, 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := task.Process(100); err != nil {
		t.Fatal(err)
	}
	if got, _ := task.At(at("a")); got != 2 || len(s.seen) != 1 || task.Processed() != 1 {
		t.Errorf("position %d, seen %v, processed %d", got, s.seen, task.Processed())
	}
}

func TestInputsInterleaveByTime(t *testing.T) {
	t.Parallel()
	task, s := newTask(t, "a", "b")
	for topic, times := range map[string][]int64{"a": {10, 30, 50}, "b": {20, 30, 60}} {
		if err := task.Enqueue(at(topic), batch{marker: -1, times: times}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := task.Process(2); n != 2 || err != nil || task.Waiting() != 4 {
		t.Fatalf("processed %d, %v, %d wait", n, err, task.Waiting())
	}
	if _, err := task.Process(100); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0:0", "1:0", "0:1", "1:1", "0:2", "1:2"}, s.seen); diff != "" {
		t.Error(diff)
	}
}

func TestAPanicNamesTheRecordAndNotItsContent(t *testing.T) {
	t.Parallel()
	task, s := newTask(t, "a")
	s.fail = func(r *operators.Record) error {
		if r.Offset == 1 {
			panic("secret of the user")
		}
		return nil
	}
	if err := task.Enqueue(at("a"), batch{marker: -1, times: []int64{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	_, err := task.Process(100)
	var p *PanicError
	if !errors.As(err, &p) || p.Step != "step" || p.Offset != 1 || p.Value != "secret of the user" || len(p.Stack) == 0 {
		t.Fatalf("got %#v", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the text shows the user's value: %s", err)
	}
	if got, _ := task.At(at("a")); got != 1 {
		t.Errorf("position %d after the failure, want 1: the record is not processed", got)
	}
	task.Abort()
	if task.Waiting() != 0 {
		t.Errorf("%d records wait after an abort", task.Waiting())
	}
}

func TestWhatACallBringsIsTakenBetweenRecordsAndDroppedAfterAnAbort(t *testing.T) {
	t.Parallel()
	task, s := newTask(t, "a")
	ask := func(name string) {
		s.call(func(ctx context.Context) { s.seen = append(s.seen, fmt.Sprint("call ", name, " ", ctx.Err())) },
			func() error { s.seen = append(s.seen, "done "+name); s.full = false; return nil })
	}
	run := func() {
		calls := s.calls
		s.calls = nil
		for _, call := range calls {
			call()
		}
	}
	ask("lost")
	task.Abort()
	run()
	if s.woken != 1 || !task.Due(time.Now()) {
		t.Errorf("woken %d times", s.woken)
	}
	if err := task.Tick(time.Now()); !task.Acted() || err != nil {
		t.Fatal(err)
	}
	if err := task.Enqueue(at("a"), batch{marker: -1, times: []int64{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	s.fail = func(r *operators.Record) error {
		if r.Offset == 1 {
			ask("kept")
			s.full = true
		}
		return nil
	}
	for want := range 2 {
		if n, err := task.Process(100); n != 2-2*want || err != nil {
			t.Fatalf("processed %d, %v", n, err)
		}
	}
	if !task.Full() || task.Waiting() != 1 || task.Due(time.Now()) {
		t.Error("the task takes records while its calls are under way")
	}
	run()
	if n, err := task.Process(100); n != 1 || err != nil {
		t.Fatalf("processed %d, %v", n, err)
	}
	want := []string{"call lost context canceled", "0:0", "0:1", "call kept <nil>", "done kept", "0:2"}
	if diff := cmp.Diff(want, s.seen); diff != "" {
		t.Error(diff)
	}
}

func TestASourceWithoutThePartitionIsLeftOut(t *testing.T) {
	t.Parallel()
	task, _ := newTask(t, "", "b")
	task.Seek(Position{at("b"): 7})
	if diff := cmp.Diff(Position{at("b"): 7}, task.Position()); diff != "" {
		t.Error(diff)
	}
	if err := task.Enqueue(at("c"), batch{marker: -1, times: []int64{1}}); err == nil {
		t.Error("a batch of another topic was taken")
	}
}

func FuzzPositionIsReadAsItWasWrittenOrRefused(f *testing.F) {
	known := Point{reached: 12, inputs: []pointInput{
		{source: "orders", next: 42, time: inputTime{newest: 15}},
		{source: "x", internal: true, partition: 7, next: -1, time: inputTime{
			newest: operators.MinTime, upstream: []upstream{{partition.TaskID{SubTopology: 1, Partition: 3}, reading{watermark: 9, status: Finished, run: "r"}, 4}},
		}},
	}}
	f.Add(known.AppendTo(nil))
	f.Add([]byte{1, 0})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePoint(b)
		if err != nil {
			if !errors.Is(err, ErrPosition) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := DecodePoint(p.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again, cmp.AllowUnexported(Point{}, pointInput{}, inputTime{}, upstream{}, reading{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestARescaledTaskBeginsWhereTheOneStoodThatHadComeLeastFar(t *testing.T) {
	t.Parallel()
	heard := []upstream{{task: partition.TaskID{Partition: 1}, heard: reading{watermark: 50}}}
	points := []Point{
		{reached: 40, inputs: []pointInput{{source: "in", partition: 0, next: 7, time: inputTime{newest: 44}}, {source: "by", internal: true, next: 9, time: inputTime{upstream: heard}}}},
		{reached: 30, inputs: []pointInput{{source: "in", partition: 1, next: 8, time: inputTime{newest: 33}}}},
	}
	got := Rescale(points, []InputAt{{Source: "in", Partition: 1, Next: 8}, {Source: "in", Partition: 2, Next: 0}, {Source: "by", Internal: true, Partition: 2}})
	want := Point{reached: 30, inputs: []pointInput{
		{source: "in", partition: 1, next: 8, time: inputTime{newest: 33}},
		{source: "in", partition: 2, time: inputTime{newest: operators.MinTime}},
		{source: "by", internal: true, partition: 2, time: inputTime{newest: operators.MinTime}},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Point{}, pointInput{}, inputTime{}, upstream{}, reading{})); diff != "" {
		t.Error(diff)
	}
	if p := Rescale(nil, nil); p.reached != operators.MinTime {
		t.Errorf("of a task that there was not nothing is known, not %d", p.reached)
	}
}
