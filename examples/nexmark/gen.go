// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/term"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// generation is one run of gen.
type generation struct {
	place
	topics     model.Topics
	events     int64
	seed       uint64
	rate       int64
	base       string
	partitions int32
	live       int64
	more       bool // put events behind those that are there
	output     string
	progress   io.Writer // nil: nobody looks
}

func genCommand(c *choice) *cobra.Command {
	g := &generation{}
	cmd := &cobra.Command{
		Use:   "gen",
		Short: "Put events into the topics that the queries read",
		Long: "Puts the events of a seed into the topics nexmark-person, nexmark-auction and nexmark-bid, behind --prefix, and\n" +
			"creates these if need be. The same arguments always give the same records.\n\n" +
			"With --live R events come at R a second with the time of the clock, until --events are there or Ctrl-C.",
		Example: "  nexmark gen --brokers kafka:9092 --events 10000000\n" +
			"  nexmark gen --dev .streamd/nexmark-q5 --events 100000",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			g.topics = model.TopicsOf(c.prefix)
			if f, ok := cmd.ErrOrStderr().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				g.progress = f
			}
			if err := g.configure(cmd, g.output); err != nil {
				return err
			}
			s, err := g.run(cmd.Context())
			if err != nil {
				return err
			}
			return s.print(cmd.OutOrStdout(), g.output)
		},
	}
	f := cmd.Flags()
	g.addFlags(f)
	f.Int64Var(&g.events, "events", 1_000_000, "`number` of events of all three kinds; with --live 0 is no end")
	f.Uint64Var(&g.seed, "seed", 1, "`number` that all random choices follow from")
	f.Int64Var(&g.rate, "rate", 10_000, "`number` of events a second of event time")
	f.StringVar(&g.base, "base", model.DefaultBase.Format(time.RFC3339), "`time` of the first event")
	f.Int32Var(&g.partitions, "partitions", 4, "`number` of partitions of topics that are created")
	f.Int64Var(&g.live, "live", 0, "`number` of events a second of the clock, with its time; 0: all at once")
	f.BoolVar(&g.more, "append", false, "put the events behind those that are there")
	addOutput(f, &g.output)
	return cmd
}

// summary is what gen has done.
type summary struct {
	Seed    uint64           `json:"seed"`
	Events  int64            `json:"events"`
	Bytes   int64            `json:"valueBytes"`
	Records map[string]int64 `json:"records"` // by topic
	Seconds float64          `json:"seconds"`
	// BehindMillis is how far a live run was behind its schedule at worst.
	BehindMillis int64 `json:"behindMillis,omitempty"`
}

func (s *summary) print(w io.Writer, output string) error {
	if output == "json" {
		return writeJSON(w, s)
	}
	_, err := fmt.Fprintf(w, "%s events of seed %d, %.1f MB of values, in %.1f s: %s a second\n", thousands(s.Events), s.Seed,
		float64(s.Bytes)/1e6, s.Seconds, thousands(int64(float64(s.Events)/s.Seconds)))
	return err
}

// run generates the events and waits until the broker has them.
func (g *generation) run(ctx context.Context) (s *summary, err error) {
	base, err := time.Parse(time.RFC3339, g.base)
	if err != nil {
		return nil, fmt.Errorf("--base %s is no time such as %s", g.base, model.DefaultBase.Format(time.RFC3339))
	}
	if g.rate < 1 || g.events < 0 || g.live < 0 || g.events == 0 && g.live == 0 {
		return nil, errors.New("--rate and --events must be at least 1, --live at least 0")
	}
	client, err := g.open(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // as Kafka's own producers
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.createInputs(ctx, g.partitions, g.more, g.topics.All()...); err != nil {
		return nil, err
	}
	f := newFeed(client.Client, g.topics.All())
	began := time.Now()
	s = &summary{Seed: g.seed, Records: map[string]int64{}}
	if g.live > 0 {
		err = g.follow(ctx, f, s)
	} else {
		err = g.fill(ctx, f, model.NewGenerator(g.seed, g.rate, base))
	}
	if err = errors.Join(err, f.end()); err != nil {
		return nil, fmt.Errorf("generate events: %w", err)
	}
	s.Seconds, s.Bytes = time.Since(began).Seconds(), f.bytes
	for kind, n := range f.records {
		s.Records[f.topics[kind]] = n
		s.Events += n
	}
	return s, nil
}

// progressEvery is how many events of a fill there are between two looks at the clock.
const progressEvery = 10_000

// fill puts in all events, as fast as it goes.
func (g *generation) fill(ctx context.Context, f *feed, from *model.Generator) error {
	began, shown := time.Now(), time.Now()
	for n := range g.events {
		if err := f.send(ctx, from, n, from.Time(n)); err != nil {
			return err
		}
		if g.progress == nil || n%progressEvery != 0 || time.Since(shown) < time.Second/5 {
			continue
		}
		shown = time.Now()
		fmt.Fprintf(g.progress, "\r%s of %s events, %s a second ", thousands(n), thousands(g.events),
			thousands(int64(float64(n)/shown.Sub(began).Seconds())))
	}
	if g.progress != nil {
		fmt.Fprint(g.progress, "\r\x1b[K")
	}
	return nil
}

// liveTick is how often a live run sends.
const liveTick = 2 * time.Millisecond

// follow sends events when they are due by the clock. The end of ctx is a good end.
func (g *generation) follow(ctx context.Context, f *feed, s *summary) error {
	began := time.Now()
	from := model.NewGenerator(g.seed, g.live, began)
	tick := time.NewTicker(liveTick)
	defer tick.Stop()
	newest := began.UnixMilli()
	for n := int64(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		newest = max(newest, now.UnixMilli()) // times never go back, whatever the clock does
		for due := int64(now.Sub(began).Seconds() * float64(g.live)); n < due; n++ {
			if g.events > 0 && n == g.events {
				return nil
			}
			s.BehindMillis = max(s.BehindMillis, newest-from.Time(n))
			// The records of an ended run are still written: f.end waits for them.
			if err := f.send(context.WithoutCancel(ctx), from, n, newest); err != nil {
				return err
			}
		}
	}
}

// thousands writes a number in groups of three digits.
func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
