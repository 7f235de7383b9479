// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/statestore"
)

// panes is an aggregation by hopping windows that emit on close. A record updates one pane, the largest stretch that
// every window holds whole or not at all; a window that closes brings its panes together.
type panes[K, V, A any] struct {
	*windowStep[K, V, A]
	width int64
	rows  *statestore.Window[windowRow[A]]
	fresh func(A) (A, error) // a copy that merge may change; nil: an assignment makes one
	met   []*paneKeys[A]     // scratch: the panes that have the key
}

func (a *windowAggregation[K, V, A]) openPanes(t *task, step *windowStep[K, V, A]) (_ emit[K, V], err error) {
	w := &panes[K, V, A]{windowStep: step, width: gcd(a.windows.size, a.windows.every), fresh: snapshots(a.value)}
	if w.rows, err = a.rows(t); err != nil {
		return nil, err
	}
	w.clock = t.eventClock(a.id, w.act)
	t.atRestart(w.restart)
	return w.process, nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (w *panes[K, V, A]) process(k K, v V, t operators.Time) error {
	w.ctx.Node = w.label
	newest := floor(t, w.windows.every)
	if newest+w.windows.size <= t {
		return nil // between two windows
	}
	watermark := w.clock.watermark()
	if w.windows.closes(newest) <= watermark {
		return w.drop(k, v, t)
	}
	key, err := w.keys.encode(w.ctx, k)
	if err != nil {
		return err
	}
	pane := floor(t, w.width)
	r, found, err := w.rows.Update(pane, key, nil)
	if err != nil {
		return fmt.Errorf("step %q: update its store: %w", w.label, err)
	}
	if !found {
		w.clock.set(w.windows.closes(w.open(pane, watermark)))
		r.time = t
	}
	r.value = w.folder.add(r.value, found, v)
	r.time = max(r.time, t)
	return nil
}

// open returns the start of the first window that holds the pane and has not closed at the watermark.
func (w *panes[K, V, A]) open(pane, watermark operators.Time) operators.Time {
	first := w.windows.first(pane)
	if watermark == operators.MinTime || w.windows.closes(first) > watermark {
		return first
	}
	return max(first, floor(watermark-w.windows.size-w.windows.grace, w.windows.every)+w.windows.every)
}

// restart sets the clock by what the store holds.
func (w *panes[K, V, A]) restart() error {
	pane, ok, err := w.rows.First()
	if err == nil && ok {
		w.clock.set(w.windows.closes(w.open(pane, w.clock.watermark())))
	}
	return err
}

// act closes windows, in the order of their starts. Those up to the step's watermark of before have closed already.
func (w *panes[K, V, A]) act(now operators.Time) error {
	w.ctx.Node = w.label
	closed := operators.Later(w.ctx.Watermark, -w.clock.hold)
	for {
		pane, ok, err := w.rows.First()
		if err != nil || !ok {
			return err
		}
		start := w.open(pane, closed)
		closes := w.windows.closes(start)
		if closes > now {
			w.clock.set(closes)
			return nil
		}
		if err := w.close(Window{start, start + w.windows.size}); err != nil {
			return err
		}
		closed = closes
		if err := w.rows.DropBefore(start + w.windows.every); err != nil {
			return fmt.Errorf("step %q: drop panes before %d: %w", w.label, start+w.windows.every, err)
		}
	}
}

// close emits one window. Each pane yields its keys in order, so keys meet without being collected.
func (w *panes[K, V, A]) close(win Window) error {
	var all []*paneKeys[A]
	for pane := win.Start; pane < win.End; pane += w.width {
		p := &paneKeys[A]{}
		p.pull, p.stop = iter.Pull2(w.rows.All(pane))
		defer p.stop()
		if p.advance(); p.ok {
			all = append(all, p)
		}
	}
	for {
		var first *paneKeys[A]
		for _, p := range all {
			if p.ok && (first == nil || statestore.CompareKeys(p.key, first.key) < 0) {
				first = p
			}
		}
		if first == nil {
			return nil
		}
		if err := w.closeKey(win, all, first.key); err != nil {
			return err
		}
	}
}

// closeKey emits the window of a key and moves on.
func (w *panes[K, V, A]) closeKey(win Window, all []*paneKeys[A], key []byte) error {
	w.keys.buf = append(w.keys.buf[:0], key...)
	w.met = w.met[:0]
	for _, p := range all {
		if p.ok && bytes.Equal(p.key, w.keys.buf) {
			w.met = append(w.met, p)
		}
	}
	if err := w.emitKey(win); err != nil {
		return err
	}
	for _, p := range w.met {
		p.advance()
	}
	return nil
}

// emitKey emits the window of the key in w.keys.buf, which is a unit.
func (w *panes[K, V, A]) emitKey(win Window) error {
	if w.guard == nil {
		return w.combined(win)
	}
	_, err := w.guard.try(operators.PhaseTimer, func() error { return w.combined(win) })
	return err
}

func (w *panes[K, V, A]) combined(win Window) error {
	w.ctx.Node = w.label
	value, err := w.combine()
	if err != nil {
		return err
	}
	return w.emit(w.keys.buf, win, value, win.End-1)
}

// combine brings together what the panes hold of the key, in the order of time.
func (w *panes[K, V, A]) combine() (value A, err error) {
	for i, p := range w.met {
		switch {
		case i > 0:
			value = w.folder.merge(value, p.row.value)
		case w.folder.init != nil:
			value = w.folder.merge(w.folder.init(), p.row.value)
		case w.fresh == nil:
			value = p.row.value
		default:
			value, err = w.fresh(p.row.value)
		}
		if err != nil {
			return value, err
		}
	}
	return value, nil
}

// paneKeys walks the keys of one pane.
type paneKeys[A any] struct {
	pull func() (statestore.WindowKey, windowRow[A], bool)
	stop func()
	key  []byte
	row  windowRow[A]
	ok   bool
}

func (p *paneKeys[A]) advance() {
	var at statestore.WindowKey
	at, p.row, p.ok = p.pull()
	p.key = at.Key
}
