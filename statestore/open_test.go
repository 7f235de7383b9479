// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/streamd/streamd/partition"
)

func TestForeignDirectoryIsRefusedWithBothNames(t *testing.T) {
	t.Parallel()
	fsys, res := vfs.NewMem(), testResources(t)
	db := testOpenWith(t, Options{FS: fsys, Resources: res})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, other := range []Identity{
		{App: "shop", Incarnation: 4, Task: testTask.Task},
		{App: "shop2", Incarnation: 3, Task: testTask.Task},
		{App: "shop", Incarnation: 3, Task: partition.TaskID{SubTopology: 1, Partition: 8}},
	} {
		_, err := Open(Options{Dir: "state/1_7", FS: fsys, Identity: other, Resources: res})
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), other.String()) || !strings.Contains(err.Error(), testTask.String()) {
			t.Errorf("open as %s: error is %v, want ErrForeign with both names", other, err)
		}
	}
	testOpenWith(t, Options{FS: fsys, Resources: res})
}

func TestSecondOpenIsRefusedAndNamesTheHolder(t *testing.T) {
	t.Parallel()
	res, dir := testResources(t), filepath.Join(t.TempDir(), "task")
	testOpenWith(t, Options{Dir: dir, Resources: res})
	want := fmt.Sprintf("process %d", os.Getpid())
	if _, err := Open(Options{Dir: dir, Identity: testTask, Resources: res}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("second open: error is %v, want ErrLocked naming %s", err, want)
	}
	if _, err := OpenReadOnly(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("open for reading: error is %v, want ErrLocked", err)
	}
	if err := Destroy(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("destroy: error is %v, want ErrLocked", err)
	}
}

func TestDestroyRemovesStateAndNothingElse(t *testing.T) {
	t.Parallel()
	res, dir := testResources(t), filepath.Join(t.TempDir(), "task")
	db := testOpenWith(t, Options{Dir: dir, Resources: res})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Destroy(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := Destroy(dir); err != nil {
		t.Errorf("destroying nothing: %v", err)
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Destroy(home); !errors.Is(err, ErrForeign) {
		t.Errorf("destroy of a directory without state: error is %v, want ErrForeign", err)
	}
}

func TestNewerFormatsAreRefused(t *testing.T) {
	t.Parallel()
	res := testResources(t)
	for name, damage := range map[string]func(vfs.FS) error{
		"identity": func(f vfs.FS) error {
			return writeFile(f, "state/1_7", identityFile, []byte(`{"format":2,"app":"shop"}`))
		},
		"database": func(f vfs.FS) error {
			return writeFile(f, "state/1_7", "marker.format-version.000099.999", nil)
		},
	} {
		fsys := vfs.NewMem()
		db := testOpenWith(t, Options{FS: fsys, Resources: res})
		if err := errors.Join(db.Close(), damage(fsys)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: "state/1_7", FS: fsys, Identity: testTask, Resources: res}); !errors.Is(err, ErrFutureFormat) {
			t.Errorf("%s: error is %v, want ErrFutureFormat", name, err)
		}
	}
}

func TestDamagedTableQuarantinesTheDirectory(t *testing.T) {
	t.Parallel()
	fsys, res := vfs.NewMem(), testResources(t)
	db := testOpenWith(t, Options{FS: fsys, Resources: res})
	s := NewValue(db, 1, texts{})
	for n := range 1000 {
		mustPut(t, s, fmt.Sprintf("key%d", n), strings.Repeat(fmt.Sprint(n), 50))
	}
	testCommit(t, db, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fsys.List("state/1_7")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			damage(t, fsys, fsys.PathJoin("state/1_7", n))
		}
	}
	told := make(chan string, 100)
	db = testOpenWith(t, Options{FS: fsys, Resources: res, Listener: &Listener{Corruption: func(path string, _ error) {
		select {
		case told <- path:
		default:
		}
	}}})
	s = NewValue(db, 1, texts{})
	for n := range 1000 {
		if _, _, err = s.Get([]byte(fmt.Sprintf("key%d", n))); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("reading damaged tables: error is %v, want ErrCorrupt", err)
	}
	if path := <-told; !strings.HasSuffix(path, ".sst") {
		t.Errorf("the listener was told of %q, want a table", path)
	}
	if _, err := db.Prepare(1 << 20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("prepare after corruption: error is %v, want ErrCorrupt", err)
	}
	_ = db.Close() // it reports the corruption again
	if _, err := Open(Options{Dir: "state/1_7", FS: fsys, Identity: testTask, Resources: res}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("reopening: error is %v, want ErrCorrupt", err)
	}
}

// damage flips bits in the data blocks of a table, but not in the first, which
// has the position.
func damage(t *testing.T, fsys vfs.FS, name string) {
	t.Helper()
	b, err := readFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	for i := 10_000; i < len(b)/2; i += 500 {
		b[i] ^= 0x55
	}
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBudgetThatCannotFitIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := NewResources(minMemory - 1); !errors.Is(err, ErrBudget) {
		t.Errorf("a tiny budget: error is %v, want ErrBudget", err)
	}
	res := testResources(t)
	s := res.Shares()
	if sum := s.Pebble + s.Decoded + s.Held + s.Rest; sum != s.Total || s.Rest*10 < s.Total*4 {
		t.Errorf("shares %+v: they sum to %d, and the rest must be at least 40%%", s, sum)
	}
	res.shares.Pebble = 2 * minPebblePer
	for n := range 2 {
		testOpenWith(t, Options{FS: vfs.NewMem(), Dir: fmt.Sprint(n), Resources: res})
	}
	if _, err := Open(Options{FS: vfs.NewMem(), Dir: "3", Identity: testTask, Resources: res}); !errors.Is(err, ErrBudget) {
		t.Errorf("one DB more than fits: error is %v, want ErrBudget", err)
	}
	if err := res.Close(); err == nil {
		t.Error("resources closed while databases are open")
	}
}

func TestFailedOpenLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	// Every operation in turn fails once; the next open must work. Left out
	// are those whose failure ends the process: syncs of directories, and the
	// manifest.
	for n := int32(0); ; n++ {
		fsys, res := vfs.NewMem(), testResources(t)
		var left atomic.Int32
		left.Store(n)
		fail := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if strings.Contains(op.Path, "MANIFEST") || op.Kind == errorfs.OpFileSync || left.Add(-1) != -1 {
				return nil
			}
			return errors.New("injected")
		})
		db, err := Open(Options{Dir: "state", FS: errorfs.Wrap(fsys, fail), Identity: testTask, Resources: res})
		if err == nil {
			opened := left.Load() >= 0
			_ = db.Close() // it may be the operation that fails
			if opened {
				return
			}
		}
		db, err = Open(Options{Dir: "state", FS: fsys, Identity: testTask, Resources: res})
		if err != nil {
			t.Fatalf("open after operation %d failed: %v", n, err)
		}
		if err := db.Close(); err != nil {
			t.Fatalf("close after operation %d failed: %v", n, err)
		}
	}
}

func TestFullDiskGivesAnErrorAndNoTornState(t *testing.T) {
	t.Parallel()
	mem, res := vfs.NewCrashableMem(), testResources(t)
	full := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
			return errors.New("no space left on device")
		}
		return nil
	})}
	db := testOpenWith(t, Options{FS: errorfs.Wrap(mem, full), Resources: res})
	s := NewValue(db, 1, texts{})
	big := func(epoch uint64) error {
		for k := range 8 {
			mustPut(t, s, fmt.Sprint("k", k), strings.Repeat(fmt.Sprint(epoch), 50_000))
		}
		if _, err := db.Prepare(1 << 20); err != nil {
			return err
		}
		return db.Confirm(Position{Epoch: epoch})
	}
	if err := big(1); err != nil {
		t.Fatal(err)
	}
	full.On()
	var err error
	last := uint64(1)
	for err == nil {
		if last++; last > 10_000 {
			t.Fatal("memory grows without bound on a full disk")
		}
		err = big(last)
	}
	if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("confirm on a full disk: error is %v, want ErrStalled with the cause", err)
	}
	if _, err := db.Prepare(1 << 20); !errors.Is(err, ErrStalled) {
		t.Errorf("prepare after a failed confirm: error is %v, want ErrStalled", err)
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	full.Off()
	if err := db.Close(); err != nil {
		t.Errorf("close once there is room: %v", err)
	}
	for name, fsys := range map[string]vfs.FS{"crash": after, "close": mem} {
		db := testOpenWith(t, Options{FS: fsys, Resources: res})
		pos, _ := db.Position()
		s := NewValue(db, 1, texts{})
		for k := range 8 {
			v, ok, err := s.Get(fmt.Append(nil, "k", k))
			if err != nil || ok != (pos.Epoch > 0) || ok && !strings.HasPrefix(v, fmt.Sprint(pos.Epoch)) || pos.Epoch >= last {
				t.Fatalf("after the %s: position says epoch %d, the failed one was %d, k%d says %.4q, %v, %v", name, pos.Epoch, last, k, v, ok, err)
			}
		}
	}
}

func TestCutOnAFullDiskFailsAndProcessingGoesOn(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	full := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
			return errors.New("no space left on device")
		}
		return nil
	})}
	db := testOpen(t, errorfs.Wrap(mem, full))
	s := NewValue(db, 1, numbers{})
	mustPut(t, s, "a", 1)
	testCommit(t, db, 1)
	full.On()
	c, err := db.Cut(context.Background(), "cut", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-c.Done(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("the cut's outcome is %v, want the disk's error", err)
	}
	if _, err := mem.Stat("cut"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the failed cut left its directory: %v", err)
	}
	mustPut(t, s, "a", 2)
	testCommit(t, db, 2)
	full.Off()
	if c, err = db.Cut(context.Background(), "cut", nil); err != nil {
		t.Fatal(err)
	}
	if err := <-c.Done(); err != nil {
		t.Errorf("a cut once there is room: %v", err)
	}
}

func TestFatalPebbleErrorNamesTheDatabase(t *testing.T) {
	t.Parallel()
	var told string
	db := &DB{id: testTask, dir: "state", listen: Listener{Fatal: func(m string) { told = m }}}
	defer func() {
		msg := fmt.Sprint(recover())
		if !strings.Contains(msg, testTask.String()) || !strings.Contains(msg, "MANIFEST 7") || told != msg {
			t.Errorf("panic %q, listener %q: want both to name the database and the cause", msg, told)
		}
	}()
	fatalLogger{db}.Fatalf("MANIFEST %d", 7)
}
