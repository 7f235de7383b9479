// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/partition"
)

// Identity says whose state a directory holds.
type Identity struct {
	App         string
	Incarnation int
	Task        partition.TaskID
}

// String names the owner as logs and errors do.
func (id Identity) String() string {
	return fmt.Sprintf("%s incarnation %d task %s", id.App, id.Incarnation, id.Task)
}

// Files beside Pebble's own. Pebble ignores names it does not know. None of
// them is part of a cut: a restored directory is adopted by whoever opens it.
const (
	identityFile = "IDENTITY"
	ownerFile    = "OWNER"   // who holds the lock, for the message only
	corruptFile  = "CORRUPT" // its presence refuses to open

	identityFormat = 1
)

type identityJSON struct {
	Format      int    `json:"format"`
	App         string `json:"app"`
	Incarnation int    `json:"incarnation"`
	Task        string `json:"task"`
}

// claim checks that the directory may be opened by id and marks it as its own.
// The lock must be held.
func claim(fsys vfs.FS, dir string, id Identity) error {
	if reason, err := readFile(fsys, fsys.PathJoin(dir, corruptFile)); err == nil {
		return fmt.Errorf("open state of %s in %s: the directory is marked: %s; restore the task into a fresh directory: %w",
			id, dir, strings.TrimSpace(string(reason)), ErrCorrupt)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open state of %s: %w", id, err)
	}
	if err := checkPebbleFormat(fsys, dir); err != nil {
		return fmt.Errorf("open state of %s: %w", id, err)
	}
	raw, err := readFile(fsys, fsys.PathJoin(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return writeIdentity(fsys, dir, id)
	}
	if err != nil {
		return fmt.Errorf("open state of %s: read identity: %w", id, err)
	}
	var have identityJSON
	if err := json.Unmarshal(raw, &have); err != nil {
		return fmt.Errorf("open state of %s: identity file in %s does not parse: %w: %w", id, dir, err, ErrCorrupt)
	}
	if have.Format > identityFormat {
		return fmt.Errorf("open state of %s in %s: found directory format %d, this release knows up to %d; run the newer release or restore from a checkpoint: %w",
			id, dir, have.Format, identityFormat, ErrFutureFormat)
	}
	if want := id.json(); have != want {
		return fmt.Errorf("open state in %s: expected %s, found %s incarnation %d task %s; give each its own directory, or remove this one: %w",
			dir, id, have.App, have.Incarnation, have.Task, ErrForeign)
	}
	return nil
}

func (id Identity) json() identityJSON {
	return identityJSON{Format: identityFormat, App: id.App, Incarnation: id.Incarnation, Task: id.Task.String()}
}

// checkPebbleFormat reads Pebble's format marker, whose version is in its name,
// so that a newer one is told apart from damage.
func checkPebbleFormat(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, n := range names {
		rest, ok := strings.CutPrefix(n, "marker.format-version.")
		if !ok {
			continue
		}
		_, version, _ := strings.Cut(rest, ".")
		if v, err := strconv.ParseUint(version, 10, 32); err == nil && v > uint64(pebble.FormatNewest) {
			return fmt.Errorf("found database format %d in %s, this release knows up to %d; run the newer release or restore from a checkpoint: %w",
				v, dir, pebble.FormatNewest, ErrFutureFormat)
		}
	}
	return nil
}

func writeIdentity(fsys vfs.FS, dir string, id Identity) error {
	raw, err := json.Marshal(id.json())
	if err == nil {
		err = writeFile(fsys, dir, identityFile, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("create state of %s in %s: write identity: %w", id, dir, err)
	}
	return nil
}

// lockDir takes the directory's lock and notes who has it.
func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fsys)
	if err != nil {
		owner, rerr := readFile(fsys, fsys.PathJoin(dir, ownerFile))
		if rerr != nil {
			owner = []byte("an unknown process")
		}
		return nil, fmt.Errorf("lock %s: held by %s: %w: %w", dir, strings.TrimSpace(string(owner)), err, ErrLocked)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	// The note serves a message only; without it opening is just as safe.
	_ = writeFile(fsys, dir, ownerFile, fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host))
	return lock, nil
}

func markCorrupt(fsys vfs.FS, dir string, cause error) error {
	return writeFile(fsys, dir, corruptFile, []byte(cause.Error()+"\n"))
}

// maxSmallFile is more than any file has that is read as a whole.
const maxSmallFile = 64 << 20

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSmallFile))
	if len(b) == maxSmallFile {
		err = fmt.Errorf("read %s: it has more than %d bytes", name, maxSmallFile)
	}
	return b, firstError(err, f.Close())
}

// writeFile replaces a file as a whole: a crash leaves the old or the new one.
func writeFile(fsys vfs.FS, dir, name string, b []byte) error {
	path := fsys.PathJoin(dir, name)
	f, err := fsys.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = firstError(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return firstError(d.Sync(), d.Close())
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// DirLock keeps a directory from every other process, and from every other
// user within this one.
type DirLock struct{ lock *pebble.Lock }

// LockDir takes the lock of a directory that holds the states of several tasks,
// and makes the directory if there is none. ErrLocked names who has it.
func LockDir(dir string) (*DirLock, error) {
	dir, err := filepath.Abs(dir) // the lock table of this process goes by name
	if err != nil {
		return nil, fmt.Errorf("lock state folder: %w", err)
	}
	if err := vfs.Default.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create state folder: %w", err)
	}
	lock, err := lockDir(vfs.Default, dir)
	if err != nil {
		return nil, err
	}
	return &DirLock{lock}, nil
}

// Close gives the lock back.
func (l *DirLock) Close() error { return l.lock.Close() }
