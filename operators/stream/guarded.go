// SPDX-License-Identifier: Apache-2.0

package stream

import "github.com/streamd/streamd/operators"

// guarded makes a step that hands its records to next, a unit for each record. next may be nil if nobody takes them.
func guarded[K2, W, K, V any](g *guard, next emit[K2, W], fuse func(next emit[K2, W]) emit[K, V]) emit[K, V] {
	return guardedStep(g, fuse(hold(g, next)))
}

// guardedStep makes each record that a step takes a unit. What the step emits goes through hold.
func guardedStep[K, V any](g *guard, step emit[K, V]) emit[K, V] {
	if g == nil {
		return step
	}
	var in held[K, V]
	unit := func() error { return step(in.k, in.v, in.t) }
	return func(k K, v V, t operators.Time) error {
		in = held[K, V]{k, v, t}
		_, err := g.try(operators.PhaseProcess, unit)
		return err
	}
}

// guardedChanges makes each change of a table that a step takes a unit. Rows that the step fails on, and a policy drops,
// are not there for those below: in their place it gets the change without that side. So below it each change still
// begins with what the one before it left. A side fails as the old one if it failed as the new one before: that is not
// settled again. known says that steps below know rows by the old sides of changes.
func guardedChanges[K, V any](g *guard, known bool, step emitChange[K, V]) emitChange[K, V] {
	if g == nil {
		return step
	}
	c := &changes[K, V]{guard: g, known: known}
	c.unit = func() error { return step(c.in.k, c.in.v, c.in.t) }
	return c.take
}

// changes is a guarded step that takes the changes of a table.
type changes[K, V any] struct {
	*guard
	known bool
	in    held[K, Change[V]]
	unit  func() error
}

func (c *changes[K, V]) take(k K, ch Change[V], t operators.Time) error {
	failed, err := c.attempts(k, ch, t)
	if err != nil || failed == nil {
		return err
	}
	if c.known && ch.HasOld {
		c.in.v = Change[V]{New: ch.Old, HasNew: true}
		err := c.guard.attempt(operators.PhaseProcess, c.unit, false)
		if err != nil && c.blames(err) == nil {
			return err
		}
		if err != nil { // There is no such row below.
			ch.HasOld = false
			if !ch.HasNew {
				return nil
			}
			if failed, err = c.attempts(k, Change[V]{New: ch.New, HasNew: true}, t); err != nil || failed == nil {
				return err
			}
		}
	}
	if err := c.settle(failed); err != nil || !c.known || !ch.HasOld || !ch.HasNew {
		return err
	}
	if failed, err = c.attempts(k, Change[V]{Old: ch.Old, HasOld: true}, t); err != nil || failed == nil {
		return err
	}
	return c.settle(failed)
}

// attempts has the step take a change, and hands on what it emits.
func (c *changes[K, V]) attempts(k K, ch Change[V], t operators.Time) (*failure, error) {
	c.in = held[K, Change[V]]{k, ch, t}
	failed, err := c.guard.attempts(operators.PhaseProcess, c.unit)
	if err == nil && failed == nil {
		err = c.handOn()
	}
	return failed, err
}

// holdChanges is hold for the changes of a table.
func holdChanges[K, V any](g *guard, next emitChange[K, V]) emitChange[K, V] {
	return emitChange[K, V](hold(g, emit[K, Change[V]](next)))
}

// rowOrNone computes a row of a guarded step for one that looks it up. One that the step fails on, and a policy drops, is
// not there. It may be called at any time, also in a unit of another step: it changes nothing.
func rowOrNone[A, B, V any](g *guard, of func(A, B) (V, bool), a A, b B) (V, bool, error) {
	if g == nil {
		v, found := of(a, b)
		return v, found, nil
	}
	return protectedRow(g, of, a, b)
}

func protectedRow[A, B, V any](g *guard, of func(A, B) (V, bool), a A, b B) (v V, found bool, err error) {
	err = g.protect(operators.PhaseProcess, func() error {
		v, found = of(a, b)
		return nil
	})
	if err != nil && g.leavesOut(err) {
		return v, false, nil
	}
	return v, found, err
}

// holdWindows is hold for the results of windows.
func holdWindows[K, V any](g *guard, next emitWindow[K, V]) emitWindow[K, V] {
	if g == nil {
		return next
	}
	held := hold(g, func(k Windowed[K], v V, t operators.Time) error { return next(k.Key, k.Window, v, t) })
	return func(k K, w Window, v V, t operators.Time) error { return held(Windowed[K]{k, w}, v, t) }
}

// guardedWindows makes each result of a window that a step takes a unit.
func guardedWindows[K, V any](g *guard, step emitWindow[K, V]) emitWindow[K, V] {
	if g == nil {
		return step
	}
	one := guardedStep(g, func(k Windowed[K], v V, t operators.Time) error { return step(k.Key, k.Window, v, t) })
	return func(k K, w Window, v V, t operators.Time) error { return one(Windowed[K]{k, w}, v, t) }
}
