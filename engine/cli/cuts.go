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
	from, round, err := a.named(ctx, name)
	if err == nil {
		err = a.expectComplete(round)
	}
	return from, err
}

// named finds a round by what the user calls it, whether it is complete or not.
func (a *archive) named(ctx context.Context, name string) (checkpoint.Origin, checkpoint.Round, error) {
	from, err := a.parse(ctx, name)
	if err != nil {
		return from, checkpoint.Round{}, err
	}
	var found checkpoint.Round
	for r, err := range a.repo.Rounds(ctx, from.Incarnation) {
		if err != nil {
			return from, found, err
		}
		if r.Number == from.Round || from.Round == 0 && r.Complete {
			found = r
		}
	}
	switch {
	case found.Number > 0:
		from.Round = found.Number
	case from.Round == 0:
		err = failf(exitNotFound, "application %s has no complete checkpoint yet", from.App)
	default:
		err = failf(exitNotFound, "application %s has no checkpoint %d: see checkpoints list", from.App, from.Round)
	}
	return from, found, err
}

// parse says which round a name is about, which may not be there. 0 is the latest one.
func (a *archive) parse(ctx context.Context, name string) (checkpoint.Origin, error) {
	from := checkpoint.Origin{App: a.repo.App(), Incarnation: a.app.Incarnation}
	if life, number, ok := strings.Cut(name, "/"); ok {
		n, err := strconv.Atoi(life)
		if err != nil || n < 1 || n > a.app.Incarnation {
			return from, failf(exitUsage, "%q is not a checkpoint: application %s has the lives 1 to %d", name, from.App, a.app.Incarnation)
		}
		from.Incarnation, name = n, number
	}
	if name == "latest" {
		return from, nil
	}
	if n, err := strconv.ParseInt(name, 10, 64); err == nil {
		if n < 1 {
			return from, failf(exitUsage, "%q is not a checkpoint: the first is 1", name)
		}
		from.Round = n
		return from, nil
	}
	s, names, err := a.findSavepoint(ctx, from.Incarnation, name)
	if err != nil {
		return from, err
	}
	if s == nil {
		names = append(names, "latest")
		slices.Sort(names)
		return from, failf(exitNotFound, "application %s has neither a checkpoint nor a savepoint %q%s; see checkpoints list and savepoint list", from.App, name, didYouMean(name, names))
	}
	from.Incarnation, from.Round = s.Life, s.Round
	return from, nil
}

func (a *archive) expectComplete(r checkpoint.Round) error {
	if r.Complete {
		return nil
	}
	return fmt.Errorf("checkpoint %d of application %s: %w: %d tasks have stored their part", r.Number, a.repo.App(), checkpoint.ErrIncomplete, len(r.Tasks))
}
