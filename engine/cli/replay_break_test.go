// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// windower counts keyed records per hour of event time.
func windower() *stream.Pipeline {
	p := stream.NewPipeline("windower")
	stream.From(p, "words", codec.String, codec.String).
		Group().
		Window(stream.Tumbling(time.Hour).EmitOnUpdate()).
		Count("per-hour").
		Stream().
		Map(func(_ stream.Windowed[string], n int64) int64 { return n }).
		To("counts")
	return p
}

// steps are the records that a replay has printed as JSON.
func steps(t *testing.T, r result) []stepView {
	t.Helper()
	var all []stepView
	for line := range strings.Lines(r.out) {
		if strings.HasPrefix(line, `{"`) {
			all = append(all, decode[stepView](t, result{out: line}))
		}
	}
	return all
}

// inShort writes a step as: the key, what becomes of each entry, what is emitted.
func inShort(v stepView) string {
	text := string(v.Key) + ":"
	for _, ch := range v.State {
		text += fmt.Sprintf(" %s %s->%s", ch.Store, shortOf(ch.Before), shortOf(ch.After))
	}
	for _, e := range v.Emitted {
		text += fmt.Sprintf(" %s(%s,%s,%t)", e.Topic, e.Key, e.Value, e.Muted)
	}
	return text
}

func shortOf(v *valueView) string {
	if v == nil {
		return "-"
	}
	return string(v.Value)
}

func shortened(all []stepView) (lines []string) {
	for _, v := range all {
		lines = append(lines, inShort(v))
	}
	return lines
}

func TestReplayStopsBeforeRecordsAndTellsWhatTheyDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	round := strconv.FormatInt(w.checkpointed(t, "to be or not to be"), 10)
	w.feed(t, "be early or be late")
	w.execute(splitter(), "run", "--until", "end").want(t, 0)
	replay := func(as string, more ...string) result {
		return w.execute(counter(), append([]string{"replay", "--from", round, "--as", as, "--mute", "--until", "end"}, more...)...)
	}
	r := replay("one", "--break", "key=be", "--break", "key=early").want(t, 0, "the replay has ended", "key       be\n", "state     per-word  be\n", "    before  2  at 20", "    after   3  at 20", "emits     counts  be  3  (muted)\n", "watermark ")
	if n := strings.Count(r.out, "task 0_"); n != 3 {
		t.Errorf("%d records were printed, expected 3: %s", n, r.out)
	}

	all := steps(t, replay("two", "--break", "key=be", "-o", "json").want(t, 0))
	want := []string{`"be": per-word 2->3 counts("be",3,true)`, `"be": per-word 3->4 counts("be",4,true)`}
	if diff := cmp.Diff(want, shortened(all)); diff != "" {
		t.Fatal(diff)
	}
	at := all[0]
	place := fmt.Sprintf("%s/%d@%d", at.Topic, at.Partition, at.Offset)
	all = steps(t, replay("three", "--break", place, "--step", "1", "-o", "json").want(t, 0))
	if len(all) == 0 || inShort(all[0]) != want[0] || all[0].Offset != at.Offset || len(all) > 1 && all[1].Task != at.Task {
		t.Errorf("from %s: %v", place, shortened(all))
	}

	replay("x", "--break", "be").want(t, exitUsage, "neither key=KEY nor TOPIC/PARTITION@OFFSET")
	replay("x", "--break", "wrods/0@1").want(t, exitUsage, "did you mean words?")
	replay("x", "--step", "1").want(t, exitUsage, "goes with --break")
	replay("x", "--break", "key=be", "--step", "-1").want(t, exitUsage)
	w.execute(counter(), "status", "--app-id", "x").want(t, exitNotFound)
}

