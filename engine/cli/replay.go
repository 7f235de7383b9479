// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/worker"
)

func (p *program) replayCommand() *cobra.Command {
	var o lifeOptions
	var at breakOptions
	var until string
	cmd := &cobra.Command{
		Use:   "replay --from CHECKPOINT --as ID (--prefix PREFIX | --mute)",
		Short: "Process again from a checkpoint, as another application",
		Long: "Forks the application (see fork) and runs a worker of the fork here. With --until end it stops when it has read\n" +
			"what the source topics hold; without, it goes on like any worker. The same command again goes on where the replay\n" +
			"ended.\n\n" +
			"With --break it stops before records and prints what each of them does: the entries that it changes, before and\n" +
			"after, what it emits, and the watermark of its task. On a terminal it asks how to go on; else it goes on by itself.",
		Example: p.example("replay --from latest --as replay-1 --prefix replay-1. --until end", "replay --from 12 --as try --mute --dry-run",
			"replay --from 12 --as try --mute --break key=alice --break orders/3@1177"),
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, wo, err := p.forkOptions(cmd, o, until)
			if err != nil {
				return err
			}
			d, err := newDebugger(cmd, wo.Topology, at)
			if err != nil {
				return err
			}
			if err := begin(cmd, cfg, wo, worker.Life{Outputs: o.outputs()}, o); err != nil || o.dryRun {
				return err
			}
			ctx, quit := context.WithCancel(cmd.Context())
			defer quit()
			if d != nil {
				d.quit = quit
				wo.Debug = &worker.Debug{Match: d.match, Step: d.stepped}
			}
			if err := runWorker(ctx, wo); err != nil {
				return err
			}
			say(cmd, "the replay has ended; what it has stored goes by: %s reset --app-id %s --yes %s", p.name, o.as, o.as)
			return nil
		},
	}
	o.addTo(cmd)
	at.addTo(cmd)
	addUntil(cmd, &until)
	return withSettings(withOutput(cmd, "table", "json"), true)
}
