// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// windowAggregation is the declaration of an aggregation by window.
type windowAggregation[K, V, A any] struct{ windowing[K, V, A] }

// windowing is what is declared of it. It has no methods: they would be those of every kind of step as well.
type windowing[K, V, A any] struct {
	id      int
	label   string
	rules   rules
	windows Windows
	key     codec.Codec[K]
	value   codec.Codec[A]
	folder  folder[V, A]
	table   *windowNode[K, A]
	late    *lateRecords[K, V]
}

// The states that an aggregation keeps beside its results.
const (
	pendingState = ".pending" // what is to be emitted at the next tick, by that time
	dueState     = ".due"     // what may be due, by time
)

// stores returns what the aggregation keeps.
func (a *windowAggregation[K, V, A]) stores(keyID, valueID string) []topology.Store {
	result := topology.Store{Name: a.label, Kind: topology.WindowTableStore, KeyCodec: keyID, ValueCodec: valueID, FormerValueCodecs: former(a.value)}
	extra := func(state string) topology.Store {
		return topology.Store{Name: a.label + state, Kind: topology.WindowStore, KeyCodec: keyID, ValueCodec: noneCodec{}.ID(), Plain: true}
	}
	stores := []topology.Store{result}
	switch a.windows.kind {
	case session:
		stores[0].Kind, stores[0].ValueCodec, stores[0].Plain = topology.SessionStore, "sessions:"+valueID, true
		stores = append(stores, extra(dueState))
	case sliding:
		stores[0].SubKeyCodec = codec.Int64.ID()
		stores = append(stores, extra(dueState))
	}
	if a.windows.emit == emitEvery {
		stores = append(stores, extra(pendingState))
	}
	return stores
}

func (a *windowAggregation[K, V, A]) open(t *task) (emit[K, V], error) {
	step, err := a.step(t)
	if err != nil {
		return nil, err
	}
	var process emit[K, V]
	switch {
	case a.windows.kind == session:
		process, err = a.openSessions(t, step)
	case a.windows.kind == sliding:
		process, err = a.openSliding(t, step)
	case a.windows.kind == hopping && a.windows.emit == emitOnClose:
		process, err = a.openPanes(t, step)
	default:
		process, err = a.openAligned(t, step)
	}
	return guardedStep(step.guard, process), err
}

// windowStep is what all kinds of windows need in a task.
type windowStep[K, V, A any] struct {
	windowing[K, V, A]
	ctx   *operators.Context
	keys  *keyEncoder[K]
	clock *clock
	guard *guard
	next  emitWindow[K, A]
	drop  emit[K, V] // a record that is too late
	start []byte     // scratch: an encoded time
}

func (a *windowAggregation[K, V, A]) step(t *task) (*windowStep[K, V, A], error) {
	next, err := a.table.open(t)
	if err != nil {
		return nil, err
	}
	late, err := a.late.out.open(t)
	if err != nil {
		return nil, err
	}
	g := t.guard(a.label, a.rules)
	late = hold(g, late)
	s := &windowStep[K, V, A]{windowing: a.windowing, ctx: t.rt.Context, keys: newKeyEncoder(a.key), guard: g, next: holdWindows(g, next), drop: late}
	if l := t.rt.Listener; l != nil && l.Late != nil {
		s.drop = func(k K, v V, tm operators.Time) error {
			l.Late(a.label)
			return late(k, v, tm)
		}
	}
	return s, nil
}

func (s *windowStep[K, V, A]) encodeStart(t operators.Time) []byte {
	s.start = appendTime(s.start[:0], t)
	return s.start
}

// emit hands on the result of a stored key.
func (s *windowStep[K, V, A]) emit(stored []byte, w Window, v A, at operators.Time) error {
	k, err := s.key.Decode(stored)
	if err != nil {
		return fmt.Errorf("step %q: decode a key of its store as %s: %w", s.label, s.key.ID(), err)
	}
	return s.next(k, w, v, at)
}

// rows makes a store of window rows.
func (a *windowAggregation[K, V, A]) rows(t *task) (*statestore.Window[windowRow[A]], error) {
	id, err := t.store(a.label)
	if err != nil {
		return nil, err
	}
	return statestore.NewWindow(t.rt.DB, id, newWindowRowCodec(codec.Stored(a.value))), nil
}

// marks makes a store of times.
func (a *windowAggregation[K, V, A]) marks(t *task, state string) (*statestore.Window[none], error) {
	id, err := t.store(a.label + state)
	if err != nil {
		return nil, err
	}
	return statestore.NewWindow(t.rt.DB, id, noneCodec{}), nil
}

