// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Between two checkpoints compactions replace far more tables than records have
// changed, most of all if the changed keys lie everywhere. So a cut can be an
// increment: it adds to the files of an earlier cut only the tables that
// memtable flushes have written since. Nothing writes to Pebble while a cut is
// open, so they hold exactly what has changed from the one cut to the other.
// Their place is level 0, above all that the earlier cut has, and the numbers of
// their entries rise from flush to flush: a manifest that names them in addition
// makes an ordinary database, which is opened, read and compacted like any
// other.
//
// Compactions soon remove what a flush has written. Therefore flushes are
// hard-linked into a folder of their own as they end, from the first whole cut
// on, until a stored cut has them.

const (
	// incrementsDir holds the links. It lies in the state directory.
	incrementsDir = "increments"

	// maxIncrementTables bounds the tables that increments may have added to a
	// whole cut: whoever restores them may have to look into each at first.
	maxIncrementTables = 256
)

// flushedTable is a table that a flush has written, or that was folded of such.
type flushedTable struct {
	number            uint64
	size              uint64
	smallest, largest pebble.InternalKey
	// The numbers of the oldest and of the newest entry.
	oldest, newest pebble.SeqNum
	folded         bool
}

func (t flushedTable) name() string { return fmt.Sprintf("%06d.sst", t.number) }

// flushes are the tables flushed since the oldest cut that an increment may
// still build upon. Pebble's goroutine adds to them; a cut reads them after its
// own flush has ended.
type flushes struct {
	fs  vfs.FS
	src string // the state directory
	dir string // of the links
	run int    // how many tables are folded at once, and so open

	mu     sync.Mutex
	on     bool  // flushes are linked
	limit  int64 // bytes of links from which on a whole cut is cheaper
	bytes  int64
	first  int // ordinal of tables[0], counted from the opening of the DB
	tables []flushedTable
	gone   []string // links that nobody needs; sweep removes them
}

// init removes what an earlier process has left.
func (f *flushes) init(fsys vfs.FS, dir string) error {
	f.fs, f.src, f.dir, f.run = fsys, dir, fsys.PathJoin(dir, incrementsDir), foldTables
	return fsys.RemoveAll(f.dir)
}

// add links what a flush has written. Pebble calls it with its locks held,
// before a compaction can take the tables: so it links, and does no more. If it
// cannot, the next cut is a whole one.
func (f *flushes) add(info pebble.FlushInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.on {
		return
	}
	for _, o := range info.Output {
		t := flushedTable{
			number: uint64(o.FileNum), size: o.Size, oldest: o.SmallestSeqNum, newest: o.LargestSeqNum,
			smallest: o.Smallest.Clone(), largest: o.Largest.Clone(),
		}
		f.bytes += int64(t.size)
		if info.Ingest || f.bytes > f.limit {
			f.stop()
			return
		}
		if err := f.fs.Link(f.fs.PathJoin(f.src, t.name()), f.fs.PathJoin(f.dir, t.name())); err != nil {
			f.stop()
			return
		}
		f.tables = append(f.tables, t)
	}
}

// stop drops the links and takes no more until the next whole cut.
func (f *flushes) stop() {
	f.on = false
	f.drop(len(f.tables))
	f.first++ // for what is not linked: no earlier cut can be a base any more
}

// giveUp makes the next cut a whole one: with what is linked, something is wrong.
func (f *flushes) giveUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.on {
		f.stop()
	}
}

func (f *flushes) drop(n int) {
	for _, t := range f.tables[:n] {
		f.gone = append(f.gone, t.name())
		f.bytes -= int64(t.size)
	}
	f.first += n
	f.tables = slices.Delete(f.tables, 0, n)
}

// start is called with a whole cut of so many bytes. Links that there are stay:
// an earlier cut may yet be stored before this one.
func (f *flushes) start(size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.limit = size; f.on {
		return
	}
	f.bytes = 0
	f.on = f.fs.MkdirAll(f.dir, 0o755) == nil
}

// release drops the links that a stored cut has.
func (f *flushes) release(upto int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := upto - f.first; n > 0 && f.on {
		f.drop(min(n, len(f.tables)))
	}
}

// sweep removes links that nobody needs. To remove the last link of a large file
// takes its time, so no lock is held. What cannot be removed goes when the
// directory is opened again.
func (f *flushes) sweep() {
	f.mu.Lock()
	gone := f.gone
	f.gone = nil
	f.mu.Unlock()
	for _, name := range gone {
		_ = f.fs.Remove(f.fs.PathJoin(f.dir, name))
	}
}

// since returns what was flushed after the cut that ended at from, and false if
// something of that is not there any more.
func (f *flushes) since(from int) ([]flushedTable, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.on || from < f.first {
		return nil, false
	}
	return slices.Clone(f.tables[from-f.first:]), true
}

// end is the ordinal of the next table.
func (f *flushes) end() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first + len(f.tables)
}

// close removes all links.
func (f *flushes) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = false
	return f.fs.RemoveAll(f.dir)
}

// withTables returns a copy of a manifest that names further tables, at level 0.
func withTables(manifest []byte, tables []flushedTable) ([]byte, error) {
	var out bytes.Buffer
	r, w := record.NewReader(bytes.NewReader(manifest), 0), record.NewWriter(&out)
	for {
		edit, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the manifest of the cut before: %w", err)
		}
		to, err := w.Next()
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(to, edit); err != nil {
			return nil, fmt.Errorf("copy the manifest of the cut before: %w", err)
		}
	}
	if _, err := w.WriteRecord(appendEdit(nil, tables)); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// Fields of a version edit, the record of Pebble's manifest, in the format that
// it shares with LevelDB and RocksDB.
const (
	editNextFile = 3   // the lowest number that no file has
	editLastSeq  = 4   // the highest number of an entry
	editTable    = 100 // level, number, size, first and last key, oldest and newest entry
)

// appendEdit encodes the version edit that adds tables at level 0.
func appendEdit(dst []byte, tables []flushedTable) []byte {
	var last flushedTable
	for _, t := range tables {
		last.number, last.newest = max(last.number, t.number), max(last.newest, t.newest)
	}
	put := binary.AppendUvarint
	putKey := func(dst []byte, k pebble.InternalKey) []byte {
		dst = append(put(dst, uint64(k.Size())), k.UserKey...)
		return binary.LittleEndian.AppendUint64(dst, uint64(k.Trailer))
	}
	dst = put(put(dst, editNextFile), last.number+1)
	dst = put(put(dst, editLastSeq), uint64(last.newest))
	for _, t := range tables {
		dst = put(put(dst, editTable), 0)
		dst = put(put(dst, t.number), t.size)
		dst = putKey(putKey(dst, t.smallest), t.largest)
		dst = put(put(dst, uint64(t.oldest)), uint64(t.newest))
	}
	return dst
}
