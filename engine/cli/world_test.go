// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"iter"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// result is what a command has left.
type result struct {
	code     int
	out, err string
}

// execute runs a command line of a pipeline's binary, or of the generic one if p is nil.
func execute(ctx context.Context, p *stream.Pipeline, environ []string, args ...string) result {
	prog := &program{name: "streamd", environ: func() []string { return environ }}
	root := prog.generic()
	if p != nil {
		prog.name, prog.pipeline, prog.compile = p.Name(), p.Name(), p.Build
		root = prog.forPipeline()
	}
	var out, talk bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&talk)
	root.SetIn(strings.NewReader(""))
	code := Execute(ctx, root, args)
	return result{code, out.String(), talk.String()}
}

func (r result) want(t *testing.T, code int, texts ...string) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, expected %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			t.Errorf("missing: %s\nstdout: %s\nstderr: %s", text, r.out, r.err)
		}
	}
	return r
}

func decode[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	return v
}

// splitter makes keyed records of lines: one per word.
func splitter() *stream.Pipeline {
	p := stream.NewPipeline("splitter")
	stream.From(p, "lines", codec.Bytes, codec.String).
		FlatMapKV(func(_ []byte, line string, yield func(string, string)) {
			for word := range strings.FieldsSeq(line) {
				yield(word, "seen")
			}
		}).
		WithKey(codec.String).
		To("words", codec.String)
	return p
}

// counter counts keyed records, without a repartition topic.
func counter() *stream.Pipeline {
	p := stream.NewPipeline("counter")
	stream.From(p, "words", codec.String, codec.String).
		Group().
		Count("per-word").
		Stream().
		To("counts")
	return p
}

// regrouper has a repartition topic.
func regrouper() *stream.Pipeline {
	p := stream.NewPipeline("regrouper")
	stream.From(p, "lines", codec.Bytes, codec.String).
		KeyBy("by-line", func(line string) string { return line }, codec.String).
		Group().
		Count("per-line").
		Stream().
		To("counts")
	return p
}

// world is a broker and an object store with folders of a test's own.
type world struct {
	ctx      context.Context
	broker   *devbroker.Broker
	settings []string // environment
	store    string   // folder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	b, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := b.CreateTopics(2, "lines", "words", "counts"); err != nil {
		t.Fatal(err)
	}
	w := &world{ctx: ctx, broker: b, store: filepath.Join(t.TempDir(), "store")}
	w.settings = []string{
		"STREAMD_BROKERS=" + b.Addr(), "STREAMD_STORE_URL=file://" + w.store, "STREAMD_STATE_DIR=" + t.TempDir(),
		"STREAMD_HTTP_ADDRESS=", "STREAMD_PPROF_ADDRESS=", "STREAMD_CHECKPOINT_INTERVAL=200ms", "STREAMD_MEMORY=256MiB",
		"STREAMD_LOG_LEVEL=error",
	}
	return w
}

func (w *world) execute(p *stream.Pipeline, args ...string) result {
	return execute(w.ctx, p, w.settings, args...)
}

func (w *world) config(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Sources{Environ: w.settings})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (w *world) feed(t *testing.T, lines ...string) {
	t.Helper()
	n, err := kafka.Feed(w.ctx, w.config(t), "lines", values(lines))
	if err != nil || n != int64(len(lines)) {
		t.Fatalf("fed %d of %d lines: %v", n, len(lines), err)
	}
}

func values(lines []string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, l := range lines {
			if !yield([]byte(l), nil) {
				return
			}
		}
	}
}

// until polls a condition that other goroutines bring about.
func (w *world) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// checkpointed counts the words of the lines and leaves with a complete checkpoint that holds them all. It returns its
// number.
func (w *world) checkpointed(t *testing.T, lines ...string) int64 {
	t.Helper()
	w.feed(t, lines...)
	w.execute(splitter(), "run", "--until", "end").want(t, 0)
	w.execute(counter(), "run", "--until", "end").want(t, 0)
	before := w.newest(t, counter)
	w.work(t, counter, "a checkpoint is complete", func() bool { return w.newest(t, counter) > before })
	return w.newest(t, counter)
}

// work runs a worker of a pipeline until something is done, and then while others do something.
func (w *world) work(t *testing.T, p func() *stream.Pipeline, what string, done func() bool, then ...func()) {
	t.Helper()
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	ended := make(chan result, 1)
	go func() { ended <- execute(ctx, p(), w.settings, "run") }()
	w.until(t, what, done)
	for _, do := range then {
		do()
	}
	stop()
	(<-ended).want(t, 0)
}

// newest is the number of the newest complete checkpoint of a pipeline.
func (w *world) newest(t *testing.T, p func() *stream.Pipeline) int64 {
	t.Helper()
	r := w.execute(p(), "checkpoints", "list", "-o", "json").want(t, 0)
	var newest int64
	for _, round := range decode[[]roundInfo](t, r) {
		if round.Complete {
			newest = round.Number
		}
	}
	return newest
}
