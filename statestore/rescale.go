// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/partition"
)

// ErrMisplaced marks an entry that lies in a task to which its key does not lead.
var ErrMisplaced = errors.New("an entry does not lie where its key leads to")

// everywhere is the route of an entry that every task has.
const everywhere = -1

// Split is the first half of a rescale: the state of some tasks of a
// sub-topology, taken apart by the keys of its entries.
type Split struct {
	// Sources are the directories of the former tasks, in the order of their
	// partitions. Nobody may write to them.
	Sources []string
	// Targets is the number of tasks that there are to be.
	Targets int32
	// Everywhere are the stores of which every task has all entries.
	Everywhere map[StoreID]bool
	// Dir is where the parts are written to; it must exist.
	Dir string
	// Parallel is how many sources are read at once.
	Parallel int
}

// Parts are the tables that Split has written, by target and source; one that
// is empty has no entries.
type Parts [][]string

// Write reads each source once and writes its entries, in their order, to one
// table for each target. ErrMisplaced names the store of an entry that is not
// where its key leads to: the step that wrote it does not work by keys, and its
// state cannot be divided.
func (s Split) Write(ctx context.Context) (Parts, error) {
	parts := make(Parts, s.Targets)
	for target := range parts {
		parts[target] = make([]string, len(s.Sources))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, s.Parallel))
	for source := range s.Sources {
		group.Go(func() error { return s.split(ctx, int32(source), parts) })
	}
	return parts, group.Wait()
}

// split takes one source apart. Only the fields of parts of this source are written.
func (s Split) split(ctx context.Context, source int32, parts Parts) (err error) {
	r, err := OpenReadOnly(s.Sources[source])
	if err != nil {
		return err
	}
	writers := make([]*sstable.Writer, s.Targets)
	defer func() {
		for _, w := range writers {
			if w != nil {
				err = firstError(err, w.Close())
			}
		}
		err = firstError(err, r.Close())
	}()
	write := func(target int32, key, value []byte) error {
		if writers[target] == nil {
			path := filepath.Join(s.Dir, fmt.Sprintf("%d-from-%d.sst", target, source))
			w, err := newPart(path)
			if err != nil {
				return err
			}
			writers[target], parts[target][source] = w, path
		}
		return writers[target].Set(key, value)
	}
	entries, ended := r.Entries()
	n := 0
	for key, value := range entries {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		target, err := s.route(source, key)
		switch {
		case err != nil:
			return fmt.Errorf("split the state in %s: %w", s.Sources[source], err)
		case target != everywhere:
			err = write(target, key, value)
		case source == 0: // all sources have the same
			for target := range s.Targets {
				err = firstError(err, write(target, key, value))
			}
		}
		if err != nil {
			return fmt.Errorf("split the state in %s: %w", s.Sources[source], err)
		}
	}
	return ended()
}

// route says to which target an entry belongs.
func (s Split) route(source int32, entryKey []byte) (int32, error) {
	id, key, _, err := SplitKey(entryKey)
	if err != nil {
		return 0, err
	}
	if s.Everywhere[id] {
		return everywhere, nil
	}
	if at := partition.ForKey(key, int32(len(s.Sources))); at != source {
		return 0, fmt.Errorf("store %d: its key leads to partition %d, it lies in %d: %w", id, at, source, ErrMisplaced)
	}
	return partition.ForKey(key, s.Targets), nil
}

// newPart begins a table, of the bottom level.
func newPart(path string) (*sstable.Writer, error) {
	file, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	const bottom = len(pebble.Options{}.Levels) - 1
	return sstable.NewWriter(objstorageprovider.NewFileWritable(file), tableOptions(bottom)), nil
}

// Join is the second half of a rescale: it makes the state of one task of its
// parts, puts it at a position, and leaves a cut of it in the directory into,
// which must not exist. The options name a directory that holds nothing. The
// parts are taken over as they are, where the file system allows, and removed.
func Join(ctx context.Context, o Options, parts []string, at Position, into string) (files []File, err error) {
	db, err := Open(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = firstError(err, db.Close()) }()
	if _, ok := db.Position(); ok {
		return nil, fmt.Errorf("join state of %s in %s: the directory holds state already: %w", o.Identity, o.Dir, ErrForeign)
	}
	if err := db.ingest(ctx, parts); err != nil {
		return nil, fmt.Errorf("join state of %s: %w", o.Identity, err)
	}
	if err := db.Apply(nil, at); err != nil {
		return nil, err
	}
	cut, err := db.Cut(ctx, into, nil)
	if err != nil {
		return nil, err
	}
	if err := <-cut.Done(); err != nil {
		return nil, err
	}
	return cut.Files(), nil
}

func (db *DB) ingest(ctx context.Context, parts []string) error {
	for _, part := range parts {
		if part == "" {
			continue
		}
		// One by one: the ranges of keys of the parts overlap, their keys do not.
		if err := db.pebble.Ingest(ctx, []string{part}); err != nil {
			return err
		}
		if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
