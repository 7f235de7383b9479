// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

type keyedCount struct {
	common
	records  int64
	commit   time.Duration
	coalesce bool
	runs     int
	bare     bool
	peers    []string
}

// result is one run of one engine.
type result struct {
	Query         string  `json:"query,omitempty"`
	Engine        string  `json:"engine"`
	Records       int64   `json:"records"`
	RecordsPerSec float64 `json:"recordsPerSecond"`
	CPUPerMillion float64 `json:"cpuSecondsPerMillion"`
	PeakRSS       int64   `json:"peakRSSBytes"`
	Sizes         sizes   `json:"sizes"`
}

func keyedCountCommand() *cobra.Command {
	var k keyedCount
	cmd := &cobra.Command{
		Use: "keyedcount", Short: "Drain a topic through a count per key, exactly once", Args: cobra.NoArgs,
		Example: "  go run ./bench keyedcount --size 1024 --runs 3\n  go run ./bench keyedcount --commit 1s --coalesce",
		RunE:    func(cmd *cobra.Command, _ []string) error { return k.run(cmd.Context()) },
	}
	k.flags(cmd)
	k.recordFlags(cmd)
	fs := cmd.Flags()
	fs.Int64Var(&k.records, "records", 4_000_000, "records to drain")
	fs.DurationVar(&k.commit, "commit", 100*time.Millisecond, "streamd's commit interval")
	fs.BoolVar(&k.coalesce, "coalesce", false, "streamd emits each changed key once per commit")
	fs.IntVar(&k.runs, "runs", 1, "runs of each engine, in turn")
	fs.BoolVar(&k.bare, "bare", false, "measure bench/bare in turn with streamd, with the same commit interval")
	fs.StringArrayVar(&k.peers, "peer", nil, "executable to measure in turn with streamd; may be repeated")
	return cmd
}

func (k keyedCount) run(ctx context.Context) error {
	b, closeBench, err := k.open(ctx)
	if err != nil {
		return err
	}
	defer closeBench()
	engine, err := b.engine(ctx)
	if err != nil {
		return err
	}
	in := fmt.Sprintf("bench-%d-%d-%d", k.records, k.keys, k.size)
	if err := b.load(ctx, in, k.records, false); err != nil {
		return err
	}
	contenders := []contender{{engine, k.args("--commit-interval")}}
	if k.bare {
		path, err := b.build(ctx, "bare", "bare")
		if err != nil {
			return err
		}
		contenders = append(contenders, contender{path, k.args("--commit")})
	}
	for _, peer := range k.peers {
		contenders = append(contenders, contender{peer, nil})
	}
	var results []result
	for range k.runs {
		for _, c := range contenders {
			r, err := b.drain(ctx, c.path, k.records, append([]string{"keyedcount", "--in", in}, c.args...)...)
			if err != nil {
				return err
			}
			results = append(results, r)
		}
	}
	if k.output == "json" {
		return printJSON(results)
	}
	return printResults(results)
}

// contender is one of the engines that are measured in turn.
type contender struct {
	path string
	args []string
}

// args are what the engines of this folder are told beyond the contract.
func (k keyedCount) args(commitFlag string) []string {
	args := []string{commitFlag, k.commit.String()}
	if k.coalesce {
		args = append(args, "--coalesce")
	}
	return args
}

// drain runs one engine over the whole input: args are the work with its arguments, without those that all works have.
func (b *bench) drain(ctx context.Context, engine string, records int64, args ...string) (result, error) {
	out := unique("out")
	if err := b.createTopic(ctx, out); err != nil {
		return result{}, err
	}
	defer func() {
		if err := b.deleteTopics(context.WithoutCancel(ctx), out); err != nil {
			say("delete the topics of the run: %v", err)
		}
	}()
	name := filepath.Base(engine)
	say("running %s", name)
	p, err := launch(ctx, engine, append(args, "--out", out, "--brokers", b.brokers, "--bounded")...)
	if err != nil {
		return result{}, err
	}
	if b.watch != nil {
		b.watch(out, p)
	}
	u, err := p.wait()
	if err != nil {
		return result{}, err
	}
	s, err := b.sizes(ctx, out, out)
	return result{
		Engine: name, Records: records, RecordsPerSec: float64(records) / u.Elapsed.Seconds(),
		CPUPerMillion: u.CPU.Seconds() / float64(records) * 1e6, PeakRSS: u.PeakRSS, Sizes: s,
	}, err
}

// name tells the runs of one engine and one work from others.
func (r result) name() string { return strings.TrimSpace(r.Query + " " + r.Engine) }

// printResults prints a line for each run, and the medians of each engine and work.
func printResults(results []result) error {
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "engine\trecords/s\tCPU-s per million\tpeak MiB\toutput B/record\tchangelog B/record\trepartition B/record\t")
	line := func(r result) {
		n := float64(r.Records)
		fmt.Fprintf(tw, "%s\t%.0f\t%.2f\t%d\t%.1f\t%.1f\t%.1f\t\n", r.name(), r.RecordsPerSec, r.CPUPerMillion, r.PeakRSS>>20,
			float64(r.Sizes.Output)/n, float64(r.Sizes.Changelog)/n, float64(r.Sizes.Repartition)/n)
	}
	byName := map[string][]result{}
	var order []string
	for _, r := range results {
		if byName[r.name()] == nil {
			order = append(order, r.name())
		}
		byName[r.name()] = append(byName[r.name()], r)
		line(r)
	}
	for _, name := range order {
		if rs := byName[name]; len(rs) > 1 {
			fmt.Fprintf(tw, "median %s\t%s\t%s\t%s\t\t\t\t\n", name,
				spread(rs, "%.0f", func(r result) float64 { return r.RecordsPerSec }),
				spread(rs, "%.2f", func(r result) float64 { return r.CPUPerMillion }),
				spread(rs, "%.0f", func(r result) float64 { return float64(r.PeakRSS >> 20) }))
		}
	}
	return tw.Flush()
}

// spread gives the median, and the lowest and highest beside it.
func spread(rs []result, format string, f func(result) float64) string {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = f(r)
	}
	slices.Sort(values)
	return fmt.Sprintf(format+" ("+format+"–"+format+")", values[len(values)/2], values[0], values[len(values)-1])
}
