// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// A document may name objects that are in the store already: a task's next checkpoint those of the one before, a new life
// those of the cut that it begins from. Before it does, it is made sure that none of them is on a list of condemned
// objects; and afterwards, that a document still exists that names them. The order matters: see doc.go on I3.
//
// A manifest of a fork names objects of other applications. Each of these has a mark that the fork borrows
// from it, and its collection reads the manifests of all applications that do. Marks stay for good: they
// are empty, few, and without them a fork that begins at this moment could be overlooked.

// borrow marks this application as a borrower of those that own the files, and makes sure that none of the files is
// condemned. own is the life for which they are borrowed. The caller then makes sure that what named them still does.
func (r *Repository) borrow(ctx context.Context, own life, files []File) error {
	owners, err := ownersOf(files)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	for _, owner := range owners {
		if owner.app == own.app {
			continue // an application's own manifests are read in any case, in all its lives
		}
		if _, err := r.mark(ctx, owner.borrower(own.app), "borrower\n"); err != nil {
			return fmt.Errorf("mark as a borrower of application %s: %w", owner.app, err)
		}
	}
	condemned, err := r.condemnedOf(ctx, owners)
	if err != nil {
		return err
	}
	for _, f := range files {
		if condemned.has(f.Object) {
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

// ownersOf returns the lives whose objects the files are, in order.
func ownersOf(files []File) ([]life, error) {
	owners := map[life]bool{}
	for _, f := range files {
		if err := checkObjectName(f.Object, f.SHA256); err != nil {
			return nil, err
		}
		app, _, _ := strings.Cut(f.Object, "/")
		incarnation, _ := parseIncarnation(app, f.Object)
		owners[life{app, incarnation}] = true
	}
	return slices.SortedFunc(maps.Keys(owners), func(a, b life) int {
		return cmp.Or(strings.Compare(a.app, b.app), cmp.Compare(a.incarnation, b.incarnation))
	}), nil
}

// condemnedSet holds hashes of object names. An object that is taken for another is sent anew, which does no harm.
type condemnedSet struct {
	seed  maphash.Seed
	lists []map[uint64]struct{}
}

func (s condemnedSet) has(object string) bool {
	sum := maphash.String(s.seed, object)
	return slices.ContainsFunc(s.lists, func(list map[uint64]struct{}) bool {
		_, ok := list[sum]
		return ok
	})
}

// condemnedOf reads what of the owners' objects is condemned. Lists never change, so each is read once.
func (r *Repository) condemnedOf(ctx context.Context, owners []life) (condemnedSet, error) {
	set := condemnedSet{seed: r.seed}
	for _, owner := range owners {
		current := map[string]map[uint64]struct{}{}
		for info, err := range r.store.List(ctx, owner.condemned()) {
			if err != nil {
				return set, fmt.Errorf("list condemned objects of application %s: %w", owner.app, err)
			}
			if !isCondemnation(info.Name) {
				continue
			}
			list, err := r.condemnedList(ctx, owner, info.Name)
			if errors.Is(err, objstore.ErrNotFound) {
				continue // executed: what it named is gone, or is named by what the caller looks for next
			}
			if err != nil {
				return set, fmt.Errorf("read condemned objects of application %s: %w", owner.app, err)
			}
			current[info.Name] = list
			set.lists = append(set.lists, list)
		}
		r.mu.Lock()
		r.mu.condemned[owner] = current
		r.mu.Unlock()
	}
	return set, nil
}

func (r *Repository) condemnedList(ctx context.Context, owner life, name string) (map[uint64]struct{}, error) {
	r.mu.Lock()
	hashes, known := r.mu.condemned[owner][name]
	r.mu.Unlock()
	if known {
		return hashes, nil
	}
	var list condemnation
	if err := r.readDocument(ctx, name, kindCondemned, &list); err != nil {
		return nil, err
	}
	hashes = make(map[uint64]struct{}, len(list.Objects))
	for _, object := range list.Objects {
		hashes[maphash.String(r.seed, object)] = struct{}{}
	}
	return hashes, nil
}

// sortedKeys returns a set's members in order, so that calls come in the same order each time.
func sortedKeys[K cmp.Ordered, V any](set map[K]V) []K { return slices.Sorted(maps.Keys(set)) }
