// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/crypt"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
)

// encrypted wraps a store as package open does.
func encrypted(t *testing.T, inner objstore.Store) objstore.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("current a\na MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := crypt.LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return objstore.NewRetry(crypt.New(inner, keys), objstore.Policy{Base: time.Microsecond})
}

func TestDamageThatEncryptionFindsIsErrCorrupt(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	faulty := fault.New(mem, nil)
	r := NewRepository(encrypted(t, faulty), testApp)
	m := publish(t, r, upload(t, taskID(0), 1, "g", map[string]string{"1.sst": strings.Repeat("state", 20_000)}))
	if _, err := r.Restore(t.Context(), m, filepath.Join(t.TempDir(), "task")); err != nil {
		t.Fatal(err)
	}
	faulty.SetHook(func(op fault.Op) fault.Fault {
		if op.Kind == fault.Get {
			return fault.Fault{Flip: 100}
		}
		return fault.Fault{}
	})
	if _, err := r.Restore(t.Context(), m, filepath.Join(t.TempDir(), "task")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged file: error is %v, want ErrCorrupt", err)
	}
	manifests, damaged, err := r.Manifests(t.Context(), 1, taskID(0), 1)
	if err != nil || len(manifests) != 0 || len(damaged) != 1 || !errors.Is(damaged[0].Err, ErrCorrupt) {
		t.Errorf("a damaged manifest: %d usable, damaged are %v, error is %v", len(manifests), damaged, err)
	}
}

func TestADownloadThatBreaksOffGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	content := strings.Repeat("state", 20_000)
	m := publish(t, NewRepository(mem, testApp), upload(t, taskID(0), 1, "g", map[string]string{"1.sst": content}))
	breaks := 0
	faulty := fault.New(mem, func(op fault.Op) fault.Fault {
		if op.Kind == fault.Get {
			breaks++
			return fault.Fault{Break: 30_000}
		}
		return fault.Fault{}
	})
	r := NewRepository(objstore.NewRetry(faulty, objstore.Policy{Base: time.Microsecond, Attempts: 2}), testApp)
	folder := filepath.Join(t.TempDir(), "task")
	if _, err := r.Restore(t.Context(), m, folder); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(folder, "1.sst")); err != nil || string(got) != content || breaks != 4 {
		t.Errorf("%d bytes in %d connections, %v; want %d in 4", len(got), breaks, err, len(content))
	}
}
