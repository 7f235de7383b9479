// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
)

func (p *program) savepointCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:   "savepoint",
		Short: "Keep checkpoints by name",
		Long: "A savepoint is a complete checkpoint that is kept until it is deleted by name. An application can be forked from it,\n" +
			"replayed from it, and rolled back to it.",
		Example: p.example("savepoint create before-release", "savepoint list"),
	}, p.savepointCreate(), p.savepointList(), p.savepointShow(), p.savepointDelete(), p.savepointExport(), p.savepointImport())
}

// savepointOptions are the flags of savepoint create.
type savepointOptions struct {
	of, note, by string
	stop         bool
}

func (p *program) savepointCreate() *cobra.Command {
	var o savepointOptions
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Take a checkpoint and keep it under a name",
		Long: "Begins a checkpoint, waits until all tasks have stored their part, and keeps it under the name. The application\n" +
			"goes on processing. With --stop every task stops at its cut instead, and the workers end: nothing is emitted beyond\n" +
			"the savepoint. Workers that start afterwards wait until resume lets the application go on.\n\n" +
			"With --of a checkpoint that there is already is kept; no worker need run for that.",
		Example: p.example("savepoint create before-release --note 'before 2.0'", "savepoint create end-of-day --stop", "savepoint create good --of 12"),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			return a.createSavepoint(cmd, names[0], o)
		},
	}
	cmd.Flags().StringVar(&o.of, "of", "", cutHelp)
	cmd.Flags().StringVar(&o.note, "note", "", "what it is for")
	cmd.Flags().StringVar(&o.by, "by", userName(), "who made it")
	cmd.Flags().BoolVar(&o.stop, "stop", false, "stop the application at the savepoint")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 10*time.Minute), false)
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	host, err := os.Hostname()
	if err != nil {
		return u.Username
	}
	return u.Username + "@" + host
}

func (a *archive) createSavepoint(cmd *cobra.Command, name string, o savepointOptions) error {
	ctx := cmd.Context()
	if err := checkpoint.CheckID(name); err != nil {
		return failf(exitUsage, "%w", err)
	}
	if o.of != "" && o.stop {
		return failf(exitUsage, "--stop and --of exclude each other: an application can only stop at a new checkpoint")
	}
	if o.of != "" {
		return a.keep(cmd, name, o)
	}
	life := a.app.Incarnation
	saved, err := a.repo.RequestRound(ctx, checkpoint.RoundRequest{
		Incarnation: life, How: o.how(), Name: name, By: o.by, Note: o.note,
		Begun:  func(n int64) { say(cmd, "checkpoint %d of %s has begun", n, a.repo.App()) },
		Stored: func(_ int64, tasks int) { say(cmd, "  %d tasks have stored their part", tasks) },
	})
	if err != nil {
		return err
	}
	if err := printSavepoints(cmd, []checkpoint.LifeSavepoint{{Savepoint: saved, Life: life}}); err != nil {
		return err
	}
	if o.stop {
		say(cmd, "application %s is halted at savepoint %s; it goes on after: resume --app-id %s", a.repo.App(), name, a.repo.App())
	}
	return nil
}

func (o savepointOptions) how() checkpoint.How {
	if o.stop {
		return checkpoint.Halt
	}
	return checkpoint.GoOn
}

// keep keeps a checkpoint that there is already.
func (a *archive) keep(cmd *cobra.Command, name string, o savepointOptions) error {
	from, err := a.cut(cmd.Context(), o.of)
	if err != nil {
		return err
	}
	s := checkpoint.Savepoint{Name: name, Round: from.Round, Created: time.Now(), By: o.by, Note: o.note}
	if err := a.repo.CreateSavepoint(cmd.Context(), from.Incarnation, s); err != nil {
		return err
	}
	return printSavepoints(cmd, []checkpoint.LifeSavepoint{{Savepoint: s, Life: from.Incarnation}})
}

func printSavepoints(cmd *cobra.Command, all []checkpoint.LifeSavepoint) error {
	t := newTable("NAME", "LIFE", "CHECKPOINT", "CREATED", "BY", "NOTE")
	for _, s := range all {
		t.row(s.Name, s.Life, s.Round, timeText(s.Created), dash(s.By), s.Note)
	}
	return printOut(cmd, all, t)
}

func (p *program) savepointList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the savepoints of an application",
		Example: p.example("savepoint list --app-id flights"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			all := []checkpoint.LifeSavepoint{}
			for s, err := range a.repo.LifeSavepoints(cmd.Context(), a.app.Incarnation) {
				if err != nil {
					return err
				}
				all = append(all, s)
			}
			return printSavepoints(cmd, all)
		},
	}
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Minute), false)
}

