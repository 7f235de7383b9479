// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/fork"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	from, as, prefix, until string
	mute, dryRun            bool
}

func (p *program) replayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay --from NUMBER --as ID (--output-prefix PREFIX | --mute)",
		Short: "Process again from a checkpoint, as another application",
		Long: "Begins a new application from a checkpoint of this one: its state, and the input offsets that belong to it. Nothing\n" +
			"of this application changes. What the new one writes goes to topics with a prefix, which are created, or nowhere.\n" +
			"With --until end it stops when it has read what the source topics hold; without, it goes on like any worker.\n\n" +
			"Everything is checked before the first record: that the checkpoint is complete and belongs to this pipeline, that\n" +
			"the source topics are the same and still hold what follows it. --dry-run stops after that and prints the plan.\n" +
			"Pipelines with repartition topics cannot be replayed.",
		Example: p.example("replay --from latest --as replay-1 --output-prefix replay-1. --until end", "replay --from 12 --as try --mute --dry-run"),
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.replay(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "`number` of the checkpoint, or latest")
	f.StringVar(&o.as, "as", "", "`id` of the new application")
	f.StringVar(&o.prefix, "output-prefix", "", "write to topics with this `prefix`")
	f.BoolVar(&o.mute, "mute", false, "write to no topic")
	f.BoolVar(&o.dryRun, "dry-run", false, "only check, and print the plan")
	addUntil(cmd, &o.until)
	return withSettings(withOutput(cmd, "table", "json"), true)
}

func (o replayOptions) check() error {
	switch {
	case o.from == "":
		return failf(exitUsage, "--from is missing: the number of a checkpoint, or latest")
	case o.as == "":
		return failf(exitUsage, "--as is missing: the id of the new application")
	case (o.prefix == "") == !o.mute:
		return failf(exitUsage, "say where outputs go: either --output-prefix or --mute")
	}
	return nil
}

func (p *program) replay(cmd *cobra.Command, o replayOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	cfg, a, err := p.openArchive(cmd)
	if err != nil {
		return err
	}
	round, err := a.round(cmd.Context(), o.from)
	if err != nil {
		return err
	}
	own := *cfg
	own.AppID = o.as
	wo, err := p.workerOptions(cmd, &own, o.until)
	if err != nil {
		return err
	}
	if err := p.begin(cmd, o, cfg.AppID, round.Number, &own, wo.Topology); err != nil || o.dryRun {
		return err
	}
	if o.mute {
		wo.Topology = fork.Mute(wo.Topology)
	} else {
		wo.Topology = fork.Redirect(wo.Topology, o.prefix)
	}
	if err := runWorker(cmd.Context(), wo); err != nil {
		return err
	}
	say(cmd, "application %s has ended; delete what it has stored by: %s reset --app-id %s --yes %s", o.as, p.name, o.as, o.as)
	return nil
}

// plannedTask is one task in the plan that replay prints.
type plannedTask struct {
	Task          partition.TaskID           `json:"task"`
	StateBytes    int64                      `json:"stateBytes"`
	Inputs        map[string]map[int32]int64 `json:"inputs"` // where it begins
	RecordsBehind int64                      `json:"recordsBehind"`
}

// begin checks, prints the plan and, unless it is a dry run, makes the new application.
func (p *program) begin(cmd *cobra.Command, o replayOptions, origin string, round int64, own *config.Config, t *topology.Topology) error {
	ctx := cmd.Context()
	adm, err := kafka.NewAdmin(ctx, own)
	if err != nil {
		return err
	}
	defer adm.Close()
	store, err := openStore(ctx, own)
	if err != nil {
		return err
	}
	plan, err := fork.Prepare(ctx, fork.Request{Config: own, Topology: t, Store: store, Admin: adm, Origin: origin, Round: round})
	if err != nil {
		return err
	}
	tasks := []plannedTask{}
	table := newTable("TASK", "STATE", "BEHIND")
	for _, part := range plan.Parts {
		inputs := map[string]map[int32]int64{}
		for tp, at := range part.Inputs {
			if inputs[tp.Topic] == nil {
				inputs[tp.Topic] = map[int32]int64{}
			}
			inputs[tp.Topic][tp.Partition] = at
		}
		tasks = append(tasks, plannedTask{part.Task, part.Bytes, inputs, part.Behind})
		table.row(part.Task, sizeText(part.Bytes), strconv.FormatInt(part.Behind, 10)+" records")
	}
	if err := printOut(cmd, tasks, table); err != nil {
		return err
	}
	if o.dryRun {
		say(cmd, "checkpoint %d of %s can be replayed; nothing was done (--dry-run)", round, origin)
		return nil
	}
	if !o.mute {
		if err := createPrefixed(ctx, adm, t, o.prefix); err != nil {
			return err
		}
	}
	say(cmd, "replaying checkpoint %d of %s as %s", round, origin, own.AppID)
	return plan.Execute(ctx)
}

// createPrefixed creates the output topics of a replay with as many partitions as the originals have.
func createPrefixed(ctx context.Context, adm *kafka.Admin, t *topology.Topology, prefix string) error {
	outputs := userOutputs(t)
	got, err := adm.Topics(ctx, outputs)
	if err == nil {
		err = kafka.Missing(outputs, got)
	}
	if err != nil {
		return err
	}
	create := map[string]int32{}
	for name, info := range got {
		create[prefix+name] = info.Partitions
	}
	return adm.CreateTopics(ctx, create)
}
