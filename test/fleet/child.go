// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/stream"
)

// Child runs one worker of a pipeline until SIGTERM, or until the parent is gone: then standard input ends. With untilEnd
// it also ends with the input. The settings are those of the environment. It returns the exit code.
func Child(p *stream.Pipeline, untilEnd bool) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, orphaned := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends, in whatever way, when the parent has
		orphaned()
	}()
	if err := work(ctx, p, untilEnd); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

func work(ctx context.Context, p *stream.Pipeline, untilEnd bool) error {
	cfg, err := config.Load(config.Sources{Environ: os.Environ()}) // the parent has left nothing in it but settings
	if err != nil {
		return err
	}
	t, err := p.Build()
	if err != nil {
		return err
	}
	log, err := zap.NewProduction()
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{Config: cfg, Topology: t, Logger: log, UntilEnd: untilEnd})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
