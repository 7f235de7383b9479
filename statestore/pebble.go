// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// pebbleFormat is the on-disk format of what this release writes. Raising it
// makes directories and checkpoints unreadable for older releases, so it is set
// here and not left to the library's default. This one has columnar blocks with
// checksummed tables; the next one only adds value separation, which is unused.
const pebbleFormat = pebble.FormatTableFormatV6

// noStall is a threshold that is never reached, see pebbleOptions.
const noStall = 1 << 20

// maxL0Sublevels is where Confirm waits for compactions: each sublevel is one
// more table to look into on a miss. A directory that was restored from
// increments begins with more, and it waits if there are as many again; else it
// would stand still until the last increment is compacted.
const maxL0Sublevels = 32

// pebbleOptions are the options of one task's database; each differs from
// Pebble's default for the reason given.
func (r *Resources) pebbleOptions(db *DB) *pebble.Options {
	o := &pebble.Options{
		FS:   db.fs,
		Lock: db.lock,
		// Shared by the process. Memtables are reserved in the cache, so its
		// size covers both.
		Cache:     r.cache,
		FileCache: r.files,
		// The changelog is the log: after a crash the directory holds an older
		// whole state, and replay brings it up.
		DisableWAL:         true,
		FormatMajorVersion: pebbleFormat,
		// The size of a memtable is what one DB may take of the shared budget.
		MemTableSize: uint64(db.memSize),
		// Pebble's own write stalls hold its commit lock, so that Close would
		// wait for a full disk for ever. Confirm waits instead, see hasRoom.
		MemTableStopWritesThreshold: noStall,
		L0StopWritesThreshold:       noStall,
		// Default 4. Commits are flushed in large tables; compacting from two
		// sublevels on keeps misses cheap, and slots are bounded elsewhere.
		L0CompactionThreshold: 2,
		// Default 500 files, which a task with small memtables would reach
		// before its sublevels say so; the bytes matter, not the files.
		L0CompactionFileThreshold: 64,
		// 64 MiB per table at the bottom: few objects per checkpoint, while a
		// compaction still replaces a small part of a large state.
		LBaseMaxBytes: 64 << 20,
		// Default 128 MiB. It is sent with every checkpoint.
		MaxManifestFileSize: 64 << 10,
		// Unused since FileCache is shared, but an honest bound for tools.
		MaxOpenFiles: maxOpenTables,
		// Within a DB one compaction at a time; between DBs the slots decide.
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 },
		// Write tables back to disk as they are written, so that the sync at
		// the end of a flush is short.
		BytesPerSync:  1 << 20,
		Logger:        fatalLogger{db},
		EventListener: db.events(),
	}
	o.Experimental.CompactionScheduler = &compactionSeat{slots: r.compactions}
	setTables(o)
	return o
}

// setTables says how tables are written. Point reads of absent keys are the
// common miss of a keyed aggregation: filters at every level, also at the
// bottom.
func setTables(o *pebble.Options) {
	filter := bloom.FilterPolicy(10)
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = filter
		o.Levels[i].Compression = levelCompression(i)
	}
}

// tableOptions says how a table is written that Pebble does not write itself.
func tableOptions(level int) sstable.WriterOptions {
	var o pebble.Options
	setTables(&o)
	return o.MakeWriterOptions(level, pebbleFormat.MaxTableFormat())
}

// levelCompression: the first levels are rewritten soon, so compressing them
// saves nothing. Below, snappy: zstd at the bottom level took a fifth more CPU
// time of loading and updating eight million counters, flushes and compactions
// included, and makes misses dearer.
func levelCompression(level int) func() *sstable.CompressionProfile {
	if level <= 2 {
		return func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return func() *sstable.CompressionProfile { return sstable.SnappyCompression }
}

// events translates Pebble's events. Pebble calls them with its locks held.
func (db *DB) events() *pebble.EventListener {
	l := db.listen
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			db.disk.failure.Store(&err)
			db.disk.failures.Add(1)
			db.disk.poke()
			if l.Background != nil {
				l.Background(err)
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			err := fmt.Errorf("table %s: %w: %w", info.Path, info.Details, pebble.ErrCorruption)
			db.disk.corrupt.Store(&err)
			db.disk.poke()
			if l.Corruption != nil {
				l.Corruption(info.Path, info.Details)
			}
		},
		FlushEnd: db.flushEnded,
		CompactionEnd: func(info pebble.CompactionInfo) {
			db.disk.poke()
			if l.Compaction != nil {
				l.Compaction(info.TotalDuration, info.Err)
			}
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			if l.DiskSlow != nil {
				l.DiskSlow(info.Path, info.Duration)
			}
		},
	}
}

// flushEnded is told of failed flushes too; those are followed by a
// BackgroundError. A memtable whose entries cancel out gives no table, which
// Pebble reports as an error of its own, without a BackgroundError.
func (db *DB) flushEnded(info pebble.FlushInfo) {
	db.disk.rotating.Store(false)
	db.disk.flushes.Add(1)
	if info.Err == nil {
		db.flushes.add(info)
		db.disk.flushed(db.res, int64(info.InputBytes))
		if db.listen.Flush != nil {
			db.listen.Flush(info.InputBytes, info.TotalDuration)
		}
	}
	db.disk.poke()
}

// fatalLogger ends the process where Pebble cannot go on, as when the manifest
// cannot be written. It prints nothing: what is worth telling comes as events.
type fatalLogger struct{ db *DB }

// Infof implements pebble.Logger.
func (fatalLogger) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (fatalLogger) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger. It does not return: Pebble's callers rely on
// that.
func (l fatalLogger) Fatalf(format string, args ...any) {
	msg := fmt.Sprintf("statestore: state of %s in %s: %s", l.db.id, l.db.dir, fmt.Sprintf(format, args...))
	if l.db.listen.Fatal != nil {
		l.db.listen.Fatal(msg)
	}
	panic(msg)
}
