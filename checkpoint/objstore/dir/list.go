// SPDX-License-Identifier: Apache-2.0

package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// List implements objstore.Store. It reads one folder at a time, as the listing goes on.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.CheckPrefix(prefix); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list objects: %w", err))
			return
		}
		// The deepest folder that holds all names with the prefix.
		top := "."
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			top = prefix[:i]
		}
		w := walk{s, ctx, prefix, yield}
		w.folder(top)
	}
}

type walk struct {
	s      *Store
	ctx    context.Context
	prefix string
	yield  func(objstore.Info, error) bool
}

// folder yields what is in a folder and below. It returns false when the listing has ended.
func (w walk) folder(folder string) bool {
	if err := w.ctx.Err(); err != nil {
		return w.end(folder, err)
	}
	entries, err := w.s.readDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return w.end(folder, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortKey(a), sortKey(b)) })
	for _, entry := range entries {
		if !w.entry(folder, entry) {
			return false
		}
	}
	return true
}

func (w walk) entry(folder string, entry fs.DirEntry) bool {
	name := path.Join(folder, entry.Name())
	switch {
	case objstore.CheckName(name) != nil:
		return true // not an object: temporary files, or put there by others
	case entry.IsDir():
		below := name + "/"
		if !strings.HasPrefix(below, w.prefix) && !strings.HasPrefix(w.prefix, below) {
			return true
		}
		return w.folder(name)
	case !entry.Type().IsRegular() || !strings.HasPrefix(name, w.prefix):
		return true
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return w.end(folder, err)
	}
	return w.yield(objstore.Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil)
}

func (w walk) end(folder string, err error) bool {
	w.yield(objstore.Info{}, fmt.Errorf("list objects of folder %s: %w", folder, err))
	return false
}

// sortKey puts a folder where the names below it belong in byte order: "a.b" comes before "a/b".
func sortKey(entry fs.DirEntry) string {
	if entry.IsDir() {
		return entry.Name() + "/"
	}
	return entry.Name()
}
