// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

// The model's other tests seldom come to a second cut. Here most actions are a
// cut or make a table, and all cuts share a state that is large enough for many
// increments.
type cutMachine struct {
	*machine
	increments, folded *atomic.Int64
}

func TestIncrementsHoldTheStateOfTheirCut(t *testing.T) {
	t.Parallel()
	var increments, folded atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		res, err := NewResources(minMemory)
		if err != nil {
			rt.Fatal(err)
		}
		m := &machine{t: rt, fs: vfs.NewCrashableMem(), stored: vfs.NewMem(), res: res, working: contents{}, confirmed: contents{}}
		m.open()
		defer func() {
			if err := errors.Join(m.db.Close(), res.Close()); err != nil {
				rt.Error(err)
			}
		}()
		cutMachine{m, &increments, &folded}.run(rt)
	})
	if increments.Load() == 0 || folded.Load() == 0 {
		t.Errorf("%d increments and %d folded tables were seen, want some of both", increments.Load(), folded.Load())
	}
}

func (m cutMachine) run(t *rapid.T) {
	random := rand.NewChaCha8([32]byte{})
	base := func(n int) {
		v := make([]byte, 50<<10) // which compactions cannot compress
		_, _ = random.Read(v)
		k := fmt.Sprint("base", n)
		m.ok(m.texts.Put([]byte(k), string(v)))
		m.working[valueKey(textsID, k)] = string(v)
	}
	for n := range 8 {
		base(n)
	}
	m.commitWith(t, 1<<20)
	m.takeCut(t)
	for range 2 { // tables to fold, in whatever comes next
		base(0)
		m.commitWith(t, 1<<20)
		m.ok(m.db.settle())
		m.ok(m.db.flush(neverDone))
	}
	m.takeCut(t)
	seldom := func(action func(*rapid.T)) func(*rapid.T) {
		return func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "seldom") == 0 {
				action(t)
			}
		}
	}
	t.Repeat(actions{
		"":        func(*rapid.T) {},
		"change":  m.change,
		"flush":   m.flush,
		"cut":     m.takeCut,
		"cut 2":   m.takeCut,
		"cut 3":   m.takeCut,
		"late":    seldom(m.storeCut),
		"bulk":    seldom(m.bulk),
		"reopen":  seldom(m.reopen),
		"crash":   seldom(m.crash),
		"apply":   m.apply,
		"restore": m.restoreBase,
	})
}

func (m cutMachine) change(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "changes") {
		rapid.SampledFrom([]func(*rapid.T){
			m.update, m.put, m.putText, m.putSub, m.remove, m.removeRange, m.putWin, m.removeWin, m.dropWinsBefore, m.schedule, m.fire,
		}).Draw(t, "change")(t)
	}
	m.commit(t)
}

// flush makes a table of a change.
func (m cutMachine) flush(t *rapid.T) {
	m.change(t)
	if m.cut == nil {
		m.ok(m.db.settle())
		m.ok(m.db.flush(neverDone))
	}
}

