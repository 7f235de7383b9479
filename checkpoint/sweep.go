// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// This file is the part of collection that looks through objects.

// condemnedPerDocument bounds the size of one list of condemned objects.
const condemnedPerDocument = 10_000

// condemnation is the content of a list of condemned objects.
type condemnation struct {
	Objects []string `json:"objects"`
}

// inventory is what the application has in the store, by life.
type inventory struct {
	objects   map[life][]objstore.Info
	lists     map[life][]objstore.Info // of condemned objects
	seen      map[string]time.Time     // when a list, by its name, was seen to be there, or before
	borrowers map[string]bool          // applications that name objects of this one
	mu        struct {
		sync.Mutex
		named map[string]string // objects that a manifest or round record names, and of which application; of this one if any does
	}
}

func (c *collection) sweep(ctx context.Context) error {
	inv, err := c.takeInventory(ctx)
	if err != nil {
		return err
	}
	for i := range c.done.Lives {
		done := &c.done.Lives[i]
		l := life{c.r.app, done.Incarnation}
		if err := c.sweepLife(ctx, l, inv, done); err != nil {
			return fmt.Errorf("life %d: %w", l.incarnation, err)
		}
	}
	return nil
}

func (c *collection) sweepLife(ctx context.Context, l life, inv *inventory, done *CollectedLife) error {
	listed, err := c.executeLists(ctx, l, inv, done)
	if err != nil {
		return err
	}
	var condemned []objstore.Info
	for _, o := range inv.objects[l] {
		app, named := inv.mu.named[o.Name]
		switch {
		case named && app != l.app:
			if done.Borrowed == nil {
				done.Borrowed = map[string]Tally{}
			}
			t := done.Borrowed[app]
			t.add(o.Size)
			done.Borrowed[app] = t
		case named || listed[o.Name]:
		case o.Modified.Before(c.now.Add(-c.r.grace)):
			condemned = append(condemned, o)
		default:
			done.Young.add(o.Size)
		}
	}
	return c.condemn(ctx, l, condemned, done)
}

// takeInventory reads every manifest of the application in all lives, since a later one may name objects of an earlier
// one, and those of all applications that borrow from it.
func (c *collection) takeInventory(ctx context.Context) (*inventory, error) {
	inv := &inventory{objects: map[life][]objstore.Info{}, lists: map[life][]objstore.Info{}, seen: map[string]time.Time{}, borrowers: map[string]bool{}}
	inv.mu.named = map[string]string{}
	if err := c.listApplication(ctx, c.r.app, inv); err != nil {
		return nil, err
	}
	for _, app := range sortedKeys(inv.borrowers) {
		if err := c.listApplication(ctx, app, inv); err != nil {
			return nil, fmt.Errorf("application %s, which borrows from this one: %w", app, err)
		}
	}
	return inv, nil
}

// listApplication adds what an application has to the inventory and reads its manifests.
func (c *collection) listApplication(ctx context.Context, app string, inv *inventory) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(c.r.parallel)
	var listErr error
	for info, err := range c.r.store.List(ctx, app+"/") {
		if err != nil {
			listErr = fmt.Errorf("list objects: %w", err)
			break
		}
		incarnation, ok := parseIncarnation(app, info.Name)
		if !ok || c.gone[info.Name] {
			continue
		}
		of := life{app, incarnation}
		if e, ok := of.parseRoundEntry(info.Name); ok && (e.kind == entryManifest || e.kind == entryComplete) {
			group.Go(func() error { return c.nameObjects(groupCtx, of, e, inv) })
			continue
		}
		if app == c.r.app {
			inv.add(info, of)
		}
	}
	return errors.Join(group.Wait(), listErr)
}

// add sorts in an object of the application that is not a manifest.
func (inv *inventory) add(info objstore.Info, of life) {
	if borrower, ok := strings.CutPrefix(info.Name, of.borrowers()); ok && CheckID(borrower) == nil {
		inv.borrowers[borrower] = true
		return
	}
	list, isMark := parseSeenMark(info.Name)
	switch {
	case strings.HasPrefix(info.Name, of.objects()):
		inv.objects[of] = append(inv.objects[of], info)
	case !strings.HasPrefix(info.Name, of.condemned()):
	case isMark:
		inv.seen[list] = info.Modified
	default:
		inv.lists[of] = append(inv.lists[of], info)
	}
}

