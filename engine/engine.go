// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/cli"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/stream"
)

// Main runs the command line of a pipeline's own binary with the process's arguments, and exits with its code. Extra
// commands stand beside the built-in ones.
func Main(p *stream.Pipeline, extra ...*cobra.Command) {
	root := cli.Command(p)
	root.AddCommand(extra...)
	os.Exit(cli.Execute(context.Background(), root, os.Args[1:]))
}

// Option changes how Run runs a worker.
type Option func(*worker.Options)

// WithConfig gives the settings. Without it they are the defaults.
func WithConfig(cfg *config.Config) Option {
	return func(o *worker.Options) { o.Config = cfg }
}

// WithLogger gives the logger. Without it nothing is logged.
func WithLogger(log *zap.Logger) Option {
	return func(o *worker.Options) { o.Logger = log }
}

// UntilEnd makes the run a bounded one: Run returns nil when all tasks of the application have processed what the
// source topics held at its start.
func UntilEnd() Option {
	return func(o *worker.Options) { o.UntilEnd = true }
}

// OnReady is called once, when the worker's first task begins to read.
func OnReady(f func()) Option {
	return func(o *worker.Options) { o.Ready = f }
}

// App is one worker of a pipeline in this process, whose state and that of the other workers can be queried, see [StoreOf].
type App struct{ w *worker.Worker }

// New makes a worker of the pipeline. Nothing runs before Run.
func New(p *stream.Pipeline, opts ...Option) (*App, error) {
	t, err := p.Build()
	if err != nil {
		return nil, fmt.Errorf("build pipeline %s: %w", p.Name(), err)
	}
	o := worker.Options{Config: config.Default(), Topology: t}
	for _, opt := range opts {
		opt(&o)
	}
	w, err := worker.New(o)
	if err != nil {
		return nil, err
	}
	return &App{w}, nil
}

// Run runs the worker until ctx ends, which drains it and gives nil, or until it fails. It may be called once.
func (a *App) Run(ctx context.Context) error { return a.w.Run(ctx) }

// Do implements [Queries].
func (a *App) Do(ctx context.Context, q query.Query) (*query.Answer, error) {
	return a.w.Queries().Do(ctx, q)
}

// Run runs one worker of the pipeline in this process until ctx ends, which drains it and gives nil, or until it
// fails. It may be called from any goroutine; several workers of one application may run in one process if each has
// its own state directory.
func Run(ctx context.Context, p *stream.Pipeline, opts ...Option) error {
	a, err := New(p, opts...)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
