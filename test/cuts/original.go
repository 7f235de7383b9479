// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/test/fleet"
)

// originalWorkers run the application that the cuts are of.
const originalWorkers = 3

// head is how many orders there are from the start, so that windows have closed when the first round is taken.
const head = 6000

// original runs the application under load, with kills, until enough rounds are complete, then to the end of the input. It
// checks the results and returns the rounds.
func (r *run) original(ctx context.Context) (cuts []checkpoint.Cut, err error) {
	f, err := newFeeder(r)
	if err != nil {
		return nil, err
	}
	defer f.cl.Close()
	if err := f.fill(ctx, head); err != nil {
		return nil, err
	}
	c := r.newCrew(app, "run")
	defer func() { err = errors.Join(err, c.killAll()) }()
	if cuts, err = r.load(ctx, f, c); err != nil {
		return nil, err
	}
	r.say("%d rounds are complete, %d workers were killed; writing the rest of the input", len(cuts), r.kills)
	if err := f.fill(ctx, r.opts.Tail); err != nil {
		return nil, err
	}
	r.want = f.events.evaluate()
	if r.ends, err = r.admin.EndOffsets(ctx, orders, payments); err != nil {
		return nil, err
	}
	c.line = untilEnd
	if err := c.startAll(originalWorkers); err != nil {
		return nil, err
	}
	if err := c.join(ctx); err != nil {
		return nil, err
	}
	if r.whole, err = r.outputsOf(ctx, ""); err != nil {
		return nil, err
	}
	r.report.faults(app, bounded(append(c.faults, line{}.check(r.want, r.whole)...)))
	updates, windows := r.whole.size()
	r.say("the application has ended: %d orders, %d updates, %d windows", len(f.events.made), updates, windows)
	return cuts, nil
}

// load feeds the application until enough rounds are complete, and drains it.
func (r *run) load(ctx context.Context, f *feeder, c *crew) (cuts []checkpoint.Cut, err error) {
	if err := c.startAll(originalWorkers); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.feed(ctx, stop) })
	group.Go(func() (err error) {
		defer close(stop)
		cuts, err = r.killUntil(ctx, c)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return cuts, c.drain(context.WithoutCancel(ctx))
}

// roundPoll is how often the original's rounds are looked at.
const roundPoll = 50 * time.Millisecond

// killUntil kills and replaces workers until enough rounds are complete that show something. The first kill comes early, so
// that a run of a few rounds has one.
func (r *run) killUntil(ctx context.Context, c *crew) (cuts []checkpoint.Cut, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Limit)
	defer cancel()
	repo := checkpoint.NewRepository(r.store, app)
	tick := time.NewTicker(roundPoll)
	defer tick.Stop()
	last, next, every := int64(0), time.Time{}, r.opts.Every
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d rounds are complete: %w", len(cuts), r.opts.Cuts, context.Cause(ctx))
		}
		if cuts, last, err = r.moreCuts(ctx, repo, cuts, last); err != nil {
			return nil, err
		}
		if len(cuts) >= r.opts.Cuts && r.kills > 0 {
			return cuts, nil
		}
		if slices.ContainsFunc(c.all, (*fleet.Process).HasEnded) {
			return nil, errors.New("a worker of the original has ended by itself; see the logs")
		}
		if next.IsZero() && len(cuts) > 0 {
			next = time.Now().Add(every / 4)
		}
		if !next.IsZero() && time.Now().After(next) {
			next = time.Now().Add(every/2 + time.Duration(c.rand.Int64N(int64(every))))
			if err := c.replace(c.all[c.rand.IntN(len(c.all))]); err != nil {
				return nil, err
			}
			r.kills++
		}
	}
}

// moreCuts appends the rounds after the last one seen that are complete, and before which windows have closed.
func (r *run) moreCuts(ctx context.Context, repo *checkpoint.Repository, cuts []checkpoint.Cut, last int64) ([]checkpoint.Cut, int64, error) {
	numbers, err := complete(ctx, repo)
	if err != nil {
		return nil, last, err
	}
	for _, n := range numbers {
		if n <= last {
			continue
		}
		last = n
		cut, err := repo.LoadCut(ctx, 1, n)
		if err != nil {
			return nil, last, err
		}
		if slices.Min(watermarksOf(cut)) <= firstSlot+(windowSize+grace).Milliseconds() {
			continue
		}
		cuts = append(cuts, cut)
		r.say("round %d is complete, %d of %d", n, len(cuts), r.opts.Cuts)
	}
	return cuts, last, nil
}
