// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Savepoint keeps a complete round from being collected until the savepoint is deleted.
type Savepoint struct {
	Name    string    `json:"name"`
	Round   int64     `json:"round"`
	Created time.Time `json:"created"`        // by the creator's clock, informative
	By      string    `json:"by,omitempty"`   // who made it
	Note    string    `json:"note,omitempty"` // what for
}

func (s Savepoint) validate() error {
	if s.Round < 1 {
		return fmt.Errorf("round %d is not positive", s.Round)
	}
	return CheckID(s.Name)
}

// CreateSavepoint keeps a complete round under a name. A name that is taken by the same round is fine, by
// another is objstore.ErrExists. A round that is not complete is ErrIncomplete, and one that is being
// dropped at this moment ErrSuperseded.
func (r *Repository) CreateSavepoint(ctx context.Context, incarnation int, s Savepoint) error {
	if err := r.createSavepoint(ctx, incarnation, s); err != nil {
		return fmt.Errorf("create savepoint %s of round %d: %w", s.Name, s.Round, err)
	}
	return nil
}

func (r *Repository) createSavepoint(ctx context.Context, incarnation int, s Savepoint) error {
	l, err := r.lifeRound(incarnation, s.Round)
	if err != nil {
		return err
	}
	if err := CheckID(s.Name); err != nil {
		return err
	}
	rounds, err := r.listRounds(ctx, l)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rounds, func(x Round) bool { return x.Number == s.Round && x.Complete }) {
		return ErrIncomplete
	}
	before, err := r.listSavepoints(ctx, l)
	if err != nil {
		return err
	}
	s.Created = storedTime(s.Created)
	err = r.createDocument(ctx, l.savepoint(s.Name), kindSavepoint, s)
	if errors.Is(err, objstore.ErrExists) {
		return r.standingSavepoint(ctx, l, s)
	}
	if err != nil {
		return err
	}
	return r.confirmSavepoint(ctx, l, s, before)
}

// standingSavepoint says whether the savepoint that has the name keeps the round. One that has kept a round below the floor
// cannot be told from one whose creator was killed before it could withdraw it, but for what became of the round.
func (r *Repository) standingSavepoint(ctx context.Context, l life, s Savepoint) error {
	var standing Savepoint
	if err := r.readDocument(ctx, l.savepoint(s.Name), kindSavepoint, &standing); err != nil {
		return err
	}
	if standing.Round != s.Round {
		return fmt.Errorf("it keeps round %d: %w", standing.Round, objstore.ErrExists)
	}
	ok, err := r.exists(ctx, l.complete(s.Round))
	if err == nil && !ok {
		err = fmt.Errorf("%w: the round is being dropped", ErrSuperseded)
	}
	return err
}

// confirmSavepoint looks whether collection may have overlooked the savepoint. Collection raises the floor
// before it lists savepoints: a floor that is not above the round now means that it will see this one.
func (r *Repository) confirmSavepoint(ctx context.Context, l life, s Savepoint, before []Savepoint) error {
	now, err := r.listSavepoints(ctx, l)
	if err != nil {
		return err
	}
	for _, other := range now {
		// Another savepoint has kept the round and still does: see settledSavepoints.
		if other.Round == s.Round && other.Name != s.Name && slices.Contains(before, other) {
			return nil
		}
	}
	floor, err := r.floor(ctx, l)
	if err != nil {
		return err
	}
	if s.Round >= floor {
		return nil
	}
	if err := r.store.Delete(ctx, l.savepoint(s.Name)); err != nil {
		return fmt.Errorf("withdraw it, since the round is being dropped: %w", err)
	}
	return fmt.Errorf("%w: rounds below %d are being dropped", ErrSuperseded, floor)
}

// DeleteSavepoint lets go of a savepoint. May be repeated; the next collection drops the round if it is
// old enough.
func (r *Repository) DeleteSavepoint(ctx context.Context, incarnation int, name string) error {
	l, err := r.life(incarnation)
	if err != nil {
		return err
	}
	if err := CheckID(name); err != nil {
		return err
	}
	if err := r.store.Delete(ctx, l.savepoint(name)); err != nil {
		return fmt.Errorf("delete savepoint %s: %w", name, err)
	}
	return nil
}

// Savepoints returns those of an incarnation, in order of their names.
func (r *Repository) Savepoints(ctx context.Context, incarnation int) ([]Savepoint, error) {
	l, err := r.life(incarnation)
	if err != nil {
		return nil, err
	}
	return r.listSavepoints(ctx, l)
}

// settledSavepoints lists savepoints until it sees the same ones twice. A single listing can overlook that a round is kept,
// if one savepoint of it is created behind the point to which the listing has come, and then another deleted before it.
func (r *Repository) settledSavepoints(ctx context.Context, l life) ([]Savepoint, error) {
	before, err := r.listSavepoints(ctx, l)
	for err == nil {
		var now []Savepoint
		if now, err = r.listSavepoints(ctx, l); err == nil && slices.Equal(before, now) {
			return now, nil
		}
		before = now
	}
	return nil, err
}

func (r *Repository) listSavepoints(ctx context.Context, l life) ([]Savepoint, error) {
	savepoints, damage, err := r.readSavepoints(ctx, l)
	if err == nil {
		err = damage
	}
	return savepoints, err
}

// readSavepoints reads those that can be read. damage tells what is wrong with the others.
func (r *Repository) readSavepoints(ctx context.Context, l life) (savepoints []Savepoint, damage, err error) {
	for info, err := range r.store.List(ctx, l.savepoints()) {
		if err != nil {
			return nil, nil, fmt.Errorf("list savepoints: %w", err)
		}
		var s Savepoint
		err := r.readDocument(ctx, info.Name, kindSavepoint, &s)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // deleted since it was listed
		}
		if name := strings.TrimSuffix(path.Base(info.Name), ".json"); err == nil && s.Name != name {
			err = fmt.Errorf("%w: object %s holds savepoint %.80q", ErrCorrupt, info.Name, s.Name)
		}
		switch {
		case IsDamage(err):
			damage = errors.Join(damage, fmt.Errorf("read savepoint: %w", err))
		case err != nil:
			return nil, nil, fmt.Errorf("read savepoint: %w", err)
		default:
			savepoints = append(savepoints, s)
		}
	}
	return savepoints, damage, nil
}
