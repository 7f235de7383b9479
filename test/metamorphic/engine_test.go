// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/examples/nexmark/wire"
	"github.com/streamd/streamd/operators/codec"
)

// strike is what happens to a worker in the middle of its work.
type strike string

const (
	spared  strike = "spared"
	stopped strike = "stopped and started again" // a drain
	broken  strike = "broken and started again"  // its code panics, and nothing of the epoch is committed
	robbed  strike = "broken and started again without its disk"
)

// cluster are the settings of a run on the engine.
type cluster struct {
	partitions  int32
	workers     int
	lanes       int
	memory      int64
	commitFloor time.Duration
	epoch       int // records
	checkpoints time.Duration
	store       bool // there is an object store
	strike      strike
	at          int64 // the record of a source at which it happens, counted by the worker
	hits        *atomic.Int64
}

func drawCluster(r *rand.Rand, records int) cluster {
	c := cluster{
		partitions:  1 + r.Int32N(5),
		workers:     []int{1, 3}[r.IntN(2)],
		lanes:       1 + r.IntN(2),
		memory:      []int64{192 << 20, 512 << 20}[r.IntN(2)],
		commitFloor: []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond}[r.IntN(3)],
		epoch:       []int{5, 50, 1_000_000}[r.IntN(3)],
		checkpoints: []time.Duration{100 * time.Millisecond, time.Minute}[r.IntN(2)],
		store:       r.IntN(4) > 0,
		strike:      []strike{spared, stopped, broken, robbed, broken, robbed}[r.IntN(6)],
	}
	c.at = 1 + r.Int64N(int64(records/c.workers)+1)
	return c
}

// String lists the settings.
func (c cluster) String() string {
	return fmt.Sprintf("%d partitions, %d workers of %d lanes, %d MiB, commits after %v or %d records, checkpoints every %v, store %v; worker 0 %s at record %d",
		c.partitions, c.workers, c.lanes, c.memory>>20, c.commitFloor, c.epoch, c.checkpoints, c.store, c.strike, c.at)
}

// onEngine runs a plan on workers and a broker in the process and returns what it leaves. The folder is empty.
func onEngine(ctx context.Context, p *plan, events []event, c cluster, dir string) (outcome, error) {
	b, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	_, outputs := p.build(nil)
	topics, _ := p.sources()
	topics = append(topics, globalTopic)
	for _, o := range outputs {
		topics = append(topics, o.topic)
	}
	if err := b.CreateTopics(c.partitions, topics...); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(append(wire.FeedOptions(), wire.ReadOptions()...), kgo.SeedBrokers(b.Addr()))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := fill(ctx, client, events); err != nil {
		return nil, err
	}
	if err := work(ctx, p, c, b.Addr(), dir); err != nil {
		return nil, err
	}
	got := outcome{}
	for _, o := range outputs {
		if err := wire.ReadAll(ctx, client, o.topic, got.take); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// work runs the workers to the end of the input.
func work(ctx context.Context, p *plan, c cluster, broker, dir string) error {
	group, running := errgroup.WithContext(ctx)
	var members []*member
	for i := range c.workers {
		m := &member{cluster: c, plan: p, broker: broker, dir: dir, number: i}
		members = append(members, m)
		group.Go(func() error { return m.run(running) })
	}
	err := group.Wait()
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("the end was not reached in time: %w", ctx.Err())
	}
	if err == nil {
		return nil
	}
	for _, m := range members {
		err = fmt.Errorf("%w\nthe end of the log of worker %d:\n%s", err, m.number, m.log.text())
	}
	return err
}

// take adds a record of an output.
func (got outcome) take(r *kgo.Record) error {
	out := record{key: string(r.Key), null: r.Value == nil, time: r.Timestamp.UnixMilli()}
	if !out.null {
		v, err := codec.Int64.Decode(r.Value)
		if err != nil {
			return err
		}
		out.value = v
	}
	got[r.Topic] = append(got[r.Topic], out)
	return nil
}

// fill writes the input.
func fill(ctx context.Context, client *kgo.Client, events []event) error {
	var records []*kgo.Record
	for _, e := range events {
		r := &kgo.Record{Topic: e.topic, Key: []byte(e.key), Timestamp: e.at}
		if !e.null {
			v, err := codec.Int64.Append(nil, e.value)
			if err != nil {
				return err
			}
			r.Value = v
		}
		records = append(records, r)
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

// member is one worker, and the one that takes its place.
type member struct {
	cluster
	plan   *plan
	broker string
	dir    string
	number int
	log    tail
}

// errStrike is what a broken worker's code panics with.
var errStrike = errors.New("the test breaks this worker")

// run runs the worker to the end of the input, through what happens to it on the way.
func (m *member) run(ctx context.Context) error {
	var seen, struck atomic.Int64
	first, stop := context.WithCancel(ctx)
	defer stop()
	watch := func() {
		if m.number != 0 || m.strike == spared || seen.Add(1) != m.at || !struck.CompareAndSwap(0, 1) {
			return
		}
		if m.strike == stopped {
			stop()
			return
		}
		panic(errStrike)
	}
	err := m.work(first, watch)
	if struck.Load() == 0 || ctx.Err() != nil {
		return m.named(err)
	}
	m.hits.Add(1)
	switch panicked := err != nil && strings.Contains(err.Error(), "panicked"); {
	case m.strike == stopped && err != nil:
		return m.named(err)
	case m.strike != stopped && err == nil:
		return m.named(errors.New("its code panicked, and it ended as if nothing had been"))
	case m.strike != stopped && !panicked:
		return m.named(err)
	}
	if m.strike == robbed {
		if err := os.RemoveAll(m.stateDir()); err != nil {
			return err
		}
	}
	return m.named(m.work(ctx, nil))
}

// named says whose error it is.
func (m *member) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("worker %d: %w", m.number, err)
}

func (m *member) stateDir() string { return filepath.Join(m.dir, fmt.Sprint("state-", m.number)) }

// work is one life of the worker.
func (m *member) work(ctx context.Context, watch func()) error {
	cfg := config.Default()
	cfg.AppID, cfg.Brokers, cfg.StateDir = appName, []string{m.broker}, m.stateDir()
	if m.store {
		cfg.StoreURL = "file://" + filepath.Join(m.dir, "store")
	}
	cfg.HTTPAddress, cfg.PprofAddress = "", ""
	cfg.Memory, cfg.Lanes, cfg.CommitFloor = m.memory, m.lanes, m.commitFloor
	cfg.EpochMaxRecords, cfg.CheckpointInterval = m.epoch, m.checkpoints
	p, _ := m.plan.build(watch)
	logger := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(&m.log), zap.InfoLevel))
	return engine.Run(ctx, p, engine.WithConfig(cfg), engine.WithLogger(logger), engine.UntilEnd())
}

