// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

var (
	errNullGroupKey = errors.New("the record's key is null, and only a key says which task keeps its state; use KeyBy first")
	errNotRunning   = errors.New("the state is only usable while a record is processed")
)

// Handler processes one record. An error ends the epoch; it becomes an *operators.UserError with the step and the
// record's position.
type Handler[K, V, W any] func(ctx *Context[W], k K, v V) error

// Process is the way to do what no other verb does. open makes the handler of one task and declares the states
// that it keeps by key; it is called once while the pipeline is declared, to learn of the states, and
// once per task. What the handler emits has the key of its input. With a state, records must be
// where their keys live. The last argument is the codec of W, if one is needed and W has none of its own.
//
// Variables of the handler outside of its states outlive an aborted epoch: keep nothing in them that a record
// processed again should not see.
func (s Stream[K, V]) Process[W any](name string, open func(*Setup) Handler[K, V, W], value ...codec.Codec[W]) Stream[K, W] {
	n := s.p.addNamed("process", name, s.n.id)
	out := &node[K, W]{id: n.ID}
	step := &process[K, V, W]{label: n.Label, key: s.key, open: open, out: out, rules: s.stepRules(n)}
	declared := &Setup{p: s.p, step: n.Label}
	open(declared)
	step.stateful = len(declared.stores) > 0
	if step.stateful {
		s.keyed(n)
		keyID := needKey(s.p, n.Label, "the key", s.key, "add .WithKey(codec) before Process, whose states are kept by key")
		for _, st := range declared.stores {
			st.KeyCodec = keyID
			s.p.addStore(n, st)
		}
	}
	s.n.children = append(s.n.children, step.task)
	c := choose(s.p, n.Label, value, carry[W](s.p, s.value))
	return Stream[K, W]{p: s.p, n: out, key: s.key, value: c, moved: s.moved, rules: s.rules}
}

type process[K, V, W any] struct {
	label    string
	key      codec.Codec[K]
	open     func(*Setup) Handler[K, V, W]
	out      *node[K, W]
	stateful bool
	rules    rules
}

func (p *process[K, V, W]) task(t *task) (emit[K, V], error) {
	next, err := p.out.open(t)
	if err != nil {
		return nil, err
	}
	setup, g := &Setup{step: p.label, task: t}, t.guard(p.label, p.rules)
	if g != nil {
		setup.undo = &undoLog{}
		g.undo = setup.takeBack
	}
	handle := p.open(setup)
	if setup.err != nil {
		return nil, fmt.Errorf("open step %q: %w", p.label, setup.err)
	}
	return guarded(g, next, func(next emit[K, W]) emit[K, V] { return p.run(t, setup, handle, next) }), nil
}

// run makes the step of a handler.
func (p *process[K, V, W]) run(t *task, setup *Setup, handle Handler[K, V, W], next emit[K, W]) emit[K, V] {
	y := &yielder[K, W]{caller: caller{ctx: t.rt.Context, label: p.label}, next: next}
	ctx := &Context[W]{ctx: t.rt.Context, now: t.rt.Now}
	ctx.send = func(w W) { y.yield(y.k, w) }
	var keys *keyEncoder[K]
	if p.stateful {
		keys = newKeyEncoder(p.key)
	}
	return func(k K, v V, tm operators.Time) error {
		y.begin(k, tm)
		ctx.time, setup.err = tm, nil
		if setup.undo != nil {
			setup.undo.reset()
		}
		if keys != nil {
			var err error
			if setup.key, err = keys.encode(y.ctx, k); err != nil {
				return err
			}
		}
		err := handle(ctx, k, v)
		if y.err != nil {
			return y.err
		}
		if setup.err != nil {
			return setup.err
		}
		return p.attribute(y.ctx, err)
	}
}

// attribute makes an error of the handler a UserError, unless it is the store's own, handed through.
func (p *process[K, V, W]) attribute(ctx *operators.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*stateError](err); ok {
		return fmt.Errorf("step %q: %w", p.label, err)
	}
	return operators.NewUserError(ctx, err)
}

// Context is what a handler knows of the record it processes, and where it puts its results. It is valid during the
// handler's call.
type Context[W any] struct {
	ctx  *operators.Context
	send func(W)
	now  func() time.Time
	time operators.Time
}

// Emit hands a value to the next step, under the key and the time of the input record. An error of a later step is
// returned to the engine when the handler has ended.
func (c *Context[W]) Emit(v W) { c.send(v) }

// Time is the event time of the record, in Unix milliseconds.
func (c *Context[W]) Time() operators.Time { return c.time }

// Now is the wall clock. Use it instead of time.Now, so that a run can be repeated.
func (c *Context[W]) Now() time.Time { return c.now() }

// Headers are those of the input record; none if there is no such record, as after EmitPerCommit. They are valid
// during the handler's call and must not be changed.
func (c *Context[W]) Headers() []operators.Header {
	if c.ctx.Record == nil {
		return nil
	}
	return c.ctx.Record.Headers
}

// Metadata says where the input record came from, which after a KeyBy is the repartition topic. Without such a
// record partition and offset are -1.
func (c *Context[W]) Metadata() (topic string, partition int32, offset int64) {
	r := c.ctx.Record
	if r == nil {
		return "", -1, -1
	}
	return r.Topic, r.Partition, r.Offset
}

// Setup declares the states of a Process step. It is valid during the call that it is given to.
type Setup struct {
	step string
	p    *Pipeline // while the pipeline is declared, else nil

	stores []topology.Store // declared

	task *task    // while a task is made, and from then on
	undo *undoLog // of a guarded step; else nil
	key  []byte   // encoded key of the record in process; nil before the first
	err  error    // the first that no method could return: of making the task, or of the record in process
}

// stateName is what the store of a state is called.
func (s *Setup) stateName(name string) string { return s.step + "." + name }

// declare notes a state, if the pipeline is being declared.
func (s *Setup) declare(name string, st topology.Store) bool {
	if s.p == nil {
		return false
	}
	if !topology.ValidName(name) {
		s.p.fail(s.step, fmt.Sprintf("the name of its state %q is not valid", name),
			"use 1 to 100 letters, digits, '-' and '_'")
	}
	st.Name = s.stateName(name)
	s.stores = append(s.stores, st)
	return true
}

// takeBack undoes what the record in process did to the states.
func (s *Setup) takeBack() error {
	if s.err != nil {
		return s.err // Of a state, before the handler went on and failed itself.
	}
	return s.undo.undo()
}

func (s *Setup) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}
