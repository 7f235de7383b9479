// SPDX-License-Identifier: Apache-2.0

package statestore

import "time"

// Listener receives what happens inside state databases. Any field may be nil.
// Callbacks run on the task's goroutine (Cache) or on Pebble's (all others),
// possibly at once for several DBs and with Pebble's locks held: they must be
// quick, must not block and must not call back into the DB. The task is that of
// Options.Identity; share one Listener's functions by closing over it.
type Listener struct {
	// Cache reports a store's cache counters since the last report, at each
	// confirmed or aborted epoch that used the store.
	Cache func(CacheStats)
	// Flush reports a finished memtable flush; failed ones go to Background.
	Flush func(bytes uint64, took time.Duration)
	// Compaction reports a finished compaction.
	Compaction func(took time.Duration, err error)
	// Stall reports that Confirm waited, and why.
	Stall func(reason string, took time.Duration)
	// DiskSlow reports a write to path that has been pending for took.
	DiskSlow func(path string, took time.Duration)
	// Background reports a failed flush or compaction, which Pebble tries again,
	// or why a cut is whole that was to be an increment.
	Background func(err error)
	// Corruption reports that a file failed its checksum or did not decode.
	Corruption func(path string, err error)
	// Fatal is told what Pebble found unrecoverable, after which the process
	// panics: going on could publish state that is not what was committed.
	Fatal func(message string)
}

// CacheStats are cache counters of one store, as deltas, with the current
// sizes.
type CacheStats struct {
	Store     StoreID
	Hits      uint64
	Misses    uint64
	Evictions uint64
	Entries   int   // cached now
	Bytes     int64 // memory held now
}
