// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/reference"
	"github.com/streamd/streamd/examples/nexmark/wire"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// run is one run of the command.
type run struct {
	opts    options
	dir     string
	brokers string
	began   time.Time
	admin   *kafka.Admin
	report  report
}

// gather is how long the broker waits for further workers when the first of a cell joins, so that all of them have a
// share of the work from the beginning.
const gather = "500"

// execute does everything. The error is about the run itself; broken promises are in the result.
func execute(ctx context.Context, o options, format string) (res *result, err error) {
	r := &run{opts: o, began: time.Now()}
	if r.dir, err = os.MkdirTemp("", "nexmark-"); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(r.dir, "logs"), 0o755); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil && len(res.Faults) == 0 {
			err = os.RemoveAll(r.dir)
		} else {
			r.say("logs are in %s", filepath.Join(r.dir, "logs"))
		}
	}()
	broker, err := kafkabroker.StartProcess(ctx, filepath.Join(r.dir, "broker"), 0, kafkabroker.WithProperty("group.initial.rebalance.delay.ms", gather))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, broker.Kill()) }()
	r.brokers = broker.Addr()
	r.say("broker at %s", r.brokers)
	cfg := config.Default()
	cfg.Brokers = []string{r.brokers}
	if r.admin, err = kafka.NewAdmin(ctx, cfg); err != nil {
		return nil, err
	}
	defer r.admin.Close()
	r.report.heading(format)
	for _, seed := range o.Seeds {
		if err := r.seed(ctx, seed); err != nil {
			return nil, err
		}
	}
	return r.report.finish(o, time.Since(r.began)), nil
}

// say prints a line of progress.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// seed writes the events of a seed and runs every cell over them, query by query, so that few evaluations are in memory
// at a time.
func (r *run) seed(ctx context.Context, seed uint64) error {
	from := model.NewGenerator(seed, r.opts.Rate, model.DefaultBase)
	for _, partitions := range r.opts.Partitions {
		if err := r.fill(ctx, from, prefixOf(seed, partitions), partitions); err != nil {
			return err
		}
	}
	in := reference.Generate(from, 0, r.opts.Events)
	cells, ctx := errgroup.WithContext(ctx)
	cells.SetLimit(r.opts.Parallel)
	for _, query := range r.opts.Queries {
		q, err := reference.Find(query)
		if err != nil {
			return errors.Join(err, cells.Wait())
		}
		want := sync.OnceValue(func() []reference.Row { return q.Evaluate(in) })
		for _, partitions := range r.opts.Partitions {
			for _, workers := range r.opts.Workers {
				c := &cell{run: r, query: q, want: want, outcome: outcome{Query: query, Seed: seed, Partitions: partitions, Workers: workers}}
				cells.Go(func() error { return c.execute(ctx) })
			}
		}
	}
	return cells.Wait()
}

// prefixOf is what the names of the topics of a seed and a number of partitions begin with.
func prefixOf(seed uint64, partitions int) string { return fmt.Sprintf("s%d-p%d-", seed, partitions) }

// fill creates the topics of a prefix and writes the events.
func (r *run) fill(ctx context.Context, from *model.Generator, prefix string, partitions int) error {
	client, err := r.client(wire.FeedOptions()...)
	if err != nil {
		return err
	}
	defer client.Close()
	topics := model.TopicsOf(prefix)
	for _, topic := range topics.All() {
		if err := wire.Create(ctx, client, topic, int32(partitions)); err != nil {
			return err
		}
	}
	r.say("writing %d events to %v, %d partitions each", r.opts.Events, topics.All(), partitions)
	return wire.NewFeed(client, topics).Fill(ctx, from, r.opts.Events)
}

func (r *run) client(opts ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(r.brokers))...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", r.brokers, err)
	}
	return client, nil
}
