// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

var (
	errNullGroupKey = errors.New("the record's key is null, and only a key says which task keeps its state; use KeyBy first")
	errNotRunning   = errors.New("the state is only usable while a record is processed")
)

// Handler processes one record. What becomes of the record after an error is a matter of OnError; without one the epoch
// fails with an *operators.UserError that has the step and the record's position.
type Handler[K, V, W any] func(ctx *Context[W], k K, v V) error

// Process is the way to do what no other verb does. open makes the handler of one task and declares the states and
// timers that it keeps by key; it is called once while the pipeline is declared, to learn of them, and
// once per task. What the handler emits has the key of its input. With a state, records must be
// where their keys live. The last argument is the codec of W, if one is needed and W has none of its own.
//
// Variables of the handler outside of its states outlive an aborted epoch, and a record that the step has failed on: keep
// nothing in them that a record processed again should not see.
func (s Stream[K, V]) Process[W any](name string, open func(*Setup) Handler[K, V, W], value ...codec.Codec[W]) Stream[K, W] {
	return s.process(s.p.addNamed("process", name, s.n.id), open, value)
}

// process declares the step whose node is n.
func (s Stream[K, V]) process[W any](n *topology.Node, open func(*Setup) Handler[K, V, W], value []codec.Codec[W]) Stream[K, W] {
	out := &node[K, W]{id: n.ID}
	step := &process[K, V, W]{id: n.ID, label: n.Label, key: s.key, open: open, out: out, sides: newSides(), rules: s.p.timedRules(s.rules, n)}
	declared := &Setup{p: s.p, step: n.Label, turn: (*turn[K, W])(nil), sides: step.sides, scope: &scope{}}
	open(declared)
	n.Timed = declared.timed
	if step.stateful = slices.ContainsFunc(declared.stores, byKey); step.stateful {
		s.keyed(n)
	}
	for _, st := range declared.stores {
		if byKey(st) {
			st.KeyCodec = needKey(s.p, n.Label, "the key", s.key, "add .WithKey(codec) before Process, whose states are kept by key")
		}
		s.p.addStore(n, st)
	}
	s.p.sides[out] = step.sides
	s.n.children = append(s.n.children, step.task)
	c := choose(s.p, n.Label, value, carry[W](s.p, s.value))
	return Stream[K, W]{p: s.p, n: out, key: s.key, value: c, moved: s.moved, rules: s.rules}
}

// byKey says that a declared store is kept by the key of the step.
func byKey(st topology.Store) bool { return st.Kind != topology.BroadcastStore }

type process[K, V, W any] struct {
	id       int
	label    string
	key      codec.Codec[K]
	open     func(*Setup) Handler[K, V, W]
	out      *node[K, W]
	sides    *sides
	rules    rules
	stateful bool
}

func (p *process[K, V, W]) task(t *task) (emit[K, V], error) {
	next, err := p.out.open(t)
	if err != nil {
		return nil, err
	}
	g := t.guard(p.label, p.rules)
	sc := &scope{task: t, node: p.id, label: p.label, ctx: t.rt.Context, now: t.rt.Now, guard: g}
	if g != nil {
		g.edits, g.fault = true, func() error { return sc.err }
	}
	run, err := p.run(t, sc, hold(g, next))
	return guardedStep(g, run), err
}

// run makes the step, which emits to next.
func (p *process[K, V, W]) run(t *task, sc *scope, next emit[K, W]) (emit[K, V], error) {
	at := &place[K]{caller: caller{ctx: t.rt.Context, label: p.label}}
	r := &turn[K, W]{place: at, scope: sc, key: p.key, ctx: &Context[W]{scope: sc, send: sender(at, next)}}
	sends, err := p.sides.open(sc, at)
	if err != nil {
		return nil, err
	}
	setup := &Setup{step: p.label, scope: sc, turn: r, sends: sends}
	handle := p.open(setup)
	if sc.err != nil {
		return nil, fmt.Errorf("open step %q: %w", p.label, sc.err)
	}
	var keys *keyEncoder[K]
	if p.stateful {
		keys = newKeyEncoder(p.key)
	}
	return func(k K, v V, tm operators.Time) error {
		r.enter()
		var key []byte
		if keys != nil {
			var err error
			if key, err = keys.encode(sc.ctx, k); err != nil {
				return err
			}
		}
		r.begin(key, k, tm)
		return r.end(handle(r.ctx, k, v))
	}, nil
}

// scope is what the states and timers of a step know of the call of user code that is going on. There is one per step
// and task.
type scope struct {
	task  *task
	node  int
	label string
	ctx   *operators.Context
	now   func() time.Time

	key    []byte         // encoded key of the record or timer in process; nil before the first
	time   operators.Time // its event time
	timer  bool           // it is a timer
	firing bool           // it is a timer in event time
	err    error          // the first that no method could return: of making the task, or of this call
	guard  *guard

	inEvents, inWalls *agenda // nil until something needs one
}

// events is what the step does when event time passes.
func (s *scope) events() *agenda {
	if s.inEvents == nil {
		s.inEvents = &agenda{label: s.label}
		s.inEvents.clock = s.task.eventClock(s.node, s.inEvents.act)
		s.task.atRestart(s.inEvents.rewind)
	}
	return s.inEvents
}

