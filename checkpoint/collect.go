// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// condemnedPerDocument bounds the size of one list of condemned objects.
const condemnedPerDocument = 10_000

// condemnation is the content of a list of condemned objects.
type condemnation struct {
	Objects []string `json:"objects"`
}

// Collected tells what Collect did.
type Collected struct {
	Floor     int64 // rounds below it are dropped
	Manifests int   // deleted
	Condemned int   // objects that go if still unnamed after the grace time
	Deleted   int   // objects deleted
}

// Collect removes what is superseded in one incarnation: it keeps the newest keep complete rounds and all
// newer ones, of each task its keep newest manifests, and savepoints; keep must be no less than what is
// given to RetainFrom. Objects that no manifest or round record of the application or its forks names go in two steps with the grace time in between: condemned in one call, deleted in a
// later one. It may be killed anywhere and repeated, and run in several processes at once.
//
// A manifest that cannot be read stops the removal of objects, since what it names is unknown; the error
// names it, and rounds are dropped nevertheless, so that it goes in its turn.
func (r *Repository) Collect(ctx context.Context, incarnation, keep int) (Collected, error) {
	var done Collected
	l, err := r.life(incarnation)
	if err != nil {
		return done, err
	}
	if err := r.collect(ctx, l, keep, &done); err != nil {
		return done, fmt.Errorf("collect superseded checkpoints of %s%d: %w", r.app+"/", incarnation, err)
	}
	return done, nil
}

func (r *Repository) collect(ctx context.Context, l life, keep int, done *Collected) error {
	// The time is read before anything else, so that every age below is at least what it seems.
	now, err := r.StoreTime(ctx)
	if err != nil {
		return err
	}
	if err := r.dropRounds(ctx, l, keep, done); err != nil {
		return err
	}
	inv, err := r.takeInventory(ctx, l)
	if err != nil {
		return err
	}
	pending, err := r.sweep(ctx, l, inv, now, done)
	if err != nil {
		return err
	}
	return r.condemn(ctx, l, inv.unnamed(now.Add(-r.grace), pending), done)
}

// dropRounds raises the floor, then deletes the rounds below it, oldest first. In each round "complete"
// goes first, so that what is half deleted is not listed as complete even by a reader without the floor.
func (r *Repository) dropRounds(ctx context.Context, l life, keep int, done *Collected) error {
	floor, err := r.floor(ctx, l)
	if err != nil {
		return err
	}
	rounds, err := r.listRounds(ctx, l)
	if err != nil {
		return err
	}
	plan := planDrop(rounds, keep, floor)
	if plan.floor > floor {
		err := r.store.Create(ctx, l.floor(plan.floor), strings.NewReader("floor\n"))
		if err != nil && !errors.Is(err, objstore.ErrExists) {
			return fmt.Errorf("raise the floor to %d: %w", plan.floor, err)
		}
	}
	done.Floor = plan.floor
	// Savepoints are read after the floor is raised: see confirmSavepoint.
	savepoints, err := r.listSavepoints(ctx, l)
	if err != nil {
		return err
	}
	var saved []int64
	for _, s := range savepoints {
		saved = append(saved, s.Round)
	}
	for _, round := range rounds {
		if round.Number >= plan.floor {
			break
		}
		if err := r.dropRound(ctx, l, round, plan, saved, done); err != nil {
			return fmt.Errorf("drop round %d: %w", round.Number, err)
		}
	}
	return r.dropFloors(ctx, l, plan.floor)
}

