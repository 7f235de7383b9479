// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// Damaged is a manifest that exists, or should, and cannot be used.
type Damaged struct {
	Round int64
	Err   error // wraps ErrCorrupt, ErrMissing or ErrFutureFormat
}

// Manifests reads all manifests of a task, newest first. named is the round that the last commit names:
// it is looked at whether the listing shows it or not; 0 if there is none. What cannot be used is returned
// as damaged, not as an error: recovery falls back and reports it.
func (r *Repository) Manifests(ctx context.Context, incarnation int, task partition.TaskID, named int64) ([]Manifest, []Damaged, error) {
	l, err := r.life(incarnation)
	if err != nil {
		return nil, nil, err
	}
	numbers, err := r.manifestRounds(ctx, l, task, named)
	if err != nil {
		return nil, nil, fmt.Errorf("list manifests of task %s: %w", task, err)
	}
	found := make([]Manifest, len(numbers))
	failed := make([]error, len(numbers))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for i, n := range numbers {
		group.Go(func() error {
			found[i], failed[i] = r.readManifest(groupCtx, l, n, task)
			if IsDamage(failed[i]) {
				return nil
			}
			return failed[i]
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, fmt.Errorf("read manifests of task %s: %w", task, err)
	}
	var manifests []Manifest
	var damaged []Damaged
	for i, n := range numbers {
		if failed[i] != nil {
			damaged = append(damaged, Damaged{n, failed[i]})
			continue
		}
		manifests = append(manifests, found[i])
	}
	return manifests, damaged, nil
}

// IsDamage says whether an error is about one checkpoint, which is damaged, incomplete or of a later release: others may be whole.
func IsDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrMissing) || errors.Is(err, ErrFutureFormat)
}

