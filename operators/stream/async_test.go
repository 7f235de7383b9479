// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// service is what async steps call: it answers in capitals, fails as often as a value says ("fail 2"), panics if told
// to, and notes the idempotency keys.
type service struct {
	sync.Mutex
	asked map[string][]string // keys by value
}

func (s *service) call(ctx context.Context, v string) (string, error) {
	s.Lock()
	defer s.Unlock()
	if s.asked == nil {
		s.asked = map[string][]string{}
	}
	s.asked[v] = append(s.asked[v], stream.IdempotencyKey(ctx))
	var fails int
	if v == "panic" {
		panic("of the service")
	}
	if _, err := fmt.Sscanf(v, "fail %d", &fails); err == nil && len(s.asked[v]) <= fails {
		return "", errNo
	}
	return strings.ToUpper(v), nil
}

// asking sends each value to a service.
func asking(call stream.AsyncFunc[string, string], ordered bool, policy stream.ErrorPolicy, opts ...stream.AsyncOption) *stream.Pipeline {
	p := stream.NewPipeline("asking")
	in := stream.From(p, "in", codec.String, codec.String).OnError(policy)
	if ordered {
		in.AsyncOrdered("ask", call, opts...).To("out")
	} else {
		in.AsyncUnordered("ask", call, opts...).To("out")
	}
	return p
}

func TestEachRecordHasOneResultOfItsCall(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		s := &service{}
		streamtest.ThreeWays(t, asking(s.call, ordered, stream.Fail, stream.Concurrency(3)), func(d *streamtest.Driver) {
			for i := range 20 {
				sendAll(d, fmt.Sprint("key ", i%4), i, fmt.Sprint("word ", i))
			}
			d.Run()
			got := slices.Sorted(slices.Values(read(d, "out")))
			if len(slices.Compact(got)) != 20 || got[0] != "WORD 0@0" || got[19] != "WORD 9@9" {
				t.Errorf("got %v", got)
			}
		})
		for v, keys := range s.asked {
			if slices.Sort(keys); len(slices.Compact(keys)) > 2 { // the place of a record depends on the partitions
				t.Errorf("%q was asked for under the keys %v", v, keys)
			}
		}
	}
}

func TestARecordInFlightIsPartOfTheState(t *testing.T) {
	t.Parallel()
	s := &service{}
	d := streamtest.New(t, asking(s.call, true, stream.Fail), streamtest.Partitions(1))
	sendAll(d, "a", 1, "x", "b", 2, "y")
	d.Process(2)
	d.Commit() // the positions have moved on, and no call has been made
	wantRead(t, d, "out")
	if len(s.asked) > 0 {
		t.Errorf("asked for %v", s.asked)
	}
	d.LoseDisk()
	d.Run()
	wantRead(t, d, "out", "X@1", "Y@2")
	want := map[string][]string{"x": {"asking/ask/in/0/0"}, "y": {"asking/ask/in/0/1"}}
	if diff := gocmp.Diff(want, s.asked); diff != "" {
		t.Error(diff)
	}
	d.LoseDisk()
	d.Run()
	wantRead(t, d, "out")
}

func TestAFailedCallIsMadeAgainAfterAPause(t *testing.T) {
	t.Parallel()
	s := &service{}
	d := streamtest.New(t, asking(s.call, false, stream.Retry(2, time.Second)), streamtest.Partitions(1))
	sendAll(d, "a", 1, "fail 2", "b", 2, "y")
	d.Run()
	wantRead(t, d, "out", "Y@2")
	for _, wait := range []time.Duration{999 * time.Millisecond, time.Millisecond, 1999 * time.Millisecond} {
		d.Advance(wait)
		d.Run()
		wantRead(t, d, "out")
	}
	d.Advance(time.Millisecond)
	d.Run()
	wantRead(t, d, "out", "FAIL 2@1")
	if keys := s.asked["fail 2"]; len(keys) != 3 || keys[0] != keys[2] {
		t.Errorf("keys %v", keys)
	}
}

func TestResultsGoOnInTheOrderOfRecordsIfTold(t *testing.T) {
	t.Parallel()
	s := &service{}
	d := streamtest.New(t, asking(s.call, true, stream.Retry(1, time.Second), stream.Concurrency(3)), streamtest.Partitions(1))
	sendAll(d, "a", 1, "w", "b", 2, "fail 1", "c", 3, "x", "d", 4, "y", "e", 5, "z")
	d.Run()
	wantRead(t, d, "out", "W@1")
	if len(s.asked) != 4 {
		t.Errorf("asked for %v while one result is missing", s.asked)
	}
	d.Advance(time.Second)
	d.Run()
	wantRead(t, d, "out", "FAIL 1@2", "X@3", "Y@4", "Z@5")
}

func TestACallThatKeepsFailingEndsTheEpoch(t *testing.T) {
	t.Parallel()
	s := &service{}
	d := streamtest.New(t, asking(s.call, true, stream.Retry(1, time.Second)), streamtest.Partitions(1))
	sendAll(d, "a", 1, "fail 3")
	d.Run()
	d.Advance(time.Second)
	err := d.TryRun()
	e, ok := errors.AsType[*operators.UserError](err)
	if !ok || e.Step != "ask" || !errors.Is(err, errNo) || !strings.Contains(err.Error(), "call asking/ask/in/0/0: no") {
		t.Errorf("error %v", err)
	}
	d.Run() // as after a restart: the third call fails, too
	d.Advance(time.Second)
	d.Run()
	wantRead(t, d, "out", "FAIL 3@1")
}

