// SPDX-License-Identifier: Apache-2.0

package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

const (
	tempDir = ".tmp" // objstore.CheckName keeps objects from such names
	// tempAge is far beyond any upload, so that a file of that age belongs to a process that is gone.
	tempAge = 24 * time.Hour
	// makeAttempts bounds the race of making a folder with a Delete that prunes it. Each lost round
	// means that another call made progress.
	makeAttempts = 100
)

// Store is a folder. Close releases the folder's handle.
type Store struct {
	root *os.Root
}

var _ objstore.Store = (*Store)(nil)

// New opens a folder as a store, creates it if absent, and clears files that crashed writers have left.
func New(folder string) (*Store, error) {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("open object folder %s: %w", folder, err)
	}
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return nil, fmt.Errorf("open object folder: %w", err)
	}
	root, err := os.OpenRoot(absolute)
	if err != nil {
		return nil, fmt.Errorf("open object folder: %w", err)
	}
	s := &Store{root: root}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open object folder %s: %w", folder, err), root.Close())
	}
	return s, nil
}

// Close releases the folder's handle. The store must not be used afterwards.
func (s *Store) Close() error { return s.root.Close() }

func (s *Store) prepare() error {
	if err := s.root.Mkdir(tempDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := s.readDir(tempDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) < tempAge {
			continue
		}
		if err := s.root.Remove(path.Join(tempDir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.syncDir(".")
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.Store. A Delete or Put during the reading does not disturb it.
func (s *Store) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := objstore.CheckRange(offset, length); err != nil {
		return nil, fmt.Errorf("get object %s: %w", name, err)
	}
	file, size, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset == 0 && length < 0 {
		return file, nil
	}
	if offset >= size {
		err := fmt.Errorf("get object %s: it has %d bytes, asked from %d on: %w", name, size, offset, objstore.ErrRange)
		return nil, errors.Join(err, file.Close())
	}
	if length < 0 {
		length = size - offset
	}
	return part{io.NewSectionReader(file, offset, length), file}, nil
}

// part is a stretch of a file.
type part struct {
	io.Reader
	io.Closer
}

// open opens an object's file and tells its size.
func (s *Store) open(ctx context.Context, name string) (*os.File, int64, error) {
	if err := check(ctx, "get", name); err != nil {
		return nil, 0, err
	}
	file, err := s.root.Open(name)
	if err != nil {
		return nil, 0, fail("get", name, err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, 0, errors.Join(fail("get", name, errors.Join(err, objstore.ErrNotFound)), file.Close())
	}
	return file, info.Size(), nil
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body) error {
	return s.write(ctx, "put", name, body, s.root.Rename)
}

// Create implements objstore.Store. The fence is link(2).
func (s *Store) Create(ctx context.Context, name string, body objstore.Body) error {
	return s.write(ctx, "create", name, body, s.root.Link)
}

// write makes a synced file and gives it its name.
func (s *Store) write(ctx context.Context, verb, name string, body objstore.Body, give func(from, to string) error) error {
	if err := check(ctx, verb, name); err != nil {
		return err
	}
	temp := path.Join(tempDir, rand.Text())
	defer func() {
		// After a rename it is not there; after a crash New removes it.
		_ = s.root.Remove(temp)
	}()
	if err := s.writeTemp(ctx, temp, body); err != nil {
		return fail(verb, name, err)
	}
	err := s.giveName(temp, name, give)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(verb, name, err)
	}
	if serr := s.syncDir(path.Dir(name)); serr != nil && !errors.Is(serr, fs.ErrNotExist) {
		// ErrNotExist: the object and its folder have been deleted meanwhile.
		return fail(verb, name, serr)
	}
	if err != nil {
		return fail(verb, name, err)
	}
	return nil
}

func (s *Store) writeTemp(ctx context.Context, temp string, body objstore.Body) error {
	file, err := s.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = objstore.CopyBody(ctx, file, body, 0, body.Size())
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// giveName makes the folders of name and then the name. Folders that a Delete prunes in between are made
// again.
func (s *Store) giveName(temp, name string, give func(from, to string) error) error {
	var err error
	for range makeAttempts {
		if err = s.makeDir(path.Dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			if err = give(temp, name); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return err
}

// makeDir makes a folder and its parents, each durable before what is in it.
func (s *Store) makeDir(folder string) error {
	if folder == "." {
		return nil
	}
	if info, err := s.root.Stat(folder); err == nil && info.IsDir() {
		return nil
	}
	parent := path.Dir(folder)
	if err := s.makeDir(parent); err != nil {
		return err
	}
	if err := s.root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.syncDir(parent)
}

// Delete implements objstore.Store. It also removes folders that have become empty.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := check(ctx, "delete", name); err != nil {
		return err
	}
	err := s.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail("delete", name, err)
	}
	folder := path.Dir(name)
	for ; folder != "."; folder = path.Dir(folder) {
		// Remove refuses a folder that is not empty; that, or a race, ends the pruning.
		if s.root.Remove(folder) != nil {
			break
		}
	}
	if err := s.syncDir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail("delete", name, err)
	}
	return nil
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := check(ctx, "stat", name); err != nil {
		return objstore.Info{}, err
	}
	info, err := s.root.Lstat(name)
	if err != nil {
		return objstore.Info{}, fail("stat", name, err)
	}
	if !info.Mode().IsRegular() {
		return objstore.Info{}, fail("stat", name, objstore.ErrNotFound)
	}
	return objstore.Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

func (s *Store) syncDir(folder string) error {
	d, err := s.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) readDir(folder string) ([]fs.DirEntry, error) {
	d, err := s.root.Open(folder)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ReadDir(-1)
}

func check(ctx context.Context, verb, name string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s object %s: %w", verb, name, err)
	}
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("%s object: %w", verb, err)
	}
	return nil
}

func fail(verb, name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		err = objstore.ErrExists
	case errors.Is(err, fs.ErrNotExist):
		err = objstore.ErrNotFound
	}
	return fmt.Errorf("%s object %s: %w", verb, name, err)
}
