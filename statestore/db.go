// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say which state to open.
type Options struct {
	// Dir is the task's own directory; it is created if absent.
	Dir string
	// FS is the file system; nil is the disk.
	FS vfs.FS
	// Identity must match the directory's, if it has one.
	Identity Identity
	// Resources are the process's shared memory and compaction budgets.
	Resources *Resources
	// Listener may be nil.
	Listener *Listener
	// StoreNames are used in error messages instead of ids; may be nil.
	StoreNames map[StoreID]string
}

// DB is the state of one task. Its methods and those of its stores belong to
// one goroutine at a time; the exceptions are Cut's channel, View and Changed,
// which are for all others. Close must not run at once with other calls of the
// one goroutine.
type DB struct {
	attempt attempt   // which changes look at
	quick   []*uint32 // table.quick of all stores

	dir    string
	fs     vfs.FS
	id     Identity
	res    *Resources
	listen Listener
	names  map[StoreID]string
	lock   *pebble.Lock
	pebble *pebble.DB

	byID   map[StoreID]store
	stores []store

	position    Position // last confirmed; Pebble may lack it while a cut is open
	hasPosition bool

	prepared bool
	writer   deltaWriter
	cut      *Cut
	held     heldDeltas
	heldSize int64
	sight    sight
	flushes  flushes

	points   *pebble.Iterator // of gets; closed when Pebble changes
	iter     *pebble.Iterator // of scans, idle, for reuse; closed when Pebble changes
	iterBusy bool
	key      []byte // scratch: the entry key of a point read or a seek
	lower    []byte // scratch: the bounds of an iterator
	upper    []byte
	sorting  []sortedEntry // scratch

	failed  error // sticky: what is in memory and on disk may disagree
	disk    diskState
	closed  bool
	memSize int64 // of one memtable at most

	// sublevels of level 0 above which Confirm waits for compactions.
	sublevels int
}

// store is what the DB needs of a table, whatever its value type.
type store interface {
	entryID() StoreID // with the layout bits
	changed() bool
	encode(*deltaWriter) error
	thaw()
	encodable() error
	keep()
	undo() error
	confirm(hold bool)
	release()
	abort(heldDeltas) error
	forget(key []byte)
	forgetRange(start, end []byte)
	cacheStats() CacheStats
	discard()
}

// Open opens the state of a task, creating the directory if need be. A
// directory without an identity that holds state, as a restored checkpoint, is
// adopted. Errors: ErrLocked, ErrForeign, ErrCorrupt, ErrFutureFormat,
// ErrBudget.
func Open(o Options) (*DB, error) {
	fsys, dir := o.FS, o.Dir
	if fsys == nil {
		fsys = vfs.Default
		// The lock table of this process goes by name.
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("open state of %s: %w", o.Identity, err)
		}
		dir = abs
	}
	db := &DB{dir: dir, fs: fsys, id: o.Identity, res: o.Resources, names: o.StoreNames, byID: map[StoreID]store{}}
	if o.Listener != nil {
		db.listen = *o.Listener
	}
	memSize, err := o.Resources.join()
	if err != nil {
		return nil, err
	}
	db.memSize = memSize
	if err := db.open(); err != nil {
		o.Resources.leave()
		return nil, err
	}
	return db, nil
}

func (db *DB) open() (err error) {
	if err := db.fs.MkdirAll(db.dir, 0o755); err != nil {
		return fmt.Errorf("open state of %s: create directory: %w", db.id, err)
	}
	if err := syncDir(db.fs, db.fs.PathDir(db.dir)); err != nil {
		return fmt.Errorf("open state of %s: sync parent directory: %w", db.id, err)
	}
	if db.lock, err = lockDir(db.fs, db.dir); err != nil {
		return fmt.Errorf("open state of %s: %w", db.id, err)
	}
	defer func() {
		if err != nil {
			_ = db.lock.Close() // the first error is the one to tell
		}
	}()
	if err := claim(db.fs, db.dir, db.id); err != nil {
		return err
	}
	if err := db.flushes.init(db.fs, db.dir); err != nil {
		return fmt.Errorf("open state of %s: remove links of earlier flushes: %w", db.id, err)
	}
	db.disk.init()
	opts := db.res.pebbleOptions(db)
	p, err := pebble.Open(db.dir, opts)
	if err != nil {
		return db.wrap("open state of "+db.id.String(), err)
	}
	db.pebble = p
	db.sublevels = maxL0Sublevels + int(p.Metrics().Levels[0].Sublevels)
	if err := db.readPosition(); err != nil {
		_ = p.Close()
		return err
	}
	return nil
}

