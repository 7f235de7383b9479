// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// A manifest of a fork names objects of other applications. Each of these has a mark that the fork borrows
// from it, and its collection reads the manifests of all applications that do. Marks stay for good: they
// are empty, few, and without them a fork that begins at this moment could be overlooked.

// borrow marks this application as a borrower of those that own the files, then makes sure that none of the
// files is about to go. own is the life for which they are borrowed. The order is what makes it safe: an object that is neither condemned nor missing
// after the mark can only be condemned later, and is then deleted after a grace time, when collection
// reads the marks and manifests again.
func (r *Repository) borrow(ctx context.Context, own life, files []File) error {
	owners := map[life]bool{}
	for _, f := range files {
		if err := checkObjectName(f.Object, f.SHA256); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if owner := ownerOf(f.Object); owner != own {
			owners[owner] = true
		}
	}
	condemned := map[string]bool{}
	for owner := range owners {
		if owner.app != own.app { // an application's own manifests are read in any case, in all its lives
			err := r.store.Create(ctx, owner.borrower(own.app), strings.NewReader("borrower\n"))
			if err != nil && !errors.Is(err, objstore.ErrExists) {
				return fmt.Errorf("mark as a borrower of application %s: %w", owner.app, err)
			}
		}
		if err := r.listCondemned(ctx, owner, condemned); err != nil {
			return err
		}
	}
	for _, f := range files {
		if condemned[f.Object] {
			return fmt.Errorf("%w: object %s is about to be collected", ErrMissing, f.Object)
		}
		ok, err := r.exists(ctx, f.Object)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: object %s (file %s)", ErrMissing, f.Object, f.Name)
		}
	}
	return nil
}

func (r *Repository) listCondemned(ctx context.Context, owner life, into map[string]bool) error {
	for info, err := range r.store.List(ctx, owner.condemned()) {
		if err != nil {
			return fmt.Errorf("list condemned objects of application %s: %w", owner.app, err)
		}
		var list condemnation
		err := r.readDocument(ctx, info.Name, kindCondemned, &list)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // executed: what it named is gone, which the look at each object shows
		}
		if err != nil {
			return fmt.Errorf("read condemned objects of application %s: %w", owner.app, err)
		}
		for _, name := range list.Objects {
			into[name] = true
		}
	}
	return nil
}

// ownerOf says whose object it is. The name must have passed checkObjectName.
func ownerOf(object string) life {
	app, _, _ := strings.Cut(object, "/")
	incarnation, _ := parseIncarnation(app, object)
	return life{app, incarnation}
}

// sortedApps returns the applications of a set in order, so that calls come in the same order each time.
func sortedApps(apps map[string]bool) []string { return slices.Sorted(maps.Keys(apps)) }
