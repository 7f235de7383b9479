// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// View is the confirmed state of a DB at one position, as encoded bytes. It
// belongs to one goroutine.
type View struct {
	Selection
	position    Position
	hasPosition bool
}

// Position is the one that the entries of the view have; false: there is none
// yet, and no entries.
func (v *View) Position() (Position, bool) { return v.position, v.hasPosition }

// sight is what goroutines other than the task's see of a DB.
type sight struct {
	closing atomic.Bool // views are to end
	mu      sync.Mutex
	views   int           // under way; with mu
	ended   chan struct{} // of a closing DB: closed when there are no views; with mu
	held    heldDeltas    // confirmed, and Pebble may lack them; with mu
	changed chan struct{} // closed with the next position; nil: nobody waits; with mu
}

// View shows look the state as of the newest confirmed position. It may be
// called from any goroutine, at once with all other methods: what is not
// confirmed is never seen, all that is confirmed is. The view, and the slices
// that it yields, are valid until look returns. Close waits for that, so look
// must not block; once Close has been called, the view's reads fail with
// ErrClosed. Errors of look are returned as they are.
func (db *DB) View(look func(*View) error) (err error) {
	it, held, err := db.enter()
	if err != nil {
		return fmt.Errorf("view state of %s: %w", db.id, err)
	}
	defer func() {
		if cerr := it.Close(); cerr != nil && err == nil {
			err = db.seen(cerr)
		}
		db.leave()
	}()
	v := &View{Selection: Selection{held: held, wrap: db.seen}}
	v.open = it.Clone
	v.usable = func() error {
		if db.sight.closing.Load() {
			return fmt.Errorf("view state of %s: %w", db.id, ErrClosed)
		}
		return nil
	}
	if err := v.locate(it); err != nil {
		return err
	}
	return look(v)
}

// locate finds the view's position: that of the newest held epoch, or Pebble's.
func (v *View) locate(it *pebble.Iterator) error {
	if n := len(v.held); n > 0 {
		v.position, v.hasPosition = v.held[n-1].position.clone(), true
		return nil
	}
	if !it.SeekPrefixGE(positionKey) {
		return v.wrapped(it.Error())
	}
	raw, err := it.ValueAndErr()
	if err != nil {
		return v.wrap(err)
	}
	v.position, err = decodePosition(raw)
	v.hasPosition = err == nil
	return err
}

// enter registers a view. The iterator and what is held go together: what Close
// of a cut brings to Pebble leaves held only afterwards, and nothing newer can
// reach Pebble before it has.
func (db *DB) enter() (*pebble.Iterator, heldDeltas, error) {
	s := &db.sight
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return nil, nil, ErrClosed
	}
	// An iterator, rather than a snapshot: that would have flushes keep what is
	// overwritten, as long as it is open.
	it, err := db.pebble.NewIter(nil)
	if err != nil {
		return nil, nil, db.seen(err)
	}
	s.views++
	return it, s.held, nil
}

func (db *DB) leave() {
	s := &db.sight
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views--; s.views == 0 && s.ended != nil {
		close(s.ended)
	}
}

// seen says where a view has failed. Marking a corrupt directory is left to the
// task's goroutine, which hears of it from Pebble.
func (db *DB) seen(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("view state of %s in %s: %w: %w", db.id, db.dir, err, ErrCorrupt)
	}
	return fmt.Errorf("view state of %s in %s: %w", db.id, db.dir, err)
}

// Changed returns a channel that is closed when the DB has a newer position than
// now, or closes. It may be called from any goroutine. Who waits for a position
// calls it before it looks.
func (db *DB) Changed() <-chan struct{} {
	s := &db.sight
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
		if s.closing.Load() {
			close(s.changed)
		}
	}
	return s.changed
}

// show lets others see a new position; held is what Pebble may lack of it.
func (s *sight) show(held heldDeltas) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// release tells that Pebble lacks nothing any more.
func (s *sight) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = nil
}

// close ends the views and waits for them.
func (s *sight) close() {
	s.mu.Lock()
	s.closing.Store(true)
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = nil
	ended := make(chan struct{})
	if s.views == 0 {
		close(ended)
	} else {
		s.ended = ended
	}
	s.mu.Unlock()
	<-ended
}

// wrapped is wrap for an error that may be nil.
func (s *Selection) wrapped(err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	return s.wrap(err)
}
