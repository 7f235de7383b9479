// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

func TestNothingReachesPebbleBeforeConfirm(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, numbers{})
	mustPut(t, s, "a", 1)
	if _, err := db.Prepare(1 << 20); err != nil {
		t.Fatal(err)
	}
	if raw, found, err := db.get(1, []byte("a")); found || err != nil {
		t.Fatalf("Pebble has %x, %v before Confirm", raw, err)
	}
	if err := db.Confirm(Position{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if _, found, err := db.get(1, []byte("a")); !found || err != nil {
		t.Fatalf("Pebble lacks the entry after Confirm: %v", err)
	}
}

func TestAbortBringsBackTheConfirmedValues(t *testing.T) {
	t.Parallel()
	for _, prepared := range []bool{false, true} {
		db := testOpen(t, vfs.NewMem())
		s := NewValue(db, 1, numbers{})
		mustPut(t, s, "a", 1)
		testCommit(t, db, 1)
		mustPut(t, s, "a", 2)
		mustPut(t, s, "b", 3)
		if prepared {
			if _, err := db.Prepare(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
		db.Abort()
		wantValue(t, s, "a", 1)
		wantAbsent(t, s, "b")
		if d := testCommit(t, db, 2); !d.Empty() {
			t.Errorf("the delta after an abort has %d records, want none", len(d.Records))
		}
	}
}

func TestAbortDuringACutBringsBackHeldValues(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, numbers{})
	m := NewMap(db, 2, numbers{})
	mustPut(t, s, "a", 1)
	if err := m.Put([]byte("u"), []byte("1"), 1); err != nil {
		t.Fatal(err)
	}
	testCommit(t, db, 1)
	c := openCutByHand(db)
	mustPut(t, s, "a", 2)
	mustPut(t, s, "gone", 1)
	testCommit(t, db, 2)
	if err := errors.Join(s.Delete([]byte("gone")), m.DeleteRange([]byte("u"), nil, nil)); err != nil {
		t.Fatal(err)
	}
	testCommit(t, db, 3)
	mustPut(t, s, "a", 9)
	mustPut(t, s, "gone", 9)
	if err := m.Put([]byte("u"), []byte("1"), 9); err != nil {
		t.Fatal(err)
	}
	db.Abort()
	check := func() {
		t.Helper()
		wantValue(t, s, "a", 2)
		wantAbsent(t, s, "gone")
		if v, ok, err := m.Get([]byte("u"), []byte("1")); ok || err != nil {
			t.Fatalf("a sub-key deleted by a held range is %d, %v", v, err)
		}
	}
	check()
	c.cancel()
	testCommit(t, db, 4)
	check()
	if len(db.held) != 0 || len(s.held) != 0 {
		t.Errorf("%d deltas and %d entries are still held after the cut", len(db.held), len(s.held))
	}
}

// openCutByHand gives a cut that lasts until it is cancelled.
func openCutByHand(db *DB) *Cut {
	c := &Cut{ended: make(chan struct{}), done: make(chan error, 1)}
	c.cancel = sync.OnceFunc(func() { close(c.ended) })
	db.cut = c
	return c
}

func TestHeldDeltasAreBounded(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	db.res.shares.Held = 10_000
	s := NewValue(db, 1, texts{})
	c := openCutByHand(db)
	confirmed := make(chan uint64, 1000)
	done := make(chan error)
	go func() {
		defer close(done)
		for e := uint64(1); e <= 10; e++ {
			if err := s.Put([]byte("k"), strings.Repeat("v", 3000)); err != nil {
				done <- err
			}
			if _, err := db.Prepare(1 << 20); err != nil {
				done <- err
			}
			if err := db.Confirm(Position{Epoch: e}); err != nil {
				done <- err
			}
			confirmed <- e
		}
	}()
	for e := range confirmed {
		if e == 2 { // the third or fourth goes over the bound and waits
			break
		}
	}
	select {
	case err := <-done:
		t.Fatalf("ten epochs were held beyond the budget: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	c.cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCutHoldsItsPositionWhileConfirmGoesOn(t *testing.T) {
	t.Parallel()
	res, dir := testResources(t), t.TempDir()
	db := testOpenWith(t, Options{Dir: filepath.Join(dir, "task"), Resources: res})
	s := NewValue(db, 1, numbers{})
	for n := range 1000 {
		mustPut(t, s, fmt.Sprint("k", n), 1)
	}
	testCommit(t, db, 1)
	var before []File
	for round := range 3 {
		pos, _ := db.Position()
		c, err := db.Cut(context.Background(), filepath.Join(dir, fmt.Sprint("cut", round)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Cut(context.Background(), filepath.Join(dir, "other"), nil); err != nil && !errors.Is(err, ErrCutOpen) {
			t.Fatal(err)
		} else if err == nil {
			t.Skip("the cut ended before the second one was asked for")
		}
		epoch := pos.Epoch
		for range 5 {
			epoch++
			for n := range 1000 {
				mustPut(t, s, fmt.Sprint("k", n), epoch)
			}
			testCommit(t, db, epoch)
			wantValue(t, s, "k7", epoch)
		}
		if err := <-c.Done(); err != nil {
			t.Fatal(err)
		}
		r, err := OpenReadOnly(c.Dir())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok, err := r.Position(); err != nil || !ok || got.Epoch != pos.Epoch || c.Position().Epoch != pos.Epoch {
			t.Errorf("the cut holds epoch %d, %v, %v and says %d; want %d", got.Epoch, ok, err, c.Position().Epoch, pos.Epoch)
		}
		seq, done := r.Scan(1, []byte("k"))
		for k, raw := range seq {
			if v, _ := (numbers{}).Decode(raw); v != pos.Epoch {
				t.Fatalf("in the cut of epoch %d, %s is of epoch %d", pos.Epoch, k, v)
			}
		}
		if err := errors.Join(done(), r.Close()); err != nil {
			t.Fatal(err)
		}
		checkFiles(t, before, c.Files())
		before = c.Files()
	}
}

// checkFiles: a table with the name of an earlier one is that one.
func checkFiles(t *testing.T, before, now []File) {
	t.Helper()
	tables := 0
	for _, f := range now {
		if f.Immutable {
			tables++
		}
		for _, b := range before {
			if f.Immutable && b.Name == f.Name && b.Size != f.Size {
				t.Errorf("table %s had %d bytes in one cut and has %d in the next", f.Name, b.Size, f.Size)
			}
		}
		if f.Name == identityFile || f.Name == ownerFile {
			t.Errorf("the cut has %s: it could not be restored elsewhere", f.Name)
		}
	}
	if tables == 0 {
		t.Error("the cut has no tables")
	}
}

func TestRestoredCutIsAdoptedByAnyTask(t *testing.T) {
	t.Parallel()
	res, dir := testResources(t), t.TempDir()
	db := testOpenWith(t, Options{Dir: filepath.Join(dir, "task"), Resources: res})
	mustPut(t, NewValue(db, 1, numbers{}), "a", 5)
	testCommit(t, db, 9)
	cut := filepath.Join(dir, "cut")
	c, err := db.Cut(context.Background(), cut, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-c.Done(); err != nil {
		t.Fatal(err)
	}
	fork := testTask
	fork.App = "fork"
	db = testOpenWith(t, Options{Dir: cut, Identity: fork, Resources: res})
	if pos, _ := db.Position(); pos.Epoch != 9 {
		t.Errorf("the fork starts at epoch %d, want 9", pos.Epoch)
	}
	wantValue(t, NewValue(db, 1, numbers{}), "a", 5)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: cut, Identity: testTask, Resources: res}); !errors.Is(err, ErrForeign) {
		t.Errorf("open of the fork's directory as the original: error is %v, want ErrForeign", err)
	}
}

func TestCancelledCutLeavesTheStateAlone(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMem()
	db := testOpen(t, fsys)
	s := NewValue(db, 1, numbers{})
	mustPut(t, s, "a", 1)
	testCommit(t, db, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c, err := db.Cut(ctx, "cut", nil)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "a", 2)
	testCommit(t, db, 2)
	if err := <-c.Done(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled cut ended with %v", err)
	}
	if _, more := <-c.Done(); more {
		t.Error("the cut's outcome came twice")
	}
	testCommit(t, db, 3)
	wantValue(t, s, "a", 2)
}

func TestCutNeedsACommitBoundary(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	mustPut(t, NewValue(db, 1, numbers{}), "a", 1)
	if _, err := db.Cut(context.Background(), "cut", nil); !errors.Is(err, ErrUncommitted) {
		t.Errorf("cut within an epoch: error is %v, want ErrUncommitted", err)
	}
	if err := db.Apply(nil, Position{Epoch: 1}); !errors.Is(err, ErrUncommitted) {
		t.Errorf("apply within an epoch: error is %v, want ErrUncommitted", err)
	}
	if err := db.Confirm(Position{Epoch: 1}); !errors.Is(err, ErrUncommitted) {
		t.Errorf("confirm of what was not prepared: error is %v, want ErrUncommitted", err)
	}
}

func TestWritesWaitForTheOutcomeOfACommit(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s, m := NewValue(db, 1, numbers{}), NewMap(db, 2, numbers{})
	mustPut(t, s, "abcdefgh", 1)
	if _, err := db.Prepare(1 << 20); err != nil {
		t.Fatal(err)
	}
	if p, found, err := s.Ref([]byte("abcdefgh")); err != nil || !found || *p != 1 {
		t.Fatalf("a prepared value cannot be read: %v, %v", found, err)
	}
	for name, write := range map[string]func() error{
		"touch":        s.Touch,
		"update":       func() error { _, _, err := s.Update([]byte("abcdefgh")); return err },
		"update other": func() error { _, _, err := s.Update([]byte("b")); return err },
		"put":          func() error { return s.Put([]byte("c"), 1) },
		"delete":       func() error { return s.Delete([]byte("d")) },
		"map update":   func() error { _, _, err := m.Update([]byte("a"), []byte("b")); return err },
		"delete range": func() error { return m.DeleteRange([]byte("a"), nil, nil) },
		"prepare":      func() error { _, err := db.Prepare(1 << 20); return err },
		"apply":        func() error { return db.Apply(nil, Position{}) },
	} {
		if name == "touch" {
			continue // needs the Ref right before it, see below
		}
		if err := write(); !errors.Is(err, ErrPrepared) {
			t.Errorf("%s: error is %v, want ErrPrepared", name, err)
		}
	}
	if _, _, err := s.Ref([]byte("abcdefgh")); err != nil {
		t.Fatal(err)
	}
	if err := s.Touch(); !errors.Is(err, ErrPrepared) {
		t.Errorf("touch: error is %v, want ErrPrepared", err)
	}
}

func TestEntryAboveTheRecordLimitIsNamedAndNothingIsPrepared(t *testing.T) {
	t.Parallel()
	db := testOpenWith(t, Options{FS: vfs.NewMem(), Resources: testResources(t), StoreNames: map[StoreID]string{2: "baskets"}})
	small, big := NewValue(db, 1, texts{}), NewValue(db, 2, texts{})
	mustPut(t, small, "a", "1")
	mustPut(t, big, "b", strings.Repeat("secret", 100))
	_, err := db.Prepare(500)
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), `store "baskets"`) || strings.Contains(err.Error(), "secret") {
		t.Fatalf("error is %v, want ErrTooLarge with the store's name and without the value", err)
	}
	mustPut(t, small, "a", "2") // still writable
	d, err := db.Prepare(1 << 10)
	if err != nil {
		t.Fatal(err)
	}
	h := replayed{}
	for _, r := range d.Records {
		if err := decodeDelta(r, h.replay); err != nil {
			t.Fatal(err)
		}
	}
	if len(h) != 2 || string(h["\x00\x01a"]) != "2" {
		t.Errorf("the delta after a refusal is %q", h)
	}
	if err := small.Put(bytes.Repeat([]byte("k"), maxKeyLen+1), ""); !errors.Is(err, ErrPrepared) {
		t.Errorf("error is %v, want ErrPrepared", err)
	}
	db.Abort()
	if err := small.Put(bytes.Repeat([]byte("k"), maxKeyLen+1), ""); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a huge key: error is %v, want ErrTooLarge", err)
	}
}

func TestApplyReplacesWhatWasCached(t *testing.T) {
	t.Parallel()
	source := testOpen(t, vfs.NewMem())
	a := NewValue(source, 1, numbers{})
	mustPut(t, a, "x", 7)
	if err := a.Delete([]byte("y")); err != nil {
		t.Fatal(err)
	}
	d := testCommit(t, source, 5)

	db := testOpen(t, vfs.NewMem())
	b := NewValue(db, 1, numbers{})
	mustPut(t, b, "y", 1)
	testCommit(t, db, 4)
	wantAbsent(t, b, "x")
	want := Position{Epoch: 5, Offset: 50, Detail: []byte("inputs")}
	if err := db.Apply(d.Records, want); err != nil {
		t.Fatal(err)
	}
	wantValue(t, b, "x", 7)
	wantAbsent(t, b, "y")
	if got, _ := db.Position(); cmp.Diff(want, got) != "" {
		t.Errorf("position is %+v, want %+v", got, want)
	}
}

func TestClosedDatabaseRefusesEverything(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, numbers{})
	mustPut(t, s, "a", 1)
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	_, _, getErr := s.Get([]byte("a"))
	_, prepErr := db.Prepare(1 << 20)
	for name, err := range map[string]error{"get": getErr, "put": s.Put([]byte("a"), 1), "prepare": prepErr, "confirm": db.Confirm(Position{})} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: error is %v, want ErrClosed", name, err)
		}
	}
	for range s.Scan(nil) {
		t.Error("a closed store yields entries")
	}
	if !errors.Is(db.Err(), ErrClosed) {
		t.Errorf("the scan's error is %v, want ErrClosed", db.Err())
	}
}

