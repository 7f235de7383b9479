// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
)

func (p *program) gcCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete checkpoints that are superseded, and objects that nothing refers to",
		Long: "Workers do this by themselves after each checkpoint; the command is for applications that do not run, and to see\n" +
			"what is kept and why. It keeps what the application's workers keep, unless --checkpoints-kept or\n" +
			"--checkpoints-kept-for say otherwise, and never what a savepoint or a fork needs.\n\n" +
			fmt.Sprintf("Objects go in two steps: condemned by one run, deleted by one that is at least %s later, by whoever.", graceText()),
		Example: p.example("gc --dry-run", "gc -o json"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			if cfg.CheckpointsKept < 1 || cfg.CheckpointsKeptFor < 0 {
				return failf(exitUsage, "checkpoints.kept is at least 1, and checkpoints.kept-for is not negative")
			}
			keep, err := a.retention(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			done, err := a.collect(cmd.Context(), keep, dryRun)
			if errors.Is(err, checkpoint.ErrSuperseded) {
				return failf(exitPrecondition, "a worker, or another gc, has begun to collect meanwhile; nothing is lost, and this may be repeated: %w", err)
			}
			if err != nil {
				return err
			}
			return printCollected(cmd, done, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only look, and print what would be done; nothing is written to the object store")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Hour), false)
}

func graceText() string { return strings.TrimSuffix(checkpoint.DefaultGrace.String(), "0m0s") }

// retention is what the workers keep, as far as they have said so and no setting says otherwise.
func (a *archive) retention(ctx context.Context, cfg *config.Config) (checkpoint.Retention, error) {
	keep := checkpoint.Retention{Kept: cfg.CheckpointsKept, KeptFor: cfg.CheckpointsKeptFor}
	recorded, ok, err := a.repo.Retention(ctx)
	if err != nil || !ok {
		return keep, err
	}
	if cfg.IsDefault("checkpoints.kept") {
		keep.Kept = recorded.Kept
	}
	if cfg.IsDefault("checkpoints.kept-for") {
		keep.KeptFor = recorded.KeptFor
	}
	return keep, nil
}

func (a *archive) collect(ctx context.Context, keep checkpoint.Retention, dryRun bool) (checkpoint.Collected, error) {
	if dryRun {
		return a.repo.Preview(ctx, keep)
	}
	c, err := a.repo.Claim(ctx, "gc by "+userName(), keep)
	if err != nil {
		return checkpoint.Collected{}, err
	}
	return c.Collect(ctx)
}

func printCollected(cmd *cobra.Command, done checkpoint.Collected, dryRun bool) error {
	t := newTable("LIFE", "CHECKPOINT", "RESULT", "WHY")
	for _, l := range done.Lives {
		for _, n := range l.Dropped {
			t.row(l.Incarnation, n, "dropped", "superseded")
		}
		for _, k := range l.Kept {
			t.row(l.Incarnation, k.Round, "kept", strings.Join(k.Why, ", "))
		}
	}
	if err := printOut(cmd, done, t); err != nil {
		return err
	}
	for _, l := range done.Lives {
		say(cmd, "life %d: deleted %s, condemned %s", l.Incarnation, tallyText(l.Deleted), tallyText(l.Condemned))
		if l.Waiting.Objects > 0 {
			say(cmd, "life %d: %s were condemned before and wait for %s to pass", l.Incarnation, tallyText(l.Waiting), graceText())
		}
		if l.Young.Objects > 0 {
			say(cmd, "life %d: %s are not referred to, and too young to tell from an upload that goes on", l.Incarnation, tallyText(l.Young))
		}
		for _, app := range slices.Sorted(maps.Keys(l.Borrowed)) {
			say(cmd, "life %d: %s are kept for application %s, which was forked from this one", l.Incarnation, tallyText(l.Borrowed[app]), app)
		}
	}
	if dryRun {
		say(cmd, "nothing was done (--dry-run)")
	}
	return nil
}

func tallyText(t checkpoint.Tally) string {
	return fmt.Sprintf("%d objects (%s)", t.Objects, sizeText(t.Bytes))
}