func (db *DB) readPosition() error {
	raw, done, err := db.pebble.Get(positionKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return db.wrap("read position of "+db.id.String(), err)
	}
	db.position, err = decodePosition(raw)
	if err = firstError(err, done.Close()); err != nil {
		return fmt.Errorf("open state of %s: %w", db.id, err)
	}
	db.hasPosition = true
	return nil
}

// Position returns the last confirmed or applied position, and false if there
// is none: the state is empty.
func (db *DB) Position() (Position, bool) { return db.position.clone(), db.hasPosition }

// Identity returns whose state this is.
func (db *DB) Identity() Identity { return db.id }

// Err returns why the DB has failed, or nil. A failed DB refuses writes and
// commits; close it and open it anew.
func (db *DB) Err() error { return db.failed }

// fail records the first reason after which commits must be refused.
func (db *DB) fail(err error) error {
	if db.failed == nil && err != nil {
		db.failed = err
	}
	return err
}

// writable refuses changes that no commit would carry.
func (db *DB) writable() error {
	switch {
	case db.closed:
		return fmt.Errorf("write state of %s: %w", db.id, ErrClosed)
	case db.failed != nil:
		return db.failed
	case db.prepared:
		return fmt.Errorf("write state of %s before the outcome of the last commit is known: %w", db.id, ErrPrepared)
	}
	return nil
}

// epochState is the state of an entry that belongs to the current epoch.
func (db *DB) epochState() uint32 {
	if db.prepared {
		return stateInflight
	}
	return stateDirty
}

func (db *DB) register(id StoreID, s store) {
	if id == metaStore || id > MaxStoreID {
		panic(fmt.Sprintf("statestore: store id %d is not in 1 to %d", id, MaxStoreID))
	}
	if db.byID[id] != nil {
		panic(fmt.Sprintf("statestore: store id %d is declared twice in %s", id, db.id))
	}
	db.byID[id] = s
	db.stores = append(db.stores, s)
	db.res.stores.Add(1)
}

func (db *DB) storeName(id StoreID) string {
	if n, ok := db.names[id]; ok {
		return fmt.Sprintf("store %q", n)
	}
	return fmt.Sprintf("store %d", id)
}

// get reads an entry from Pebble. The value is valid until the next get, and
// until Pebble changes.
//
// An iterator is kept for all gets between two changes of Pebble. Pebble's own
// Get passes by the filters of the bottom level, where almost all of a large
// state is, and reads a block there to find that a new key is absent.
func (db *DB) get(id StoreID, tail []byte) (raw []byte, found bool, err error) {
	if db.closed {
		return nil, false, fmt.Errorf("read state of %s: %w", db.id, ErrClosed)
	}
	if db.points == nil {
		db.points, err = db.pebble.NewIter(&pebble.IterOptions{UseL6Filters: true})
	}
	if err == nil {
		db.key = append(appendStoreID(db.key[:0], id), tail...)
		if found = db.points.SeekPrefixGE(db.key); found {
			raw, err = db.points.ValueAndErr()
		} else {
			err = db.points.Error()
		}
	}
	if err != nil {
		return nil, false, db.wrap("read "+db.storeName(id&^layoutBits)+" of "+db.id.String(), firstError(err, db.closePoints()))
	}
	return raw, found, nil
}

// closePoints drops the iterator of gets.
func (db *DB) closePoints() error {
	it := db.points
	db.points = nil
	if it == nil {
		return nil
	}
	return it.Close()
}

// wrap adds what was tried, and the sentinel if Pebble found damage; then the
// directory is marked too.
func (db *DB) wrap(tried string, err error) error {
	if !pebble.IsCorruptionError(err) {
		return fmt.Errorf("%s in %s: %w", tried, db.dir, err)
	}
	// Pebble's own text ends in lines for its error library.
	cause, _, _ := strings.Cut(err.Error(), "\n")
	err = fmt.Errorf("%s in %s: %s: %w; restore the task from a checkpoint", tried, db.dir, cause, ErrCorrupt)
	if merr := markCorrupt(db.fs, db.dir, err); merr != nil {
		err = fmt.Errorf("%w (and marking the directory: %w)", err, merr)
	}
	return db.fail(err)
}

