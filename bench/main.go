// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json/v2"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "bench", Short: "Measure the engine on a real broker", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(keyedCountCommand(), nexmarkCommand(), latencyCommand(), memoryCommand(), checkpointCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// common are the flags of every measurement.
type common struct {
	brokers    string
	partitions int32
	keys       uint64
	size       int
	output     string
}

func (c *common) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&c.brokers, "brokers", "", "broker to use; without it one is started for the run")
	fs.Int32Var(&c.partitions, "partitions", 4, "partitions of each topic")
	fs.StringVarP(&c.output, "output", "o", "table", "table or json")
}

// recordFlags are the flags of measurements with records of our own.
func (c *common) recordFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.Uint64Var(&c.keys, "keys", 1_000_000, "number of different keys")
	fs.IntVar(&c.size, "size", 100, "bytes of a record's value")
}

// bench is one run of the command: a broker and a folder.
type bench struct {
	common
	dir    string
	broker *kafkabroker.Broker
	watch  func(out string, p *process) // if set, runs beside an engine until that ends
}

// open starts a broker where none is given. The returned function ends it.
func (c common) open(ctx context.Context, options ...kafkabroker.Option) (*bench, func(), error) {
	dir, err := os.MkdirTemp("", "streamd-bench-")
	if err != nil {
		return nil, nil, err
	}
	b := &bench{common: c, dir: dir}
	if c.brokers != "" {
		return b, func() { os.RemoveAll(dir) }, nil
	}
	say("starting a broker")
	if b.broker, err = kafkabroker.StartProcess(ctx, filepath.Join(dir, "kafka"), 0, options...); err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	b.brokers = b.broker.Addr()
	return b, func() {
		if err := b.broker.Stop(); err != nil {
			say("stop the broker: %v", err)
		}
		os.RemoveAll(dir)
	}, nil
}

// engine builds bench/worker and returns its path.
func (b *bench) engine(ctx context.Context) (string, error) { return b.build(ctx, "streamd", "worker") }

// build compiles a command below bench and returns its path.
func (b *bench) build(ctx context.Context, name, folder string) (string, error) {
	path := filepath.Join(b.dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/streamd/streamd/bench/"+folder)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build bench/%s (run bench in the checkout): %w", folder, err)
	}
	return path, nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func printJSON(v any) error {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

// unique names something of this run.
func unique(what string) string { return fmt.Sprintf("%s-%d", what, time.Now().UnixNano()%1e12) }
