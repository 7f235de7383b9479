// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/partition"
)

// The tests of this file let everything that writes to a store run beside each other, in virtual time: owners and zombies
// that publish checkpoints, forks, rollbacks, imports, savepoints that come and go, collectors that are killed at one
// call after the other, and collectors that are suspended for twice the grace time at any call. Calls are slow, fail, lose
// their replies, or take effect when their caller has long given up. A seed names a history as far as goroutines allow it.
//
// A ledger holds every single write against the promises, an observer verifies now and then all that there is, and in the
// end what nothing refers to must be gone.

var stormSeeds = flag.Int64("seeds", 3, "how many histories the tests of collection run")

var errLate = errors.New("the answer did not come in time")

func TestNothingThatIsReferredToIsEverDeleted(t *testing.T) {
	t.Parallel()
	happened := runStorms(t, *stormSeeds, scale{10 * time.Hour, 8}, func(*testing.T) *ledger { return newLedger(objstore.NewMem(), nil) })
	expectHappened(t, happened, "published", "reused", "refused", "too slow", "condemned", "deleted", "killed", "superseded", "forked", "rolled back", "saved", "copied", "imported")
}

func TestNothingThatIsReferredToIsEverDeletedInAFolder(t *testing.T) {
	t.Parallel()
	happened := runStorms(t, max(1, *stormSeeds/8), scale{150 * time.Minute, 3}, func(t *testing.T) *ledger {
		folder := t.TempDir()
		store, err := dir.New(folder)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return newLedger(store, func(name string) error {
			return os.Chtimes(filepath.Join(folder, name), time.Time{}, time.Now()) // the virtual time
		})
	})
	expectHappened(t, happened, "published", "reused", "condemned", "deleted", "killed")
}

// scale is how long a storm lasts, and how many applications it may have.
type scale struct {
	lasts time.Duration
	apps  int
}

// runStorms counts what happened in all of them together.
func runStorms(t *testing.T, seeds int64, size scale, open func(*testing.T) *ledger) map[string]int {
	happened := map[string]int{}
	folders := makeLifeFolders(t, stormRounds)
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			s := &storm{t: t, ledger: open(t), seed: seed, folders: folders, most: size.apps}
			s.mu.happened, s.mu.apps = happened, []string{testApp}
			s.run(size.lasts)
		})
		if t.Failed() {
			break
		}
	}
	return happened
}

// expectHappened: a storm in which something never happens proves nothing about it.
func expectHappened(t *testing.T, happened map[string]int, all ...string) {
	t.Log(happened)
	for _, what := range all {
		if happened[what] == 0 {
			t.Errorf("nothing was ever %s: %v", what, happened)
		}
	}
}

type storm struct {
	t       *testing.T
	ledger  *ledger
	seed    int64
	folders lifeFolders
	most    int            // applications
	pending sync.WaitGroup // late calls
	mu      struct {
		sync.Mutex
		happened map[string]int
		apps     []string
	}
}

const stormRounds = 400

func (s *storm) run(lasts time.Duration) {
	ctx, stop := context.WithTimeout(s.t.Context(), lasts)
	defer stop()
	if _, _, err := s.clean(testApp).CreateApplication(ctx, Application{App: testApp, Incarnation: 1}); err != nil {
		s.t.Fatal(err)
	}
	var actors sync.WaitGroup
	for i, a := range []struct {
		client weather
		act    func(context.Context, *client)
	}{
		{fair, s.owner}, {fair, s.owner}, {slow, s.owner}, {slow, s.owner}, {crawling, s.owner}, {fair, s.killed}, {fair, s.killed}, {freezing, s.claimed}, {freezing, s.claimed},
		{calm, s.swift}, {fair, s.savepoints}, {fair, s.forks}, {slow, s.forks}, {fair, s.rollbacks}, {fair, s.imports},
	} {
		actors.Go(func() { s.repeat(ctx, s.client(a.client, i), a.act) })
	}
	actors.Go(func() { s.observe(ctx) })
	actors.Wait()
	s.pending.Wait()
	s.finish()
}

func (s *storm) note(what string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.happened[what] += n
}

func (s *storm) apps() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mu.apps)
}

// addApp numbers a new application.
func (s *storm) addApp(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	app := fmt.Sprintf("%s-%d", prefix, len(s.mu.apps))
	s.mu.apps = append(s.mu.apps, app)
	return app
}

