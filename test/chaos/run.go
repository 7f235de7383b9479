// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/test/fleet"
)

// run is one run of the command.
type run struct {
	*fleet.Scene
	opts     options
	rand     *rand.Rand // of the scenario's choices
	admin    *kafka.Admin
	topology *topology.Topology
	store    *fleet.Store
	line     *fleet.Line // to the store, if it is a server
	storeURL string      // at the other end of the line
	workers  *workers
	feeder   *feeder
	watcher  *watcher
	result   result
}

// execute does everything. The error is about the run itself; broken promises are in the result.
func execute(ctx context.Context, o options) (res *result, err error) {
	scene, err := fleet.Open(ctx, app, o.dir)
	if err != nil {
		return nil, err
	}
	r := &run{Scene: scene, opts: o, rand: rand.New(rand.NewPCG(o.Seed, 2))}
	r.Say("seed %d", o.Seed)
	defer func() { err = errors.Join(err, r.Close(o.keep || err != nil || res.Broken())) }()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer r.release()
	if err := r.perform(ctx); err != nil {
		return nil, fmt.Errorf("%w (seed %d, logs in %s)", err, o.Seed, filepath.Join(r.Dir, "logs"))
	}
	return r.finish(), nil
}

// prepare makes everything but the workers.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.topology, err = pipeline(r.opts.Groups).Build(); err != nil {
		return err
	}
	if err := r.openStore(ctx); err != nil {
		return err
	}
	cfg := config.Default()
	cfg.Brokers = []string{r.Broker.Addr()}
	if r.admin, err = kafka.NewAdmin(ctx, cfg); err != nil {
		return err
	}
	if err := r.CreateTopics(ctx, r.opts.Partitions, clicks, orders, counts, totals); err != nil {
		return err
	}
	if r.feeder, err = newFeeder(r); err != nil {
		return err
	}
	if r.watcher, err = newWatcher(r); err != nil {
		return err
	}
	r.workers = &workers{Crew: fleet.Crew{Scene: r.Scene}, run: r, commit: map[*fleet.Process]time.Duration{}}
	return nil
}

func (r *run) release() {
	r.workers.KillAll()
	r.admin.Close()
	if r.line == nil {
		return
	}
	if err := r.line.Close(); err != nil {
		r.Say("%v", err)
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