// findSavepoint looks for a savepoint in a life, then in those before it. If there is none it returns the names that there are.
func (a *archive) findSavepoint(ctx context.Context, life int, name string) (*checkpoint.LifeSavepoint, []string, error) {
	var names []string
	for s, err := range a.repo.LifeSavepoints(ctx, life) {
		if err != nil {
			return nil, nil, err
		}
		if s.Name == name {
			return &s, nil, nil
		}
		names = append(names, s.Name)
	}
	return nil, names, nil
}

// savepoint finds a savepoint by its name, in the newest life first.
func (a *archive) savepoint(ctx context.Context, name string) (checkpoint.LifeSavepoint, error) {
	s, names, err := a.findSavepoint(ctx, a.app.Incarnation, name)
	if err != nil {
		return checkpoint.LifeSavepoint{}, err
	}
	if s == nil {
		return checkpoint.LifeSavepoint{}, failf(exitNotFound, "application %s has no savepoint %q%s", a.repo.App(), name, didYouMean(name, names))
	}
	return *s, nil
}

// savepointDetail is the output of savepoint show.
type savepointDetail struct {
	checkpoint.LifeSavepoint
	Tasks       int                        `json:"tasks"`
	StateBytes  int64                      `json:"stateBytes"`
	InFlight    int64                      `json:"inFlight"`    // records
	Fingerprint string                     `json:"fingerprint"` // of the topology
	Inputs      map[string]map[int32]int64 `json:"inputs"`      // next offset by topic and partition
}

func (p *program) savepointShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show what a savepoint holds",
		Example: p.example("savepoint show before-release"),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			d, err := a.detail(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return d.print(cmd)
		},
	}
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Minute), false)
}

func (a *archive) detail(ctx context.Context, name string) (savepointDetail, error) {
	s, err := a.savepoint(ctx, name)
	if err != nil {
		return savepointDetail{}, err
	}
	cut, err := a.repo.LoadCut(ctx, s.Life, s.Round)
	if err != nil {
		return savepointDetail{}, err
	}
	d := savepointDetail{LifeSavepoint: s, Tasks: len(cut.Manifests), InFlight: cut.InFlight(), Inputs: map[string]map[int32]int64{}}
	for _, m := range cut.Manifests {
		d.StateBytes += m.Bytes()
		d.Fingerprint = m.Fingerprint
		for topic, offsets := range m.Position.Inputs {
			for n, at := range offsets {
				if d.Inputs[topic] == nil {
					d.Inputs[topic] = map[int32]int64{}
				}
				d.Inputs[topic][n] = at
			}
		}
	}
	return d, nil
}

func (d savepointDetail) print(cmd *cobra.Command) error {
	t := newTable("FIELD", "VALUE")
	t.row("name", d.Name)
	t.row("life", d.Life)
	t.row("checkpoint", d.Round)
	t.row("created", timeText(d.Created))
	t.row("by", dash(d.By))
	t.row("note", dash(d.Note))
	t.row("tasks", d.Tasks)
	t.row("state", sizeText(d.StateBytes))
	t.row("records in flight", d.InFlight)
	var topics []string
	for topic := range d.Inputs {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	for _, topic := range topics {
		var offsets []string
		for n := range int32(len(d.Inputs[topic])) {
			offsets = append(offsets, fmt.Sprint(d.Inputs[topic][n]))
		}
		t.row("offsets of "+topic, strings.Join(offsets, " "))
	}
	return printOut(cmd, d, t)
}

func (p *program) savepointDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Let go of a savepoint",
		Long: "Deletes the name. The checkpoint goes by the next garbage collection, unless it is among the newest, or an\n" +
			"application that was forked from it still needs its objects.",
		Example: p.example("savepoint delete before-release"),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			s, err := a.savepoint(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			if err := a.repo.DeleteSavepoint(cmd.Context(), s.Life, s.Name); err != nil {
				return err
			}
			say(cmd, "savepoint %s of %s is deleted", s.Name, a.repo.App())
			return nil
		},
	}
	return withSettings(withTimeout(cmd, time.Minute), false)
}

func (p *program) resumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Let an application go on that was stopped at a savepoint",
		Long: "Ends the halt of savepoint create --stop. Workers that wait begin at once, others when they are started. They go on\n" +
			"exactly where the application stopped.",
		Example: p.example("resume --app-id flights"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			return a.resume(cmd)
		},
	}
	return withSettings(withTimeout(cmd, time.Minute), false)
}

func (a *archive) resume(cmd *cobra.Command) error {
	n, err := a.repo.EndHalt(cmd.Context(), a.app.Incarnation)
	if err != nil {
		return err
	}
	say(cmd, "application %s may go on from checkpoint %d", a.repo.App(), n)
	return nil
}