// weather is how slow a client's calls are: up to usual, or writing if they write; and now and then up to seldom, or for
// all of that if it is frozen.
type weather struct {
	usual, writing, seldom time.Duration
	frozen                 bool
}

var (
	calm     = weather{usual: 10 * time.Millisecond, writing: 10 * time.Millisecond, seldom: time.Second}
	fair     = weather{usual: 3 * time.Second, writing: 3 * time.Second, seldom: 10 * time.Minute}
	slow     = weather{usual: 3 * time.Second, writing: testGrace / 5, seldom: testGrace / 2}
	crawling = weather{usual: 3 * time.Second, writing: testGrace, seldom: testGrace}
	freezing = weather{usual: 3 * time.Second, writing: 3 * time.Second, seldom: 2 * testGrace, frozen: true}
)

// client is one process that acts, with weather of its own.
type client struct {
	name  string
	rng   *rand.Rand // of the actor alone
	store objstore.Store
	repos map[string]*Repository
	known map[life]map[partition.TaskID]Manifest
	kill  int64 // of killed: at which call
}

func (s *storm) client(w weather, n int) *client {
	seeded := func(use int) *rand.Rand { return rand.New(rand.NewPCG(uint64(s.seed), uint64(n<<8+use))) }
	rng := seeded(1)
	hook := func(op fault.Op) fault.Fault {
		usual := w.usual
		if op.Kind == fault.Put || op.Kind == fault.Create && !strings.HasSuffix(op.Name, "/started") {
			usual = w.writing
		}
		f := fault.Fault{Delay: time.Duration(rng.Int64N(int64(usual)))}
		switch rng.IntN(40) {
		case 0:
			f.Before = fault.Unavailable(op)
		case 1:
			f.After = fault.Unavailable(op)
		case 2:
			if f.Delay = w.seldom; !w.frozen {
				f.Delay = time.Duration(rng.Int64N(int64(w.seldom)))
			}
		}
		return f
	}
	overtaken := late{s.ledger, testGrace/2 - time.Minute, &s.pending, &sync.Mutex{}, seeded(2)}
	store := objstore.NewRetry(fault.New(overtaken, hook), objstore.Policy{Base: time.Second, Cap: time.Minute, Rand: seeded(3).Float64, Stall: 2 * testGrace})
	return &client{name: fmt.Sprint("actor-", n), rng: seeded(4), store: store, repos: map[string]*Repository{}, known: map[life]map[partition.TaskID]Manifest{}}
}

func (c *client) repository(app string) *Repository {
	if c.repos[app] == nil {
		c.repos[app] = NewRepository(c.store, app, WithGrace(testGrace), WithParallel(2))
	}
	return c.repos[app]
}

func (s *storm) clean(app string) *Repository {
	return NewRepository(s.ledger, app, WithGrace(testGrace), WithParallel(2))
}

func (s *storm) repeat(ctx context.Context, c *client, act func(context.Context, *client)) {
	for ctx.Err() == nil {
		act(ctx, c)
		pass(time.Duration(c.rng.Int64N(int64(2 * time.Minute))))
	}
}

// owner takes a checkpoint of an application, building on what it published last, however long ago. Now and then it does so
// in a life that is over.
func (s *storm) owner(ctx context.Context, c *client) {
	apps := s.apps()
	app := apps[0]
	if c.rng.IntN(4) == 0 {
		app = apps[c.rng.IntN(len(apps))]
	}
	r := c.repository(app)
	newest, err := r.newestLife(ctx, app)
	if err != nil {
		return
	}
	l := life{app, newest}
	if c.rng.IntN(5) == 0 {
		l.incarnation = 1 + c.rng.IntN(newest)
	}
	if err := s.round(ctx, c, r, l); err != nil {
		s.note("refused", 1)
	}
}