func TestACallThatFailsFollowsThePolicyOfTheStream(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		s := &service{}
		d := streamtest.New(t, asking(s.call, ordered, stream.Retry(1, time.Second).Then(stream.Skip)), streamtest.Partitions(1))
		sendAll(d, "a", 1, "fail 9", "b", 2, "panic", "c", 3, "fail 1", "d", 4, "y")
		d.Run()
		d.Advance(time.Second)
		d.Run()
		got := slices.Sorted(slices.Values(read(d, "out")))
		if diff := gocmp.Diff([]string{"FAIL 1@3", "Y@4"}, got); diff != "" {
			t.Error(diff)
		}
		if skipped := d.Skipped(); len(skipped) != 2 || skipped[0].Step != "ask" || !errors.Is(skipped[0].Err, errNo) {
			t.Errorf("skipped %v", skipped)
		}
		d.LoseDisk()
		d.Run()
		wantRead(t, d, "out")
	}
}

func TestAPanicOfACallIsAnError(t *testing.T) {
	t.Parallel()
	s := &service{}
	d := streamtest.New(t, asking(s.call, true, stream.Fail), streamtest.Partitions(1))
	sendAll(d, "a", 1, "panic")
	err := d.TryRun()
	user, ok := errors.AsType[*operators.UserError](err)
	if e, panicked := errors.AsType[*operators.PanicError](err); !ok || !panicked || user.Step != "ask" || e.Value != "of the service" {
		t.Errorf("error %v", err)
	}
}

func TestWhatWaitsForCallsHoldsEventTimeBack(t *testing.T) {
	t.Parallel()
	s := &service{}
	p := stream.NewPipeline("counting")
	counts := stream.From(p, "in", codec.String, codec.String).
		OnError(stream.Retry(1, time.Second)).
		AsyncUnordered("ask", s.call).
		Group().
		Window(stream.Tumbling(10 * time.Millisecond).EmitOnClose()).
		Count("count")
	window := func(_ stream.Windowed[string], n int64) int64 { return n }
	counts.Stream().Map(window).Map(func(n int64) string { return fmt.Sprint("here ", n) }).To("out")
	counts.Stream().Map(window).KeyBy("by-count", func(n int64) int64 { return n }).Group().
		Window(stream.Tumbling(time.Second).EmitOnClose()).Count("how-often").
		Stream().Map(func(_ stream.Windowed[int64], n int64) string { return fmt.Sprint("there ", n) }).WithKey(codec.Int64).To("second")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	sendAll(d, "a", 1, "fail 1", "a", 2, "x", "a", 2000, "y")
	d.Run()
	wantRead(t, d, "out") // the window is not closed: a result for it is still to come
	wantRead(t, d, "second")
	d.LoseDisk()
	d.Advance(time.Second)
	d.Run()
	wantRead(t, d, "out", "here 2@9")
	wantRead(t, d, "second", "there 1@999")
	d.Finish()
	wantRead(t, d, "out", "here 1@2009")
	wantRead(t, d, "second", "there 1@2999")
}

func TestABoundedRunEndsWhenAllCallsHave(t *testing.T) {
	t.Parallel()
	s := &service{}
	streamtest.ThreeWays(t, asking(s.call, false, stream.Fail, stream.Concurrency(2)), func(d *streamtest.Driver) {
		for i := range 9 {
			sendAll(d, fmt.Sprint("key ", i), i, fmt.Sprint("word ", i))
		}
		d.Finish()
		if got := read(d, "out"); len(got) != 9 {
			t.Errorf("got %v", got)
		}
	})
}

func TestSeveralRecordsOfOneHaveTheirOwnIdempotencyKeysAndMayHaveNullKeys(t *testing.T) {
	t.Parallel()
	s := &service{}
	p := stream.NewPipeline("words")
	stream.From(p, "in", codec.Bytes, codec.String).
		FlatMap(func(v string, yield func(string)) {
			for _, w := range strings.Fields(v) {
				yield(w)
			}
		}).
		AsyncOrdered("ask", s.call).
		To("out")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	d.SendRaw("in", nil, []byte("a b c"))
	d.SendRaw("in", []byte("k"), []byte("d"))
	d.Process(2)
	d.Commit()
	d.Crash()
	d.Run()
	var got []string
	for _, r := range d.Out("out", codec.Bytes, codec.String).Read() {
		got = append(got, fmt.Sprintf("%t %s", r.Key == nil, r.Value))
	}
	if diff := gocmp.Diff([]string{"true A", "true B", "true C", "false D"}, got); diff != "" {
		t.Error(diff)
	}
	want := map[string][]string{
		"a": {"words/ask/in/0/0"}, "b": {"words/ask/in/0/0/1"}, "c": {"words/ask/in/0/0/2"}, "d": {"words/ask/in/0/1"},
	}
	if diff := gocmp.Diff(want, s.asked); diff != "" {
		t.Error(diff)
	}
}

func TestOptionsOfAsyncStepsAreChecked(t *testing.T) {
	t.Parallel()
	s := &service{}
	for want, opt := range map[string]stream.AsyncOption{
		"Concurrency(0) allows no call":  stream.Concurrency(0),
		"CallTimeout(0s) leaves no time": stream.CallTimeout(0),
	} {
		if _, err := asking(s.call, true, stream.Fail, opt).Build(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v", err)
		}
	}
}