// nameObjects notes the objects that a manifest or a round record names.
func (c *collection) nameObjects(ctx context.Context, of life, e roundEntry, inv *inventory) error {
	files, err := c.filesOf(ctx, of, e)
	if errors.Is(err, ErrMissing) || errors.Is(err, objstore.ErrNotFound) {
		return nil // dropped by another process since it was listed
	}
	if err != nil {
		return err
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, f := range files {
		if inv.mu.named[f.Object] != c.r.app {
			inv.mu.named[f.Object] = of.app
		}
	}
	return nil
}

func (c *collection) filesOf(ctx context.Context, of life, e roundEntry) ([]File, error) {
	if e.kind == entryManifest {
		m, err := c.r.readManifest(ctx, of, e.round, e.task)
		return m.Files, err
	}
	record, err := c.r.readRoundRecord(ctx, of, e.round)
	return filesOfChannels(record.Channels), err
}

// executeLists deletes what has been condemned for the grace time and is unnamed. It returns all objects that are, or
// were, on a list.
func (c *collection) executeLists(ctx context.Context, l life, inv *inventory, done *CollectedLife) (map[string]bool, error) {
	listed, sizes := map[string]bool{}, map[string]int64{}
	for _, o := range inv.objects[l] {
		sizes[o.Name] = o.Size
	}
	for _, info := range inv.lists[l] {
		seen, marked := inv.seen[info.Name]
		delete(inv.seen, info.Name)
		var list condemnation
		err := c.r.readDocument(ctx, info.Name, kindCondemned, &list)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // executed by another process
		}
		if errors.Is(err, ErrCorrupt) {
			// It only orders deletions, so nothing is lost with it: its objects are condemned anew.
			if err := c.forgetList(ctx, info.Name); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read condemned objects: %w", err)
		}
		for _, name := range list.Objects {
			listed[name] = true
		}
		if marked && seen.Before(c.now.Add(-c.r.grace)) {
			err = c.execute(ctx, l, info.Name, unnamed(list, sizes, inv), done)
		} else {
			for _, size := range unnamed(list, sizes, inv) {
				done.Waiting.add(size)
			}
			err = c.markSeen(ctx, info.Name, marked)
		}
		if err != nil {
			return nil, err
		}
	}
	return listed, c.forgetMarks(ctx, l, inv)
}

// unnamed returns those of the listed objects that nothing names, with their sizes. Lists come from the store and are not
// trusted to delete anything but state objects, which sizes holds all of.
func unnamed(list condemnation, sizes map[string]int64, inv *inventory) map[string]int64 {
	names := map[string]int64{}
	for _, name := range list.Objects {
		if size, present := sizes[name]; present && inv.mu.named[name] == "" {
			names[name] = size
		}
	}
	return names
}

// execute deletes condemned objects, and then their list.
func (c *collection) execute(ctx context.Context, l life, list string, objects map[string]int64, done *CollectedLife) error {
	if err := c.delete(ctx, sortedKeys(objects)...); err != nil {
		return err
	}
	for _, size := range objects {
		done.Deleted.add(size)
	}
	return c.forgetList(ctx, list)
}

// forgetList deletes a list of condemned objects, and then its mark.
func (c *collection) forgetList(ctx context.Context, list string) error {
	if err := c.delete(ctx, list); err != nil {
		return err
	}
	return c.delete(ctx, seenMark(list))
}

// forgetMarks deletes marks of lists that are gone. Should a list have been created while the marks were listed, it is
// marked again later, and its grace time begins anew.
func (c *collection) forgetMarks(ctx context.Context, l life, inv *inventory) error {
	for _, list := range sortedKeys(inv.seen) {
		if strings.HasPrefix(list, l.condemned()) {
			if err := c.delete(ctx, seenMark(list)); err != nil {
				return err
			}
		}
	}
	return nil
}

// markSeen records that a list is there for all to see. Its own time does not tell: some stores give objects the time at
// which they began to be written.
func (c *collection) markSeen(ctx context.Context, list string, marked bool) error {
	if marked || c.claim == nil {
		return nil
	}
	if _, err := c.r.mark(ctx, seenMark(list), "seen\n"); err != nil {
		return fmt.Errorf("mark list %s as seen: %w", list, err)
	}
	return nil
}

func (c *collection) condemn(ctx context.Context, l life, objects []objstore.Info, done *CollectedLife) error {
	for part := range slices.Chunk(objects, condemnedPerDocument) {
		list := condemnation{Objects: make([]string, len(part))}
		for i, o := range part {
			list.Objects[i] = o.Name
			done.Condemned.add(o.Size)
		}
		if c.claim == nil {
			continue
		}
		name := l.condemnation(strings.ToLower(rand.Text()))
		if err := c.r.createDocument(ctx, name, kindCondemned, list); err != nil {
			return fmt.Errorf("condemn %d objects: %w", len(list.Objects), err)
		}
		if err := c.markSeen(ctx, name, false); err != nil {
			return err
		}
	}
	return nil
}
