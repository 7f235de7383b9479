// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
)

const (
	// proofLasts is for how long, and for how many deletions, a look at the claims counts.
	proofLasts     = 5 * time.Second
	proofDeletions = 100
	// sweepsPerGrace paces the looks through all objects, which cost a listing of the application and a read of each of
	// its manifests: garbage stays by this part of the grace time longer.
	sweepsPerGrace = 16
)

// Collected tells what Collect did, or would do.
type Collected struct {
	Swept bool            `json:"swept"` // objects and earlier lives were looked through too
	Lives []CollectedLife `json:"lives"` // newest first
}

// CollectedLife tells what became of one life of the application. The tallies are filled when objects were looked through.
type CollectedLife struct {
	Incarnation int              `json:"life"`
	Floor       int64            `json:"floor"` // rounds below it are dropped, except those that have a savepoint
	Kept        []KeptRound      `json:"kept"`
	Dropped     []int64          `json:"dropped"`   // rounds
	Manifests   int              `json:"manifests"` // deleted
	Young       Tally            `json:"young"`     // unnamed, but perhaps of an upload that goes on
	Condemned   Tally            `json:"condemned"` // go if they are still unnamed after the grace time
	Waiting     Tally            `json:"waiting"`   // were condemned before
	Deleted     Tally            `json:"deleted"`
	Borrowed    map[string]Tally `json:"borrowed,omitempty"` // by application: objects that stay only because a fork names them
}

// KeptRound is a complete round that stays.
type KeptRound struct {
	Round int64    `json:"round"`
	Why   []string `json:"why"` // for people: "newest 3", "savepoint before-release"
}

// Tally counts objects.
type Tally struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (t *Tally) add(size int64) {
	t.Objects++
	t.Bytes += size
}

// Collect removes what is superseded. Of the present life it keeps what the claim's Retention says and all newer rounds; of
// earlier lives the same for EarlierLifeGrace; of all lives the rounds that have a savepoint. Objects that no manifest
// or round record of the application or its forks names go in two steps with the grace time in between: condemned in
// one call, deleted in a later one. Objects and earlier lives are looked at by the first call, and then by one call in each
// sixteenth of the grace time.
//
// It may be killed anywhere and repeated, and run in several processes at once. ErrSuperseded says that another process
// has claimed: this Collector is of no more use.
//
// A manifest that cannot be read stops the removal of objects, since what it names is unknown; the error names it, and
// rounds are dropped nevertheless, so that it goes in its turn. What was done before an error is told with it.
func (c *Collector) Collect(ctx context.Context) (Collected, error) {
	run := &collection{r: c.r, claim: c, keep: c.keep}
	run.done.Swept = c.swept.IsZero() || elapsed(c.swept) >= c.r.grace/sweepsPerGrace
	began := time.Now()
	if err := run.do(ctx); err != nil {
		return run.done, fmt.Errorf("collect superseded checkpoints of application %s: %w", c.r.app, err)
	}
	if run.done.Swept {
		c.swept = began
	}
	return run.done, nil
}

// Preview tells what Collect would do now, and writes nothing at all. It takes the process's clock for the store's, since
// the store's cannot be read without writing.
func (r *Repository) Preview(ctx context.Context, keep Retention) (Collected, error) {
	run := &collection{r: r, keep: keep, now: time.Now(), gone: map[string]bool{}}
	run.done.Swept = true
	err := CheckID(r.app)
	if err == nil {
		err = run.do(ctx)
	}
	if err != nil {
		return run.done, fmt.Errorf("look what is superseded of application %s: %w", r.app, err)
	}
	return run.done, nil
}

// collection is one call of Collect or Preview.
type collection struct {
	r        *Repository
	claim    *Collector // nil: nothing is written
	keep     Retention
	now      time.Time       // no later than the store's time
	proven   time.Time       // by the process's clock: when the look began that has shown the claim to be the newest
	unproven int             // deletions since
	gone     map[string]bool // what Collect would have deleted; nil if it does
	done     Collected
}

func (c *collection) do(ctx context.Context) error {
	if c.claim != nil {
		if err := c.prove(ctx); err != nil {
			return err
		}
		// The time is read before anything else, so that every age below is at least what it seems.
		var err error
		if c.now, err = c.r.StoreTime(ctx); err != nil {
			return err
		}
	}
	newest, err := c.r.newestLife(ctx, c.r.app)
	if err != nil {
		return err
	}
	origins, err := c.origins(ctx, newest)
	if err != nil {
		return err
	}
	for n := newest; n >= 1 && (n == newest || c.done.Swept); n-- {
		facts := lifeFacts{origins: origins[n]}
		if n < newest {
			next, err := c.r.store.Stat(ctx, life{c.r.app, n + 1}.application())
			if err != nil {
				return err
			}
			facts.ended = next.Modified
		}
		c.done.Lives = append(c.done.Lives, CollectedLife{Incarnation: n, Dropped: []int64{}})
		if err := c.dropRounds(ctx, life{c.r.app, n}, facts); err != nil {
			return fmt.Errorf("life %d: %w", n, err)
		}
	}
	if !c.done.Swept {
		return nil
	}
	return c.sweep(ctx)
}

// life is where to tell of the life that is being looked at.
func (c *collection) life() *CollectedLife { return &c.done.Lives[len(c.done.Lives)-1] }