// upTo does what a store lists for times up to now, in their order, takes it off the list, and sets the clock by what comes
// next. Where do is nil there is nothing to do but that.
func (s *windowStep[K, V, A]) upTo(now operators.Time, list *statestore.Window[none], do func(operators.Time, statestore.WindowKey) error) error {
	for {
		due, ok, err := list.First()
		if err != nil || !ok {
			return err
		}
		if due > now {
			s.clock.set(due)
			return nil
		}
		if do != nil {
			for at := range list.All(due) {
				if err := do(due, at); err != nil {
					return err
				}
			}
		}
		if err := list.Drop(due); err != nil {
			return fmt.Errorf("step %q: update its store: %w", s.label, err)
		}
	}
}

// aligned is an aggregation whose windows begin at times that no record decides. Each window is updated on its own.
type aligned[K, V, A any] struct {
	*windowStep[K, V, A]
	rows    *statestore.Window[windowRow[A]]
	pending *statestore.Window[none] // nil unless emitEvery
}

func (a *windowAggregation[K, V, A]) openAligned(t *task, step *windowStep[K, V, A]) (_ emit[K, V], err error) {
	w := &aligned[K, V, A]{windowStep: step}
	if w.rows, err = a.rows(t); err != nil {
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

func (w *aligned[K, V, A]) process(k K, v V, t operators.Time) error {
	w.ctx.Node = w.label
	watermark := w.clock.watermark()
	late := false
	for start := w.windows.first(t); start <= t; start = w.windows.next(start) {
		end := w.windows.end(start)
		if closes := operators.Later(end, w.windows.grace); closes <= watermark {
			late = true
			continue
		}
		late = false
		if err := w.update(k, v, t, Window{start, end}); err != nil {
			return err
		}
	}
	if late {
		return w.drop(k, v, t)
	}
	return nil
}

func (w *aligned[K, V, A]) update(k K, v V, t operators.Time, win Window) error {
	key, err := w.keys.encode(w.ctx, k)
	if err != nil {
		return err
	}
	r, found, err := w.rows.Update(win.Start, key, nil)
	if err != nil {
		return fmt.Errorf("step %q: update its store: %w", w.label, err)
	}
	if !found {
		w.clock.set(operators.Later(win.End, w.windows.grace))
		r.time = t
	}
	r.value = w.folder.add(r.value, found, v)
	r.time = max(r.time, t)
	switch w.windows.emit {
	case emitOnUpdate:
		return w.next(k, win, r.value, r.time)
	case emitEvery:
		if !r.pending {
			r.pending = true
			return w.later(key, win.Start, t)
		}
	}
	return nil
}

// nextTick returns the first tick after the step's watermark; after t where nothing is known of that.
func (s *windowStep[K, V, A]) nextTick(t operators.Time) operators.Time {
	if now := s.clock.watermark(); now != operators.MinTime {
		t = now
	}
	return floor(t, s.windows.tick) + s.windows.tick
}

// later notes that a window is to be emitted at the next tick.
func (w *aligned[K, V, A]) later(key []byte, start, t operators.Time) error {
	tick := w.nextTick(t)
	w.clock.set(tick)
	if err := w.pending.Put(tick, key, w.encodeStart(start), none{}); err != nil {
		return fmt.Errorf("step %q: update its store: %w", w.label, err)
	}
	return nil
}

// act emits what is due and closes windows.
func (w *aligned[K, V, A]) act(now operators.Time) error {
	w.ctx.Node = w.label
	if w.pending != nil {
		if err := w.upTo(now, w.pending, w.emitPending); err != nil {
			return err
		}
	}
	for {
		start, ok, err := w.rows.First()
		if err != nil || !ok {
			return err
		}
		if closes := w.windows.closes(start); closes > now {
			w.clock.set(closes)
			return nil
		}
		if err := w.close(Window{start, w.windows.end(start)}); err != nil {
			return err
		}
	}
}

func (w *aligned[K, V, A]) close(win Window) error {
	if w.windows.emit != emitOnUpdate {
		for at, r := range w.rows.All(win.Start) {
			if w.windows.emit == emitEvery && !r.pending {
				continue
			}
			if err := w.emit(at.Key, win, r.value, win.End-1); err != nil {
				return err
			}
		}
	}
	if err := w.rows.Drop(win.Start); err != nil {
		return fmt.Errorf("step %q: close the window from %d: %w", w.label, win.Start, err)
	}
	return nil
}

// emitPending emits a window that has changed before a tick that has come.
func (w *aligned[K, V, A]) emitPending(_ operators.Time, at statestore.WindowKey) error {
	start := timeOf(at.Sub)
	r, found, err := w.rows.Get(start, at.Key, nil)
	if err != nil || !found || !r.pending {
		return err // closed meanwhile
	}
	r.pending = false
	if err := w.rows.Put(start, at.Key, nil, r); err != nil {
		return err
	}
	return w.emit(at.Key, Window{start, w.windows.end(start)}, r.value, r.time)
}
