// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/examples/nexmark/wire"
	"github.com/streamd/streamd/partition"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// run is one run of the command.
type run struct {
	opts    options
	dir     string
	brokers string
	began   time.Time
	admin   *kafka.Admin
	store   objstore.Store
	report  report

	// Of the original application, when it has ended.
	kills int
	want  *truth
	whole outputs
	ends  map[partition.TopicPartition]int64 // of its inputs
}

// execute does everything. The error is about the run itself; broken promises are in the result.
func execute(ctx context.Context, o options, format string) (res *result, err error) {
	r := &run{opts: o, began: time.Now()}
	r.say("seed %d", o.Seed)
	if r.dir, err = os.MkdirTemp("", "cuts-"); err != nil {
		return nil, err
	}
	for _, sub := range []string{"logs", "state", "store"} {
		if err := os.Mkdir(filepath.Join(r.dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err == nil && len(res.Faults) == 0 {
			err = os.RemoveAll(r.dir)
		} else {
			r.say("logs are in %s", filepath.Join(r.dir, "logs"))
		}
	}()
	broker, err := kafkabroker.StartProcess(ctx, filepath.Join(r.dir, "broker"), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, broker.Kill()) }()
	r.brokers = broker.Addr()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer r.admin.Close()
	cuts, err := r.original(ctx)
	if err != nil {
		return nil, err
	}
	r.report.heading(format)
	if err := r.tryAll(ctx, cuts); err != nil {
		return nil, err
	}
	return r.report.finish(o, time.Since(r.began), r.kills), nil
}

// tryAll begins applications from the cuts. The first of these have the most before them, so they are the ones to rescale.
func (r *run) tryAll(ctx context.Context, cuts []checkpoint.Cut) error {
	trials, ctx := errgroup.WithContext(ctx)
	trials.SetLimit(r.opts.Parallel)
	for i, cut := range cuts[:r.opts.Cuts] {
		if i < r.opts.Rescales {
			trials.Go(func() error { return r.tryRescale(ctx, cut) })
		}
		trials.Go(func() error { return r.tryFork(ctx, cut) })
	}
	return trials.Wait()
}

func (r *run) prepare(ctx context.Context) (err error) {
	r.report.to = os.Stderr
	if r.store, err = open.Open(ctx, r.storeURL(), open.Options{}); err != nil {
		return err
	}
	cl, err := r.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, topic := range []string{orders, payments, counts, totals} {
		if err := wire.Create(ctx, cl, topic, int32(r.opts.Partitions)); err != nil {
			return err
		}
	}
	cfg := config.Default()
	cfg.Brokers = []string{r.brokers}
	r.admin, err = kafka.NewAdmin(ctx, cfg)
	return err
}

func (r *run) storeURL() string { return "file://" + filepath.Join(r.dir, "store") }

// say prints a line of progress.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) client(opts ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(r.brokers))...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", r.brokers, err)
	}
	return client, nil
}
