// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/worker"
)

// lifeOptions are the flags of commands that begin a life of an application from a checkpoint.
type lifeOptions struct {
	from, as, prefix string
	mute, dryRun     bool
}

func (o *lifeOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", cutHelp)
	f.StringVar(&o.as, "as", "", "`id` of the new application")
	f.StringVar(&o.prefix, "prefix", "", "write to output topics with this `prefix`, which are created")
	f.BoolVar(&o.mute, "mute", false, "write to no output topic")
	f.BoolVar(&o.dryRun, "dry-run", false, "only check, and print what it would begin with")
}

func (o *lifeOptions) outputs() checkpoint.Outputs {
	return checkpoint.Outputs{Prefix: o.prefix, Muted: o.mute}
}

// check is for commands that begin another application.
func (o *lifeOptions) check(app string) error {
	switch {
	case o.from == "":
		return failf(exitUsage, "--from is missing: the number of a checkpoint, a savepoint, or latest")
	case o.as == "":
		return failf(exitUsage, "--as is missing: the id of the new application")
	case o.as == app:
		return failf(exitUsage, "--as %s is the application itself: the new one needs an id of its own", o.as)
	case (o.prefix == "") == !o.mute:
		return failf(exitUsage, "say where outputs go: either --prefix or --mute")
	}
	return nil
}

func (p *program) forkCommand() *cobra.Command {
	var o lifeOptions
	cmd := &cobra.Command{
		Use:   "fork --from CHECKPOINT --as ID (--prefix PREFIX | --mute)",
		Short: "Begin another application from a checkpoint of this one",
		Long: "Begins a new application with the state of the checkpoint, the records that were between its stages, and the input\n" +
			"offsets that belong to them. Nothing of this application changes, and no state is copied: the new one goes on with\n" +
			"the same objects. What it writes goes to topics with a prefix, which are created, or nowhere. Its workers are\n" +
			"started like any others, with --app-id; they know where its outputs go.\n\n" +
			"Everything is checked before anything is written: that the checkpoint is complete and this pipeline can read it,\n" +
			"that the source topics are the same and still hold what follows. The same command again goes on after a failure.",
		Example: p.example("fork --from latest --as try --prefix try.", "fork --from before-release --as try --mute --dry-run"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, wo, err := p.forkOptions(cmd, o, "")
			if err != nil {
				return err
			}
			if err := begin(cmd, cfg, wo, worker.Life{Outputs: o.outputs()}, o); err != nil || o.dryRun {
				return err
			}
			say(cmd, "start its workers with: %s run --app-id %s", p.name, o.as)
			return nil
		},
	}
	o.addTo(cmd)
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 0), false)
}

// forkOptions returns the configuration of the application, and the worker options of the one that is to be forked from it.
func (p *program) forkOptions(cmd *cobra.Command, o lifeOptions, until string) (*config.Config, worker.Options, error) {
	cfg, err := p.application(cmd)
	if err != nil {
		return nil, worker.Options{}, err
	}
	if err := o.check(cfg.AppID); err != nil {
		return nil, worker.Options{}, err
	}
	own := *cfg
	own.AppID = o.as
	wo, err := p.workerOptions(cmd, &own, until)
	return cfg, wo, err
}

