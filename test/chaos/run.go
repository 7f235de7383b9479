// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// run is one run of the command.
type run struct {
	opts     options
	dir      string
	brokers  string
	storeURL string
	rand     *rand.Rand // of the scenario's choices
	began    time.Time
	faults   faults
	admin    *kafka.Admin
	topology *topology.Topology
	store    *objectStore
	workers  *workers
	feeder   *feeder
	watcher  *watcher
	result   result
}

// faults are broken promises. Safe for concurrent use.
type faults struct {
	mu struct {
		sync.Mutex
		total int
		first []string
	}
}

// keptFaults bounds what is printed: one lost epoch breaks thousands of checks.
const keptFaults = 25

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.total++
	if len(f.mu.first) < keptFaults {
		text := fmt.Sprintf(format, args...)
		f.mu.first = append(f.mu.first, text)
		fmt.Fprintln(os.Stderr, "FAULT:", text)
	}
}

func (f *faults) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.mu.first
	if more := f.mu.total - len(all); more > 0 {
		all = append(all[:len(all):len(all)], fmt.Sprintf("… and %d more", more))
	}
	return all
}

// say prints a line of progress.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// execute does everything. The error is about the run itself; broken promises are in the result.
func execute(ctx context.Context, o options) (res *result, err error) {
	r := &run{opts: o, began: time.Now(), rand: rand.New(rand.NewPCG(o.Seed, 2))}
	r.say("seed %d", o.Seed)
	if r.dir = o.dir; r.dir == "" {
		if r.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
			return nil, err
		}
	}
	if r.dir, err = filepath.Abs(r.dir); err != nil {
		return nil, err
	}
	for _, sub := range []string{"logs", "state", "store"} {
		if err := os.MkdirAll(filepath.Join(r.dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	r.say("logs and state are in %s", r.dir)
	defer func() {
		if err == nil && len(res.Faults) == 0 && o.dir == "" && !o.keep {
			err = os.RemoveAll(r.dir)
		}
	}()
	broker, err := kafkabroker.StartProcess(ctx, filepath.Join(r.dir, "broker"), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, broker.Kill()) }()
	r.brokers = broker.Addr()
	r.say("broker at %s", r.brokers)
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer r.release()
	if err := r.perform(ctx); err != nil {
		return nil, fmt.Errorf("%w (seed %d, logs in %s)", err, o.Seed, filepath.Join(r.dir, "logs"))
	}
	return r.finish(), nil
}

// prepare makes everything but the workers.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.topology, err = pipeline(r.opts.Groups).Build(); err != nil {
		return err
	}
	if r.store, err = openStore(ctx, r.dir, r.opts.S3); err != nil {
		return err
	}
	r.storeURL = r.store.url
	cfg := config.Default()
	cfg.Brokers = []string{r.brokers}
	if r.admin, err = kafka.NewAdmin(ctx, cfg); err != nil {
		return errors.Join(err, r.store.close())
	}
	if err := createTopics(ctx, r.brokers, r.opts.Partitions, clicks, orders, counts, totals); err != nil {
		return err
	}
	if r.feeder, err = newFeeder(r); err != nil {
		return err
	}
	if r.watcher, err = newWatcher(r); err != nil {
		return err
	}
	r.workers = &workers{run: r}
	return nil
}

func (r *run) release() {
	r.workers.killAll()
	r.admin.Close()
	if err := r.store.close(); err != nil {
		r.say("%v", err)
	}
}

// perform runs the scenario beside feeder and watcher, then waits until all is processed and checks it.
func (r *run) perform(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var routines sync.WaitGroup
	defer routines.Wait()
	defer cancel(nil)
	routines.Go(func() { r.watcher.watch(ctx) })
	r.feeder.remaining.Store(int64(time.Minute)) // until the scenario knows
	fed := make(chan struct{})
	for range r.opts.Workers {
		if _, err := r.workers.start("", r.opts.CommitInterval); err != nil {
			return err
		}
	}
	routines.Go(func() {
		defer close(fed)
		if err := r.feeder.feed(ctx); err != nil {
			cancel(err)
		}
	})
	if err := r.scenario(ctx); err != nil {
		return err
	}
	r.feeder.remaining.Store(0)
	select {
	case <-fed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return r.settle(ctx)
}