func TestReplayTellsOfWindowsAndOfEachStage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed(t, "to be", "to be")
	w.execute(splitter(), "run", "--until", "end").want(t, 0)
	// Not until the end, which would close the windows.
	for store, p := range map[string]func() *stream.Pipeline{"per-hour": windower, "per-line": regrouper} {
		w.work(t, p, "a checkpoint holds "+store, func() bool {
			r := w.execute(p(), "state", "query", "SELECT max(value) FROM "+store, "-o", "json")
			return strings.Contains(r.out, ":2}")
		})
	}
	w.feed(t, "to be")
	w.execute(splitter(), "run", "--until", "end").want(t, 0)

	args := []string{"replay", "--from", "latest", "--mute", "--until", "end", "-o", "json", "--as"}
	all := steps(t, w.execute(windower(), append(args, "w", "--break", "key=to")...).want(t, 0))
	if len(all) != 1 || len(all[0].State) != 1 || all[0].State[0].Window != all[0].Time[:13]+":00:00Z" || all[0].Watermark != all[0].Time {
		t.Fatalf("got %+v", all)
	}
	if got, want := inShort(all[0]), `"to": per-hour 2->3 counts("to",3,true)`; got != want {
		t.Errorf("got %s, expected %s", got, want)
	}

	// The record before and behind the repartition topic, which is not muted.
	all = steps(t, w.execute(regrouper(), append(args, "r", "--break", "key=to be", "--break", "lines/0@1", "--break", "lines/1@1", "--break", "lines/0@2", "--break", "lines/1@2", "--break", "lines/0@0", "--break", "lines/1@0")...).want(t, 0))
	want := []string{`null: by-line("to be","to be",false)`, `"to be": per-line 2->3 counts("to be",3,true)`}
	if diff := cmp.Diff(want, shortened(all)); diff != "" {
		t.Error(diff)
	}
}

func TestReplayShowsTheRecordThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := func(bad string) func() *stream.Pipeline {
		return func() *stream.Pipeline {
			p := stream.NewPipeline("picky")
			stream.From(p, "lines", codec.Bytes, codec.String).
				Map(func(line string) string {
					if line == bad {
						panic("not this one")
					}
					return line
				}).
				To("counts")
			return p
		}
	}
	w.feed(t, "good")
	w.work(t, p(""), "a checkpoint is complete", func() bool {
		r := w.execute(p("")(), "checkpoints", "list", "-o", "json")
		return strings.Contains(r.out, `"complete": true`)
	})
	w.feed(t, "bad")
	r := w.execute(p("bad")(), "replay", "--from", "latest", "--mute", "--as", "again", "--break", "lines/0@0", "--break", "lines/0@1", "--break", "lines/1@0", "--break", "lines/1@1", "--until", "end")
	r.want(t, exitFailure, "value     bad", "fails     task 0_", "panicked on lines/")
	if strings.Contains(r.out, "watermark") {
		t.Errorf("a record that failed is said to have moved event time: %s", r.out)
	}
}

func TestAReplayEndsWhenItsUserSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.checkpointed(t, "to be")
	w.feed(t, "be", "be", "be")
	w.execute(splitter(), "run", "--until", "end").want(t, 0)
	w.execute(counter(), "fork", "--from", "latest", "--as", "asked", "--mute").want(t, 0)
	p := &program{name: "counter", pipeline: "counter", compile: counter().Build}
	cmd := p.replayCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetContext(w.ctx)
	cfg := w.config(t)
	cfg.AppID = "asked"
	o, err := p.workerOptions(cmd, cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDebugger(cmd, o.Topology, breakOptions{at: []string{"key=be"}})
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 2)
	answers <- "n"
	answers <- "q"
	ctx, quit := context.WithCancel(w.ctx)
	defer quit()
	d.answers, d.quit = answers, quit
	o.Debug = &worker.Debug{Match: d.match, Step: d.stepped}
	if err := runWorker(ctx, o); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "task 0_"); n != 2 || w.ctx.Err() != nil {
		t.Errorf("%d records were shown before the end: %s", n, out.String())
	}
}

func TestWhoIsAskedGoesOnRecordByRecordToTheNextMatchOrEnds(t *testing.T) {
	t.Parallel()
	cmd := (&program{name: "streamd"}).replayCommand()
	var talk bytes.Buffer
	cmd.SetErr(&talk)
	cmd.SetContext(t.Context())
	answers := make(chan string, 10)
	quit := 0
	d := &debugger{cmd: cmd, answers: answers, quit: func() { quit++ }}
	for _, answer := range []string{"", "n", "what", "c", "q"} {
		answers <- answer
	}
	for i, again := range []bool{true, true, false, false} {
		if d.ask(t.Context()) != again {
			t.Errorf("answer %d: expected %t", i, again)
		}
	}
	if quit != 1 || !d.ended.Load() || strings.Count(talk.String(), "Enter") != 5 {
		t.Errorf("ended %d times after %q", quit, talk.String())
	}
	if d.stepped(worker.Step{}) || d.match(nil, 0, nil) {
		t.Error("it stops again after its end")
	}
	close(answers)
	if d.ask(t.Context()) || d.answers != nil {
		t.Error("it asks again where nobody is left to answer")
	}
}
