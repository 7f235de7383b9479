// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Prepare encodes the epoch's changes, each entry once, into changelog record
// values of at most maxRecordBytes. From here to Confirm or Abort the state can
// be read but not written. An entry that does not fit is ErrTooLarge and names
// the store; the changes are then as before the call, and Abort drops them.
func (db *DB) Prepare(maxRecordBytes int) (Delta, error) {
	if db.attempt.on {
		panic("statestore: an epoch was to be committed within an attempt")
	}
	if err := db.writable(); err != nil {
		return Delta{}, fmt.Errorf("prepare commit: %w", err)
	}
	if err := db.settle(); err != nil {
		return Delta{}, err
	}
	db.writer.reset(maxRecordBytes, false)
	for _, s := range db.stores {
		if !s.changed() {
			continue
		}
		if err := s.encode(&db.writer); err != nil {
			for _, s := range db.stores {
				s.thaw()
			}
			db.writer.reset(maxRecordBytes, false)
			return Delta{}, fmt.Errorf("prepare commit of %s: %w", db.id, err)
		}
	}
	db.writer.seal()
	db.prepared = true
	return Delta{Records: db.writer.records}, nil
}

// Confirm applies the prepared delta and the position in one atomic batch: the
// transaction that carries them is known to be committed. While a cut is open
// they are kept in memory instead, readable, and reach Pebble at the first call
// after it. Without changes in the epoch, Prepare may be left out.
//
// Confirm waits if memory is short and the disk cannot keep up. Any error means
// that this directory lacks a committed epoch: close the DB and replay.
func (db *DB) Confirm(pos Position) error {
	if db.closed {
		return fmt.Errorf("confirm epoch %d of %s: %w", pos.Epoch, db.id, ErrClosed)
	}
	if db.failed != nil {
		return db.failed
	}
	if !db.prepared && db.uncommitted() {
		return fmt.Errorf("confirm epoch %d of %s: changes were not prepared: %w", pos.Epoch, db.id, ErrUncommitted)
	}
	if err := db.settle(); err != nil {
		return err
	}
	hold := db.cut != nil
	records := db.writer.records
	if !db.prepared {
		records = nil
	}
	if hold {
		db.hold(records, pos)
	} else if err := db.apply(pos, records); err != nil {
		return db.fail(fmt.Errorf("confirm epoch %d of %s: %w", pos.Epoch, db.id, err))
	}
	db.position, db.hasPosition = pos.clone(), true
	db.sight.show(db.held)
	for _, s := range db.stores {
		s.confirm(hold)
	}
	db.endEpoch()
	return db.boundHeld()
}

// Abort drops everything that is not confirmed, prepared or not: the next read
// sees the last confirmed values.
func (db *DB) Abort() {
	if db.closed {
		return
	}
	if db.attempt.on {
		if err := db.Undo(); err != nil {
			db.fail(err)
		}
	}
	db.fail(db.held.index())
	for _, s := range db.stores {
		if err := s.abort(db.held); err != nil {
			db.fail(fmt.Errorf("abort epoch of %s: %w", db.id, err))
		}
	}
	db.endEpoch()
}

// endEpoch starts the next one and reports the caches.
func (db *DB) endEpoch() {
	db.prepared = false
	if db.listen.Cache == nil {
		return
	}
	for _, s := range db.stores {
		if c := s.cacheStats(); c.Hits|c.Misses|c.Evictions != 0 {
			db.listen.Cache(c)
		}
	}
}

// Apply replays changelog record values in order and then sets the position, in
// one atomic batch: restores and standbys. Values cached before are dropped. It
// waits for an open cut to end. ErrUncommitted if the epoch has changes.
func (db *DB) Apply(records [][]byte, pos Position) error {
	if err := db.writable(); err != nil {
		return fmt.Errorf("apply changelog: %w", err)
	}
	if db.uncommitted() {
		return fmt.Errorf("apply changelog to %s: %w", db.id, ErrUncommitted)
	}
	if err := db.awaitCut(); err != nil {
		return err
	}
	// Nothing is touched before all records have decoded.
	batch, err := db.encodeBatch(pos, records)
	if err != nil {
		return fmt.Errorf("apply changelog to %s: %w", db.id, err)
	}
	for _, r := range records {
		if err := decodeDelta(r, db.forget); err != nil {
			panic(fmt.Sprintf("statestore: a record decoded once and then did not: %v", err))
		}
	}
	if err := db.applyBatch(batch); err != nil {
		return db.fail(fmt.Errorf("apply changelog to %s: %w", db.id, err))
	}
	db.position, db.hasPosition = pos.clone(), true
	db.sight.show(nil)
	return nil
}

