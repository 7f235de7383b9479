// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// alarms does with the timers of a key what its records say: "set 5", "after 5" (in milliseconds), "clear", "every 5",
// which sets it anew each time it fires, and anything else, which is only remembered. A timer emits what the key has
// remembered.
func alarms(opts ...stream.SourceOption) *stream.Pipeline {
	p := stream.NewPipeline("alarms")
	stream.From(p, "in", codec.String, codec.String, opts...).
		Process("alarm", func(s *stream.Setup) stream.Handler[string, string, string] {
			said := s.Value("said", codec.String)
			every := s.Value("every", codec.Int64)
			var timer *stream.Timer
			timer = s.Timer("timer", func(ctx *stream.Context[string], k string, at int64) error {
				v, _, err := said.Get()
				if err != nil {
					return err
				}
				ctx.Emit(fmt.Sprintf("%s %d %s", k, at, v))
				n, repeat, err := every.Get()
				if err != nil || !repeat {
					return err
				}
				return timer.Set(at + n)
			})
			return func(ctx *stream.Context[string], _, v string) error {
				word, rest, _ := strings.Cut(v, " ")
				n, _ := strconv.ParseInt(rest, 10, 64)
				switch word {
				case "set":
					return timer.Set(n)
				case "after":
					return timer.SetAfter(time.Duration(n) * time.Millisecond)
				case "clear":
					return errors.Join(timer.Clear(), every.Delete())
				case "every":
					return errors.Join(timer.SetAfter(time.Duration(n)*time.Millisecond), every.Put(n))
				}
				return said.Put(v)
			}
		}).
		To("out")
	return p
}

// sendAll sends records given as key, time in milliseconds, value.
func sendAll(d *streamtest.Driver, records ...any) {
	in := d.In("in", codec.String, codec.String)
	for r := range slices.Chunk(records, 3) {
		in.SendAt(time.UnixMilli(int64(r[1].(int))), r[0].(string), r[2].(string))
	}
}

// everywhere lets event time come to at in all partitions, by records that nobody remembers.
func everywhere(d *streamtest.Driver, at int) {
	for i := range 20 {
		sendAll(d, fmt.Sprint("other ", i), at, "")
	}
}

// read returns the new records of a topic of text, as value@time.
func read(d *streamtest.Driver, topic string) []string {
	var lines []string
	for _, r := range d.Out(topic, codec.String, codec.String).Read() {
		lines = append(lines, fmt.Sprintf("%s@%d", r.Value, r.Time.UnixMilli()))
	}
	return lines
}

func wantRead(t *testing.T, d *streamtest.Driver, topic string, want ...string) {
	t.Helper()
	if diff := gocmp.Diff(want, read(d, topic)); diff != "" {
		t.Errorf("topic %s (-want +got):\n%s", topic, diff)
	}
}

func TestTimersFireInTheOrderOfTheirTimesAndEmitAtThem(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, alarms(), func(d *streamtest.Driver) {
		sendAll(d, "a", 1, "hello", "a", 2, "set 50", "b", 3, "after 37", "c", 3, "every 20", "a", 4, "nothing yet")
		everywhere(d, 49)
		d.Run()
		got := slices.Sorted(slices.Values(read(d, "out")))
		if diff := gocmp.Diff([]string{"b 40 @40", "c 23 @23", "c 43 @43"}, got); diff != "" {
			t.Error(diff)
		}
		sendAll(d, "a", 49, "it is late")
		everywhere(d, 90)
		d.Run()
		got = slices.Sorted(slices.Values(read(d, "out")))
		if diff := gocmp.Diff([]string{"a 50 it is late@50", "c 63 @63", "c 83 @83"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestATimerSetAgainMoves(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, alarms(), streamtest.Partitions(1))
	sendAll(d, "a", 1, "set 10", "a", 2, "set 20", "a", 3, "set 15", "b", 4, "set 30", "b", 5, "set 7", "c", 5, "set 8", "c", 6, "clear")
	d.Run()
	d.Crash()
	if at, set := d.Timer("alarm.timer", codec.String, "a"); !set || at.UnixMilli() != 15 {
		t.Errorf("the timer of a is set to %v, %t", at, set)
	}
	if _, set := d.Timer("alarm.timer", codec.String, "c"); set {
		t.Error("the timer of c is set")
	}
	sendAll(d, "x", 12, "time goes on")
	d.Run()
	wantRead(t, d, "out", "b 7 @7")
	sendAll(d, "x", 14, "still")
	d.Run()
	wantRead(t, d, "out")
	sendAll(d, "x", 99, "end")
	d.Run()
	wantRead(t, d, "out", "a 15 @15")
}

func TestATimerSetToAPassedTimeFiresAfterTheRecord(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, alarms(), streamtest.Partitions(1))
	sendAll(d, "a", 100, "first", "a", 100, "set 40", "a", 100, "second", "a", 100, "set 41")
	d.Process(4)
	d.Commit()
	wantRead(t, d, "out", "a 40 first@40", "a 41 second@41")
}

func TestATimerThatWouldNeverEndIsAnError(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, alarms(), streamtest.Partitions(1))
	sendAll(d, "a", 1, "every 0", "a", 5, "x")
	if err := d.TryRun(); err == nil || !strings.Contains(err.Error(), `state "alarm.timer": the callback sets the timer`) {
		t.Errorf("error %v", err)
	}
}

func TestATimerOfAnAbortedEpochIsAsItWas(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("fragile")
	stream.From(p, "in", codec.String, codec.String).
		Process("p", func(s *stream.Setup) stream.Handler[string, string, string] {
			timer := s.Timer("timer", func(ctx *stream.Context[string], k string, _ int64) error {
				ctx.Emit(k)
				return nil
			})
			return func(_ *stream.Context[string], _, v string) error {
				if v == "fail" {
					return errNo
				}
				return timer.SetAfter(10 * time.Millisecond)
			}
		}).
		To("out")
	d := streamtest.New(t, p, streamtest.Partitions(1))
	sendAll(d, "a", 1, "set")
	d.Run()
	sendAll(d, "b", 20, "set", "c", 20, "fail")
	for range 3 {
		if err := d.TryRun(); !errors.Is(err, errNo) {
			t.Fatalf("error %v", err)
		}
	}
	d.Process(1)
	d.Commit()
	wantRead(t, d, "out", "a@11")
}

var errNo = errors.New("no")

func TestAllTimersFireAtTheEndOfABoundedRun(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, alarms(), streamtest.Partitions(1))
	sendAll(d, "a", 1, "set 1000000", "b", 2, "set 10")
	d.Finish()
	wantRead(t, d, "out", "b 10 @10", "a 1000000 @1000000")
}

