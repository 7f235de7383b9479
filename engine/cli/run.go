// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/worker"
)

func (p *program) runCommand() *cobra.Command {
	var until string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run one worker of the pipeline",
		Long: "Runs one worker. Start it as often as you like, on any machines: the workers share the pipeline's tasks, and take\n" +
			"over from one another when one goes. SIGTERM or Ctrl-C drains the worker: it commits, stores a\n" +
			"checkpoint if its successors would have to replay much, leaves the group and exits with 0, within drain.timeout.\n" +
			"A second one ends it at once, which loses nothing either.\n\n" +
			"With --until end the run is bounded: it reads to what the source topics hold when it starts, through all steps,\n" +
			"and exits with 0.",
		Example: p.example("run --brokers kafka:9092 --store-url s3://bucket/streamd", "run --config streamd.yaml --until end"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.settings(cmd)
			if err != nil {
				return err
			}
			o, err := p.workerOptions(cmd, cfg, until)
			if err != nil {
				return err
			}
			return runWorker(cmd.Context(), o)
		},
	}
	addUntil(cmd, &until)
	return withSettings(cmd, true)
}

func addUntil(cmd *cobra.Command, until *string) {
	cmd.Flags().StringVar(until, "until", "", "`end`: process what the source topics hold now, then exit")
}

// workerOptions compiles the pipeline and opens the log.
func (p *program) workerOptions(cmd *cobra.Command, cfg *config.Config, until string) (worker.Options, error) {
	if until != "" && until != "end" {
		return worker.Options{}, failf(exitUsage, "--until %s is not known: the only bound is end", until)
	}
	if err := cfg.Validate(); err != nil {
		return worker.Options{}, err
	}
	t, err := p.topology()
	if err != nil {
		return worker.Options{}, err
	}
	log, err := newLogger(cfg, cmd.ErrOrStderr())
	if err != nil {
		return worker.Options{}, err
	}
	return worker.Options{Config: cfg, Topology: t, Logger: log, UntilEnd: until == "end"}, nil
}

// runWorker runs a worker until it has ended by itself or, when ctx ends, by a drain.
func runWorker(ctx context.Context, o worker.Options) error {
	w, err := worker.New(o)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