// forget drops from the caches what the op changes.
func (db *DB) forget(op deltaOp) error {
	id := StoreID(binary.BigEndian.Uint16(op.key))
	s := db.byID[id&^layoutBits]
	if s == nil || s.entryID() != id {
		return nil // declared later, or no longer in the topology
	}
	if op.kind != opDeleteRange {
		s.forget(op.key[storeIDLen:])
		return nil
	}
	s.forgetRange(op.key[storeIDLen:], op.arg[storeIDLen:])
	return nil
}

func (db *DB) uncommitted() bool {
	for _, s := range db.stores {
		if s.changed() {
			return true
		}
	}
	return false
}

// apply writes record groups and the position to Pebble, all or nothing.
func (db *DB) apply(pos Position, groups ...[][]byte) error {
	batch, err := db.encodeBatch(pos, groups...)
	if err != nil {
		return err
	}
	return db.applyBatch(batch)
}

// encodeBatch makes a Pebble batch of changelog records. What reaches Pebble is
// thereby what a replay of the changelog gives.
func (db *DB) encodeBatch(pos Position, groups ...[][]byte) (*pebble.Batch, error) {
	size := 64 + len(pos.Detail)
	for _, records := range groups {
		for _, r := range records {
			size += len(r)
		}
	}
	// The batch repeats the records' bytes with slightly different framing.
	batch := db.pebble.NewBatchWithSize(size + size/8)
	add := func(op deltaOp) error { return addOp(batch, op) }
	for _, records := range groups {
		for _, r := range records {
			if err := decodeDelta(r, add); err != nil {
				return nil, firstError(err, batch.Close())
			}
		}
	}
	if err := batch.Set(positionKey, appendPosition(nil, pos), nil); err != nil {
		return nil, firstError(err, batch.Close())
	}
	return batch, nil
}

func (db *DB) applyBatch(batch *pebble.Batch) error {
	err := db.closeIterators() // before the wait: they hold on to memtables
	if err == nil {
		err = db.hasRoom()
	}
	if err != nil {
		return firstError(err, batch.Close())
	}
	// A skip list node costs about this much beside key and value.
	const nodeBytes = 64
	added := int64(batch.Len()) + int64(batch.Count())*nodeBytes
	if err := db.pebble.Apply(batch, pebble.NoSync); err != nil {
		return db.wrap("apply batch", err)
	}
	db.disk.wrote(db.res, added)
	if err := batch.Close(); err != nil {
		return fmt.Errorf("apply batch: %w", err)
	}
	return db.flushIfLarge()
}

func addOp(b *pebble.Batch, op deltaOp) error {
	switch op.kind {
	case opSet:
		d := b.SetDeferred(len(op.key), len(op.arg))
		copy(d.Key, op.key)
		copy(d.Value, op.arg)
		return d.Finish()
	case opDelete:
		d := b.DeleteDeferred(len(op.key))
		copy(d.Key, op.key)
		return d.Finish()
	default:
		return b.DeleteRange(op.key, op.arg, nil)
	}
}

// flushIfLarge starts a flush if the memtables of the process are over their
// shared budget and this DB has at least its share of them.
func (db *DB) flushIfLarge() error {
	budget := db.res.shares.Memtables
	if db.res.memtables.Load() <= budget || db.disk.unflushed.Load() < budget/(2*db.res.open()) {
		return nil
	}
	if db.disk.rotating.Swap(true) {
		return nil
	}
	if _, err := db.pebble.AsyncFlush(); err != nil {
		return db.wrap("start flush", err)
	}
	return nil
}

