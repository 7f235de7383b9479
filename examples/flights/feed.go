// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/examples/data"
)

// feedCommand puts the flights into the pipeline's topic, from a plain Kafka producer as any other program would.
func feedCommand() *cobra.Command {
	brokers, rate := []string{"127.0.0.1:9092"}, 0
	cmd := &cobra.Command{
		Use:     "feed",
		Short:   "Send the flights to topic " + flightsTopic,
		Example: "  flights feed --brokers localhost:9092 --rate 1000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var sent atomic.Int64
			if err := feed(cmd.Context(), brokers, rate, &sent); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "sent %d flights to topic %s\n", sent.Load(), flightsTopic)
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&brokers, "brokers", brokers, "Kafka `brokers`, separated by commas")
	cmd.Flags().IntVar(&rate, "rate", rate, "flights a `second`; 0: as fast as it goes")
	return cmd
}

// feedTick is how often a paced feed sends.
const feedTick = 50 * time.Millisecond

// feed sends every flight once and counts in sent those that were written. A rate of 0 is as fast as it goes.
func feed(ctx context.Context, brokers []string, rate int, sent *atomic.Int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(flightsTopic))
	if err != nil {
		return fmt.Errorf("feed: connect to %v: %w", brokers, err)
	}
	defer client.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	written := func(_ *kgo.Record, err error) {
		if err != nil {
			stop(fmt.Errorf("feed: write to topic %s: %w", flightsTopic, err)) // the first cause stays
			return
		}
		sent.Add(1)
	}
	flights := slices.Collect(strings.Lines(data.Flights()))
	portion := len(flights)
	if rate > 0 {
		portion = max(1, rate*int(feedTick)/int(time.Second))
	}
	tick := time.NewTicker(feedTick)
	defer tick.Stop()
	for some := range slices.Chunk(flights, portion) {
		for _, line := range some {
			client.Produce(ctx, kgo.StringRecord(strings.TrimSuffix(line, "\n")), written)
		}
		if rate > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
	// A failure of the flush is that of ctx, which the cause tells better.
	_ = client.Flush(ctx)
	return context.Cause(ctx)
}