func (r *Repository) manifestRounds(ctx context.Context, l life, task partition.TaskID, named int64) ([]int64, error) {
	var numbers []int64
	if named > 0 {
		numbers = append(numbers, named)
	}
	for info, err := range r.store.List(ctx, l.rounds()) {
		if err != nil {
			return nil, err
		}
		if e, ok := l.parseRoundEntry(info.Name); ok && e.kind == entryManifest && e.task == task {
			numbers = append(numbers, e.round)
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}

// Restore brings a checkpoint's files into dir, which must not exist or be empty. They are downloaded in
// parallel into dir + ".restoring" and appear all at once, durable and verified; a repeat after a failure
// or crash keeps the files that are whole. One process at a time may restore into dir. ErrCorrupt and
// ErrMissing name the object: fall back to another checkpoint.
func (r *Repository) Restore(ctx context.Context, m Manifest, dir string) (Stats, error) {
	began, c := time.Now(), &counters{}
	if err := r.restore(ctx, m, dir, c); err != nil {
		return c.stats(began), fmt.Errorf("restore task %s from round %d: %w", m.Task, m.Round, err)
	}
	return c.stats(began), nil
}

func (r *Repository) restore(ctx context.Context, m Manifest, dir string, c *counters) error {
	if err := m.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	temp := filepath.Clean(dir) + ".restoring"
	root, err := openTemp(temp, m.Files)
	if err != nil {
		return fmt.Errorf("prepare folder %s: %w", temp, err)
	}
	defer root.Close()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for _, f := range m.Files {
		group.Go(func() error {
			if err := groupCtx.Err(); err != nil {
				return err
			}
			return r.fetch(groupCtx, root, f, c)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return install(root, temp, dir)
}

// checkEmpty refuses to restore over anything: removing state is the caller's decision.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into folder %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: folder %s is not empty, remove it first", ErrInvalid, dir)
	}
	return nil
}

// openTemp opens or creates the download folder and removes from it what is no file of the checkpoint.
func openTemp(temp string, files []File) (*os.Root, error) {
	if err := os.MkdirAll(filepath.Dir(temp), 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(temp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if info, err := os.Lstat(temp); err != nil || !info.IsDir() {
		return nil, errors.Join(err, fmt.Errorf("%w: it is not a folder", ErrInvalid))
	}
	root, err := os.OpenRoot(temp)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(files))
	for _, f := range files {
		wanted[f.Name] = true
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, entry := range entries {
		if err == nil && !(wanted[entry.Name()] && entry.Type().IsRegular()) {
			err = root.RemoveAll(entry.Name())
		}
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// fetch brings one file. A wrong content is fetched once more, since proxies truncate and flip bits; if it
// is wrong again the object itself is.
func (r *Repository) fetch(ctx context.Context, root *os.Root, f File, c *counters) error {
	if ok, err := hasContent(ctx, root, f); err != nil {
		return fmt.Errorf("check file %s: %w", f.Name, err)
	} else if ok {
		c.reusedFiles.Add(1)
		c.reusedBytes.Add(f.Size)
		return nil
	}
	err := r.download(ctx, root, f)
	if errors.Is(err, ErrCorrupt) {
		err = r.download(ctx, root, f)
	}
	if err != nil {
		return err
	}
	c.files.Add(1)
	c.bytes.Add(f.Size)
	return nil
}

// hasContent looks for a file that an interrupted restore has left whole. Another is removed.
func hasContent(ctx context.Context, root *os.Root, f File) (bool, error) {
	info, err := root.Lstat(f.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode().IsRegular() && info.Size() == f.Size {
		file, err := root.OpenFile(f.Name, os.O_RDWR, 0)
		if err != nil {
			return false, err
		}
		defer file.Close()
		sum, err := hashFile(ctx, file, f.Size)
		if err != nil {
			return false, err
		}
		if sum == f.SHA256 {
			return true, file.Sync()
		}
	}
	return false, root.Remove(f.Name)
}

func (r *Repository) download(ctx context.Context, root *os.Root, f File) error {
	file, err := root.OpenFile(f.Name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create file %s: %w", f.Name, err)
	}
	defer file.Close()
	if err := r.readVerified(ctx, f, file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync file %s: %w", f.Name, err)
	}
	return nil
}

// readVerified copies a file's object to w and checks size and hash. A connection that breaks is made anew where it
// broke, since the object never changes.
func (r *Repository) readVerified(ctx context.Context, f File, w io.Writer) error {
	err := objstore.ReadFrom(ctx, r.store, f.Object, 0, func(body io.Reader) error {
		hash := sha256.New()
		// One byte more than declared shows an object that is too long, and no more than that is
		// ever written.
		limited := io.LimitReader(body, f.Size+1)
		n, err := io.CopyBuffer(io.MultiWriter(w, hash), limited, make([]byte, copyBufferBytes))
		if err != nil {
			return fmt.Errorf("read object %s into file %s: %w", f.Object, f.Name, err)
		}
		if n != f.Size {
			return fmt.Errorf("%w: object %s (file %s) gives %d bytes, its manifest says %d", ErrCorrupt, f.Object, f.Name, n, f.Size)
		}
		if sum := hex.EncodeToString(hash.Sum(nil)); sum != f.SHA256 {
			return fmt.Errorf("%w: object %s (file %s) has SHA-256 %s", ErrCorrupt, f.Object, f.Name, sum)
		}
		return nil
	})
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return fmt.Errorf("%w: object %s (file %s): %w", ErrMissing, f.Object, f.Name, err)
	case errors.Is(err, objstore.ErrDamaged):
		return fmt.Errorf("%w: object %s (file %s): %w", ErrCorrupt, f.Object, f.Name, err)
	}
	return err
}

// install makes the downloaded folder the real one. The files are durable already; the folder's entries
// become so before and the new name after the rename.
func install(root *os.Root, temp, dir string) error {
	if err := syncDir(temp); err != nil {
		return err
	}
	// Some systems do not rename a folder that is open.
	if err := root.Close(); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make room for the restored folder: %w", err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("install the restored folder: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", name, err)
	}
	return nil
}
