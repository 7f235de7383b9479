// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/statestore"
)

// slides is an aggregation by sliding windows: each record has one that ends with it. What is stored is an aggregate per
// key and millisecond, in segments of a window's size, so that the two segments a window lies in are read by key and
// old ones are dropped whole.
type slides[K, V, A any] struct {
	*windowStep[K, V, A]
	size  int64
	rows  *statestore.Window[windowRow[A]] // by segment, key and time
	due   *statestore.Window[none]         // when the windows that end at a time close; nil unless emitOnClose
	fresh func(A) (A, error)
	found []slideRow[A] // scratch
}

type slideRow[A any] struct {
	at    operators.Time
	value A
}

func (a *windowAggregation[K, V, A]) openSliding(t *task, step *windowStep[K, V, A]) (_ emit[K, V], err error) {
	w := &slides[K, V, A]{windowStep: step, size: a.windows.size, fresh: snapshots(a.value)}
	if w.rows, err = a.rows(t); err != nil {
		return nil, err
	}
	if w.due, err = a.marks(t, dueState); err != nil {
		return nil, err
	}
	w.clock = t.eventClock(a.id, w.act)
	t.atRestart(func() error { return w.act(operators.MinTime) })
	return w.process, nil
}

// closes is the watermark at which the window that ends with t takes nothing more.
func (w *slides[K, V, A]) closes(t operators.Time) operators.Time {
	return operators.Later(t, w.windows.grace+1)
}

func (w *slides[K, V, A]) process(k K, v V, t operators.Time) error {
	w.ctx.Node = w.label
	if w.closes(t) <= w.clock.watermark() {
		return w.drop(k, v, t)
	}
	key, err := w.keys.encode(w.ctx, k)
	if err != nil {
		return err
	}
	r, found, err := w.rows.Update(floor(t, w.size), key, w.encodeStart(t))
	if err != nil {
		return fmt.Errorf("step %q: update its store: %w", w.label, err)
	}
	r.value = w.folder.add(r.value, found, v)
	r.time = t
	if !found {
		w.clock.set(w.closes(t))
		if err := w.due.Put(w.closes(t), key, nil, none{}); err != nil {
			return fmt.Errorf("step %q: update its store: %w", w.label, err)
		}
	}
	if w.windows.emit != emitOnUpdate {
		return nil
	}
	return w.updated(k, key, t)
}

// updated emits the windows that a record at t is in: its own, and those of later records that reach back to it.
func (w *slides[K, V, A]) updated(k K, key []byte, t operators.Time) error {
	if err := w.load(key, t-w.size+1, t+w.size-1); err != nil {
		return err
	}
	for i := range w.found {
		if end := w.found[i].at; end >= t {
			value, err := w.combine(end)
			if err != nil {
				return err
			}
			if err := w.next(k, Window{end - w.size + 1, end + 1}, value, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// load collects what a key has from a time to another, both included.
func (w *slides[K, V, A]) load(key []byte, from, to operators.Time) error {
	w.found = w.found[:0]
	for segment := floor(from, w.size); segment <= to; segment += w.size {
		for sub, r := range w.rows.Range(segment, key) {
			if len(sub) != timeBytes {
				return fmt.Errorf("step %q: a sub-key of its store has %d bytes", w.label, len(sub))
			}
			if at := timeOf(sub); at >= from && at <= to {
				w.found = append(w.found, slideRow[A]{at, r.value})
			}
		}
	}
	return nil
}

// combine makes one aggregate of what was loaded for the window that ends with end.
func (w *slides[K, V, A]) combine(end operators.Time) (value A, err error) {
	any := false
	for i := range w.found {
		r := &w.found[i]
		if r.at <= end-w.size || r.at > end {
			continue
		}
		switch {
		case any:
			value = w.folder.merge(value, r.value)
		case w.folder.init != nil:
			value = w.folder.merge(w.folder.init(), r.value)
		case w.fresh == nil:
			value = r.value
		default:
			value, err = w.fresh(r.value)
		}
		if err != nil {
			return value, err
		}
		any = true
	}
	return value, nil
}

// act closes windows in the order of their ends, and drops the segments that no window to come reaches back to.
func (w *slides[K, V, A]) act(now operators.Time) error {
	w.ctx.Node = w.label
	var close func(operators.Time, statestore.WindowKey) error
	if w.windows.emit == emitOnClose {
		close = func(due operators.Time, at statestore.WindowKey) error {
			if w.guard == nil {
				return w.close(at.Key, due-w.windows.grace-1)
			}
			_, err := w.guard.try(operators.PhaseTimer, func() error { return w.close(at.Key, due-w.windows.grace-1) })
			return err
		}
	}
	if err := w.upTo(now, w.due, close); err != nil {
		return err
	}
	if now == operators.MinTime {
		return nil
	}
	return w.rows.DropBefore(floor(operators.Later(now, -w.windows.grace-w.size), w.size))
}

func (w *slides[K, V, A]) close(key []byte, end operators.Time) error {
	w.ctx.Node = w.label
	if err := w.load(key, end-w.size+1, end); err != nil {
		return err
	}
	value, err := w.combine(end)
	if err != nil {
		return err
	}
	return w.emit(key, Window{end - w.size + 1, end + 1}, value, end)
}
