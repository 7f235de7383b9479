// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
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
			"With --until end it stops when it has read what the source topics hold; without, it goes on like any worker. The\n" +
			"same command again goes on where the replay ended.\n\n" +
			"Everything is checked before the first record: that the checkpoint is complete and belongs to this pipeline, that\n" +
			"the source topics are the same and still hold what follows it. --dry-run checks, and prints the plan.\n" +
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

func (o replayOptions) check(app string) error {
	switch {
	case o.from == "":
		return failf(exitUsage, "--from is missing: the number of a checkpoint, or latest")
	case o.as == "":
		return failf(exitUsage, "--as is missing: the id of the new application")
	case o.as == app:
		return failf(exitUsage, "--as %s is the application itself: the new one needs an id of its own", o.as)
	case (o.prefix == "") == !o.mute:
		return failf(exitUsage, "say where outputs go: either --output-prefix or --mute")
	}
	return nil
}

func (p *program) replay(cmd *cobra.Command, o replayOptions) error {
	cfg, err := p.application(cmd)
	if err != nil {
		return err
	}
	if err := o.check(cfg.AppID); err != nil {
		return err
	}
	a, err := openArchive(cmd.Context(), cfg)
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
	if o.dryRun {
		return a.planReplay(cmd, &own, wo.Topology, round)
	}
	wo.Replay = &worker.Replay{App: cfg.AppID, Round: round.Number, Prefix: o.prefix, Mute: o.mute}
	say(cmd, "replaying checkpoint %d of %s as %s", round.Number, cfg.AppID, o.as)
	if err := runWorker(cmd.Context(), wo); err != nil {
		return err
	}
	say(cmd, "the replay has ended; what it has stored goes by: %s reset --app-id %s --yes %s", p.name, o.as, o.as)
	return nil
}

// plannedTask is one task in the plan of a replay.
type plannedTask struct {
	Task          partition.TaskID           `json:"task"`
	StateBytes    int64                      `json:"stateBytes"`
	Inputs        map[string]map[int32]int64 `json:"inputs"`        // where it begins
	RecordsBehind int64                      `json:"recordsBehind"` // from there to the present ends, markers included
}

// planReplay checks what a replay would check, and prints what it would begin with.
func (a *archive) planReplay(cmd *cobra.Command, own *config.Config, t *topology.Topology, round checkpoint.Round) error {
	ctx := cmd.Context()
	for _, s := range t.SubTopologies {
		for _, src := range s.Sources {
			if src.Internal {
				return fmt.Errorf("step %q: %w", src.Topic, worker.ErrReplayRepartition)
			}
		}
	}
	manifests, err := a.repo.CompleteManifests(ctx, a.app.Incarnation, round.Number, round.Tasks)
	if err != nil {
		return err
	}
	adm, err := kafka.NewAdmin(ctx, own)
	if err != nil {
		return err
	}
	defer adm.Close()
	begun, err := begunFrom(ctx, own)
	if err != nil {
		return err
	}
	ends, err := a.checkSources(ctx, adm, t, manifests)
	if err != nil {
		return fmt.Errorf("replay checkpoint %d of %s: %w", round.Number, a.repo.App(), err)
	}
	tasks := []plannedTask{}
	plan := newTable("TASK", "STATE", "RECORDS BEHIND")
	for _, m := range manifests {
		task := plannedTask{Task: m.Task, StateBytes: m.Bytes(), Inputs: m.Position.Inputs}
		for topic, offsets := range m.Position.Inputs {
			for n, at := range offsets {
				task.RecordsBehind += max(0, ends[partition.TopicPartition{Topic: topic, Partition: n}]-at)
			}
		}
		tasks = append(tasks, task)
		plan.row(m.Task, sizeText(task.StateBytes), task.RecordsBehind)
	}
	if err := printOut(cmd, tasks, plan); err != nil {
		return err
	}
	if begun != "" {
		say(cmd, "application %s exists already, begun from %s: a replay of the same checkpoint would go on, any other is refused", own.AppID, begun)
	}
	say(cmd, "checkpoint %d of %s can be replayed; nothing was done (--dry-run)", round.Number, a.repo.App())
	return nil
}

// begunFrom says how an application began, "" if there is none.
func begunFrom(ctx context.Context, cfg *config.Config) (string, error) {
	store, err := openStore(ctx, cfg)
	if err != nil {
		return "", err
	}
	rec, err := checkpoint.NewRepository(store, cfg.AppID).LoadApplication(ctx)
	switch {
	case errors.Is(err, checkpoint.ErrMissing):
		return "", nil
	case err != nil:
		return "", err
	case rec.Origin == "":
		return "", fmt.Errorf("application %s: %w: it is no replay", cfg.AppID, worker.ErrReplayTaken)
	}
	return rec.Origin, nil
}

// checkSources proves that the source topics are those of the checkpoint and hold what follows it. It returns their
// ends.
func (a *archive) checkSources(ctx context.Context, adm *kafka.Admin, t *topology.Topology, manifests []checkpoint.Manifest) (map[partition.TopicPartition]int64, error) {
	sources := userSources(t)
	got, err := adm.Topics(ctx, sources)
	if err == nil {
		err = kafka.Missing(sources, got)
	}
	if err != nil {
		return nil, err
	}
	var obstacles []error
	for _, name := range sources {
		if was := a.app.TopicIDs[name]; was != "" && was != got[name].ID {
			obstacles = append(obstacles, fmt.Errorf("source topic %s: %w since the checkpoint", name, kafka.ErrTopicGone))
		}
	}
	starts, err := adm.StartOffsets(ctx, sources...)
	if err != nil {
		return nil, err
	}
	for _, m := range manifests {
		for topic, offsets := range m.Position.Inputs {
			for n, at := range offsets {
				tp := partition.TopicPartition{Topic: topic, Partition: n}
				if start, ok := starts[tp]; !ok || at < start {
					obstacles = append(obstacles, fmt.Errorf("%v at %d: %w: it begins at %d", tp, at, kafka.ErrOffsetExpired, start))
				}
			}
		}
	}
	if len(obstacles) > 0 {
		return nil, errors.Join(obstacles...)
	}
	return adm.EndOffsets(ctx, sources...)
}