// takeCut takes a cut, in which the state may change, and mostly stores it.
func (m cutMachine) takeCut(t *rapid.T) {
	m.beginCut(t)
	if rapid.Bool().Draw(t, "busy") {
		m.change(t)
	}
	files := !m.cut.long
	m.endCut(t)
	if !files {
		return
	}
	newest := m.pending[len(m.pending)-1]
	if _, whole := sizeOf(newest); !whole {
		m.increments.Add(1)
	}
	for _, f := range newest.Files() {
		if !f.Immutable && strings.HasSuffix(f.Name, ".sst") {
			m.folded.Add(1)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "stored") > 0 {
		m.base, m.pending = newest, nil
	}
}

// restoreBase opens what is stored as a task's state, has Pebble compact all of
// it, and compares.
func (m *machine) restoreBase(*rapid.T) {
	if m.base == nil {
		return
	}
	const dir = "restored"
	m.ok(m.stored.RemoveAll(dir))
	m.ok(m.stored.MkdirAll(dir, 0o755))
	for _, f := range m.base.Files() {
		m.ok(vfs.LinkOrCopy(m.stored, m.stored.PathJoin(storedDir(m.base), f.Name), m.stored.PathJoin(dir, f.Name)))
	}
	r, err := openReadOnly(m.stored, dir)
	m.ok(err)
	want := entries(m.t, r)
	m.ok(r.Close())
	db, err := Open(Options{Dir: dir, FS: m.stored, Identity: testTask, Resources: m.res})
	m.ok(err)
	if pos, _ := db.Position(); pos.Epoch != m.base.Position().Epoch {
		m.t.Fatalf("the restored state is of epoch %d, want %d", pos.Epoch, m.base.Position().Epoch)
	}
	m.ok(db.pebble.Compact(context.Background(), []byte{0}, []byte{0xff, 0xff, 0xff}, false))
	m.ok(db.Close())
	r, err = openReadOnly(m.stored, dir)
	m.ok(err)
	m.compare("restored and compacted", want, entries(m.t, r))
	m.ok(r.Close())
}

// bigState returns a function that changes the first n keys and commits.
func bigState(t *testing.T, db *DB) (change func(n int)) {
	t.Helper()
	s, random, epoch := NewValue(db, 1, texts{}), rand.New(rand.NewPCG(1, 2)), uint64(0)
	return func(n int) {
		for k := range n {
			var v []byte
			for range 60 {
				v = binary.BigEndian.AppendUint64(v, random.Uint64())
			}
			// Neighbours change together, and lie far apart on the disk.
			mustPut(t, s, fmt.Sprintf("%d", uint64(k)*0x9e3779b97f4a7c15), string(v))
		}
		epoch++
		testCommit(t, db, epoch)
	}
}

const bigValue = 480 // bytes

func mustCut(t *testing.T, db *DB, dir string, base *Cut) *Cut {
	t.Helper()
	c, err := db.Cut(context.Background(), dir, base)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-c.Done(); err != nil {
		t.Fatal(err)
	}
	return c
}

// sizeOf adds up the files that a store without base would have to be sent.
func sizeOf(c *Cut) (size int64, whole bool) {
	whole = true
	for _, f := range c.Files() {
		if f.Stored {
			whole = false
		} else {
			size += f.Size
		}
	}
	return size, whole
}

func filesIn(t *testing.T, fsys vfs.FS, dir string) int {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestIncrementIsAsLargeAsWhatHasChanged(t *testing.T) {
	t.Parallel()
	const keys, changed = 20_000, 2_000
	for name, times := range map[string]int{"once": 1, "many times": 4} {
		fsys := vfs.NewMem()
		db := testOpen(t, fsys)
		change := bigState(t, db)
		change(keys)
		base := mustCut(t, db, "cut0", nil)
		for round := range 4 {
			for range times {
				change(changed)
			}
			c := mustCut(t, db, fmt.Sprint("cut", round+1), base)
			size, whole := sizeOf(c)
			if whole || size > changed*bigValue*3/2 {
				t.Errorf("%s, cut %d: %d bytes for %d bytes of values that have changed, whole: %v", name, round+1, size, changed*bigValue, whole)
			}
			base = c
		}
	}
}

func TestIncrementOfNothingIsEmpty(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	bigState(t, db)(1000)
	c := mustCut(t, db, "cut1", mustCut(t, db, "cut0", nil))
	if size, whole := sizeOf(c); whole || size > 0 {
		t.Errorf("a cut of what has not changed is of %d bytes, whole: %v", size, whole)
	}
}

func TestIncrementsThatOutgrowTheStateEndInAWholeCut(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	const keys = 10_000
	change := bigState(t, db)
	change(keys)
	base := mustCut(t, db, "cut0", nil)
	first, _ := sizeOf(base)
	var sum int64
	for n := 1; ; n++ {
		change(keys / 4)
		base = mustCut(t, db, fmt.Sprint("cut", n), base)
		size, whole := sizeOf(base)
		if whole {
			if sum < first/2 {
				t.Errorf("a whole cut after increments of %d bytes, the whole one before has %d", sum, first)
			}
			break
		}
		if sum += size; sum > first+first/10 {
			t.Fatalf("increments of %d bytes build upon a whole cut of %d", sum, first)
		}
	}
	change(keys / 10)
	if _, whole := sizeOf(mustCut(t, db, "after", base)); whole {
		t.Error("the cut after the second whole one is whole, too")
	}
}

func TestWhatCannotBeAnIncrementIsWhole(t *testing.T) {
	t.Parallel()
	noLinks := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLink && !strings.Contains(op.Path, incrementsDir) {
			return errors.New("no links")
		}
		return nil
	})}
	fsys := errorfs.Wrap(vfs.NewMem(), noLinks)
	res := testResources(t)
	db := testOpenWith(t, Options{FS: fsys, Resources: res})
	change := bigState(t, db)
	change(5000)
	base := mustCut(t, db, "cut0", nil)
	change(50)
	older := mustCut(t, db, "cut1", base)
	change(50)
	newer := mustCut(t, db, "cut2", older)
	for name, c := range map[string]*Cut{"cut1": older, "cut2": newer} {
		if _, whole := sizeOf(c); whole {
			t.Errorf("%s is whole", name)
		}
	}
	c, err := db.Cut(context.Background(), "cut2", newer)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-c.Done(); !errors.Is(err, os.ErrExist) || filesIn(t, fsys, "cut2") == 0 {
		t.Errorf("a cut into a directory that exists: %v, it has %d files now", err, filesIn(t, fsys, "cut2"))
	}
	if _, whole := sizeOf(mustCut(t, db, "cut3", base)); !whole {
		t.Error("a cut upon one that is older than the base of another is an increment")
	}
	noLinks.On()
	change(50)
	if _, whole := sizeOf(mustCut(t, db, "cut4", newer)); !whole {
		t.Error("a cut is an increment although what was flushed could not be linked")
	}
	noLinks.Off()
	other := testOpenWith(t, Options{FS: fsys, Dir: "other", Resources: res})
	bigState(t, other)(10)
	if _, whole := sizeOf(mustCut(t, other, "cut5", newer)); !whole {
		t.Error("a cut upon that of another state is an increment")
	}
}

