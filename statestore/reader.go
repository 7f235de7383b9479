// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Reader reads a state directory that nobody writes to, such as a restored
// checkpoint, as encoded bytes. Safe for concurrent use.
type Reader struct {
	Selection
	dir    string
	lock   *pebble.Lock
	pebble *pebble.DB
}

// readerCache is the block cache of a reader: look-ups by hand need little.
const readerCache = 16 << 20

// OpenReadOnly opens a state directory of the disk for reading. ErrLocked if
// a worker or another reader has it open, ErrNotFound if there is no state, ErrFutureFormat.
func OpenReadOnly(dir string) (*Reader, error) { return openReadOnly(vfs.Default, dir) }

func openReadOnly(fsys vfs.FS, dir string) (*Reader, error) {
	if fsys == vfs.Default {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("open state for reading: %w", err)
		}
		dir = abs
	}
	if desc, err := pebble.Peek(dir, fsys); err == nil && !desc.Exists {
		return nil, fmt.Errorf("open state in %s for reading: %w", dir, ErrNotFound)
	}
	if err := checkPebbleFormat(fsys, dir); err != nil {
		return nil, fmt.Errorf("open state for reading: %w", err)
	}
	lock, err := lockDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("open state for reading: %w", err)
	}
	r := &Reader{dir: dir, lock: lock}
	r.pebble, err = pebble.Open(dir, &pebble.Options{
		FS:                 fsys,
		Lock:               lock,
		ReadOnly:           true,
		ErrorIfNotExists:   true,
		DisableWAL:         true,
		FormatMajorVersion: pebbleFormat,
		CacheSize:          readerCache,
		Logger:             readerLogger{},
		EventListener:      &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	})
	if err != nil {
		return nil, errors.Join(r.damaged(err), lock.Close())
	}
	r.Selection = Selection{wrap: r.damaged, open: func(o pebble.CloneOptions) (*pebble.Iterator, error) { return r.pebble.NewIter(o.IterOptions) }}
	return r, nil
}

// Position returns the position that the directory holds, and false if none.
func (r *Reader) Position() (Position, bool, error) {
	raw, ok, err := r.read(positionKey)
	if err != nil || !ok {
		return Position{}, false, err
	}
	p, err := decodePosition(raw)
	return p, err == nil, err
}

func (r *Reader) read(key []byte) ([]byte, bool, error) {
	raw, done, err := r.pebble.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, r.damaged(err)
	}
	value := bytes.Clone(raw)
	if value == nil {
		value = []byte{}
	}
	return value, true, done.Close()
}

// Scan returns an iterator over the value store's keys with the prefix and
// their encoded values, in key order, and a function that tells, after the
// loop, whether it ended early. The slices are valid until the next pair.
func (r *Reader) Scan(id StoreID, prefix []byte) (iter.Seq2[[]byte, []byte], func() error) {
	lower := append(appendStoreID(nil, id), prefix...)
	return r.walk(lower, keyAfter(nil, lower), storeIDLen)
}

// Entries is Scan over all entries of all stores, with whole entry keys, which
// SplitKey takes apart.
func (r *Reader) Entries() (iter.Seq2[[]byte, []byte], func() error) {
	return r.walk(firstStore, nil, 0)
}

// walk yields the keys in [lower, upper), without their first skip bytes.
func (r *Reader) walk(lower, upper []byte, skip int) (iter.Seq2[[]byte, []byte], func() error) {
	var failed error
	seq := func(yield func([]byte, []byte) bool) {
		c, err := r.walker(lower, upper)
		if err != nil {
			failed = err
			return
		}
		defer func() { failed = c.close() }()
		for ok := c.first(); ok; ok = c.next() {
			if !yield(c.key[skip:], c.value) {
				return
			}
		}
	}
	return seq, func() error { return failed }
}

// Close ends the reader.
func (r *Reader) Close() error {
	if err := firstError(r.pebble.Close(), r.lock.Close()); err != nil {
		return r.damaged(err)
	}
	return nil
}

func (r *Reader) damaged(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("read state in %s: %w: %w", r.dir, err, ErrCorrupt)
	}
	return fmt.Errorf("read state in %s: %w", r.dir, err)
}

// readerLogger is silent; Fatalf must not return.
type readerLogger struct{}

// Infof implements pebble.Logger.
func (readerLogger) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (readerLogger) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (readerLogger) Fatalf(format string, args ...any) {
	panic("statestore: " + fmt.Sprintf(format, args...))
}
