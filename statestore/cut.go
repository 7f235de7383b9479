// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"context"
	"fmt"
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
}

// Cut is a copy of a task's state as of the call of DB.Cut, being made in the
// background.
type Cut struct {
	dir      string
	position Position
	cancel   context.CancelFunc
	done     chan error
	ended    chan struct{} // closed when files and err are set
	files    []File
}

// Cut begins a copy of the state into dir, which must not exist and must be on
// the same file system, else files are copied rather than linked. Call it at a
// commit boundary: ErrUncommitted if there are changes, ErrCutOpen if the last
// cut has not ended. It returns at once; a goroutine flushes and links. Until
// it has ended, confirmed epochs stay in memory, so dir holds exactly the state
// and the position at the call. Cancelling ctx gives the cut up. Close waits
// for the goroutine.
func (db *DB) Cut(ctx context.Context, dir string) (*Cut, error) {
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
		dir:      dir,
		position: db.position.clone(),
		cancel:   cancel,
		done:     make(chan error, 1),
		ended:    make(chan struct{}),
	}
	db.cut = c
	go func() {
		defer cancel()
		err := db.takeCut(ctx, c)
		close(c.ended)
		c.done <- err
		close(c.done)
	}()
	return c, nil
}

// takeCut runs in the background. Nothing else writes to Pebble meanwhile.
func (db *DB) takeCut(ctx context.Context, c *Cut) error {
	if err := db.flush(ctx.Done()); err != nil {
		return fmt.Errorf("cut state of %s: %w", db.id, firstError(ctx.Err(), err))
	}
	if err := db.pebble.Checkpoint(c.dir); err != nil {
		return db.wrapCut(err)
	}
	files, err := listFiles(db.fs, c.dir)
	if err != nil {
		return db.wrapCut(err)
	}
	c.files = files
	return nil
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

// Files lists what is in dir, in name order, after Done gave nil. The directory
// now belongs to the caller, who removes it.
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
