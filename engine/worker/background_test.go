// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/json/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/stream"
)

// patience bounds what a test waits for.
const patience = 40 * time.Second

// background is a worker that runs until it is stopped.
type background struct {
	t     *testing.T
	cease context.CancelFunc
	ended chan error
}

// start starts a worker that goes on until the test stops it.
func (r *rig) start(p *stream.Pipeline, i int, edit func(*worker.Options)) *background {
	r.t.Helper()
	topology, err := p.Build()
	if err != nil {
		r.t.Fatal(err)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &r.logs, zap.DebugLevel)).With(zap.Int("worker", i))
	o := worker.Options{Config: r.config(p.Name(), i), Topology: topology, Logger: log}
	if edit != nil {
		edit(&o)
	}
	w, err := worker.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &background{r.t, cancel, make(chan error, 1)}
	go func() {
		defer close(b.ended)
		b.ended <- w.Run(ctx)
	}()
	r.t.Cleanup(func() { b.stop() })
	return b
}

// stop drains the worker and returns what Run has returned; nil if it was stopped before.
func (b *background) stop() error {
	b.t.Helper()
	b.cease()
	select {
	case err := <-b.ended:
		return err
	case <-time.After(patience):
		b.t.Fatalf("the worker still runs %v after it was stopped", patience)
		return nil
	}
}

// until polls a condition that others bring about.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !done(); {
		select {
		case <-tick.C:
		case <-end:
			r.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// emitted waits until a topic has n committed records.
func (r *rig) emitted(topic string, n int) {
	r.t.Helper()
	r.until("all results are committed", func() bool {
		ends, err := r.admin().ListCommittedOffsets(context.Background(), topic)
		if err != nil {
			r.t.Fatal(err)
		}
		offsets := 0
		ends.Each(func(o kadm.ListedOffset) { offsets += int(o.Offset) })
		return offsets >= n && len(r.records(topic)) >= n // offsets count markers, too
	})
}

func (r *rig) admin() *kadm.Client { return kadm.NewClient(r.cl) }

// committed returns what the application has committed for the partitions of topic.
func (r *rig) committed(app, topic string) map[int32]core.Metadata {
	r.t.Helper()
	offsets, err := r.admin().FetchOffsets(context.Background(), app)
	if err != nil {
		return nil
	}
	got := map[int32]core.Metadata{}
	for _, o := range offsets.Sorted() {
		if o.Topic != topic {
			continue
		}
		m, err := core.DecodeMetadata(o.Metadata)
		if err != nil {
			r.t.Fatal(err)
		}
		got[o.Partition] = m
	}
	return got
}

// starts returns the first offset of every partition of a topic.
func (r *rig) starts(topic string) map[int32]int64 {
	r.t.Helper()
	listed, err := r.admin().ListStartOffsets(context.Background(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	got := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { got[o.Partition] = o.Offset })
	return got
}

// lines returns the log lines of a message, from all workers so far.
func (r *rig) lines(message string) []map[string]any {
	r.t.Helper()
	var found []map[string]any
	for line := range strings.Lines(r.logs.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			r.t.Fatalf("%v: %s", err, line)
		}
		if fields["msg"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// loseDisk removes the local state of worker i.
func (r *rig) loseDisk(i int) {
	r.t.Helper()
	if err := os.RemoveAll(r.config("app", i).StateDir); err != nil {
		r.t.Fatal(err)
	}
}