// begin begins a life of the application of the worker options from a checkpoint of that of cfg, and prints it.
func begin(cmd *cobra.Command, cfg *config.Config, wo worker.Options, life worker.Life, o lifeOptions) error {
	a, err := openArchive(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if life.From, err = a.cut(cmd.Context(), o.from); err != nil {
		return err
	}
	b, err := worker.Begin(cmd.Context(), wo, life, o.dryRun)
	if err != nil {
		return err
	}
	return printBeginning(cmd, b, o.dryRun)
}

func (p *program) rollbackCommand() *cobra.Command {
	var to, yes string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rollback --to CHECKPOINT",
		Short: "Set a stopped application back to a checkpoint",
		Long: "Begins another life of the application with the state, the input offsets and the records between its stages that\n" +
			"the checkpoint holds. Workers that start afterwards go on from there. What the application has written since stays\n" +
			"in the output topics, and is written again: readers see it twice.\n\n" +
			"Stop all workers first. Everything is checked before anything is written. Checkpoints of the life before are kept,\n" +
			"so a rollback can be taken back: --to 1/17 is checkpoint 17 of the first life.",
		Example: p.example("rollback --to 12 --dry-run", "rollback --to before-release --yes flights"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.application(cmd)
			if err != nil {
				return err
			}
			switch {
			case to == "":
				return failf(exitUsage, "--to is missing: the number of a checkpoint, a savepoint, or latest")
			case !dryRun && yes != cfg.AppID:
				return failf(exitPrecondition, "rollback sets application %s back and has it write outputs again: say --yes %s, or look first with --dry-run", cfg.AppID, cfg.AppID)
			}
			wo, err := p.workerOptions(cmd, cfg, "")
			if err != nil {
				return err
			}
			return begin(cmd, cfg, wo, worker.Life{Rollback: true}, lifeOptions{from: to, dryRun: dryRun})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", cutHelp)
	cmd.Flags().StringVar(&yes, "yes", "", "the application's `id`, typed to confirm")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only check, and print what it would begin with")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 0), false)
}

func (p *program) rescaleCommand() *cobra.Command {
	var o lifeOptions
	var partitions int32
	var yes string
	cmd := &cobra.Command{
		Use:   "rescale --from CHECKPOINT [--partitions N]",
		Short: "Begin anew from a checkpoint with other numbers of tasks",
		Long: "Divides the state of a checkpoint, its timers, and the records between the stages by their keys among other numbers\n" +
			"of tasks, and begins another life of the application with it; with --as another application. --partitions is how\n" +
			"many partitions the repartition topics get. Stages that read a topic of yours have as many tasks as that topic has\n" +
			"partitions.\n\n" +
			"To add partitions to a source topic: stop its producers, let the application read everything, take a savepoint with\n" +
			"--stop, add the partitions, rescale from the savepoint, and start the workers and producers again. A rescale is\n" +
			"refused while unread records lie where their keys no longer lead, and while workers run.",
		Example: p.example("rescale --from before --partitions 8 --dry-run", "rescale --from before --partitions 8 --yes flights", "rescale --from 12 --partitions 8 --as try --mute"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.application(cmd)
			if err != nil {
				return err
			}
			own, life := *cfg, worker.Life{Rescale: true, Partitions: partitions}
			switch {
			case partitions < 0:
				return failf(exitUsage, "--partitions %d: a topic has at least one", partitions)
			case o.from == "":
				return failf(exitUsage, "--from is missing: the number of a checkpoint, a savepoint, or latest")
			case o.as != "":
				if err := o.check(cfg.AppID); err != nil {
					return err
				}
				own.AppID, life.Outputs = o.as, o.outputs()
			case !o.dryRun && yes != cfg.AppID:
				return failf(exitPrecondition, "rescale begins another life of application %s, which writes again what it has written since the checkpoint: say --yes %s, or look first with --dry-run", cfg.AppID, cfg.AppID)
			default:
				life.Rollback = true
			}
			wo, err := p.workerOptions(cmd, &own, "")
			if err != nil {
				return err
			}
			return begin(cmd, cfg, wo, life, o)
		},
	}
	o.addTo(cmd)
	cmd.Flags().Int32Var(&partitions, "partitions", 0, "`number` of partitions of the repartition topics; 0: as many as they have")
	cmd.Flags().StringVar(&yes, "yes", "", "the application's `id`, typed to confirm")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 0), false)
}

// printBeginning shows what a life begins with.
func printBeginning(cmd *cobra.Command, b worker.Beginning, dryRun bool) error {
	t := newTable("TASK", "STATE", "IN FLIGHT", "RECORDS BEHIND")
	for _, task := range b.Tasks {
		t.row(task.Task, sizeText(task.StateBytes), task.InFlight, task.Behind)
	}
	if err := printOut(cmd, b, t); err != nil {
		return err
	}
	for _, r := range b.Rescaled {
		switch {
		case r.From == 0:
			say(cmd, "sub-topology %d is new: its %d tasks begin empty", r.SubTopology, r.To)
		case r.From != r.To:
			say(cmd, "sub-topology %d: %d tasks become %d", r.SubTopology, r.From, r.To)
		}
	}
	life := fmt.Sprintf("application %s (life %d) from %s", b.App, b.Incarnation, b.From)
	switch {
	case dryRun && b.Resumed:
		say(cmd, "%s has begun already and would go on; nothing was done (--dry-run)", life)
	case dryRun:
		say(cmd, "%s can begin; nothing was done (--dry-run)", life)
	case b.Resumed:
		say(cmd, "%s had begun already", life)
	default:
		say(cmd, "begun: %s", life)
	}
	return nil
}
