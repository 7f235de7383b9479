// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/config"
)

type memory struct {
	common
	records int64
	limit   string
}

func memoryCommand() *cobra.Command {
	var m memory
	cmd := &cobra.Command{
		Use: "memory", Short: "State far larger than memory: a count over distinct keys under a memory setting", Args: cobra.NoArgs,
		Example: "  go run ./bench memory --records 20000000 --memory 512MiB",
		RunE:    func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context()) },
	}
	m.flags(cmd)
	fs := cmd.Flags()
	fs.Int64Var(&m.records, "records", 20_000_000, "records, each with a key of its own")
	fs.StringVar(&m.limit, "memory", "512MiB", "the memory setting of the engine")
	return cmd
}

// sample is one moment of a run.
type sample struct {
	Seconds       float64 `json:"seconds"`
	Records       int64   `json:"records"`
	RecordsPerSec float64 `json:"recordsPerSecond"` // since the sample before
	RSS           int64   `json:"rssBytes"`
}

// grown is a run that outgrows its memory.
type grown struct {
	result
	Limit   int64    `json:"limitBytes"`
	Samples []sample `json:"samples"`
}

func (m memory) run(ctx context.Context) error {
	m.size = 16
	limit, err := config.ParseSize(m.limit)
	if err != nil {
		return err
	}
	b, closeBench, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer closeBench()
	engine, err := b.engine(ctx)
	if err != nil {
		return err
	}
	in := fmt.Sprintf("bench-distinct-%d", m.records)
	if err := b.load(ctx, in, m.records, true); err != nil {
		return err
	}
	g := grown{Limit: limit}
	b.watch = func(out string, p *process) { g.Samples = b.sampleUntilEnd(ctx, out, p) }
	if g.result, err = b.drain(ctx, engine, m.records, "keyedcount", "--in", in, "--memory", m.limit); err != nil {
		return err
	}
	if m.output == "json" {
		return printJSON(g)
	}
	return g.print(m.limit)
}

// sampleEvery is how often the growth of the output and of the process is looked at.
const sampleEvery = 2 * time.Second

func (b *bench) sampleUntilEnd(ctx context.Context, out string, p *process) []sample {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	began, samples := time.Now(), []sample{{}}
	for {
		select {
		case <-tick.C:
		case <-p.done:
			return samples[1:]
		}
		n, err := b.held(ctx, out)
		if err != nil {
			say("%v", err)
			continue
		}
		last, s := samples[len(samples)-1], sample{Seconds: time.Since(began).Seconds(), Records: n, RSS: rssOf(p.cmd.Process.Pid)}
		s.RecordsPerSec = float64(n-last.Records) / (s.Seconds - last.Seconds)
		samples = append(samples, s)
	}
}

// print shows about a dozen moments and the whole.
func (g grown) print(limit string) error {
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "seconds\trecords\trecords/s\tMiB\t")
	for i := 0; i < len(g.Samples); i += 1 + len(g.Samples)/12 {
		s := g.Samples[i]
		fmt.Fprintf(tw, "%.0f\t%d\t%.0f\t%d\t\n", s.Seconds, s.Records, s.RecordsPerSec, s.RSS>>20)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Printf("%d distinct keys, memory %s: peak RSS %d MiB (%.2f of the setting), %.0f records/s, %.2f CPU-s per million\n",
		g.Records, limit, g.PeakRSS>>20, float64(g.PeakRSS)/float64(g.Limit), g.RecordsPerSec, g.CPUPerMillion)
	return nil
}