func TestLinksOfFlushesGoWithTheProcess(t *testing.T) {
	t.Parallel()
	fsys, res := vfs.NewCrashableMem(), testResources(t)
	db := testOpenWith(t, Options{FS: fsys, Resources: res})
	change := bigState(t, db)
	change(5000)
	base := mustCut(t, db, "cut0", nil)
	change(50)
	if err := db.flush(neverDone); err != nil {
		t.Fatal(err)
	}
	links := func(fsys vfs.FS) int {
		names, err := fsys.List("state/1_7/" + incrementsDir)
		if err != nil {
			return 0
		}
		return len(names)
	}
	if n := links(fsys); n != 1 {
		t.Fatalf("there are %d links of one flushed table", n)
	}
	base = mustCut(t, db, "cut1", base)
	if mustCut(t, db, "cut2", base); links(fsys) != 0 {
		t.Errorf("%d links are left of what a stored cut has", links(fsys))
	}
	change(50)
	if err := db.flush(neverDone); err != nil {
		t.Fatal(err)
	}
	crashed := fsys.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := links(fsys); n != 0 {
		t.Errorf("%d links are left after Close", n)
	}
	db = testOpenWith(t, Options{FS: crashed, Resources: res})
	if n := links(crashed); n != 0 {
		t.Errorf("%d links are left after a crash", n)
	}
	if _, whole := sizeOf(mustCut(t, db, "cut3", base)); !whole {
		t.Error("the first cut after a crash is an increment")
	}
}

// However many flushes lie between two cuts, a key that has changed in each is sent once.
func TestAKeyThatChangesInManyFlushesIsInAnIncrementOnce(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	db := testOpenWith(t, Options{FS: mem, Resources: testResources(t)})
	change := bigState(t, db)
	change(20000)
	base := mustCut(t, db, "cut0", nil)
	const keys = 50
	for range 3 * foldTables {
		change(keys)
		if err := db.flush(neverDone); err != nil {
			t.Fatal(err)
		}
	}
	c := mustCut(t, db, "cut1", base)
	var tables, bytes int64
	for _, f := range c.Files() {
		if !f.Stored && strings.HasSuffix(f.Name, ".sst") {
			tables, bytes = tables+1, bytes+f.Size
		}
	}
	if limit := int64(keys*bigValue*3/2 + 4096); tables != 1 || bytes > limit {
		t.Errorf("the increment has %d tables of %d bytes, expected 1 of at most %d", tables, bytes, limit)
	}
	names, err := mem.List("cut1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".fold") {
			t.Errorf("file %s is left", name)
		}
	}
}

