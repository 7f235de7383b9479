// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// File is one file of a cut.
type File struct {
	Name string // within the cut's directory
	Size int64  // bytes
	// Immutable says that within the life of one state directory the name
	// always means the same bytes, so an upload of it need not be repeated.
	// A directory restored from a checkpoint begins a new life.
	Immutable bool
	// Stored says that the file is not in the directory: the cut that this one
	// builds upon has it under the same name.
	Stored bool
}

// Cut is a copy of a task's state as of the call of DB.Cut, being made in the
// background.
type Cut struct {
	db       *DB
	dir      string
	position Position
	cancel   context.CancelFunc
	done     chan error
	ended    chan struct{} // closed when what follows is set
	files    []File

	// What a later cut needs that builds upon this one.
	flushed  int    // ordinal of the first table that was flushed after it
	manifest []byte // content of Pebble's manifest
	name     string // of that
	whole    int64  // bytes of the tables of the whole cut below
	added    int64  // bytes of the tables that increments have added to it
	tables   int    // number of those
}

// Cut begins a copy of the state into dir, which must not exist and must be on
// the same file system, else files are copied rather than linked. Call it at a
// commit boundary: ErrUncommitted if there are changes, ErrCutOpen if the last
// cut has not ended. It returns at once; a goroutine flushes and links. Until
// it has ended, confirmed epochs stay in memory, so dir holds exactly the state
// and the position at the call. Cancelling ctx gives the cut up. Close waits
// for the goroutine.
//
// With a cut of this DB as base, which has ended well and whose files are
// stored, the new one may be an increment: then dir has only what was flushed
// since, and the rest is marked as Stored. It is whole if base is nil, if the
// increments together would be larger than the whole cut that they build upon,
// or if something that was flushed is no longer there. A cut older than base
// cannot be the base of another any more.
func (db *DB) Cut(ctx context.Context, dir string, base *Cut) (*Cut, error) {
	if err := db.writable(); err != nil {
		return nil, fmt.Errorf("cut state: %w", err)
	}
	if db.uncommitted() {
		return nil, fmt.Errorf("cut state of %s: %w", db.id, ErrUncommitted)
	}
	if err := db.settle(); err != nil {
		return nil, err
	}
	if db.cut != nil {
		return nil, fmt.Errorf("cut state of %s: %w", db.id, ErrCutOpen)
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &Cut{
		db:       db,
		dir:      dir,
		position: db.position.clone(),
		cancel:   cancel,
		done:     make(chan error, 1),
		ended:    make(chan struct{}),
	}
	db.cut = c
	go func() {
		defer cancel()
		err := db.takeCut(ctx, c, base)
		close(c.ended)
		c.done <- err
		close(c.done)
	}()
	return c, nil
}

// takeCut runs in the background. Nothing else writes to Pebble meanwhile.
func (db *DB) takeCut(ctx context.Context, c, base *Cut) error {
	if base != nil && (base.db != db || base.manifest == nil) {
		base = nil // of a directory that was replaced, or failed
	}
	if base != nil {
		db.flushes.release(base.flushed)
	}
	db.flushes.sweep()
	if _, err := db.fs.Stat(c.dir); err == nil {
		return db.wrapCut(fmt.Errorf("%s: %w", c.dir, fs.ErrExist))
	}
	if err := db.flush(ctx.Done()); err != nil {
		return fmt.Errorf("cut state of %s: %w", db.id, firstError(ctx.Err(), err))
	}
	if base != nil {
		done, err := db.increment(ctx, c, base)
		if done {
			return nil
		}
		if rerr := db.fs.RemoveAll(c.dir); rerr != nil || ctx.Err() != nil {
			return db.wrapCut(firstError(context.Cause(ctx), rerr))
		}
		if err != nil {
			db.flushes.giveUp()
			if db.listen.Background != nil {
				db.listen.Background(db.wrapCut(err))
			}
		}
	}
	if err := db.wholeCut(c); err != nil {
		return db.wrapCut(err)
	}
	return nil
}

func (db *DB) wholeCut(c *Cut) error {
	flushed := db.flushes.end()
	if err := db.pebble.Checkpoint(c.dir); err != nil {
		return err
	}
	files, err := listFiles(db.fs, c.dir)
	if err != nil {
		return err
	}
	name, whole := "", int64(0)
	for _, f := range files {
		switch {
		case f.Immutable:
			whole += f.Size
		case strings.HasPrefix(f.Name, "MANIFEST-"):
			name = f.Name
		}
	}
	manifest, err := readFile(db.fs, db.fs.PathJoin(c.dir, name))
	if err != nil {
		return firstError(err, db.fs.RemoveAll(c.dir))
	}
	c.files, c.flushed, c.manifest, c.name, c.whole = files, flushed, manifest, name, whole
	db.flushes.start(whole)
	return nil
}

// increment makes the cut of what was flushed since base; done is false if that
// cannot be, or would be too much, and then the directory may hold something.
// Nobody uses it after a crash: so its tables are not synced.
func (db *DB) increment(ctx context.Context, c, base *Cut) (done bool, err error) {
	tables, ok := db.flushes.since(base.flushed)
	if !ok {
		return false, nil
	}
	flushed := base.flushed + len(tables)
	if err := db.fs.MkdirAll(c.dir, 0o755); err != nil {
		return false, err
	}
	if tables, err = db.flushes.fold(ctx, tables, c.dir); err != nil {
		return false, err
	}
	added, count := base.added, base.tables+len(tables)
	for _, t := range tables {
		added += int64(t.size)
	}
	if added > base.whole || count > maxIncrementTables {
		return false, nil
	}
	files, manifest := slices.Clone(base.files), base.manifest
	for i := range files {
		files[i].Stored = true
	}
	if len(tables) > 0 { // else the manifest is the same, too
		if manifest, err = withTables(base.manifest, tables); err != nil {
			return false, err
		}
		// A file may change what it is given to write.
		if err := writeFile(db.fs, c.dir, base.name, slices.Clone(manifest)); err != nil {
			return false, err
		}
		i := slices.IndexFunc(files, func(f File) bool { return f.Name == base.name })
		files[i] = File{Name: base.name, Size: int64(len(manifest))}
	}
	for _, t := range tables {
		files = append(files, File{Name: t.name(), Size: int64(t.size), Immutable: !t.folded})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	c.files, c.flushed, c.manifest, c.name = files, flushed, manifest, base.name
	c.whole, c.added, c.tables = base.whole, added, count
	return true, nil
}

// wrapCut leaves marking a corrupt directory to the task's goroutine.
func (db *DB) wrapCut(err error) error {
	return fmt.Errorf("cut state of %s in %s: %w", db.id, db.dir, err)
}

// Dir is the directory given.
func (c *Cut) Dir() string { return c.dir }

// Position is the position that the files hold.
func (c *Cut) Position() Position { return c.position.clone() }

// Done gives the outcome once and is then closed. It can be received from any
// goroutine. After a failure dir is removed, as far as that is possible.
func (c *Cut) Done() <-chan error { return c.done }

// Files lists what makes up the cut, in name order, after Done gave nil: what is
// in dir, and what is Stored. The directory now belongs to the caller, who
// removes it.
func (c *Cut) Files() []File { return c.files }

func listFiles(fsys vfs.FS, dir string) ([]File, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list cut %s: %w", dir, err)
	}
	files := make([]File, 0, len(names))
	for _, n := range names {
		st, err := fsys.Stat(fsys.PathJoin(dir, n))
		if err != nil {
			return nil, fmt.Errorf("list cut %s: %w", dir, err)
		}
		files = append(files, File{Name: n, Size: st.Size(), Immutable: strings.HasSuffix(n, ".sst")})
	}
	return files, nil
}