// TestTimersAgreeWithTheModel lets random records set, move and clear the timers of a few keys, with commits, crashes
// and restores between them, and compares what fires with a map of timers. Invariants: nothing fires twice or before
// its time, and all that is due at a watermark fires in the order of (time, key).
func TestTimersAgreeWithTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, alarms(), streamtest.Partitions(1))
		timers, said := map[string]int64{}, map[string]string{}
		want, got := []string{}, []string{}
		now := int64(0)
		fire := func() {
			for {
				due := slices.DeleteFunc(slices.Collect(maps.Keys(timers)), func(k string) bool { return timers[k] > now })
				if len(due) == 0 {
					return
				}
				k := slices.MinFunc(due, func(a, b string) int { return cmp.Or(cmp.Compare(timers[a], timers[b]), cmp.Compare(a, b)) })
				want = append(want, fmt.Sprintf("%s %d %s@%d", k, timers[k], said[k], timers[k]))
				delete(timers, k)
			}
		}
		send := func(at int64, k, v string) {
			sendAll(d, k, int(at), v)
			if n := d.Process(1); n != 1 {
				t.Fatalf("processed %d records", n)
			}
			fire()
			now = max(now, at)
			fire()
		}
		key := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, at := key.Draw(t, "key"), now+rapid.Int64Range(-3, 30).Draw(t, "in")
				timers[k] = at
				send(now, k, fmt.Sprint("set ", at))
			},
			"clear": func(t *rapid.T) {
				k := key.Draw(t, "key")
				delete(timers, k)
				send(now, k, "clear")
			},
			"say": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), rapid.StringMatching("[x-z]{1,3}").Draw(t, "word")
				said[k] = v
				send(now+rapid.Int64Range(0, 15).Draw(t, "later"), k, v)
			},
			"commit":  func(*rapid.T) { d.Commit() },
			"crash":   func(*rapid.T) { d.Commit(); d.Crash() },
			"lose":    func(*rapid.T) { d.Commit(); d.LoseDisk() },
			"restore": func(*rapid.T) { d.Checkpoint(); d.RestoreCheckpoint() },
			"": func(t *rapid.T) {
				got = append(got, read(d, "out")...)
				if diff := gocmp.Diff(want[:len(got)], got); diff != "" {
					t.Fatalf("fired (-want +got):\n%s", diff)
				}
			},
		})
		d.Commit()
		got = append(got, read(d, "out")...)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("fired (-want +got):\n%s", diff)
		}
	})
}

// visits closes a visit when the wall clock says that its user has done nothing for a minute.
func visits() *stream.Pipeline {
	p := stream.NewPipeline("visits")
	stream.From(p, "in", codec.String, codec.String).
		Process("visit", func(s *stream.Setup) stream.Handler[string, string, string] {
			pages := s.List("pages", codec.String)
			idle := s.ProcessingTimer("idle", func(ctx *stream.Context[string], k string, at int64) error {
				seen := []string{k}
				for page := range pages.All() {
					seen = append(seen, page)
				}
				ctx.Emit(strings.Join(seen, " "))
				return pages.Clear()
			})
			return func(_ *stream.Context[string], _, page string) error {
				return errors.Join(pages.Append(page), idle.SetAfter(time.Minute))
			}
		}).
		To("out")
	return p
}

func TestProcessingTimersFollowTheWallClock(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, visits(), func(d *streamtest.Driver) {
		sendAll(d, "ann", 4, "home", "bob", 4, "home", "ann", 4, "cart")
		d.Run()
		d.Advance(50 * time.Second)
		sendAll(d, "ann", 4, "pay")
		d.Run()
		wantRead(t, d, "out")
		d.Advance(10 * time.Second)
		d.Run()
		wantRead(t, d, "out", "bob home@4")
		d.Advance(time.Hour)
		d.Run()
		wantRead(t, d, "out", "ann home cart pay@4")
		sendAll(d, "ann", 9, "home")
		d.Run()
		d.Advance(time.Hour)
		d.Run()
		wantRead(t, d, "out", "ann home@9")
	})
}

func TestATimerOfOtherTypesIsRefused(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	stream.From(p, "in", codec.String, codec.String).
		Process("p", func(s *stream.Setup) stream.Handler[string, string, string] {
			s.Timer("t", func(*stream.Context[int], string, int64) error { return nil })
			s.Timer("no good", func(*stream.Context[string], string, int64) error { return nil })
			return nil
		})
	_, err := p.Build()
	want := `step "p": the callback of its timer "t" is a stream.TimerFunc[string,int], and the step has other types; ` +
		"make it a stream.TimerFunc[string,string]\n" +
		`step "p": the name of its timer "no good" is not valid; use 1 to 100 letters, digits, '-' and '_'`
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}