func (s *storm) round(ctx context.Context, c *client, r *Repository, l life) error {
	latest, err := r.LatestRound(ctx, l.incarnation)
	if err != nil {
		return err
	}
	n := latest.Number + 1
	if n >= stormRounds {
		return nil
	}
	if _, err := r.StartRound(ctx, l.incarnation, n, GoOn); err != nil {
		return err
	}
	tasks := []partition.TaskID{taskID(0), taskID(1)}
	generation := fmt.Sprint(c.name, ".", c.rng.IntN(1000))
	for _, task := range tasks {
		if err := s.publish(ctx, c, upkeep{r, l, n, task, generation}); err != nil && !errors.Is(err, ErrSuperseded) {
			return err
		}
	}
	done := withChannel(completion(n, tasks), filepath.Join(s.folders[n][0], "CURRENT"))
	done.Incarnation = l.incarnation
	err = r.CompleteRound(ctx, done)
	if errors.Is(err, ErrIncomplete) || errors.Is(err, ErrSuperseded) {
		return nil
	}
	return err
}

// upkeep is one task's checkpoint that is to be published.
type upkeep struct {
	r          *Repository
	l          life
	round      int64
	task       partition.TaskID
	generation string
}

func (s *storm) publish(ctx context.Context, c *client, k upkeep) error {
	m := testManifest(k.task, k.round, k.generation)
	m.App, m.Incarnation = k.l.app, k.l.incarnation
	u := Upload{Manifest: m, Dir: s.folders[k.round][k.task.Partition], Files: keys(lifeFiles(k.task, k.round))}
	if c.known[k.l] == nil {
		c.known[k.l] = map[partition.TaskID]Manifest{}
	}
	base, ok := c.known[k.l][k.task]
	if !ok || c.rng.IntN(2) == 0 { // a new owner restores the newest first
		found, _, err := k.r.Manifests(ctx, k.l.incarnation, k.task, 0)
		if err != nil {
			return err
		}
		if ok = len(found) > 0; ok {
			base = found[0]
		}
	}
	if ok {
		u.Known, u.KnownRound = base.Known(), base.Round
		delete(u.Known, "CURRENT")
	}
	published, stats, err := k.r.Publish(ctx, u)
	if errors.Is(err, ErrTooSlow) || errors.Is(err, context.DeadlineExceeded) {
		s.note("too slow", 1)
	}
	if err != nil {
		return err
	}
	c.known[k.l][k.task] = published
	s.note("published", 1)
	s.note("reused", int(stats.ReusedFiles))
	return nil
}

// killed collects one application after the other, and is killed at the first call, then at the second, and so on until it
// comes through. Every second time the last call still takes effect.
func (s *storm) killed(ctx context.Context, c *client) {
	apps := s.apps()
	app := apps[0]
	if c.rng.IntN(3) == 0 {
		app = apps[c.rng.IntN(len(apps))]
	}
	for range 20 {
		if ctx.Err() != nil || !s.killOnce(ctx, c, app) {
			return
		}
		pass(time.Duration(c.rng.Int64N(int64(time.Minute))))
	}
}

// killOnce says whether the collection was killed.
func (s *storm) killOnce(ctx context.Context, c *client, app string) bool {
	c.kill++
	hook := func(op fault.Op) fault.Fault {
		f := fault.Fault{Delay: time.Duration(op.N % 3 * int64(time.Second))}
		switch {
		case op.N == c.kill && c.kill%2 == 0:
			f.After = errKilled
		case op.N >= c.kill:
			f.Before = errKilled
		}
		return f
	}
	done, err := claimAndCollect(ctx, NewRepository(fault.New(s.ledger, hook), app, WithGrace(testGrace), WithParallel(1)), 1+c.rng.IntN(2))
	s.noteCollected(done)
	switch {
	case errors.Is(err, errKilled):
		s.note("killed", 1)
		return true
	case err == nil:
		c.kill = 0
	}
	return false
}

func (s *storm) noteCollected(done Collected) {
	for _, l := range done.Lives {
		s.note("condemned", l.Condemned.Objects)
		s.note("deleted", l.Deleted.Objects)
	}
}

// swift collects all applications again and again for a while, and then not at all for another.
func (s *storm) swift(ctx context.Context, c *client) {
	pass(time.Duration(c.rng.Int64N(int64(2 * testGrace))))
	for until := time.Now().Add(2 * testGrace); time.Now().Before(until) && ctx.Err() == nil; pass(time.Minute) {
		for i, app := range s.apps() {
			if i > 0 && c.rng.IntN(10) > 0 {
				continue
			}
			done, err := claimAndCollect(ctx, c.repository(app), 1+c.rng.IntN(3))
			if s.noteCollected(done); err == nil {
				s.note("swept", 1)
			}
		}
	}
}

