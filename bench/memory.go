// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

type memory struct {
	common
	records int64
	limit   string
	bytes   int64
}

func memoryCommand() *cobra.Command {
	var m memory
	cmd := &cobra.Command{
		Use: "memory", Short: "State far larger than memory: a count over distinct keys under a memory setting", Args: cobra.NoArgs,
		Example: "  go run ./bench memory --records 20000000 --limit 512MiB",
		RunE:    func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context()) },
	}
	m.flags(cmd)
	fs := cmd.Flags()
	fs.Int64Var(&m.records, "records", 20_000_000, "records, each with a key of its own")
	fs.StringVar(&m.limit, "limit", "512MiB", "the memory setting of the engine")
	fs.Int64Var(&m.bytes, "limit-bytes", 512<<20, "the same in bytes, to compare with")
	return cmd
}

func (m memory) run(ctx context.Context) error {
	m.size = 16
	b, closeBench, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer closeBench()
	engine, err := b.engine(ctx)
	if err != nil {
		return err
	}
	in := unique("distinct")
	if err := b.load(ctx, in, m.records, true); err != nil {
		return err
	}
	r, err := b.drain(ctx, engine, in, m.records, "--memory", m.limit)
	if err != nil {
		return err
	}
	if m.output == "json" {
		return printJSON(r)
	}
	fmt.Printf("%d distinct keys, memory %s: peak RSS %d MiB (%.2f of the setting), %.0f records/s, %.2f CPU-s per million\n",
		m.records, m.limit, r.PeakRSS>>20, float64(r.PeakRSS)/float64(m.bytes), r.RecordsPerSec, r.CPUPerMillion)
	return nil
}
