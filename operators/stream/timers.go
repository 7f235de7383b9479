// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

var errTimerEnd = errors.New("the callback sets the timer to the time for which it was called, or an earlier one, which would never end; set a later one")

// TimerFunc is called when the timer of a key is due, with the time that the timer was set to. All states and timers of
// the step are usable, and are those of the key. What it emits has this key. An error follows the policies of the step, in
// the phase operators.PhaseTimer: the timer is gone if one drops it, unless it is set again.
type TimerFunc[K, W any] func(ctx *Context[W], k K, at operators.Time) error

// Timer is a timer per key, which is part of the state: it survives crashes and moves. A key has one at most in
// each Timer that the step declares. Its methods are about the key of the record or timer in process. It belongs to the
// task's goroutine.
type Timer struct {
	state
	wall   bool
	of     *statestore.Value[timer]
	due    *dueList
	firing operators.Time // the callback's, while it runs; else MinTime
	fire   func(key []byte, at, emitAt operators.Time) error
}

// timer is what is stored of a key's timer.
type timer struct {
	at operators.Time
	// listed is where the due list has it. It may be earlier than at: a timer that is put off again and again stays
	// where it is, and moves when its turn comes.
	listed operators.Time
	// from is the event time of the record or timer that has set it.
	from operators.Time
}

// Timer declares a timer in event time. It is due as soon as the step's watermark has reached the time it is set to, so
// that no record before that time is expected any more. Timers are called in the order of their times, and what the
// callback emits has the time of the timer. One set to a time that has passed is called after the record in process.
// K and W are the key and the result of the step. The name is the timer's identity within the step.
func (s *Setup) Timer[K, W any](name string, fire TimerFunc[K, W]) *Timer {
	s.timed = true
	return newTimer(s, name, false, fire)
}

// ProcessingTimer declares a timer by the wall clock, as Timer does in event time. What the callback emits has the time
// of the record in which the timer was set, or the watermark if that is later.
func (s *Setup) ProcessingTimer[K, W any](name string, fire TimerFunc[K, W]) *Timer {
	return newTimer(s, name, true, fire)
}

func newTimer[K, W any](s *Setup, name string, wall bool, fire TimerFunc[K, W]) *Timer {
	s.checkName("timer", name)
	t := &Timer{state: state{scope: s.scope, name: s.stateName(name)}, wall: wall, firing: operators.MinTime}
	r, ok := s.turn.(*turn[K, W])
	if s.p != nil {
		if !ok {
			s.p.fail(s.step, fmt.Sprintf("the callback of its timer %q is a %T, and the step has other types", name, fire),
				"make it a "+s.turn.(interface{ timerFunc() string }).timerFunc())
		}
		s.declare(name, topology.Store{Kind: topology.ValueStore, ValueCodec: timerCodec{wall}.ID(), Plain: true})
		s.declare(name+".due", dueStore(""))
		return t
	}
	id, err := s.scope.task.store(t.name)
	if err != nil {
		s.scope.fail(err)
		return t
	}
	t.of = statestore.NewValue(s.scope.task.rt.DB, id, timerCodec{wall})
	t.due = &dueList{do: t.act}
	of := s.scope.events()
	if wall {
		of = s.scope.walls()
	}
	s.scope.fail(of.addList(s.scope.task, t.name+".due", t.due))
	t.fire = func(key []byte, at, emitAt operators.Time) error {
		k, err := r.key.Decode(key)
		if err != nil {
			return fmt.Errorf("step %q: decode a key of its timer %q as %s: %w", r.label, name, r.key.ID(), err)
		}
		r.begin(key, k, emitAt)
		r.scope.timer, r.scope.firing = true, !wall
		return r.end(fire(r.ctx, k, at))
	}
	return t
}

// Set sets the key's timer to a time in Unix milliseconds. A timer that is set already moves. The callback of an event
// timer may set it anew, to a later time than the one it was called for.
func (t *Timer) Set(at operators.Time) error {
	if err := t.usable(); err != nil {
		return err
	}
	if at <= t.firing {
		return t.check(errTimerEnd)
	}
	key := t.scope.key
	e, found, err := t.of.Update(key)
	if err != nil {
		return t.check(err)
	}
	was := e.listed
	e.at, e.from = at, t.scope.time
	if found && was <= at {
		return nil
	}
	e.listed = at
	if found {
		if err := t.due.remove(was, key, nil); err != nil {
			return t.check(err)
		}
	}
	return t.check(t.due.add(at, key, nil))
}

// SetAfter sets the key's timer to a duration from now: from the time of the record or timer in process, or by the wall
// clock for a ProcessingTimer.
func (t *Timer) SetAfter(d time.Duration) error {
	from := t.scope.time
	if t.wall {
		from = t.scope.now().UnixMilli()
	}
	return t.Set(operators.Later(from, d.Milliseconds()))
}

// Clear makes the key have no timer.
func (t *Timer) Clear() error {
	if err := t.usable(); err != nil {
		return err
	}
	e, found, err := t.of.Get(t.scope.key)
	if err != nil || !found {
		return t.check(err)
	}
	if err := t.due.remove(e.listed, t.scope.key, nil); err != nil {
		return t.check(err)
	}
	return t.check(t.of.Delete(t.scope.key))
}

// Get returns the time that the key's timer is set to; found is false if it has none.
func (t *Timer) Get() (at operators.Time, found bool, err error) {
	if err := t.usable(); err != nil {
		return 0, false, err
	}
	e, found, err := t.of.Get(t.scope.key)
	return e.at, found, t.check(err)
}

// act calls the key's timer, unless it was put off.
func (t *Timer) act(listed operators.Time, key, _ []byte) error {
	e, found, err := t.of.Get(key)
	switch {
	case err != nil:
		return t.check(err)
	case !found || e.listed != listed:
		return nil
	case e.at > listed:
		return t.relist(e, key)
	}
	if err := t.of.Delete(key); err != nil {
		return t.check(err)
	}
	emitAt := e.at
	if t.wall {
		emitAt = max(e.from, t.scope.watermark())
	}
	t.firing = e.at
	defer func() { t.firing = operators.MinTime }()
	if t.scope.guard == nil {
		return t.fire(key, e.at, emitAt)
	}
	_, err = t.scope.guard.try(operators.PhaseTimer, func() error { return t.fire(key, e.at, emitAt) })
	return err
}

func (t *Timer) relist(e timer, key []byte) error {
	e.listed = e.at
	if err := t.of.Put(key, e); err != nil {
		return t.check(err)
	}
	return t.check(t.due.add(e.at, key, nil))
}

// timerCodec lays a timer out as varints: the time, by how much it was put off since it was listed, and the event time
// of whoever set it.
type timerCodec struct{ wall bool }

func (c timerCodec) ID() string {
	if c.wall {
		return "processing-timer"
	}
	return "timer"
}

func (c timerCodec) Append(dst []byte, t timer) ([]byte, error) {
	dst = binary.AppendVarint(dst, t.at)
	dst = binary.AppendVarint(dst, t.at-t.listed)
	return binary.AppendVarint(dst, t.from), nil
}

func (c timerCodec) Decode(src []byte) (t timer, err error) {
	var fields [3]int64
	for i := range fields {
		n := 0
		if fields[i], n = binary.Varint(src); n <= 0 {
			return t, fmt.Errorf("timer has %d of 3 fields", i)
		}
		src = src[max(n, 0):]
	}
	if len(src) > 0 {
		return t, fmt.Errorf("timer has %d bytes too many", len(src))
	}
	return timer{at: fields[0], listed: fields[0] - fields[1], from: fields[2]}, nil
}
