// SPDX-License-Identifier: Apache-2.0

// Command worker is the engine under measurement: the pipelines that bench runs, in a process of its own, so that
// its processor time and memory can be told from those of the broker and the generator. It prints READY on standard
// error when records begin to flow.
//
//	worker keyedcount --in T --out T2 --brokers H:P [--bounded] [--coalesce] [--group G] [any streamd setting]
//	worker newest --in T --out T2 --brokers H:P
//	worker passthrough --in T --out T2 --brokers H:P [--bounded]
//	worker nexmark --query q5 --prefix P --out T --brokers H:P [--bounded]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/queries"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type flags struct {
	in, out, group          string
	query, prefix           string
	bounded, coalesce, logs bool
	cpuProfile              string
}

func root() *cobra.Command {
	cmd := &cobra.Command{Use: "worker", SilenceUsage: true, SilenceErrors: true}
	cmd.AddCommand(
		workload("keyedcount", "count records per key: the first 8 bytes of the value", keyedCount),
		workload("newest", "keep the newest value of each key", newest),
		workload("passthrough", "copy records", passthrough),
		workload("nexmark", "run a query of examples/nexmark", nexmark),
	)
	return cmd
}

// builder makes the pipeline of a workload.
type builder func(flags) (*stream.Pipeline, error)

func workload(name, short string, build builder) *cobra.Command {
	var f flags
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	fs := cmd.Flags()
	fs.StringVar(&f.in, "in", "", "input topic")
	fs.StringVar(&f.out, "out", "", "output topic")
	fs.StringVar(&f.query, "query", "q0", "query of nexmark")
	fs.StringVar(&f.prefix, "prefix", "", "text before the names of nexmark's input topics")
	fs.StringVar(&f.group, "group", "", "application id (default: the output topic)")
	fs.BoolVar(&f.bounded, "bounded", false, "read to the end of the input, then exit")
	fs.BoolVar(&f.coalesce, "coalesce", false, "emit each changed key once per commit")
	fs.BoolVar(&f.logs, "logs", false, "log to standard error")
	fs.StringVar(&f.cpuProfile, "cpu-profile", "", "file for a profile of the processor time")
	config.AddFlags(fs)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(config.Sources{Flags: fs})
		if err != nil {
			return err
		}
		return run(cmd.Context(), cfg, f, build)
	}
	return cmd
}

func run(ctx context.Context, cfg *config.Config, f flags, build builder) error {
	p, err := build(f)
	if err != nil {
		return err
	}
	if f.cpuProfile != "" {
		file, err := os.Create(f.cpuProfile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if f.group == "" {
		f.group = f.out
	}
	cfg.AppID = f.group
	if cfg.IsDefault("state.dir") {
		dir, err := os.MkdirTemp("", "streamd-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		cfg.StateDir = dir
	}
	if cfg.IsDefault("http.address") {
		cfg.HTTPAddress = ""
	}
	opts := []engine.Option{engine.WithConfig(cfg), engine.OnReady(func() { fmt.Fprintln(os.Stderr, "READY") })}
	if f.bounded {
		opts = append(opts, engine.UntilEnd())
	}
	if f.logs {
		log, err := zap.NewDevelopment()
		if err != nil {
			return err
		}
		opts = append(opts, engine.WithLogger(log))
	}
	return engine.Run(ctx, p, opts...)
}

// keyedCount counts per key. The key is the first 8 bytes of the value, and each record stays in its partition, as
// in the contract that the peers are measured with: producers put a key's records into one partition.
func keyedCount(f flags) (*stream.Pipeline, error) {
	p := stream.NewPipeline("keyedcount")
	var update []stream.UpdateOption
	if f.coalesce {
		update = append(update, stream.EmitPerCommit())
	}
	stream.From(p, f.in, codec.Uint64, codec.Bytes).
		Group().
		Count("count").
		Stream(update...).
		To(f.out)
	return p, nil
}

// newest keeps all that it reads, and writes the number of bytes.
func newest(f flags) (*stream.Pipeline, error) {
	p := stream.NewPipeline("newest")
	stream.From(p, f.in, codec.Uint64, codec.Bytes).
		Group().
		Reduce("newest", func(_, v []byte) []byte { return v }).
		Stream().
		Map(func(v []byte) int64 { return int64(len(v)) }).
		To(f.out, codec.Int64)
	return p, nil
}

func passthrough(f flags) (*stream.Pipeline, error) {
	p := stream.NewPipeline("passthrough")
	stream.From(p, f.in, codec.Bytes, codec.Bytes).To(f.out)
	return p, nil
}

func nexmark(f flags) (*stream.Pipeline, error) {
	return queries.Pipeline(f.query, model.TopicsOf(f.prefix), f.out)
}