// claimed collects with one claim for as long as it is let.
func (s *storm) claimed(ctx context.Context, c *client) {
	apps := s.apps()
	collector, err := c.repository(apps[c.rng.IntN(len(apps))]).Claim(ctx, c.name, Retention{Kept: 1})
	for err == nil && ctx.Err() == nil {
		var done Collected
		done, err = collector.Collect(ctx)
		s.noteCollected(done)
		pass(testGrace / sweepsPerGrace)
	}
	if errors.Is(err, ErrSuperseded) {
		s.note("superseded", 1)
	}
}

// completeRound chooses a complete round of an application, of any life.
func (s *storm) completeRound(ctx context.Context, c *client, app string) (l life, n int64, ok bool) {
	newest, err := c.repository(app).newestLife(ctx, app)
	if err != nil {
		return l, 0, false
	}
	l = life{app, newest}
	if c.rng.IntN(3) == 0 {
		l.incarnation = 1 + c.rng.IntN(newest)
	}
	var complete []int64
	for round, err := range c.repository(app).Rounds(ctx, l.incarnation) {
		if err != nil {
			return l, 0, false
		}
		if round.Complete {
			complete = append(complete, round.Number)
		}
	}
	if len(complete) == 0 {
		return l, 0, false
	}
	return l, complete[c.rng.IntN(len(complete))], true
}

// savepoints keeps a round by one name, then by another, and lets go of it.
func (s *storm) savepoints(ctx context.Context, c *client) {
	l, n, ok := s.completeRound(ctx, c, testApp)
	if !ok {
		return
	}
	r, first := c.repository(testApp), fmt.Sprint("s", c.rng.Int64())
	for _, name := range []string{first, fmt.Sprint("s", c.rng.Int64())} {
		if err := r.CreateSavepoint(ctx, l.incarnation, Savepoint{Name: name, Round: n}); err != nil {
			s.note("refused", 1)
			return // what was created stays for the end to delete
		}
		if name == first {
			s.note("saved", 1)
		} else {
			s.note("copied", 1)
			if err := r.DeleteSavepoint(ctx, l.incarnation, first); err != nil {
				return
			}
		}
		if name == first {
			s.ledger.save(l, n, 1)
		}
		pass(time.Duration(c.rng.Int64N(int64(2 * testGrace))))
		if report, err := s.clean(testApp).Verify(s.t.Context(), l.incarnation, n); err != nil || !report.Complete || report.Damaged() {
			s.t.Errorf("seed %d: saved round %d of life %d: %+v, %v", s.seed, n, l.incarnation, report, err)
		}
	}
	s.ledger.save(l, n, -1)
	for _, saved := range s.allSavepoints(l) {
		_ = r.DeleteSavepoint(ctx, l.incarnation, saved.Name) // those that stay are deleted in the end
	}
}

func (s *storm) allSavepoints(l life) []Savepoint {
	saved, err := s.clean(l.app).Savepoints(context.Background(), l.incarnation)
	if err != nil {
		s.t.Errorf("seed %d: %v", s.seed, err)
	}
	return saved
}

// begin makes a new life from a cut, as the engine does.
func (s *storm) begin(ctx context.Context, c *client, from life, n int64, to life) error {
	cut, err := c.repository(from.app).LoadCut(ctx, from.incarnation, n)
	if err != nil {
		return err
	}
	manifests := slices.Clone(cut.Manifests)
	for i := range manifests {
		manifests[i].App, manifests[i].Incarnation = to.app, to.incarnation
	}
	r := c.repository(to.app)
	origin := Origin{from.app, from.incarnation, n}
	_, created, err := r.CreateApplication(ctx, Application{App: to.app, Incarnation: to.incarnation, Origin: &origin})
	if err != nil || !created {
		return err
	}
	for range 3 { // resumed as a user would
		pass(time.Duration(c.rng.Int64N(int64(testGrace / 4))))
		if err = r.Adopt(ctx, cut, manifests); err == nil {
			return r.MarkInitialized(ctx, to.incarnation)
		}
	}
	return err
}

func (s *storm) forks(ctx context.Context, c *client) {
	if len(s.apps()) > s.most/2 {
		return
	}
	apps := s.apps()
	from, n, ok := s.completeRound(ctx, c, apps[c.rng.IntN(len(apps))])
	if !ok {
		return
	}
	if err := s.begin(ctx, c, from, n, life{s.addApp("fork"), 1}); err != nil {
		s.note("refused", 1)
		return
	}
	s.note("forked", 1)
}

