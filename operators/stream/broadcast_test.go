// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
	"github.com/streamd/streamd/operators/topology"
)

// limits counts the records of a key and tells of each that is over its limit; "none" takes a limit away.
func limits() *stream.Pipeline {
	p := stream.NewPipeline("limits")
	rules := stream.From(p, "rules", codec.String, codec.String).
		Broadcast("rules", func(rule string) bool { return rule == "none" })
	stream.From(p, "in", codec.String, codec.String).
		ProcessWith("check", rules, func(s *stream.Setup, rules *stream.BroadcastState[string, string]) stream.Handler[string, string, string] {
			count := s.Value("count", codec.Int64)
			return func(ctx *stream.Context[string], k, kind string) error {
				n, _, err := count.Get()
				if err != nil {
					return err
				}
				limit, found, err := rules.Get(kind)
				if err != nil {
					return err
				}
				if found && n >= int64(len(limit)) {
					var all []string
					for kind, limit := range rules.All() {
						all = append(all, kind+limit)
					}
					ctx.Emit(fmt.Sprintf("%s: %d of %s", k, n+1, strings.Join(all, " ")))
				}
				return count.Put(n + 1)
			}
		}).
		To("out")
	return p
}

func TestEveryTaskHasTheNewestOfABroadcast(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, limits(), func(d *streamtest.Driver) {
		rules := d.In("rules", codec.String, codec.String)
		rules.Send("x", "+")
		rules.Send("y", "+++")
		rules.Send("z", "+")
		d.Run()
		for i := range 10 {
			sendAll(d, fmt.Sprint("key ", i), 1, "x", fmt.Sprint("key ", i), 2, "x", fmt.Sprint("key ", i), 2, "y")
		}
		d.Run()
		got := read(d, "out")
		if len(got) != 10 || !strings.HasSuffix(got[3], ": 2 of x+ y+++ z+@2") {
			t.Errorf("got %v", got)
		}
		rules.Send("x", "none")
		rules.Send("y", "++++")
		d.Run()
		sendAll(d, "key 1", 3, "x", "key 1", 3, "y")
		d.Run()
		wantRead(t, d, "out", "key 1: 5 of y++++ z+@3")
		all := maps.Collect(d.State("check.rules", codec.String, codec.String).All())
		if diff := gocmp.Diff(map[string]string{"y": "++++", "z": "+"}, all); diff != "" {
			t.Error(diff)
		}
	})
}

func TestABroadcastNeedsNoKeys(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("words")
	allowed := stream.From(p, "allowed", codec.String, codec.Bytes).Broadcast("allowed")
	stream.From(p, "in", codec.String, codec.String).
		MapKV(func(k, v string) (string, string) { return v, k }).
		ProcessWith("filter", allowed, func(_ *stream.Setup, allowed *stream.BroadcastState[string, []byte]) stream.Handler[string, string, string] {
			return func(ctx *stream.Context[string], k, v string) error {
				_, found, err := allowed.Get(k)
				if found {
					ctx.Emit(v)
				}
				return err
			}
		}).
		To("out")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		d.SendRaw("allowed", []byte("tea"), []byte{})
		d.SendRaw("allowed", []byte("milk"), []byte{})
		d.SendRaw("allowed", []byte("milk"), nil)
		d.Run()
		sendAll(d, "a", 1, "tea", "b", 1, "milk", "c", 1, "tea", "d", 1, "salt")
		d.Run()
		got := slices.Sorted(slices.Values(read(d, "out")))
		if diff := gocmp.Diff([]string{"a@1", "c@1"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTimersFireInAStepWithAQuietBroadcast(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("quiet")
	rules := stream.From(p, "rules", codec.String, codec.String).Broadcast("rules")
	stream.From(p, "in", codec.String, codec.String).
		ProcessWith("late", rules, func(s *stream.Setup, rules *stream.BroadcastState[string, string]) stream.Handler[string, string, string] {
			timer := s.Timer("timer", func(ctx *stream.Context[string], k string, _ int64) error {
				rule, _, err := rules.Get("rule")
				ctx.Emit(rule)
				return err
			})
			return func(_ *stream.Context[string], k, _ string) error { return timer.SetAfter(1e6) }
		}).
		To("out")
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		d.In("rules", codec.String, codec.String).Send("rule", "of the start")
		d.Run()
		sendAll(d, "a", 10, "")
		everywhere(d, 30)
		d.Run()
		if got := read(d, "out"); !slices.Contains(got, "of the start@11") {
			t.Errorf("got %v", got)
		}
	})
}

func TestABroadcastIsGivenToOneStep(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	rules := stream.From(p, "rules", codec.String, codec.String).Broadcast("rules")
	in := stream.From(p, "in", codec.String, codec.String)
	open := func(*stream.Setup, *stream.BroadcastState[string, string]) stream.Handler[string, string, string] {
		return nil
	}
	in.ProcessWith("a", rules, open)
	in.ProcessWith("b", rules, open)
	_, err := p.Build()
	want := `step "b": its broadcast "rules" is given to another step, too; call Broadcast again, under another name`
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}

func TestABroadcastIsPartOfTheTopology(t *testing.T) {
	t.Parallel()
	topo, err := limits().Build()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := topo.Describe(&text, topology.Text); err != nil {
		t.Fatal(err)
	}
	want := `pipeline limits

sub-topology 0 (stateless)
  read   topic rules [string, string] on decode error: fail
  step   from:rules (from)
  step   rules (broadcast) after from:rules
  write  repartition rules

sub-topology 1 (stateful)
  read   repartition rules [string, string] on decode error: fail
  read   topic in [string, string] on decode error: fail
  step   from:rules (from)
  step   from:in (from)
  step   check (process) after from:in, from:rules
  step   to:out (to) after check
  store  check.count 0x303a (value) [string, int64]
  store  check.rules 0x0292 (broadcast) [string, string]
  write  topic out
`
	if diff := gocmp.Diff(want, text.String()); diff != "" {
		t.Error(diff)
	}
}