func TestUndecodableValueFailsTheScanAndTheNextCommit(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, texts{})
	mustPut(t, s, "a", "12345678")
	mustPut(t, s, "b", "short")
	testCommit(t, db, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = testOpenWith(t, Options{FS: db.fs, Resources: testResources(t)})
	n := NewValue(db, 1, numbers{})
	if _, _, err := n.Get([]byte("b")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("get: error is %v, want ErrCorrupt", err)
	}
	count := 0
	for range n.Scan(nil) {
		count++
	}
	if count != 1 || !errors.Is(db.Err(), ErrCorrupt) {
		t.Errorf("the scan gave %d entries and %v, want 1 and ErrCorrupt", count, db.Err())
	}
	if _, err := db.Prepare(1 << 20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("prepare after half a scan: error is %v, want ErrCorrupt", err)
	}
}

func TestEntriesAreAllThatIsConfirmed(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s, m := NewValue(db, 1, numbers{}), NewMap(db, 2, numbers{})
	mustPut(t, s, "a", 1)
	if err := m.Put([]byte("b"), []byte("sub"), 2); err != nil {
		t.Fatal(err)
	}
	testCommit(t, db, 1)
	mustPut(t, s, "not confirmed", 3)
	var got []string
	for key, value := range db.Entries() {
		id, k, sub, err := SplitKey(key)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s/%s %x", id, k, sub, value))
	}
	if want := []string{"1 a/ 0000000000000001", "2 b/sub 0000000000000002"}; !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}
