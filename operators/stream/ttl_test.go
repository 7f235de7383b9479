// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
	"github.com/streamd/streamd/operators/topology"
)

// memory remembers words in all kinds of states with these options. "?" emits all that it remembers, any other value is
// a word to remember.
func memory(opts ...stream.StateOption) *stream.Pipeline {
	p := stream.NewPipeline("memory")
	stream.From(p, "in", codec.String, codec.String, stream.OutOfOrder(5*time.Millisecond)).
		Process("m", func(s *stream.Setup) stream.Handler[string, string, string] {
			last := s.Value("last", codec.String, opts...)
			words := s.Map("words", codec.String, codec.Int64, opts...)
			list := s.List("list", codec.String, opts...)
			return func(ctx *stream.Context[string], k, v string) error {
				if v != "?" {
					return errors.Join(last.Put(v), words.Put(v, 1), list.Append(v))
				}
				w, _, err := last.Get()
				var inMap, inList []string
				for word := range words.All() {
					inMap = append(inMap, word)
				}
				for word := range list.All() {
					inList = append(inList, word)
				}
				ctx.Emit(fmt.Sprintf("%s: last %s, map %v, list %v", k, w, inMap, inList))
				return err
			}
		}).
		To("out")
	return p
}

func TestValuesExpireAfterTheirTimeToLive(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, memory(stream.TTL(10*time.Millisecond)), func(d *streamtest.Driver) {
		sendAll(d, "a", 100, "x", "a", 104, "y", "a", 109, "?", "a", 110, "?", "a", 112, "x", "a", 113, "?", "a", 130, "?", "a", 131, "z", "a", 132, "?")
		d.Run()
		wantRead(t, d, "out",
			"a: last y, map [x y], list [x y]@109", "a: last y, map [y], list [y]@110", "a: last x, map [x y], list [y x]@113",
			"a: last , map [], list []@130", "a: last z, map [z], list [z]@132")
	})
}

func TestALateRecordStillSeesWhatHasNotExpiredForIt(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, memory(stream.TTL(10*time.Millisecond)), func(d *streamtest.Driver) {
		sendAll(d, "a", 100, "x", "a", 100, "y", "a", 112, "z", "a", 109, "?", "a", 111, "?", "a", 118, "?", "a", 109, "?")
		d.Run()
		wantRead(t, d, "out",
			"a: last z, map [x y z], list [x y z]@109", "a: last z, map [z], list [z]@111",
			"a: last z, map [z], list [z]@118", "a: last z, map [z], list [z]@109")
	})
}

func TestReadingCanKeepValuesAlive(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, memory(stream.TTL(10*time.Millisecond), stream.RefreshOnRead()), func(d *streamtest.Driver) {
		sendAll(d, "a", 100, "x", "a", 109, "?", "a", 118, "?", "a", 126, "y", "a", 127, "?", "a", 137, "?", "a", 138, "?")
		d.Run()
		wantRead(t, d, "out",
			"a: last x, map [x], list [x]@109", "a: last x, map [x], list [x]@118", "a: last y, map [x y], list [x y]@127",
			"a: last , map [], list []@137", "a: last , map [], list []@138")
	})
}

func TestValuesExpireByTheWallClock(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, memory(stream.ProcessingTTL(time.Minute)), func(d *streamtest.Driver) {
		sendAll(d, "a", 1, "x")
		d.Run()
		d.Advance(30 * time.Second)
		sendAll(d, "a", 1, "y", "a", 1, "?")
		d.Run()
		d.Advance(30 * time.Second)
		sendAll(d, "a", 2, "?")
		d.Run()
		wantRead(t, d, "out", "a: last y, map [x y], list [x y]@1", "a: last y, map [y], list [y]@2")
		d.Advance(time.Minute)
		d.Run()
		wantForgotten(t, d)
	})
}

// wantForgotten demands that the stores of memory hold nothing.
func wantForgotten(t *testing.T, d *streamtest.Driver) {
	t.Helper()
	for k, v := range d.State("m.last", codec.String, codec.String).All() {
		t.Errorf("there is a value %q of %q", v, k)
	}
	for k, v := range d.State("m.list.next", codec.String, codec.Uint64).All() {
		t.Errorf("the list of %q has an index %d", k, v)
	}
	for k, v := range d.MapState("m.words", codec.String, codec.String, codec.Int64).All("a") {
		t.Errorf("there is an entry %q, %d", k, v)
	}
}

