// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/statestore"
)

// sessionRow is one open session: from its first to its last record.
type sessionRow[A any] struct {
	first, last operators.Time
	value       A
}

// openSessions are those of one key, in the order of time. There is rarely more than one, which takes no memory of its
// own.
type openSessions[A any] struct {
	due     operators.Time // when the due store has the key looked at
	pending bool           // changed since they were emitted last
	one     sessionRow[A]
	more    []sessionRow[A]
	n       int
}

func (s *openSessions[A]) at(i int) *sessionRow[A] {
	if i == 0 {
		return &s.one
	}
	return &s.more[i-1]
}

// insert puts a session in its place.
func (s *openSessions[A]) insert(r sessionRow[A]) int {
	all := s.list()
	i, _ := slices.BinarySearchFunc(all, r, func(a, b sessionRow[A]) int { return cmp.Compare(a.first, b.first) })
	s.set(slices.Insert(all, i, r))
	return i
}

func (s *openSessions[A]) list() []sessionRow[A] {
	if s.n == 0 {
		return nil
	}
	return append([]sessionRow[A]{s.one}, s.more...)
}

func (s *openSessions[A]) set(all []sessionRow[A]) {
	s.n, s.one, s.more = len(all), sessionRow[A]{}, nil
	if s.n > 0 {
		s.one, s.more = all[0], all[1:]
	}
	if len(s.more) == 0 {
		s.more = nil
	}
}

// sessions is an aggregation by session windows.
type sessions[K, V, A any] struct {
	*windowStep[K, V, A]
	gap     int64
	rows    *statestore.Value[openSessions[A]]
	due     *statestore.Window[none]
	pending *statestore.Window[none] // nil unless emitEvery
}

func (a *windowAggregation[K, V, A]) openSessions(t *task, step *windowStep[K, V, A]) (emit[K, V], error) {
	w := &sessions[K, V, A]{windowStep: step, gap: a.windows.size}
	id, err := t.store(a.label)
	if err != nil {
		return nil, err
	}
	w.rows = statestore.NewValue(t.rt.DB, id, sessionsCodec[A]{codec.Stored(a.value)})
	if w.due, err = a.marks(t, dueState); err != nil {
		return nil, err
	}
	if a.windows.emit == emitEvery {
		if w.pending, err = a.marks(t, pendingState); err != nil {
			return nil, err
		}
	}
	w.clock = t.eventClock(a.id, w.act)
	t.atRestart(func() error { return w.act(operators.MinTime) })
	return w.process, nil
}

// window is that of a session: it ends a gap after its last record.
func (w *sessions[K, V, A]) window(r *sessionRow[A]) Window { return Window{r.first, r.last + w.gap} }

// closes is the watermark from which on no record can come that belongs to a session: one exactly a gap after the last
// still does.
func (w *sessions[K, V, A]) closes(last operators.Time) operators.Time {
	return operators.Later(last, w.gap+w.windows.grace+1)
}

func (w *sessions[K, V, A]) process(k K, v V, t operators.Time) error {
	w.ctx.Node = w.label
	key, err := w.keys.encode(w.ctx, k)
	if err != nil {
		return err
	}
	if w.closes(t) <= w.clock.watermark() {
		if joins, err := w.joinsOne(key, t); err != nil || !joins {
			return w.orDrop(err, k, v, t)
		}
	}
	s, found, err := w.rows.Update(key)
	if err != nil {
		return fmt.Errorf("step %q: update its store: %w", w.label, err)
	}
	if !found {
		*s = openSessions[A]{due: operators.MaxTime}
	}
	i := w.add(s, v, t)
	r := *s.at(i)
	if closes := w.closes(r.last); closes < s.due {
		s.due = closes
		w.clock.set(closes)
		if err := w.due.Put(closes, key, nil, none{}); err != nil {
			return fmt.Errorf("step %q: update its store: %w", w.label, err)
		}
	}
	switch w.windows.emit {
	case emitOnUpdate:
		return w.next(k, w.window(&r), r.value, r.last)
	case emitEvery:
		if !s.pending {
			s.pending = true
			tick := w.nextTick(t)
			w.clock.set(tick)
			return w.pending.Put(tick, key, nil, none{})
		}
	}
	return nil
}

func (w *sessions[K, V, A]) orDrop(err error, k K, v V, t operators.Time) error {
	if err != nil {
		return err
	}
	return w.drop(k, v, t)
}

// joinsOne says whether a record that is too late for a session of its own belongs to one that is open.
func (w *sessions[K, V, A]) joinsOne(key []byte, t operators.Time) (bool, error) {
	s, found, err := w.rows.Get(key)
	if err != nil {
		return false, fmt.Errorf("step %q: read its store: %w", w.label, err)
	}
	for i := 0; found && i < s.n; i++ {
		if r := s.at(i); r.first-w.gap <= t && t <= r.last+w.gap {
			return true, nil
		}
	}
	return false, nil
}

