// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

const (
	// maxFileBytes bounds what is read from a file, which may be a wrong path.
	maxFileBytes = 1 << 20
	// racy is how old a file must have been when it was read, so that its time tells of a later change: file systems count
	// time in steps.
	racy = 2 * time.Second
)

// watched is what a few files say that belong together. They are read anew when one has changed.
type watched[T any] struct {
	paths  []string
	parse  func(contents [][]byte) (T, error)
	failed func(error) // is told of a version that cannot be used

	mu struct {
		sync.Mutex
		seen    []fs.FileInfo
		read    time.Time
		value   T // of the newest version that could be used
		trouble string
	}
}

// watch reads the files, which must be usable now.
func watch[T any](parse func([][]byte) (T, error), failed func(error), paths ...string) (*watched[T], error) {
	f := &watched[T]{paths: paths, parse: parse, failed: failed}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.loadLocked()
}

// get returns what the files say. While they cannot be used that is what they said before.
func (f *watched[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changedLocked() {
		switch err := f.loadLocked(); {
		case err == nil:
			f.mu.trouble = ""
		case err.Error() != f.mu.trouble: // said once
			f.mu.trouble = err.Error()
			f.failed(err)
		}
	}
	return f.mu.value
}

func (f *watched[T]) changedLocked() bool {
	for i, path := range f.paths {
		now, err := os.Stat(path)
		if err != nil || i >= len(f.mu.seen) {
			return true
		}
		was := f.mu.seen[i]
		if !os.SameFile(was, now) || was.Size() != now.Size() || !was.ModTime().Equal(now.ModTime()) || f.mu.read.Sub(now.ModTime()) < racy {
			return true
		}
	}
	return false
}

func (f *watched[T]) loadLocked() error {
	f.mu.seen, f.mu.read = nil, time.Now()
	var contents [][]byte
	for _, path := range f.paths {
		info, content, err := readFile(path)
		if err != nil {
			return err
		}
		f.mu.seen, contents = append(f.mu.seen, info), append(contents, content)
	}
	value, err := f.parse(contents)
	if err != nil {
		return fmt.Errorf("read %v: %w", f.paths, err)
	}
	f.mu.value = value
	return nil
}

func readFile(path string) (fs.FileInfo, []byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = fmt.Errorf("read %s: it is larger than %d bytes", path, maxFileBytes)
	}
	return info, content, err
}