// tail keeps the end of a log. It belongs to the logger.
type tail struct{ lines []string }

// Write implements io.Writer.
func (l *tail) Write(b []byte) (int, error) {
	const most = 30
	l.lines = append(l.lines, string(b))
	l.lines = l.lines[max(0, len(l.lines)-most):]
	return len(b), nil
}

// Sync implements zapcore.WriteSyncer.
func (*tail) Sync() error { return nil }

func (l *tail) text() string { return strings.Join(l.lines, "") }

// patience bounds a run on the engine.
const patience = 40 * time.Second

// enough is how many runs cannot but have a worker hit.
const enough = 30

// TestAPipelineGivesTheSameResultsOnWorkers runs random pipelines on workers, and compares with the plain run on the test kit.
func TestAPipelineGivesTheSameResultsOnWorkers(t *testing.T) {
	t.Parallel()
	first := firstSeed(t)
	var hits atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d of %d runs had a worker stopped or broken in the middle", hits.Load(), *engines)
		if *engines >= enough && hits.Load() == 0 {
			t.Error("no run had a worker stopped or broken: this shows little")
		}
	})
	for i := range *engines {
		t.Run(fmt.Sprint("seed ", first+uint64(i)), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(first+uint64(i), 1))
			n := 100 + r.IntN(300)
			p := draw(r, n)
			events := feed(r, p, n)
			c := drawCluster(r, n)
			c.hits = &hits
			repeat := fmt.Sprintf("to repeat it: go test ./test/metamorphic -run TestAPipelineGivesTheSameResultsOnWorkers -engines 1 -seed %d\n%v%v", first+uint64(i), p, c)
			want, err := onKit(p, events, plain)
			if err != nil {
				t.Fatalf("%s\nthe plain run failed: %v", repeat, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			got, err := onEngine(ctx, p, events, c, t.TempDir())
			if err != nil {
				t.Fatalf("%s\nthe run failed: %v", repeat, err)
			}
			_, outputs := p.build(nil)
			if d := agree(outputs, want, got); d != "" {
				t.Errorf("%s\n%s", repeat, d)
			}
		})
	}
}