func TestWhatHasExpiredIsRemoved(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, memory(stream.TTL(10*time.Millisecond)), func(d *streamtest.Driver) {
		for i := range 30 {
			sendAll(d, "a", i, fmt.Sprint("word ", i), fmt.Sprint("key ", i), i, "word")
		}
		d.Run()
		everywhere(d, 1000)
		d.Run()
		everywhere(d, 1020) // the words of the records before
		d.Run()
		if n := len(maps.Collect(d.State("m.last", codec.String, codec.String).All())); n > 20 {
			t.Errorf("%d values are left", n)
		}
		if n := len(maps.Collect(d.MapState("m.words", codec.String, codec.String, codec.Int64).All("a"))); n > 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

// TestRemovalIsBoundedAndGoesOn lets more expire at once than is removed in one go.
func TestRemovalIsBoundedAndGoesOn(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, memory(stream.TTL(10*time.Millisecond)), streamtest.Partitions(1))
	for i := range 1000 {
		sendAll(d, fmt.Sprint("key ", i), 1, "word")
	}
	d.Run()
	left := func() int { return len(maps.Collect(d.State("m.last", codec.String, codec.String).All())) }
	sendAll(d, "x", 100, "?")
	d.Process(1)
	d.Commit()
	if n := left(); n == 1000 || n < 500 {
		t.Errorf("%d of 1000 values are left after one record", n)
	}
	d.Run()
	if n := left(); n != 0 {
		t.Errorf("%d values are left when all is done", n)
	}
}

func TestADifferentTimeToLiveHoldsForWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, after topology.TTL }{
		{"", topology.EventTimeTTL}, {topology.EventTimeTTL, topology.ProcessingTimeTTL}, {topology.ProcessingTimeTTL, ""},
	} {
		build := func(ttl topology.TTL) *topology.Topology {
			p := memory()
			switch ttl {
			case topology.EventTimeTTL:
				p = memory(stream.TTL(time.Hour))
			case topology.ProcessingTimeTTL:
				p = memory(stream.ProcessingTTL(time.Hour))
			}
			built, err := p.Build()
			if err != nil {
				t.Fatal(err)
			}
			return built
		}
		if err := topology.Compatible(build(c.before), build(c.after)); !errors.Is(err, topology.ErrIncompatible) || !strings.Contains(err.Error(), `step "m.last": it had `) {
			t.Errorf("from %q to %q: %v", c.before, c.after, err)
		}
		if err := topology.Compatible(build(c.before), build(c.before)); err != nil {
			t.Error(err)
		}
	}
}

func TestOptionsOfStatesAreChecked(t *testing.T) {
	t.Parallel()
	p := memory(stream.RefreshOnRead())
	_, err := p.Build()
	want := `step "m": state "last" has RefreshOnRead and no TTL; give it a TTL`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
	_, err = memory(stream.TTL(time.Microsecond)).Build()
	want = `step "m": state "last" has a TTL of 1µs; give a millisecond or more`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

func TestRangesOfAMapAreInOrder(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]stream.StateOption{"plain": nil, "with a TTL": {stream.TTL(time.Hour)}} {
		p := stream.NewPipeline("ranges")
		stream.From(p, "in", codec.String, codec.String).
			Process("p", func(s *stream.Setup) stream.Handler[string, string, string] {
				m := s.Map("m", codec.Int64, codec.String, opts...)
				return func(ctx *stream.Context[string], k, v string) error {
					if v == "clear" {
						return m.Clear()
					}
					for i := int64(-3); i < 4; i++ {
						if err := m.Put(i, k); err != nil {
							return err
						}
					}
					var keys []int64
					for i := range m.Range(-2, 2) {
						keys = append(keys, i)
						if err := m.Delete(1); err != nil { // a later one
							return err
						}
					}
					ctx.Emit(fmt.Sprint(keys, len(slices.Collect(maps.Keys(maps.Collect(m.All()))))))
					return nil
				}
			}).
			To("out")
		streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
			sendAll(d, "a", 1, "x", "a", 2, "x", "b", 2, "x", "a", 3, "clear", "a", 4, "x")
			d.Run()
			got := slices.Compact(slices.Sorted(slices.Values(read(d, "out"))))
			want := []string{"[-2 -1 0] 6@1", "[-2 -1 0] 6@2", "[-2 -1 0] 6@4"}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		})
	}
}
