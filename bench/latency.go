// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

type latency struct {
	common
	rate          int
	lasts, warmup time.Duration
	pipeline      string
}

func latencyCommand() *cobra.Command {
	var l latency
	cmd := &cobra.Command{
		Use: "latency", Short: "From the time a record should be produced to its result in the hands of a read_committed reader", Args: cobra.NoArgs,
		Example: "  go run ./bench latency --rate 10000 --duration 40s --warmup 15s",
		RunE:    func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	l.flags(cmd)
	l.recordFlags(cmd)
	fs := cmd.Flags()
	fs.IntVar(&l.rate, "rate", 10_000, "records per second")
	fs.DurationVar(&l.lasts, "duration", 40*time.Second, "how long to produce")
	fs.DurationVar(&l.warmup, "warmup", 15*time.Second, "records of this first part are not counted")
	fs.StringVar(&l.pipeline, "pipeline", "passthrough", "passthrough or keyedcount")
	return cmd
}

// percentiles of a latency, in milliseconds.
type percentiles struct {
	Rate    int     `json:"rate"`
	Records int     `json:"records"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	P999    float64 `json:"p999"`
	Max     float64 `json:"max"`
	CPU     float64 `json:"cpuShareOfACore"`
}

func (l latency) run(ctx context.Context) error {
	b, closeBench, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer closeBench()
	engine, err := b.engine(ctx)
	if err != nil {
		return err
	}
	in, out := unique("in"), unique("out")
	for _, topic := range []string{in, out} {
		if err := b.createTopic(ctx, topic); err != nil {
			return err
		}
	}
	p, err := launch(ctx, engine, l.pipeline, "--in", in, "--out", out, "--brokers", b.brokers)
	if err != nil {
		return err
	}
	if err := p.untilReady(ctx); err != nil {
		return err
	}
	say("%d records a second for %s", l.rate, l.lasts)
	millis, err := l.measure(ctx, b, in, out)
	if err != nil {
		return err
	}
	u, err := p.stop()
	if err != nil {
		return err
	}
	return l.print(millis, u)
}

// measure produces, and reads the results for as long and a little longer.
func (l latency) measure(ctx context.Context, b *bench, in, out string) ([]float64, error) {
	cl, err := b.client(kgo.ConsumeTopics(out), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMinBytes(1))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	from := time.Now().Add(l.warmup)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.produceAt(ctx, in, l.rate, l.lasts) })
	var millis []float64
	group.Go(func() error {
		ctx, cancel := context.WithTimeout(ctx, l.lasts+2*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			now := time.Now()
			fetches.EachRecord(func(r *kgo.Record) {
				if r.Timestamp.After(from) {
					millis = append(millis, float64(now.Sub(r.Timestamp).Microseconds())/1000)
				}
			})
		}
		return nil
	})
	return millis, group.Wait()
}

func (l latency) print(millis []float64, u used) error {
	if len(millis) == 0 {
		return errors.New("no result was read: is the engine running?")
	}
	slices.Sort(millis)
	at := func(q float64) float64 { return millis[min(len(millis)-1, int(q*float64(len(millis))))] }
	r := percentiles{
		Rate: l.rate, Records: len(millis), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1),
		CPU: u.CPU.Seconds() / u.Elapsed.Seconds(),
	}
	if l.output == "json" {
		return printJSON(r)
	}
	fmt.Printf("%s at %d records/s, %d results: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, max %.1f ms; %.0f %% of a core, peak %d MiB\n",
		l.pipeline, r.Rate, r.Records, r.P50, r.P90, r.P99, r.P999, r.Max, 100*r.CPU, u.PeakRSS>>20)
	return nil
}
