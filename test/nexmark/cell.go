// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/queries"
	"github.com/streamd/streamd/examples/nexmark/reference"
	"github.com/streamd/streamd/examples/nexmark/wire"
	"github.com/streamd/streamd/test/fleet"
)

// childEnv makes the process a worker; its value is the query, the prefix of the inputs and the topic of the results.
// The settings come from the environment like those of any worker.
const childEnv = "NEXMARK_WORKER"

// child is the process of a worker. It returns the exit code.
func child(chosen string) int {
	var query, prefix, out string
	if _, err := fmt.Sscan(chosen, &query, &prefix, &out); err != nil {
		fmt.Fprintf(os.Stderr, "worker: read %s: %v\n", childEnv, err)
		return 1
	}
	p, err := queries.Pipeline(query, model.TopicsOf(prefix), out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return fleet.Child(p, true)
}

// cell is one combination of what is to be tried. It is used by one goroutine.
type cell struct {
	*run
	query reference.Query
	want  func() []reference.Row // evaluated by whichever cell asks first
	outcome

	app     string // and the topic of the results
	dir     string
	rand    *rand.Rand
	workers []*fleet.Process
}

// execute runs the cell. The error is about the run itself; broken promises are in its outcome.
func (c *cell) execute(ctx context.Context) (err error) {
	c.app = fmt.Sprintf("%s%s-w%d", prefixOf(c.Seed, c.Partitions), c.Query, c.Workers)
	c.dir = filepath.Join(c.run.dir, c.app)
	c.rand = rand.New(rand.NewPCG(c.Seed, uint64(c.Partitions*100+c.Workers)))
	began := time.Now()
	defer func() { err = errors.Join(err, c.clear(context.WithoutCancel(ctx))) }()
	client, err := c.client(wire.ReadOptions()...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := wire.Create(ctx, client, c.app, int32(c.Partitions)); err != nil {
		return err
	}
	if err := c.work(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.app, err)
	}
	c.Took = time.Since(began)
	if err := c.settle(ctx); err != nil {
		return err
	}
	if len(c.Faults) == 0 {
		records, err := wire.ReadResults(ctx, client, c.app)
		if err != nil {
			return err
		}
		c.compare(records)
	}
	c.report.add(c.outcome)
	return nil
}

// work runs the workers to their end, and kills one on the way.
func (c *cell) work(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, c.opts.Limit)
	defer cancel()
	for range c.Workers {
		if err := c.start(filepath.Join(c.dir, fmt.Sprintf("state-%d", len(c.workers)))); err != nil {
			return err
		}
	}
	if c.opts.Kill {
		if err := c.strike(limited); err != nil && limited.Err() == nil {
			return err
		}
	}
	for _, p := range c.workers {
		select {
		case <-p.Ended:
			if err := p.Err(); err != nil {
				c.fault("%s ended by itself (%v); the end of its log:\n    %s", p.Name, err, p.Tail())
			}
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.fault("%s still runs after %v; the end of its log:\n    %s", p.Name, c.opts.Limit, p.Tail())
		}
	}
	return nil
}

// epochs is about how many commits a run is to have, so that one can be killed between them.
const epochs = 100

// start runs a worker with a folder of state.
func (c *cell) start(state string) error {
	name := fmt.Sprintf("%s-%d", c.app, len(c.workers)+c.Kills)
	p, err := fleet.Start(name, filepath.Join(c.run.dir, "logs"), state,
		childEnv+"="+strings.Join([]string{c.Query, prefixOf(c.Seed, c.Partitions), c.app}, " "),
		"STREAMD_APP_ID="+c.app,
		"STREAMD_BROKERS="+c.brokers,
		"STREAMD_CLIENT_ID="+name,
		"STREAMD_STORE_URL=file://"+filepath.Join(c.dir, "store"),
		"STREAMD_SESSION_TIMEOUT="+c.opts.SessionTimeout.String(),
		"STREAMD_CHECKPOINT_INTERVAL=1s",
		fmt.Sprintf("STREAMD_EPOCH_MAX_RECORDS=%d", max(1, c.opts.Events/epochs)),
		"STREAMD_MEMORY=256MiB",
	)
	if err != nil {
		return err
	}
	c.workers = append(c.workers, p)
	return nil
}

// settleLimit is far below the time after which the broker ends a transaction that is left open.
const settleLimit = 10 * time.Second

// settle waits until the broker has written the ends of all transactions to the partitions: it does so after it has
// confirmed a commit. One that somebody left open would hide all results behind it.
func (c *cell) settle(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(settleLimit); ; {
		open, err := c.admin.Transactions(ctx, worker.Names{App: c.app}.TransactionalIDPrefix())
		if err != nil || len(open) == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-limit:
			c.fault("%v after the end of the run transactions are open: %v", settleLimit, open)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// compare holds the results against the evaluation.
func (c *cell) compare(records []reference.Record) {
	got, err := c.query.Read(records)
	if err != nil {
		c.fault("read the results: %v", err)
		return
	}
	want := c.want()
	if len(want) == 0 {
		c.fault("the events give no rows: this shows nothing")
	}
	d := c.query.Compare(want, got)
	c.Records, c.Rows = len(records), len(got)
	if d.Missing+d.Unexpected > 0 {
		c.fault("%d of %d rows are missing (-), %d of %d found are unexpected (+):\n%s", d.Missing, len(want), d.Unexpected, len(got), d)
	}
}

// clear ends what is left of the cell and deletes what it has made.
func (c *cell) clear(ctx context.Context) error {
	var errs []error
	for _, p := range c.workers {
		errs = append(errs, p.Kill())
	}
	internal, err := c.admin.InternalTopics(ctx, c.app)
	errs = append(errs, err, c.admin.DeleteTopics(ctx, append(internal, c.app)...), os.RemoveAll(c.dir))
	return errors.Join(errs...)
}
