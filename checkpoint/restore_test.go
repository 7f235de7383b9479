// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
)

func TestADamagedObjectIsErrCorruptAndNamed(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("state", 1000)
	mem := objstore.NewMem()
	m := publish(t, NewRepository(mem, testApp), upload(t, taskID(0), 1, "g", map[string]string{"1.sst": content, "2.sst": "other"}))
	object := m.Files[0].Object
	for name, damage := range map[string]fault.Fault{
		"truncated":            {Truncate: 4999},
		"cut to a byte":        {Truncate: 1},
		"first bit flipped":    {Flip: 1},
		"last bit flipped":     {Flip: 5000},
		"flipped in the midst": {Flip: 2500},
	} {
		hook := func(op fault.Op) fault.Fault {
			if op.Kind == fault.Get && op.Name == object {
				return damage
			}
			return fault.Fault{}
		}
		r := NewRepository(fault.New(mem, hook), testApp)
		folder := filepath.Join(t.TempDir(), "task")
		_, err := r.Restore(t.Context(), m, folder)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), object) || !strings.Contains(err.Error(), "1.sst") {
			t.Errorf("%s: error is %v", name, err)
		}
		if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a folder was installed", name)
		}
		report, err := r.Verify(t.Context(), 1, 1)
		if err != nil || !report.Damaged() || !errors.Is(report.Tasks[0].Problems[0], ErrCorrupt) {
			t.Errorf("%s: verification says %+v, %v", name, report, err)
		}
	}
	if err := mem.Put(t.Context(), object, strings.NewReader(content+"x")); err != nil {
		t.Fatal(err)
	}
	_, err := NewRepository(mem, testApp).Restore(t.Context(), m, filepath.Join(t.TempDir(), "task"))
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("longer object: error is %v, want ErrCorrupt", err)
	}
}

func TestAMissingObjectIsErrMissingAndNamed(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	m := publish(t, r, upload(t, taskID(0), 1, "g", map[string]string{"1.sst": "x"}))
	if err := mem.Delete(t.Context(), m.Files[0].Object); err != nil {
		t.Fatal(err)
	}
	_, err := r.Restore(t.Context(), m, filepath.Join(t.TempDir(), "task"))
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), m.Files[0].Object) {
		t.Errorf("error is %v", err)
	}
	report, err := r.Verify(t.Context(), 1, 1)
	if err != nil || !report.Damaged() {
		t.Errorf("verification says %+v, %v", report, err)
	}
}

func TestAReadThatIsDamagedOnceIsRepeated(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	files := map[string]string{"1.sst": "content"}
	m := publish(t, NewRepository(mem, testApp), upload(t, taskID(0), 1, "g", files))
	damaged := false
	r := NewRepository(fault.New(mem, func(op fault.Op) fault.Fault {
		if op.Kind != fault.Get || damaged {
			return fault.Fault{}
		}
		damaged = true
		return fault.Fault{Flip: 1}
	}), testApp)
	expectRestored(t, r, m, files)
	if !damaged {
		t.Error("the fault did not fire")
	}
}

func TestAnInterruptedRestoreContinuesWithTheFilesThatAreWhole(t *testing.T) {
	t.Parallel()
	files := map[string]string{"1.sst": "one", "2.sst": "two", "3.sst": "three"}
	mem := objstore.NewMem()
	m := publish(t, NewRepository(mem, testApp), upload(t, taskID(0), 1, "g", files))
	folder := filepath.Join(t.TempDir(), "task")
	interrupted := NewRepository(fault.New(mem, func(op fault.Op) fault.Fault {
		if op.Name == m.Files[2].Object {
			return fault.Fault{Before: errors.New("killed")}
		}
		return fault.Fault{}
	}), testApp, WithParallel(1))
	if _, err := interrupted.Restore(t.Context(), m, folder); err == nil {
		t.Fatal("no error")
	}
	// A crash may leave a file half written, and another process files of its own.
	temp := folder + ".restoring"
	if err := os.WriteFile(filepath.Join(temp, "2.sst"), []byte("twx"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(temp, "foreign"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(temp, "link")); err != nil {
		t.Fatal(err)
	}
	stats, err := NewRepository(mem, testApp).Restore(t.Context(), m, folder)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Files != 2 || stats.ReusedFiles != 1 {
		t.Errorf("stats are %+v, want 2 downloaded and 1 kept", stats)
	}
	if diff := cmp.Diff(files, readFiles(t, folder)); diff != "" {
		t.Errorf("restored files (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary folder is left: %v", err)
	}
}

func TestRestoreNeverWritesThroughLinksOrOverState(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	m := publish(t, r, upload(t, taskID(0), 1, "g", map[string]string{"victim": "hostile"}))
	outside := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "task")
	if err := os.Mkdir(folder+".restoring", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(folder+".restoring", "victim")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Restore(t.Context(), m, folder); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "precious" {
		t.Errorf("the file outside holds %q, %v", content, err)
	}
	_, err := r.Restore(t.Context(), m, folder)
	expectErr(t, err, ErrInvalid)
	linked := filepath.Join(t.TempDir(), "task")
	if err := os.Symlink(filepath.Dir(outside), linked+".restoring"); err != nil {
		t.Fatal(err)
	}
	_, err = r.Restore(t.Context(), m, linked)
	expectErr(t, err, ErrInvalid)
}

func TestAHostileManifestIsNotRestored(t *testing.T) {
	t.Parallel()
	r := NewRepository(objstore.NewMem(), testApp)
	m := sampleManifest()
	m.Files[0].Name = "../../escape"
	folder := filepath.Join(t.TempDir(), "task")
	_, err := r.Restore(t.Context(), m, folder)
	expectErr(t, err, ErrCorrupt)
	if _, err := os.Stat(folder + ".restoring"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

func TestManifestsAreGivenNewestFirstWithTheDamagedBeside(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	for round := int64(1); round <= 4; round++ {
		publish(t, r, upload(t, taskID(0), round, "g", map[string]string{"f": "x"}))
		publish(t, r, upload(t, taskID(1), round, "g", map[string]string{"f": "x"}))
	}
	l := life{testApp, 1}
	if err := mem.Put(t.Context(), l.manifest(4, taskID(0)), strings.NewReader(`{"format":7}`)); err != nil {
		t.Fatal(err)
	}
	if err := mem.Put(t.Context(), l.manifest(2, taskID(0)), strings.NewReader(`{"format"`)); err != nil {
		t.Fatal(err)
	}
	other, err := objstore.ReadAll(t.Context(), mem, l.manifest(1, taskID(1)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := mem.Put(t.Context(), l.manifest(1, taskID(0)), strings.NewReader(string(other))); err != nil {
		t.Fatal(err)
	}
	found, damaged, err := r.Manifests(t.Context(), 1, taskID(0), 6)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Round != 3 {
		t.Errorf("found %+v", found)
	}
	want := []error{ErrMissing, ErrFutureFormat, ErrCorrupt, ErrCorrupt} // rounds 6, 4, 2, 1
	if len(damaged) != len(want) {
		t.Fatalf("damaged are %+v", damaged)
	}
	for i, d := range damaged {
		if !errors.Is(d.Err, want[i]) {
			t.Errorf("round %d: error is %v, want %v", d.Round, d.Err, want[i])
		}
	}
}

func TestACancelledRestoreEndsAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	files := map[string]string{"f": "x"}
	m := publish(t, r, upload(t, taskID(0), 1, "g", files))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Restore(ctx, m, filepath.Join(t.TempDir(), "task"))
	expectErr(t, err, context.Canceled)
	expectRestored(t, r, m, files)
}