// hasRoom waits until Pebble can take another batch without memory or read
// costs getting out of hand. Pebble's own stalls are switched off.
func (db *DB) hasRoom() error {
	limit := 4 * db.memSize
	if db.disk.unflushed.Load() < limit && db.disk.flushes.Load() == db.disk.seen {
		return db.corruption()
	}
	var start time.Time
	reason, failures := "", db.disk.failures.Load()
	for {
		if err := db.corruption(); err != nil {
			return err
		}
		db.disk.seen = db.disk.flushes.Load()
		m := db.pebble.Metrics()
		sublevels := int(m.Levels[0].Sublevels)
		db.sublevels = min(db.sublevels, maxL0Sublevels+sublevels)
		switch {
		case m.MemTable.Count > 1 && int64(m.MemTable.Size) > limit:
			reason = "flush"
		case sublevels > db.sublevels:
			reason = "compaction"
		default:
			if m.MemTable.Count == 1 {
				// The estimate drifts; here the truth is known to be small.
				db.disk.flushed(db.res, db.disk.unflushed.Load()-int64(m.MemTable.Size))
			}
			if reason != "" && db.listen.Stall != nil {
				db.listen.Stall(reason, time.Since(start))
			}
			return nil
		}
		if err := db.disk.failedAgain(failures); err != nil {
			return fmt.Errorf("wait for %s in %s: %w: %w; free or repair the disk, then open the task anew", reason, db.dir, err, ErrStalled)
		}
		if start.IsZero() {
			start = time.Now()
		}
		<-db.disk.progress
	}
}

// corruption returns what a background job found.
func (db *DB) corruption() error {
	if cause := db.disk.corruption(); cause != nil {
		return db.wrap("read tables of "+db.id.String(), cause)
	}
	return nil
}

// flush writes memtables to disk; done ends the wait, not the flush.
func (db *DB) flush(done <-chan struct{}) error {
	failures := db.disk.failures.Load()
	flushed, err := db.pebble.AsyncFlush()
	if err != nil {
		return fmt.Errorf("start flush in %s: %w", db.dir, err)
	}
	for {
		select {
		case <-flushed:
			return nil
		case <-done:
			return fmt.Errorf("flush in %s: cancelled", db.dir)
		case <-db.disk.progress:
			if err := db.disk.failedAgain(failures); err != nil {
				return fmt.Errorf("flush in %s: %w: %w", db.dir, err, ErrStalled)
			}
		}
	}
}

// hold keeps a confirmed epoch in memory while a cut is open. The records are
// the writer's, which starts on fresh buffers.
func (db *DB) hold(records [][]byte, pos Position) {
	size := int64(len(pos.Detail))
	for _, r := range records {
		size += int64(cap(r))
	}
	db.held = append(db.held, &heldDelta{records: records, position: pos.clone()})
	db.heldSize += size
	db.res.held.Add(size)
	db.writer.records = nil
}

// boundHeld waits for the cut if held deltas exceed their budget.
func (db *DB) boundHeld() error {
	budget := db.res.shares.Held
	if db.cut == nil || db.res.held.Load() <= budget || db.heldSize <= budget/db.res.open() {
		return nil
	}
	start := time.Now()
	<-db.cut.ended
	if db.listen.Stall != nil {
		db.listen.Stall("cut", time.Since(start))
	}
	return db.settle()
}

// awaitCut waits for an open cut to end and applies what was held.
func (db *DB) awaitCut() error {
	if db.cut != nil {
		<-db.cut.ended
	}
	return db.settle()
}

// settle applies what was held once the cut has ended.
func (db *DB) settle() error {
	if db.cut == nil {
		return nil
	}
	select {
	case <-db.cut.ended:
	default:
		return nil
	}
	db.cut = nil
	if len(db.held) == 0 {
		return nil
	}
	groups := make([][][]byte, len(db.held))
	for i, h := range db.held {
		groups[i] = h.records
	}
	if err := db.apply(db.held[len(db.held)-1].position, groups...); err != nil {
		return db.fail(fmt.Errorf("apply held epochs of %s: %w", db.id, err))
	}
	for _, s := range db.stores {
		s.release()
	}
	db.dropHeld()
	return nil
}

func (db *DB) dropHeld() {
	db.res.held.Add(-db.heldSize)
	db.held, db.heldSize = nil, 0
	db.sight.release()
}
