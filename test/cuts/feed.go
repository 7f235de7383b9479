// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// How records are written. Each batch is acknowledged before the next is sent, so that the partitions stay close to each
// other in time: with the jitter of the records a batch is shorter than what the pipeline allows for as disorder.
const (
	feedTick  = 10 * time.Millisecond
	feedBatch = 100 // slots at most
)

// feeder writes the input. It is used by one goroutine at a time.
type feeder struct {
	events *events
	cl     *kgo.Client
	rate   int // orders a second
}

func newFeeder(r *run) (*feeder, error) {
	cl, err := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	return &feeder{events: newEvents(r.opts.Seed, r.opts.Partitions), cl: cl, rate: r.opts.Rate}, nil
}

// feed writes at the rate until stop is closed. A machine that cannot keep up is given less.
func (f *feeder) feed(ctx context.Context, stop <-chan struct{}) error {
	tick := time.NewTicker(feedTick)
	defer tick.Stop()
	last, due := time.Now(), 0.0
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-tick.C:
			due = min(due+now.Sub(last).Seconds()*float64(f.rate), feedBatch)
			last = now
		}
		if err := f.write(ctx, int(due)); err != nil {
			return err
		}
		due -= float64(int(due))
	}
}

// fill writes n more slots as fast as it can.
func (f *feeder) fill(ctx context.Context, n int) error {
	for ; n > 0; n -= feedBatch {
		if err := f.write(ctx, min(n, feedBatch)); err != nil {
			return err
		}
	}
	return nil
}

func (f *feeder) write(ctx context.Context, slots int) error {
	records, err := f.events.slots(slots)
	if err == nil {
		err = f.cl.ProduceSync(ctx, records...).FirstErr()
	}
	if err != nil {
		return fmt.Errorf("write the input: %w", err)
	}
	return nil
}
