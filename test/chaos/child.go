// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/worker"
)

// childEnv makes the process a worker; its value is the number of groups. The settings come from the environment
// like those of any worker.
const childEnv = "CHAOS_WORKER"

// child runs one worker until SIGTERM, or until the parent is gone: then standard input ends.
func child(groups string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, orphaned := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends, in whatever way, when the parent has
		orphaned()
	}()
	if err := runChild(ctx, groups); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

func runChild(ctx context.Context, groups string) error {
	n, err := strconv.ParseUint(groups, 10, 64)
	if err != nil {
		return fmt.Errorf("read %s: %w", childEnv, err)
	}
	cfg, err := config.Load(config.Sources{Environ: os.Environ()}) // the parent has left nothing in it but settings
	if err != nil {
		return err
	}
	t, err := pipeline(n).Build()
	if err != nil {
		return err
	}
	log, err := zap.NewProduction()
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{Config: cfg, Topology: t, Logger: log})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