func TestIncrementThatFailsIsAWholeCut(t *testing.T) {
	t.Parallel()
	// Every operation on the new directory fails once, until none is left.
	for n := int32(0); ; n++ {
		var left atomic.Int32
		left.Store(n)
		failing := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !strings.Contains(op.Path, "cut1") || op.Kind == errorfs.OpRemoveAll || op.Kind == errorfs.OpStat || left.Add(-1) != -1 {
				return nil
			}
			return errors.New("injected")
		})}
		var told atomic.Pointer[error]
		mem := vfs.NewMem()
		db := testOpenWith(t, Options{FS: errorfs.Wrap(mem, failing), Resources: testResources(t), Listener: &Listener{
			Background: func(err error) { told.Store(&err) },
		}})
		db.flushes.run = 2
		change := bigState(t, db)
		change(2000)
		base := mustCut(t, db, "cut0", nil)
		for range 3 { // tables, so that they are folded and folded again
			change(50)
			if err := db.flush(neverDone); err != nil {
				t.Fatal(err)
			}
		}
		failing.On()
		c := mustCut(t, db, "cut1", base)
		failing.Off()
		_, whole := sizeOf(c)
		if left.Load() >= 0 {
			if whole || told.Load() != nil {
				t.Errorf("a cut without a failure is whole")
			}
			return
		}
		if !whole || told.Load() == nil {
			t.Fatalf("operation %d failed, the cut is whole: %v, the listener was told: %v", n, whole, told.Load() != nil)
		}
		r, err := openReadOnly(mem, "cut1")
		if err != nil {
			t.Fatal(err)
		}
		if pos, _, err := r.Position(); err != nil || pos.Epoch != 4 {
			t.Errorf("operation %d failed, the whole cut is at epoch %d: %v", n, pos.Epoch, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		change(50)
		if _, whole := sizeOf(mustCut(t, db, "cut2", base)); !whole {
			t.Errorf("operation %d failed, and the cut after it is upon a base from before", n)
		}
		change(50)
		if _, whole := sizeOf(mustCut(t, db, "cut3", c)); whole {
			t.Errorf("operation %d failed, and no cut is an increment any more", n)
		}
	}
}

func TestManyIncrementsEndInAWholeCutAndCanBeGoneOnWith(t *testing.T) {
	t.Parallel()
	fsys, res := vfs.NewMem(), testResources(t)
	db := testOpenWith(t, Options{FS: fsys, Resources: res})
	change := bigState(t, db)
	change(20_000)
	base := mustCut(t, db, "cut", nil)
	copyOf := func(c *Cut) {
		for _, f := range c.Files() {
			if !f.Stored {
				if err := vfs.Copy(fsys, c.Dir()+"/"+f.Name, "stored/"+f.Name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := fsys.MkdirAll("stored", 0o755); err != nil {
		t.Fatal(err)
	}
	copyOf(base)
	n := 0
	for ; n <= maxIncrementTables; n++ {
		change(1)
		c := mustCut(t, db, fmt.Sprint("cut", n), base)
		if _, whole := sizeOf(c); whole {
			break
		}
		copyOf(c)
		base = c
	}
	if n != maxIncrementTables {
		t.Errorf("there were %d increments before a whole cut, want %d", n, maxIncrementTables)
	}
	// Far more tables than those at which a commit waits for compactions.
	stalled := make(chan string, 100)
	db = testOpenWith(t, Options{FS: fsys, Dir: "stored", Resources: res, Listener: &Listener{Stall: func(reason string, _ time.Duration) { stalled <- reason }}})
	if pos, _ := db.Position(); pos.Epoch != base.Position().Epoch {
		t.Errorf("the last increment is at epoch %d, want %d", pos.Epoch, base.Position().Epoch)
	}
	change = bigState(t, db)
	for range 10 {
		change(1)
		if err := db.flush(neverDone); err != nil {
			t.Fatal(err)
		}
	}
	if len(stalled) > 0 {
		t.Errorf("a commit waited for: %s", <-stalled)
	}
}