func (r *Repository) dropRound(ctx context.Context, l life, round Round, plan dropPlan, saved []int64, done *Collected) error {
	if plan.dropsRound(round.Number, saved) {
		for _, name := range []string{l.complete(round.Number), l.abandoned(round.Number), l.resumed(round.Number)} {
			if err := r.store.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, task := range round.Tasks {
		if !plan.dropsManifest(round.Number, task, saved) {
			continue
		}
		if err := r.store.Delete(ctx, l.manifest(round.Number, task)); err != nil {
			return err
		}
		done.Manifests++
	}
	if round.Started.IsZero() {
		return nil
	}
	// Goes for kept rounds too: climb relies on these being deleted in order without gaps.
	return r.store.Delete(ctx, l.started(round.Number))
}

// dropFloors deletes the marks of earlier, lower floors.
func (r *Repository) dropFloors(ctx context.Context, l life, floor int64) error {
	for info, err := range r.store.List(ctx, l.floors()) {
		if err != nil {
			return err
		}
		if n, ok := l.parseFloor(info.Name); ok && n < floor {
			if err := r.store.Delete(ctx, info.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// inventory is what the application has in the store.
type inventory struct {
	objects   []objstore.Info // of the incarnation that is collected
	condemned []objstore.Info // its lists
	borrowers map[string]bool // applications that name objects of this one
	mu        struct {
		sync.Mutex
		named map[string]bool // objects that a manifest of any incarnation names
	}
}

// unnamed returns the objects that no manifest names, that are older than the given time, and that are
// not in pending.
func (inv *inventory) unnamed(before time.Time, pending map[string]bool) []string {
	var names []string
	for _, o := range inv.objects {
		if !inv.mu.named[o.Name] && o.Modified.Before(before) && !pending[o.Name] {
			names = append(names, o.Name)
		}
	}
	return names
}

// takeInventory reads every manifest of the application in all incarnations, since a later one may name
// objects of an earlier one, and those of all applications that borrow from it.
func (r *Repository) takeInventory(ctx context.Context, l life) (*inventory, error) {
	inv := &inventory{borrowers: map[string]bool{}}
	inv.mu.named = map[string]bool{}
	if err := r.listApplication(ctx, r.app, l, inv); err != nil {
		return nil, err
	}
	for _, app := range sortedApps(inv.borrowers) {
		if err := r.listApplication(ctx, app, l, inv); err != nil {
			return nil, fmt.Errorf("application %s, which borrows from this one: %w", app, err)
		}
	}
	return inv, nil
}

// listApplication adds an application's objects to the inventory and reads its manifests.
func (r *Repository) listApplication(ctx context.Context, app string, l life, inv *inventory) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	var listErr error
	for info, err := range r.store.List(ctx, app+"/") {
		if err != nil {
			listErr = fmt.Errorf("list objects: %w", err)
			break
		}
		incarnation, ok := parseIncarnation(app, info.Name)
		if !ok {
			continue
		}
		of := life{app, incarnation}
		if e, ok := of.parseRoundEntry(info.Name); ok && (e.kind == entryManifest || e.kind == entryComplete) {
			group.Go(func() error { return r.nameObjects(groupCtx, of, e, inv) })
			continue
		}
		inv.add(info, of, l)
	}
	return errors.Join(group.Wait(), listErr)
}

// add sorts in an object that is not a manifest; of is its life, l the one that is collected.
func (inv *inventory) add(info objstore.Info, of, l life) {
	if borrower, ok := strings.CutPrefix(info.Name, of.borrowers()); ok && of.app == l.app && CheckID(borrower) == nil {
		inv.borrowers[borrower] = true
		return
	}
	switch {
	case of != l:
	case strings.HasPrefix(info.Name, l.objects()):
		inv.objects = append(inv.objects, info)
	case strings.HasPrefix(info.Name, l.condemned()):
		inv.condemned = append(inv.condemned, info)
	}
}

// nameObjects notes the objects that a manifest or a round record names.
func (r *Repository) nameObjects(ctx context.Context, of life, e roundEntry, inv *inventory) error {
	files, err := r.filesOf(ctx, of, e)
	if errors.Is(err, ErrMissing) || errors.Is(err, objstore.ErrNotFound) {
		return nil // dropped by another process since it was listed
	}
	if err != nil {
		return err
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, f := range files {
		inv.mu.named[f.Object] = true
	}
	return nil
}

func (r *Repository) filesOf(ctx context.Context, of life, e roundEntry) (files []File, err error) {
	if e.kind == entryManifest {
		m, err := r.readManifest(ctx, of, e.round, e.task)
		return m.Files, err
	}
	record, err := r.readRoundRecord(ctx, of, e.round)
	for _, c := range record.Channels {
		files = append(files, c.File)
	}
	return files, err
}

// sweep deletes what was condemned a grace time ago and is still unnamed. It returns the objects on lists
// that have not come of age.
func (r *Repository) sweep(ctx context.Context, l life, inv *inventory, now time.Time, done *Collected) (map[string]bool, error) {
	pending := map[string]bool{}
	for _, info := range inv.condemned {
		var list condemnation
		err := r.readDocument(ctx, info.Name, kindCondemned, &list)
		if errors.Is(err, objstore.ErrNotFound) {
			continue
		}
		if errors.Is(err, ErrCorrupt) {
			// It only orders deletions, so nothing is lost with it: its objects are condemned anew.
			err = r.store.Delete(ctx, info.Name)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read condemned objects: %w", err)
		}
		if !info.Modified.Before(now.Add(-r.grace)) {
			for _, name := range list.Objects {
				pending[name] = true
			}
			continue
		}
		if err := r.execute(ctx, l, list, inv, done); err != nil {
			return nil, err
		}
		if err := r.store.Delete(ctx, info.Name); err != nil {
			return nil, err
		}
		for _, name := range list.Objects {
			pending[name] = true // gone, or named: in neither case to be condemned now
		}
	}
	return pending, nil
}

func (r *Repository) execute(ctx context.Context, l life, list condemnation, inv *inventory, done *Collected) error {
	present := make(map[string]bool, len(inv.objects))
	for _, o := range inv.objects {
		present[o.Name] = true
	}
	for _, name := range list.Objects {
		// Lists come from the store and are not trusted to delete anything but state objects.
		if inv.mu.named[name] || !present[name] || !strings.HasPrefix(name, l.objects()) {
			continue
		}
		if err := r.store.Delete(ctx, name); err != nil {
			return err
		}
		done.Deleted++
	}
	return nil
}

func (r *Repository) condemn(ctx context.Context, l life, names []string, done *Collected) error {
	for len(names) > 0 {
		list := condemnation{Objects: names[:min(len(names), condemnedPerDocument)]}
		id := strings.ToLower(rand.Text())
		if err := r.createDocument(ctx, l.condemned()+id+".json", kindCondemned, list); err != nil {
			return fmt.Errorf("condemn %d objects: %w", len(list.Objects), err)
		}
		done.Condemned += len(list.Objects)
		names = names[len(list.Objects):]
	}
	return nil
}