// add puts a record into its session, making one of those that it brings together, and returns which it is.
func (w *sessions[K, V, A]) add(s *openSessions[A], v V, t operators.Time) int {
	into := -1
	for i := 0; i < s.n; i++ {
		r := s.at(i)
		if t < r.first-w.gap || t > r.last+w.gap {
			continue
		}
		if into < 0 {
			into = i
			continue
		}
		all := s.list()
		all[into].value = w.folder.merge(all[into].value, r.value)
		all[into].last = max(all[into].last, r.last)
		s.set(slices.Delete(all, i, i+1))
		break // a record touches two at most
	}
	if into < 0 {
		var none A
		return s.insert(sessionRow[A]{first: t, last: t, value: w.folder.add(none, false, v)})
	}
	r := s.at(into)
	r.first, r.last = min(r.first, t), max(r.last, t)
	r.value = w.folder.add(r.value, true, v)
	return into
}

// act emits what is due and closes sessions. A key is looked at when its first session could close; if that has gone on
// meanwhile, it is looked at again later.
func (w *sessions[K, V, A]) act(now operators.Time) error {
	w.ctx.Node = w.label
	if w.pending != nil {
		if err := w.upTo(now, w.pending, w.emitPending); err != nil {
			return err
		}
	}
	return w.upTo(now, w.due, func(due operators.Time, at statestore.WindowKey) error { return w.look(at.Key, due, now) })
}

// look closes the sessions of a key that are over.
func (w *sessions[K, V, A]) look(key []byte, due, now operators.Time) error {
	s, found, err := w.rows.Get(key)
	if err != nil || !found || s.due != due {
		return err // there is a later entry, or the key is gone
	}
	all := s.list()
	open := all[:0]
	s.due = operators.MaxTime
	for i := range all {
		closes := w.closes(all[i].last)
		if closes > now {
			s.due = min(s.due, closes)
			open = append(open, all[i])
			continue
		}
		if w.windows.emit == emitOnClose || w.windows.emit == emitEvery && s.pending {
			win := w.window(&all[i])
			if err := w.emit(key, win, all[i].value, win.End-1); err != nil {
				return err
			}
		}
	}
	if len(open) == 0 {
		return w.rows.Delete(key)
	}
	s.set(open)
	if err := w.rows.Put(key, s); err != nil {
		return err
	}
	return w.due.Put(s.due, key, nil, none{})
}

// emitPending emits the open sessions of a key that has changed before a tick that has come.
func (w *sessions[K, V, A]) emitPending(_ operators.Time, at statestore.WindowKey) error {
	key := at.Key
	s, found, err := w.rows.Get(key)
	if err != nil || !found || !s.pending {
		return err
	}
	s.pending = false
	if err := w.rows.Put(key, s); err != nil {
		return err
	}
	for _, r := range s.list() {
		if err := w.emit(key, w.window(&r), r.value, r.last); err != nil {
			return err
		}
	}
	return nil
}

// sessionsCodec lays the open sessions of a key out as topology.SessionStore says.
type sessionsCodec[A any] struct{ value codec.Codec[A] }

var errNoSessions = errors.New("not the open sessions of a key")

func (c sessionsCodec[A]) Append(dst []byte, s openSessions[A]) ([]byte, error) {
	flags := byte(0)
	if s.pending {
		flags = 1
	}
	dst = appendTime(append(dst, flags), s.due)
	dst = binary.AppendUvarint(dst, uint64(s.n))
	for i := range s.n {
		r := s.at(i)
		dst = appendTime(appendTime(dst, r.first), r.last)
		// The length goes before the value, and is known after it.
		mark := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		var err error
		if dst, err = c.value.Append(dst, r.value); err != nil {
			return nil, err
		}
		binary.BigEndian.PutUint32(dst[mark:], uint32(len(dst)-mark-4))
	}
	return dst, nil
}

func (c sessionsCodec[A]) Decode(src []byte) (openSessions[A], error) {
	var s openSessions[A]
	if len(src) < 1+timeBytes {
		return s, errNoSessions
	}
	s.pending, s.due = src[0] == 1, timeOf(src[1:])
	n, width := binary.Uvarint(src[1+timeBytes:])
	if width <= 0 || n > uint64(len(src)) {
		return s, errNoSessions
	}
	src = src[1+timeBytes+width:]
	all := make([]sessionRow[A], n)
	for i := range all {
		if len(src) < 2*timeBytes+4 {
			return s, errNoSessions
		}
		all[i].first, all[i].last = timeOf(src), timeOf(src[timeBytes:])
		size := binary.BigEndian.Uint32(src[2*timeBytes:])
		src = src[2*timeBytes+4:]
		if uint64(size) > uint64(len(src)) {
			return s, errNoSessions
		}
		var err error
		if all[i].value, err = c.value.Decode(src[:size]); err != nil {
			return s, err
		}
		src = src[size:]
	}
	if len(src) > 0 {
		return s, errNoSessions
	}
	s.set(all)
	return s, nil
}
