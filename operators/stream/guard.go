// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
)

// guard carries out the policies of one step in one task. A step without policies has none, and pays nothing.
type guard struct {
	task  *task
	step  string
	rules rules
	undo  func() error // takes back what the step has changed for the record in process; nil: it changes nothing
}

// guard returns the guard of a step, nil if it needs none.
func (t *task) guard(step string, rs rules) *guard {
	if len(rs) == 0 {
		return nil
	}
	return &guard{task: t, step: step, rules: rs}
}

// held is a record that a guarded step has emitted and that has not gone on yet.
type held[K, V any] struct {
	k K
	v V
	t operators.Time
}

// guarded makes a step that hands its records to next. Under a guard they are held until the step is done with its input:
// only then is it known that they count, and an error of a later step cannot be taken for one of this step. next may
// be nil if nobody takes them.
func guarded[K2, W, K, V any](g *guard, next emit[K2, W], fuse func(next emit[K2, W]) emit[K, V]) emit[K, V] {
	if g == nil {
		return fuse(next)
	}
	var out []held[K2, W]
	step := fuse(func(k K2, w W, t operators.Time) error {
		out = append(out, held[K2, W]{k, w, t})
		return nil
	})
	return func(k K, v V, t operators.Time) error {
		for attempt := 0; ; attempt++ {
			clear(out)
			out = out[:0]
			err := protect(g, step, k, v, t)
			if err == nil {
				break
			}
			if again, err := g.failed(err, attempt); err != nil || !again {
				return err
			}
		}
		if next == nil {
			return nil
		}
		for i := range out {
			if err := next(out[i].k, out[i].v, out[i].t); err != nil {
				return err
			}
		}
		return nil
	}
}

// guardedEnd makes a step that hands its records to no other.
func guardedEnd[K, V any](g *guard, step emit[K, V]) emit[K, V] {
	return guarded(g, nil, func(emit[struct{}, struct{}]) emit[K, V] { return step })
}

// protect runs a step and makes an error of a panic.
func protect[K, V any](g *guard, step emit[K, V], k K, v V, t operators.Time) (err error) {
	ctx := g.task.rt.Context
	ctx.Node = g.step
	defer func() {
		if p := recover(); p != nil {
			ctx.Node = g.step
			err = operators.NewUserError(ctx, &operators.PanicError{Value: p, Stack: debug.Stack()})
		}
	}()
	return step(k, v, t)
}

// failed does what the policy says about an error of the step. again: the step is to be given the record once more. An
// error is what the policy does not cover.
func (g *guard) failed(err error, attempt int) (again bool, failure error) {
	user, ok := errors.AsType[*operators.UserError](err)
	if !ok || errors.Is(err, codec.ErrUnavailable) {
		return false, err // Of the state, or of the world: nothing is wrong with the record.
	}
	policy := g.rules.of(user.Phase, user.Err)
	if g.undo != nil {
		if err := g.undo(); err != nil {
			return false, err
		}
	}
	f := operators.Failure{Step: g.step, Phase: user.Phase, Topic: user.Topic, Partition: user.Partition, Offset: user.Offset, Err: user}
	if attempt < policy.retries {
		if l := g.task.rt.Listener; l != nil && l.Retried != nil {
			l.Retried(f)
		}
		g.task.wait(policy.pause << attempt)
		return true, nil
	}
	return false, g.task.settle(policy, f)
}

// wait waits before the next attempt.
func (t *task) wait(d time.Duration) {
	if t.rt.Wait != nil {
		t.rt.Wait(d)
		return
	}
	time.Sleep(d)
}

// settle drops the record of a failure as the policy says; the error is that of the failure if it says to fail.
func (t *task) settle(policy ErrorPolicy, f operators.Failure) error {
	rec := t.rt.Context.Record
	l := t.rt.Listener
	if l == nil {
		l = &operators.Listener{}
	}
	switch {
	case policy.deadLetter != "" && rec != nil:
		t.rt.Output.Emit(t.deadLetter(rec, f, policy.deadLetter))
		if l.DeadLettered != nil {
			l.DeadLettered(f, policy.deadLetter)
		}
	case policy.skip:
		if l.Skipped != nil {
			l.Skipped(f)
		}
	default:
		return f.Err
	}
	return nil
}

// deadLetter wraps the task's input record. Its own headers come first: a record that fails again after it was
// sent back keeps the history, and the last header of a name tells the latest.
func (t *task) deadLetter(rec *operators.Record, f operators.Failure, topic string) operators.Emission {
	headers := make([]operators.Header, 0, len(rec.Headers)+6)
	headers = append(headers, rec.Headers...)
	headers = append(headers,
		operators.Header{Key: "streamd-error", Value: []byte(f.Err.Error())},
		operators.Header{Key: "streamd-step", Value: []byte(f.Step)},
		operators.Header{Key: "streamd-phase", Value: []byte(f.Phase)},
		operators.Header{Key: "streamd-topic", Value: []byte(rec.Topic)},
		operators.Header{Key: "streamd-partition", Value: strconv.AppendInt(nil, int64(rec.Partition), 10)},
		operators.Header{Key: "streamd-offset", Value: strconv.AppendInt(nil, rec.Offset, 10)},
	)
	keyLen := len(rec.Key)
	if rec.Key == nil {
		keyLen = -1
	}
	value := rec.Value
	if t.sub.Sources[t.proc.source].Internal {
		if _, plain, err := codec.SplitStored(value); err == nil {
			value = plain // Readers of the topic know nothing of versions.
		}
	}
	return operators.Emission{
		Topic: t.output(topic, false), Partition: -1, Buf: append(append(t.rt.Output.Buffer(), rec.Key...), value...), KeyLen: keyLen,
		NullValue: rec.Value == nil, Time: rec.Time, Headers: headers,
	}
}
