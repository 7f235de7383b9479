// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"runtime/debug"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
)

// guard carries out the policies of one step in one task. A step without policies has none, and pays nothing.
//
// The step's work is cut into units: a record, or what is due of one key. What a unit changes in the state of the task is
// an attempt of the store, which is undone if the unit fails; what it emits is held until it is done. So only then
// do later steps run, outside of the unit: an error of theirs cannot be taken for one of this step. Clocks that a failed
// unit has set do no harm: a step whose clock strikes looks in its state what is due.
type guard struct {
	task  *task
	step  string
	rules rules
	// edits says that user code may change in place what it reads from the state.
	edits bool
	// fault returns an error of the state that user code could not hand through; nil: there is none such.
	fault func() error

	busy    bool     // a unit is under way
	outlets []outlet // of all that the step emits
	turns   []outlet // one for each thing that the unit has emitted, in that order
}

// guard returns the guard of a step, nil if it needs none.
func (t *task) guard(step string, rs rules) *guard {
	if len(rs) == 0 {
		return nil
	}
	return &guard{task: t, step: step, rules: rs}
}

// try does a unit of the step's work, as often as the policy says. dropped: it failed, and nothing has come of it. An error
// is what no policy covers, or that of a later step.
func (g *guard) try(phase operators.Phase, unit func() error) (dropped bool, err error) {
	if g == nil {
		return false, unit()
	}
	failed, err := g.attempts(phase, unit)
	switch {
	case err != nil:
		return false, err
	case failed != nil:
		return true, g.settle(failed)
	}
	return false, g.handOn()
}

// failure is the last error of a unit, and the policy that it falls under.
type failure struct {
	operators.Failure
	policy ErrorPolicy
}

// attempts does a unit until it succeeds or the policy allows no further attempt, which gives a failure. What the unit
// has emitted is then to be handed on. An error is what no policy is about.
func (g *guard) attempts(phase operators.Phase, unit func() error) (*failure, error) {
	for n := 0; ; n++ {
		err := g.attempt(phase, unit, true)
		if err == nil {
			return nil, nil
		}
		user := g.blames(err)
		if user == nil {
			return nil, err
		}
		f := &failure{policy: g.rules.of(user.Phase, user.Err), Failure: operators.Failure{
			Step: g.step, Phase: user.Phase, Topic: user.Topic, Partition: user.Partition, Offset: user.Offset, Err: user,
		}}
		if n >= f.policy.retries {
			return f, nil
		}
		if l := g.task.rt.Listener; l != nil && l.Retried != nil {
			l.Retried(f.Failure)
		}
		g.task.wait(f.policy.pause << n)
	}
}

// blames returns an error that is about what the step was given; nil: it is one of the state, or of the world.
func (g *guard) blames(err error) *operators.UserError {
	user, ok := errors.AsType[*operators.UserError](err)
	if !ok || errors.Is(err, codec.ErrUnavailable) {
		return nil
	}
	return user
}

// attempt does a unit once. Unless it succeeds, and is to be kept then, nothing of it remains.
func (g *guard) attempt(phase operators.Phase, unit func() error, keep bool) error {
	for _, o := range g.outlets {
		o.clear()
	}
	g.turns = g.turns[:0]
	db := g.task.rt.DB
	if db != nil {
		db.Attempt(g.edits)
	}
	g.busy = true
	err := g.protect(phase, unit)
	g.busy = false
	if err != nil && g.fault != nil && g.blames(err) != nil {
		if fault := g.fault(); fault != nil {
			err = fault
		}
	}
	if db == nil {
		return err
	}
	if err == nil && keep {
		refused := db.Keep()
		if refused == nil {
			return nil
		}
		g.task.rt.Context.Node = g.step
		err = operators.NewSerializeError(g.task.rt.Context, refused)
	}
	if undo := db.Undo(); undo != nil {
		return undo
	}
	return err
}