// Close ends the DB: what is not confirmed is dropped, an open cut is cancelled,
// what is confirmed is flushed so that a later Open has it without replay. The
// directory is whole even if Close fails or is never called.
func (db *DB) Close() error {
	if db.closed {
		return nil
	}
	var err error
	db.sight.close()
	if db.cut != nil {
		db.cut.cancel()
		<-db.cut.ended
	}
	if db.failed == nil {
		err = db.settle()
	}
	if err == nil && db.failed == nil {
		err = db.flush(neverDone)
	}
	db.closed = true
	err = firstError(err, db.closeIterators())
	if cerr := db.pebble.Close(); cerr != nil {
		err = firstError(err, db.wrap("close state of "+db.id.String(), cerr))
	}
	err = firstError(err, db.flushes.close())
	if cause := db.disk.corruption(); cause != nil {
		err = firstError(err, db.wrap("close state of "+db.id.String(), cause))
	}
	for _, s := range db.stores {
		s.discard()
	}
	db.res.stores.Add(-int64(len(db.stores)))
	db.disk.forget(db.res)
	db.dropHeld()
	err = firstError(err, db.lock.Close())
	db.res.leave()
	return err
}

// neverDone is for waits that only the disk ends.
var neverDone <-chan struct{}

// Destroy removes a state directory of the disk. ErrLocked if it is open. The
// directory of no state is left alone.
func Destroy(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("destroy state: %w", err)
	}
	if _, err := vfs.Default.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := looksLikeState(vfs.Default, dir); err != nil {
		return fmt.Errorf("destroy state in %s: %w", dir, err)
	}
	lock, err := lockDir(vfs.Default, dir)
	if err != nil {
		return fmt.Errorf("destroy state: %w", err)
	}
	err = vfs.Default.RemoveAll(dir)
	if err = firstError(err, lock.Close()); err != nil {
		return fmt.Errorf("destroy state in %s: %w", dir, err)
	}
	return nil
}

// looksLikeState keeps Destroy from removing a directory given by mistake.
func looksLikeState(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n == identityFile || n == "LOCK" {
			return nil
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("found %d files but neither an identity nor a lock file; remove it by hand if it is meant: %w", len(names), ErrForeign)
}

// diskState is what Pebble's callbacks tell the task's goroutine. They run with
// Pebble's locks held, so all they do is store.
type diskState struct {
	unflushed atomic.Int64 // bytes applied and not flushed, estimated
	flushes   atomic.Int64 // flushes ended
	rotating  atomic.Bool  // a flush asked for by us is under way
	failures  atomic.Int64 // background jobs that failed
	failure   atomic.Pointer[error]
	corrupt   atomic.Pointer[error]
	progress  chan struct{} // capacity 1; something ended or failed
	seen      int64         // flushes when hasRoom last looked; the task's goroutine only
}

func (d *diskState) init() { d.progress = make(chan struct{}, 1) }

func (d *diskState) poke() {
	select {
	case d.progress <- struct{}{}:
	default:
	}
}

// failedAgain returns the last background error once several jobs have failed
// since the count given: Pebble tries again, so one failure may be healed.
func (d *diskState) failedAgain(since int64) error {
	const tries = 3
	if d.failures.Load()-since < tries {
		return nil
	}
	return *d.failure.Load()
}

func (d *diskState) corruption() error {
	if p := d.corrupt.Load(); p != nil {
		return *p
	}
	return nil
}

// wrote adds to the estimate of what a flush would write.
func (d *diskState) wrote(res *Resources, n int64) {
	d.unflushed.Add(n)
	res.memtables.Add(n)
}

// flushed takes away what a flush wrote; the estimate never goes below zero.
func (d *diskState) flushed(res *Resources, n int64) {
	for {
		have := d.unflushed.Load()
		take := min(n, have)
		if d.unflushed.CompareAndSwap(have, have-take) {
			res.memtables.Add(-take)
			return
		}
	}
}

func (d *diskState) forget(res *Resources) { d.flushed(res, d.unflushed.Load()) }
