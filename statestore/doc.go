// SPDX-License-Identifier: Apache-2.0

// Package statestore keeps the keyed state of tasks: typed stores with a cache
// of decoded values, on one Pebble database per task. It is the only importer
// of Pebble, and knows nothing of Kafka or object stores.
//
// # Mental model
//
// State moves in epochs. Within one, stores change in memory only; the commit
// makes a delta of what changed, the engine puts that delta and a position
// record into its Kafka transaction, and only when the transaction is known to
// be committed does the delta reach the database:
//
//	Update, Put, Delete         Prepare              transaction      Confirm
//	decoded cache ─ dirty ────▶ delta = changelog ──▶ committed ────▶ one batch:
//	      ▲                     records                               entries + position
//	      │ miss                                     ──▶ aborted ───▶ Abort: dropped
//	   Pebble (no write-ahead log)
//
// A checkpoint begins with a Cut: the database is flushed and its files are
// hard-linked in the background. Until that has ended, confirmed deltas are
// held in memory, so the files hold exactly the cut:
//
//	Cut ──────── flush, link ────────▶ ended
//	  │ Confirm: held, readable, bounded │ next call: held deltas reach Pebble
//
// A cut is whole, or an increment of an earlier one whose files are stored. The
// tables that memtable flushes write hold all that has changed, so each is
// linked as it is written; an increment adds those since the earlier cut, folded
// into one, to that cut's manifest (increments.go):
//
//	 flush flush  flush      flush flush flush
//	───1─────2──┬───3──────┬───4─────5─────6──┬───▶
//	          whole     increment         increment
//	         (all live    (+ 3)         (+ 4, 5, 6 as one)
//	          tables)
//
// Other goroutines look through a View: the state as of the newest confirmed
// position, from one iterator of Pebble and what a cut holds back (view.go).
//
// # Invariants
//
//	I1  Nothing reaches Pebble before Confirm (or Apply).
//	I2  Entries and Position are written in one atomic batch: after any crash
//	    the directory holds the whole state of some confirmed epoch, and says
//	    which. Replaying the changelog from there gives the present one.
//	I3  What reaches Pebble is decoded from the changelog records: replay and
//	    normal operation cannot differ.
//	I4  Reads see, in this order: the epoch's changes, held deltas, Pebble. The
//	    first two are always in the cache, pinned: a miss means that Pebble
//	    is right, except for range deletes, which are kept beside.
//	I5  Between Prepare and its outcome state is not written (ErrPrepared).
//	I6  A cached entry that is clean and not held equals what Pebble returns.
//	I7  While a cut is open nothing but its flush and Pebble's own compactions
//	    writes to the directory.
//	I8  In a window store, above its frontier, the cache lacks nothing that
//	    Pebble has and no range delete covers (timeline.go): a miss there is
//	    answered without a read.
//	I9  After an Undo the stores, the list of what the epoch has changed and the
//	    delta to come are those of before the Attempt.
//	I10 The manifest of an increment names, at level 0, every table that was
//	    flushed since the cut that it builds upon, or a fold of them; a table
//	    that could not be linked breaks the chain, and the next cut is whole.
//	I11 A view shows all that is confirmed by its position and nothing else. Held
//	    deltas go to Pebble, then out of sight, and only then may a later epoch
//	    reach Pebble.
//	I12 Sum of Resources' shares: block cache with memtables, decoded caches,
//	    held deltas and a rest of at least 40% make up the budget.
//
// # Concurrency
//
// A DB and its stores belong to one goroutine at a time, but for View and
// Changed, which are for all others. Close waits for views that are under way;
// they end with their next read. Resources and Reader are safe for concurrent
// use. A cut runs in a goroutine that the DB owns: Close
// cancels it and waits; its outcome comes through Cut.Done. Pebble's background
// jobs belong to Pebble and end with Close; they meet the task's goroutine in
// diskState (atomics) only. Lock order: sight.mu, then Pebble's, then
// compactionSlots.mu; Resources.mu is a leaf.
//
// # Failure behaviour
//
// Errors of codecs and of size limits leave the epoch to be aborted. An error
// of Confirm means that a committed epoch is missing here: the DB has failed,
// refuses further commits (DB.Err), and must be closed, opened and replayed.
// Failed flushes and compactions are retried by Pebble; only when memory is at
// its limit and they keep failing does Confirm give up (ErrStalled). A Scan or
// Range that cannot read on fails the DB too, so that no commit rests on half
// an iteration. Damage marks the directory, which then refuses to open
// (ErrCorrupt). Where Pebble cannot go on, as when its manifest cannot be
// written, the process panics with the database's name: the directory is whole.
//
// # Files
//
//	db.go, identity.go, position.go  open, lock, identity; whose state, how far
//	commit.go, delta.go, cut.go      epochs, changelog records, checkpoints
//	increments.go, fold.go           cuts that have only what has changed
//	value.go, mapstore.go, window.go the typed stores
//	merge.go, timeline.go            cache and Pebble as one; what is known of times
//	attempt.go                       changes that can be taken back
//	table.go, epoch.go, evict.go     the cache of decoded values, its epochs, its memory
//	index.go, keyarena.go, order.go, ranges.go, sort.go   what the table is made of
//	key.go, iterate.go, reader.go    entry keys; reading what is stored
//	view.go, selection.go, held.go   reading beside the task; parts of a store; what Pebble lacks
//	pebble.go, resources.go, compactions.go, cgo_*.go   options and shared budgets
//
// In a state directory, beside Pebble's files: the identity, and increments/,
// the links, which go with the process.
//
// # Has bitten us
//
// Pebble's write stalls wait while holding its commit lock, and Close needs that
// lock: on a full disk neither returns. So its thresholds are out of reach and
// Confirm waits instead.
//
// An entry inserted for a blind write, or found absent because of an uncommitted
// range delete, says nothing about Pebble. Left behind clean it hides a value.
//
// glibc gives each thread an arena; blocks are allocated on one thread and freed
// on another, which more than doubled the block cache's memory.
package statestore