func (s *storm) rollbacks(ctx context.Context, c *client) {
	pass(time.Duration(c.rng.Int64N(int64(2 * testGrace))))
	from, n, ok := s.completeRound(ctx, c, testApp)
	if !ok {
		return
	}
	newest, err := c.repository(testApp).newestLife(ctx, testApp)
	if err != nil || newest > 5 {
		return
	}
	if err := s.begin(ctx, c, from, n, life{testApp, newest + 1}); err != nil {
		s.note("refused", 1)
		return
	}
	s.note("rolled back", 1)
}

func (s *storm) imports(ctx context.Context, c *client) {
	if len(s.apps()) > s.most {
		return
	}
	l, n, ok := s.completeRound(ctx, c, testApp)
	if !ok {
		return
	}
	r, name := c.repository(testApp), fmt.Sprint("export", c.rng.Int64())
	if err := r.CreateSavepoint(ctx, l.incarnation, Savepoint{Name: name, Round: n}); err != nil {
		return
	}
	var archive bytes.Buffer
	err := r.Export(ctx, l.incarnation, name, &archive, nil)
	if err == nil {
		into := c.repository(s.addApp("import"))
		for range 3 {
			if _, err = into.Import(ctx, bytes.NewReader(archive.Bytes())); err == nil {
				s.note("imported", 1)
				break
			}
		}
	}
	if err != nil {
		s.note("refused", 1)
	}
	_ = r.DeleteSavepoint(ctx, l.incarnation, name) // else in the end
}

// observe verifies all that there is, without delays of its own.
func (s *storm) observe(ctx context.Context) {
	for ctx.Err() == nil && s.check() {
		pass(2 * time.Hour)
	}
}

// check says whether all promises hold.
func (s *storm) check() bool {
	for _, text := range s.ledger.breaches() {
		s.t.Errorf("seed %d: %s", s.seed, text)
	}
	for _, app := range s.apps() {
		r := s.clean(app)
		newest, err := r.newestLife(s.t.Context(), app)
		for n := 1; n <= newest && err == nil; n++ {
			err = checkLife(s.t.Context(), r, n)
		}
		if err != nil {
			s.t.Errorf("seed %d, %s into it: application %s: %v", s.seed, time.Now().Format(time.DateTime), app, err)
		}
	}
	return !s.t.Failed()
}

// finish lets go of all savepoints, and waits until all garbage must be gone. Then only what is named is there.
func (s *storm) finish() {
	ctx := s.t.Context()
	clear(s.ledger.mu.saved)
	for _, app := range s.apps() {
		newest, err := s.clean(app).newestLife(ctx, app)
		if err != nil {
			s.t.Fatal(err)
		}
		for n := 1; n <= newest; n++ {
			for _, saved := range s.allSavepoints(life{app, n}) {
				if err := s.clean(app).DeleteSavepoint(ctx, n, saved.Name); err != nil {
					s.t.Fatal(err)
				}
			}
		}
	}
	pass(EarlierLifeGrace + time.Hour)
	for range 8 { // garbage of forks frees objects of their origins
		for _, app := range s.apps() {
			done, err := claimAndCollect(ctx, s.clean(app), 1)
			if err != nil {
				s.t.Fatalf("seed %d: %v", s.seed, err)
			}
			s.noteCollected(done)
		}
		pass(testGrace + time.Minute)
	}
	if !s.check() {
		return
	}
	there := map[string]bool{}
	for _, app := range s.apps() {
		for info, err := range s.ledger.inner.List(ctx, app+"/") {
			if err != nil {
				s.t.Fatal(err)
			}
			if strings.Contains(info.Name, "/objects/") {
				there[info.Name] = true
			}
			if strings.Contains(info.Name, "/gc/condemned/") {
				s.t.Errorf("seed %d: %s is left", s.seed, info.Name)
			}
		}
	}
	named := map[string]bool{}
	for object, documents := range s.ledger.mu.named {
		if len(documents) > 0 {
			named[object] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(there))); diff != "" {
		s.t.Errorf("seed %d: objects that are named and that exist differ (-named +existing):\n%s", s.seed, diff)
	}
}
