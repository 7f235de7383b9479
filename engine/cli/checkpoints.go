// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/partition"
)

func (p *program) checkpointsCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:     "checkpoints",
		Short:   "List, show, verify and compare checkpoints",
		Example: p.example("checkpoints list", "checkpoints verify 12", "checkpoints diff 11 12"),
	}, p.checkpointsListCommand(), p.checkpointsShowCommand(), p.checkpointsVerifyCommand(), p.checkpointsDiffCommand())
}

// archive is an application's checkpoints: those of its present life.
type archive struct {
	repo *checkpoint.Repository
	app  checkpoint.Application
}

// openArchive opens the checkpoints of the configured application.
func (p *program) openArchive(cmd *cobra.Command) (*config.Config, *archive, error) {
	cfg, err := p.settings(cmd)
	if err != nil {
		return nil, nil, err
	}
	if cfg.AppID == "" {
		return nil, nil, failf(exitUsage, "which application? name it by --app-id")
	}
	a, err := openArchive(cmd.Context(), cfg)
	return cfg, a, err
}

func openArchive(ctx context.Context, cfg *config.Config) (*archive, error) {
	store, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if store == nil {
		return nil, failf(exitUsage, "where are the checkpoints? name the object store by --store-url")
	}
	repo := checkpoint.NewRepository(store, cfg.AppID)
	app, err := repo.LoadApplication(ctx)
	if errors.Is(err, checkpoint.ErrMissing) {
		return nil, failf(exitNotFound, "there is no application %s in this object store: %w", cfg.AppID, err)
	}
	if err != nil {
		return nil, err
	}
	return &archive{repo, app}, nil
}

// round finds a round by what the user calls it, whether it is complete or not, with the life that it is of. "" is latest.
func (a *archive) round(ctx context.Context, name string) (checkpoint.Application, checkpoint.Round, error) {
	from, r, err := a.named(ctx, cmp.Or(name, "latest"))
	if err != nil || from.Incarnation == a.app.Incarnation {
		return a.app, r, err
	}
	life, err := a.repo.LoadLife(ctx, from.Incarnation)
	return life, r, err
}

// roundInfo is one checkpoint of the whole application in the output.
type roundInfo struct {
	Number    int64     `json:"number"`
	Complete  bool      `json:"complete"`
	Started   time.Time `json:"started"`
	Completed time.Time `json:"completed,omitzero"`
	Tasks     int       `json:"tasks"`
}

func (p *program) checkpointsListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the checkpoints of an application, oldest first",
		Long:    "A checkpoint is complete when every task has stored its part; only a complete one can be replayed from. A task\nrecovers from its own part of any.",
		Example: p.example("checkpoints list", "checkpoints list -o json"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			rounds := []roundInfo{}
			t := newTable("NUMBER", "COMPLETE", "STARTED", "COMPLETED", "TASKS")
			for r, err := range a.repo.Rounds(cmd.Context(), a.app.Incarnation) {
				if err != nil {
					return err
				}
				rounds = append(rounds, roundInfo{r.Number, r.Complete, r.Started, r.Completed, len(r.Tasks)})
				t.row(r.Number, r.Complete, timeText(r.Started), timeText(r.Completed), len(r.Tasks))
			}
			return printOut(cmd, rounds, t)
		},
	}
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Minute), false)
}

// taskInfo is one task's part of a checkpoint.
type taskInfo struct {
	Task       partition.TaskID           `json:"task"`
	Epoch      uint64                     `json:"epoch"`
	Changelog  int64                      `json:"changelogOffset"`
	Files      int                        `json:"files"`
	Bytes      int64                      `json:"bytes"`
	Generation string                     `json:"generation"`
	Created    time.Time                  `json:"created"`
	Inputs     map[string]map[int32]int64 `json:"inputs"`
	Stores     map[string][]string        `json:"stores,omitempty"` // name to codecs of key, sub-key, and value, oldest first
}

func (p *program) checkpointsShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show [CHECKPOINT]",
		Short:   "Show what each task has stored in a checkpoint",
		Example: p.example("checkpoints show", "checkpoints show 12 -o json"),
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			manifests, err := a.manifests(cmd.Context(), first(names))
			if err != nil {
				return err
			}
			var tasks []taskInfo
			t := newTable("TASK", "EPOCH", "CHANGELOG", "FILES", "SIZE", "CREATED")
			for _, m := range manifests {
				tasks = append(tasks, taskInfo{m.Task, m.Position.Epoch, m.Position.ChangelogOffset, len(m.Files), m.Bytes(),
					m.Generation, m.Created, m.Position.Inputs, m.Codecs})
				t.row(m.Task, m.Position.Epoch, m.Position.ChangelogOffset, len(m.Files), sizeText(m.Bytes()), timeText(m.Created))
			}
			return printOut(cmd, tasks, t)
		},
	}
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Minute), false)
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// manifests returns the manifests of a round, by task.
func (a *archive) manifests(ctx context.Context, round string) ([]checkpoint.Manifest, error) {
	life, r, err := a.round(ctx, round)
	if err != nil {
		return nil, err
	}
	var all []checkpoint.Manifest
	for _, task := range r.Tasks {
		m, err := a.repo.Manifest(ctx, life.Incarnation, r.Number, task)
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d: %w", r.Number, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// verification is what checkpoints verify found.
type verification struct {
	Number   int64              `json:"number"`
	Complete bool               `json:"complete"`
	Damaged  bool               `json:"damaged"`
	Tasks    []taskVerification `json:"tasks"`
}

type taskVerification struct {
	Task     partition.TaskID `json:"task"`
	Files    int              `json:"files"`
	Bytes    int64            `json:"bytes"`
	Problems []string         `json:"problems,omitempty"`
}

func (p *program) checkpointsVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "verify [CHECKPOINT]",
		Short:   "Read a checkpoint whole and check every hash",
		Long:    "Downloads every object of the checkpoint as a restore would, compares sizes and SHA-256, and writes nothing.\nExit code 1 if something is damaged.",
		Example: p.example("checkpoints verify", "checkpoints verify 12 --timeout 1h"),
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			life, round, err := a.round(cmd.Context(), first(names))
			if err != nil {
				return err
			}
			report, err := a.repo.Verify(cmd.Context(), life.Incarnation, round.Number)
			if err != nil {
				return err
			}
			v := verification{Number: report.Round, Complete: report.Complete, Damaged: report.Damaged(), Tasks: []taskVerification{}}
			t := newTable("TASK", "FILES", "SIZE", "RESULT")
			for _, task := range report.Tasks {
				tv := taskVerification{Task: task.Task, Files: task.Files, Bytes: task.Bytes}
				result := "ok"
				for _, problem := range task.Problems {
					tv.Problems = append(tv.Problems, problem.Error())
					result = "damaged: " + problem.Error()
				}
				if len(task.Problems) > 1 {
					result += fmt.Sprintf(" (and %d more)", len(task.Problems)-1)
				}
				v.Tasks = append(v.Tasks, tv)
				t.row(task.Task, task.Files, sizeText(task.Bytes), result)
			}
			if err := printOut(cmd, v, t); err != nil {
				return err
			}
			if v.Damaged {
				return fmt.Errorf("checkpoint %d is damaged: recovery falls back to the one before it", v.Number)
			}
			return nil
		},
	}
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Hour), false)
}