// origins finds the rounds that a life is to begin from which has not begun yet, of this application and of those that
// have lately begun to borrow from it; by incarnation and round.
func (c *collection) origins(ctx context.Context, newest int) (map[int]map[int64]string, error) {
	beginning := map[string]int{c.r.app: newest}
	for n := 1; n <= newest; n++ {
		for info, err := range c.r.store.List(ctx, life{c.r.app, n}.borrowers()) {
			if err != nil {
				return nil, err
			}
			app := strings.TrimPrefix(info.Name, life{c.r.app, n}.borrowers())
			if CheckID(app) != nil || !c.now.Before(info.Modified.Add(EarlierLifeGrace)) {
				continue
			}
			if beginning[app], err = c.r.newestLife(ctx, app); err != nil {
				return nil, err
			}
		}
	}
	origins := map[int]map[int64]string{}
	for _, app := range sortedKeys(beginning) {
		l := life{app, beginning[app]}
		origin, err := c.originOf(ctx, l)
		if err != nil {
			return nil, err
		}
		if origin == nil || origin.App != c.r.app {
			continue
		}
		if origins[origin.Incarnation] == nil {
			origins[origin.Incarnation] = map[int64]string{}
		}
		origins[origin.Incarnation][origin.Round] = fmt.Sprintf("life %d of application %s, which has not begun yet", l.incarnation, app)
	}
	return origins, nil
}

// originOf returns the cut that a life is to begin from, or nil if it began, or has been about to for too long.
func (c *collection) originOf(ctx context.Context, l life) (*Origin, error) {
	info, err := c.r.store.Stat(ctx, l.application())
	if errors.Is(err, objstore.ErrNotFound) || err == nil && !c.now.Before(info.Modified.Add(EarlierLifeGrace)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if begun, err := c.r.exists(ctx, l.initialized()); begun || err != nil {
		return nil, err
	}
	rec, err := c.r.loadLife(ctx, l)
	if errors.Is(err, ErrMissing) {
		return nil, nil
	}
	return rec.Origin, err
}

// dropRounds raises the floor, then deletes the rounds below it, oldest first. In each round "complete" goes first, so that
// what is half deleted is not listed as complete even by a reader without the floor.
func (c *collection) dropRounds(ctx context.Context, l life, facts lifeFacts) (err error) {
	if facts.floor, err = c.r.floor(ctx, l); err != nil {
		return err
	}
	if facts.rounds, err = c.r.listRounds(ctx, l); err != nil {
		return err
	}
	plan := planDrop(facts, c.keep, c.now)
	c.life().Floor = plan.floor
	if plan.floor > facts.floor && c.claim != nil {
		if err := c.prove(ctx); err != nil {
			return err
		}
		if _, err := c.r.mark(ctx, l.floor(plan.floor), "floor\n"); err != nil {
			return fmt.Errorf("raise the floor to %d: %w", plan.floor, err)
		}
	}
	// Savepoints are read after the floor is raised: see confirmSavepoint.
	savepoints, err := c.r.settledSavepoints(ctx, l)
	if err != nil {
		return err
	}
	saved := map[int64]string{}
	for _, s := range savepoints {
		saved[s.Round] = s.Name
	}
	c.life().Kept = plan.kept(facts.rounds, saved)
	for _, round := range facts.rounds {
		if round.Number >= plan.floor {
			break
		}
		if err := c.dropRound(ctx, l, round, dropping{plan, saved}); err != nil {
			return fmt.Errorf("drop round %d: %w", round.Number, err)
		}
	}
	return c.dropFloors(ctx, l, plan.floor)
}

// dropping is what decides of rounds below the floor.
type dropping struct {
	plan  dropPlan
	saved map[int64]string
}

func (c *collection) dropRound(ctx context.Context, l life, round Round, d dropping) error {
	dropped := d.plan.dropsRound(round.Number, d.saved)
	if dropped {
		for _, name := range []string{l.complete(round.Number), l.abandoned(round.Number), l.resumed(round.Number)} {
			if err := c.delete(ctx, name); err != nil {
				return err
			}
		}
	}
	var manifests []string
	for _, task := range round.Tasks {
		if name := l.manifest(round.Number, task); d.plan.dropsManifest(round.Number, task, d.saved) {
			manifests = append(manifests, name)
		}
	}
	if err := c.delete(ctx, manifests...); err != nil {
		return err
	}
	c.life().Manifests += len(manifests)
	if dropped && (len(manifests) > 0 || !round.Started.IsZero()) {
		c.life().Dropped = append(c.life().Dropped, round.Number)
	}
	if round.Started.IsZero() {
		return nil
	}
	// Goes for kept rounds too: climb relies on these being deleted in order without gaps.
	return c.delete(ctx, l.started(round.Number))
}

// dropFloors deletes the marks of earlier, lower floors.
func (c *collection) dropFloors(ctx context.Context, l life, floor int64) error {
	for info, err := range c.r.store.List(ctx, l.floors()) {
		if err != nil {
			return err
		}
		if n, ok := l.parseFloor(info.Name); ok && n < floor {
			if err := c.delete(ctx, info.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// prove makes sure that the claim still is the newest.
func (c *collection) prove(ctx context.Context) error {
	c.proven, c.unproven = time.Now(), 0
	return c.claim.prove(ctx)
}

// delete deletes objects, some at a time, with a look at the claims whenever the last one is too old.
func (c *collection) delete(ctx context.Context, names ...string) error {
	if c.claim == nil {
		for _, name := range names {
			c.gone[name] = true
		}
		return nil
	}
	for batch := range slices.Chunk(names, c.r.parallel) {
		if c.unproven >= proofDeletions || elapsed(c.proven) > proofLasts {
			if err := c.prove(ctx); err != nil {
				return err
			}
		}
		c.unproven += len(batch)
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(c.r.parallel)
		for _, name := range batch {
			group.Go(func() error { return c.r.store.Delete(groupCtx, name) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// elapsed is how much time has passed, by the monotonic clock or by the wall clock, whichever says more: the former stands
// still while a machine sleeps, the latter can be set back.
func elapsed(since time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