// walls is what the step does when the wall clock moves.
func (s *scope) walls() *agenda {
	if s.inWalls == nil {
		s.inWalls = &agenda{label: s.label}
		s.inWalls.clock = s.task.wallClock(s.node, s.inWalls.act)
		s.task.atRestart(s.inWalls.rewind)
	}
	return s.inWalls
}

func (s *scope) watermark() operators.Time { return s.events().clock.watermark() }

// reached is how far event time has come for what is in process: a record that is late sees what the watermark has left,
// a timer what there was at its time.
func (s *scope) reached() operators.Time {
	if s.firing {
		return s.time
	}
	return max(s.time, s.watermark())
}

func (s *scope) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// place is where results go on: under which key, and at which time.
type place[K any] struct {
	caller
	k   K
	t   operators.Time
	err error // the first of a later step
}

// sender returns what hands a value to the next step.
func sender[K, W any](at *place[K], next emit[K, W]) func(W) {
	return func(w W) {
		if at.err == nil {
			at.err = next(at.k, w, at.t)
			at.enter()
		}
	}
}

// turn is one call of a handler or of a timer. There is one per step and task, used again and again.
type turn[K, W any] struct {
	*place[K]
	scope *scope
	key   codec.Codec[K]
	ctx   *Context[W]
}

// timerFunc names the type of the step's callbacks.
func (*turn[K, W]) timerFunc() string { return fmt.Sprintf("%T", TimerFunc[K, W](nil)) }

func (r *turn[K, W]) begin(key []byte, k K, t operators.Time) {
	r.enter()
	r.k, r.t, r.err = k, t, nil
	r.scope.key, r.scope.time, r.scope.err = key, t, nil
	r.scope.timer, r.scope.firing = false, false
}

// end returns the error of the turn. One of the user's is made a UserError, unless it is the store's own, handed
// through.
func (r *turn[K, W]) end(err error) error {
	switch {
	case r.err != nil:
		return r.err
	case r.scope.err != nil:
		return r.scope.err
	case err == nil:
		return nil
	}
	if _, ok := errors.AsType[*stateError](err); ok {
		return fmt.Errorf("step %q: %w", r.label, err)
	}
	if r.scope.timer {
		return operators.NewTimerError(r.scope.ctx, err)
	}
	return operators.NewUserError(r.scope.ctx, err)
}

// Context is what a handler knows of the record it processes, and where it puts its results. It is valid during the
// handler's call.
type Context[W any] struct {
	scope *scope
	send  func(W)
}

// Emit hands a value to the next step, under the key and the time of the input record. An error of a later step is
// returned to the engine when the handler has ended.
func (c *Context[W]) Emit(v W) { c.send(v) }

// Time is the event time of the record, in Unix milliseconds.
func (c *Context[W]) Time() operators.Time { return c.scope.time }

// Now is the wall clock. Use it instead of time.Now, so that a run can be repeated.
func (c *Context[W]) Now() time.Time { return c.scope.now() }

// Headers are those of the input record; none if there is no such record, as after EmitPerCommit. They are valid
// during the handler's call and must not be changed.
func (c *Context[W]) Headers() []operators.Header {
	if c.scope.ctx.Record == nil {
		return nil
	}
	return c.scope.ctx.Record.Headers
}

// Metadata says where the input record came from, which after a KeyBy is the repartition topic. Without such a
// record partition and offset are -1.
func (c *Context[W]) Metadata() (topic string, partition int32, offset int64) {
	r := c.scope.ctx.Record
	if r == nil {
		return "", -1, -1
	}
	return r.Topic, r.Partition, r.Offset
}

// Setup declares what a Process step keeps: states, timers, side outputs. It is valid during the call that it is given
// to.
type Setup struct {
	step string
	turn any // *turn[K, W]; nil in it while the pipeline is declared

	// while the pipeline is declared
	p      *Pipeline
	stores []topology.Store
	sides  *sides
	timed  bool // the step looks at event time

	scope *scope      // of the task that is made; an empty one while the pipeline is declared
	sends map[any]any // by *SideOutput[T]: func(T)
}

// Watermark declares that the step looks at its watermark and returns what does: no record before it is expected any
// more, so that one is late. It is operators.MinTime while nothing is known.
func (s *Setup) Watermark() func() operators.Time {
	s.timed = true
	if s.p != nil {
		return func() operators.Time { return operators.MinTime }
	}
	return s.scope.events().clock.watermark
}

// stateName is what the store of a state is called.
func (s *Setup) stateName(name string) string { return s.step + "." + name }

// checkName reports a name that no state can have.
func (s *Setup) checkName(what, name string) {
	if s.p != nil && !topology.ValidName(name) {
		s.p.fail(s.step, fmt.Sprintf("the name of its %s %q is not valid", what, name),
			"use 1 to 100 letters, digits, '-' and '_'")
	}
}

// declare notes a store, if the pipeline is being declared. Its name is that of the state, with a suffix after a dot if
// it is not the state itself.
func (s *Setup) declare(name string, st topology.Store) bool {
	if s.p == nil {
		return false
	}
	st.Name = s.stateName(name)
	s.stores = append(s.stores, st)
	return true
}
