// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/queries"
	"github.com/streamd/streamd/examples/nexmark/wire"
)

type nexmark struct {
	common
	queries      []string
	events, rate int64
	commit       time.Duration
	runs         int
	peers        []string
}

func nexmarkCommand() *cobra.Command {
	var x nexmark
	cmd := &cobra.Command{
		Use: "nexmark", Short: "Drain the events of NEXMark through its queries, exactly once", Args: cobra.NoArgs,
		Example: "  go run ./bench nexmark --queries q0,q5 --runs 3\n  go run ./bench nexmark --peer PATH",
		RunE:    func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	x.flags(cmd)
	fs := cmd.Flags()
	fs.StringSliceVar(&x.queries, "queries", queries.Names(), "queries to measure, one after the other")
	fs.Int64Var(&x.events, "events", 3_000_000, "events of all three kinds")
	fs.Int64Var(&x.rate, "rate", 10_000, "events a second of event time")
	fs.DurationVar(&x.commit, "commit", 100*time.Millisecond, "streamd's commit interval")
	fs.IntVar(&x.runs, "runs", 1, "runs of each query and engine, in turn")
	fs.StringArrayVar(&x.peers, "peer", nil, "executable to measure in turn with streamd; may be repeated")
	return cmd
}

func (x nexmark) run(ctx context.Context) error {
	for _, query := range x.queries {
		if _, err := queries.Sources(query, model.TopicsOf("")); err != nil {
			return err
		}
	}
	b, closeBench, err := x.open(ctx)
	if err != nil {
		return err
	}
	defer closeBench()
	engine, err := b.engine(ctx)
	if err != nil {
		return err
	}
	prefix := fmt.Sprintf("bench-%d-%d-", x.events, x.rate)
	if err := x.load(ctx, b, model.TopicsOf(prefix)); err != nil {
		return err
	}
	contenders := []contender{{engine, []string{"--commit-interval", x.commit.String()}}}
	for _, peer := range x.peers {
		contenders = append(contenders, contender{peer, nil})
	}
	var results []result
	for _, query := range x.queries {
		records, err := b.recordsOf(ctx, query, model.TopicsOf(prefix))
		if err != nil {
			return err
		}
		for range x.runs {
			for _, c := range contenders {
				r, err := b.drain(ctx, c.path, records, append([]string{"nexmark", "--query", query, "--prefix", prefix}, c.args...)...)
				if err != nil {
					return fmt.Errorf("%s: %w", query, err)
				}
				r.Query = query
				results = append(results, r)
			}
		}
	}
	if x.output == "json" {
		return printJSON(results)
	}
	return printResults(results)
}

// load fills the topics with the events of the first seed. Those that an earlier run has filled on the same broker are
// used again.
func (x nexmark) load(ctx context.Context, b *bench, topics model.Topics) error {
	cl, err := b.client(wire.FeedOptions()...)
	if err != nil {
		return err
	}
	defer cl.Close()
	held := int64(0)
	for _, topic := range topics.All() {
		if err := wire.Create(ctx, cl, topic, x.partitions); err != nil {
			return err
		}
		n, err := b.held(ctx, topic)
		if err != nil {
			return err
		}
		held += n
	}
	switch held {
	case x.events:
		say("using the %d events in %v", held, topics.All())
		return nil
	case 0:
		say("loading %d events into %v", x.events, topics.All())
		const seed = 1
		return wire.NewFeed(cl, topics).Fill(ctx, model.NewGenerator(seed, x.rate, model.DefaultBase), x.events)
	default:
		return fmt.Errorf("topics %v hold %d records, expected %d: an earlier run was interrupted; delete the topics", topics.All(), held, x.events)
	}
}

// recordsOf is how many records a query reads: some do not read all topics.
func (b *bench) recordsOf(ctx context.Context, query string, topics model.Topics) (records int64, err error) {
	read, err := queries.Sources(query, topics)
	if err != nil {
		return 0, err
	}
	for _, topic := range read {
		n, err := b.held(ctx, topic)
		if err != nil {
			return 0, err
		}
		records += n
	}
	return records, nil
}
