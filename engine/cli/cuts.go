// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/streamd/streamd/checkpoint"
)

// cutHelp says how commands name a checkpoint.
const cutHelp = "a checkpoint's `name`: its number, a savepoint, or latest; LIFE/NUMBER for one of an earlier life"

// cut finds a complete checkpoint by what the user calls it: see cutHelp.
func (a *archive) cut(ctx context.Context, name string) (checkpoint.Origin, error) {
	from, err := a.named(ctx, name)
	if err == nil {
		err = a.expectComplete(ctx, from)
	}
	return from, err
}

// named finds a checkpoint by what the user calls it, whether it is complete or not. It may not be there.
func (a *archive) named(ctx context.Context, name string) (checkpoint.Origin, error) {
	from := checkpoint.Origin{App: a.repo.App(), Incarnation: a.app.Incarnation}
	if life, number, ok := strings.Cut(name, "/"); ok {
		n, err := strconv.Atoi(life)
		if err != nil || n < 1 || n > a.app.Incarnation {
			return from, failf(exitUsage, "%q is not a checkpoint: application %s has the lives 1 to %d", name, from.App, a.app.Incarnation)
		}
		from.Incarnation, name = n, number
	}
	if n, err := strconv.ParseInt(name, 10, 64); err == nil {
		if n < 1 {
			return from, failf(exitUsage, "%q is not a checkpoint: the first is 1", name)
		}
		from.Round = n
		return from, nil
	}
	if name == "latest" {
		return from, a.latest(ctx, &from)
	}
	return from, a.savepoint(ctx, name, &from)
}

func (a *archive) latest(ctx context.Context, from *checkpoint.Origin) error {
	for r, err := range a.repo.Rounds(ctx, from.Incarnation) {
		if err != nil {
			return err
		}
		if r.Complete {
			from.Round = r.Number
		}
	}
	if from.Round == 0 {
		return failf(exitNotFound, "application %s has no complete checkpoint yet", from.App)
	}
	return nil
}

func (a *archive) expectComplete(ctx context.Context, from checkpoint.Origin) error {
	for r, err := range a.repo.Rounds(ctx, from.Incarnation) {
		switch {
		case err != nil:
			return err
		case r.Number == from.Round && r.Complete:
			return nil
		case r.Number == from.Round:
			return fmt.Errorf("checkpoint %d of application %s: %w: %d tasks have stored their part", from.Round, from.App, checkpoint.ErrIncomplete, len(r.Tasks))
		}
	}
	return failf(exitNotFound, "application %s has no checkpoint %d: see checkpoints list", from.App, from.Round)
}

// savepoint looks in the newest life first.
func (a *archive) savepoint(ctx context.Context, name string, from *checkpoint.Origin) error {
	names := []string{"latest"}
	for life := from.Incarnation; life > 0; life-- {
		saved, err := a.repo.Savepoints(ctx, life)
		if err != nil {
			return err
		}
		for _, s := range saved {
			if s.Name == name {
				from.Incarnation, from.Round = life, s.Round
				return nil
			}
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return failf(exitNotFound, "application %s has neither a checkpoint nor a savepoint %q%s; see checkpoints list and savepoint list", from.App, name, didYouMean(name, names))
}