// protect makes an error of a panic.
func (g *guard) protect(phase operators.Phase, unit func() error) (err error) {
	ctx := g.task.rt.Context
	ctx.Node = g.step
	defer func() {
		if p := recover(); p != nil {
			ctx.Node = g.step
			user := operators.NewUserError(ctx, &operators.PanicError{Value: p, Stack: debug.Stack()})
			user.Phase = phase
			err = user
		}
	}()
	return unit()
}

// leavesOut says whether the policy for an error drops what caused it.
func (g *guard) leavesOut(err error) bool {
	user := g.blames(err)
	if user == nil {
		return false
	}
	policy := g.rules.of(user.Phase, user.Err)
	return policy.skip || policy.deadLetter != ""
}

// wait waits before the next attempt.
func (t *task) wait(d time.Duration) {
	if t.rt.Wait != nil {
		t.rt.Wait(d)
		return
	}
	time.Sleep(d)
}

// settle does what the policy says about a failure.
func (g *guard) settle(f *failure) error { return g.task.settle(f.policy, f.Failure) }

// handOn gives what the last unit has emitted to later steps.
func (g *guard) handOn() error {
	for _, o := range g.turns {
		if err := o.handOn(); err != nil {
			return err
		}
	}
	return nil
}

// outlet holds what a guarded step emits of one kind.
type outlet interface {
	handOn() error // the first that is still held
	clear()
}

// held is a record that a guarded step has emitted and that has not gone on yet.
type held[K, V any] struct {
	k K
	v V
	t operators.Time
}

// heldRecords is the outlet of records.
type heldRecords[K, V any] struct {
	next emit[K, V]
	list []held[K, V]
	at   int
}

// hold returns where a guarded step emits what goes to next. next may be nil if nobody takes it.
func hold[K, V any](g *guard, next emit[K, V]) emit[K, V] {
	if g == nil || next == nil {
		return next
	}
	h := &heldRecords[K, V]{next: next}
	g.outlets = append(g.outlets, h)
	return func(k K, v V, t operators.Time) error {
		if !g.busy {
			return next(k, v, t)
		}
		h.list = append(h.list, held[K, V]{k, v, t})
		g.turns = append(g.turns, h)
		return nil
	}
}

func (h *heldRecords[K, V]) handOn() error {
	r := &h.list[h.at]
	h.at++
	return h.next(r.k, r.v, r.t)
}

func (h *heldRecords[K, V]) clear() {
	clear(h.list)
	h.list, h.at = h.list[:0], 0
}

// heldEmissions is the outlet of records for topics.
type heldEmissions struct {
	out   operators.Output
	send  func(operators.Emission)
	list  []operators.Emission // without their bytes
	ends  []int                // of these in bytes
	bytes []byte
	at    int
}

// holdEmissions returns where a guarded step puts records for topics, instead of send.
func holdEmissions(g *guard, out operators.Output, send func(operators.Emission)) func(operators.Emission) {
	if g == nil {
		return send
	}
	h := &heldEmissions{out: out, send: send}
	g.outlets = append(g.outlets, h)
	return func(e operators.Emission) {
		if !g.busy {
			send(e)
			return
		}
		h.bytes = append(h.bytes, e.Buf...)
		h.ends = append(h.ends, len(h.bytes))
		e.Buf = nil
		h.list = append(h.list, e)
		g.turns = append(g.turns, h)
	}
}

func (h *heldEmissions) handOn() error {
	e, start := h.list[h.at], 0
	if h.at > 0 {
		start = h.ends[h.at-1]
	}
	e.Buf = append(h.out.Buffer(), h.bytes[start:h.ends[h.at]]...)
	h.at++
	h.send(e)
	return nil
}

func (h *heldEmissions) clear() {
	clear(h.list)
	h.list, h.ends, h.bytes, h.at = h.list[:0], h.ends[:0], h.bytes[:0], 0
}
