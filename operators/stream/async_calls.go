// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/statestore"
)

// asyncCalls are the calls of one task's step. What waits is in the store, by a number that grows, and in memory in
// the same order. All but the calls themselves happens on the task's goroutine.
type asyncCalls[K, V, W any] struct {
	of *asyncStep[K, V, W]
	caller
	task  *task
	store *statestore.Window[callRecord[V]]
	next  emit[K, W]
	admit emit[K, *pendingCall[K, V, W]] // wait, once the step is done with the record
	event *clock                         // for the step's watermark
	wall  *clock                         // for calls to be made again
	hold  *holder
	null  func(K) bool
	own   func(V) V

	waiting []*pendingCall[K, V, W]
	running int
	number  int64 // of the next record
	// last is the input record that came last, and how many records have come of it.
	last struct {
		topic     string
		partition int32
		offset    int64
		n         int
	}
}

func newAsyncCalls[K, V, W any](a *asyncStep[K, V, W], t *task, g *guard, next emit[K, W]) (*asyncCalls[K, V, W], error) {
	id, err := t.store(a.label)
	if err != nil {
		return nil, err
	}
	if t.rt.Call == nil {
		return nil, fmt.Errorf("open step %q: the runtime makes no calls", a.label)
	}
	c := &asyncCalls[K, V, W]{
		of: a, caller: caller{ctx: t.rt.Context, label: a.label}, task: t, next: next,
		store: statestore.NewWindow(t.rt.DB, id, callCodec[V]{codec.Stored(a.value)}), hold: t.addHolder(a.id),
		null: nullOf(a.key), own: ownerOf[V](),
	}
	c.admit = hold(g, c.wait)
	c.event = t.eventClock(a.id, func(operators.Time) error { return nil })
	c.wall = t.wallClock(a.id, func(operators.Time) error { c.start(); return nil })
	return c, nil
}

// restart takes from the store what waits, and calls for it anew.
func (c *asyncCalls[K, V, W]) restart() error {
	c.waiting, c.running, c.number = nil, 0, 0
	c.last.topic = ""
	for at, r := range c.store.Between(math.MinInt64, math.MaxInt64) {
		var k K
		if !r.nullKey {
			var err error
			if k, err = c.of.key.Decode(at.Key); err != nil {
				return fmt.Errorf("step %q: decode a key of its store as %s: %w", c.label, c.of.key.ID(), err)
			}
		}
		c.waiting = append(c.waiting, &pendingCall[K, V, W]{k: k, key: bytes.Clone(at.Key), number: at.Time, of: r})
		c.number = at.Time + 1
	}
	c.holdBack()
	c.start()
	return nil
}

// process takes one record.
func (c *asyncCalls[K, V, W]) process(k K, v V, t operators.Time) error {
	c.enter()
	key, err := c.of.key.Append(nil, k)
	if err != nil {
		return operators.NewSerializeError(c.ctx, fmt.Errorf("encode key as %s: %w", c.of.key.ID(), err))
	}
	if c.own != nil {
		v = c.own(v)
	}
	p := &pendingCall[K, V, W]{k: k, key: key, number: c.number, of: callRecord[V]{
		// A late record stays as late as it is: it does not hold back what has passed it already.
		time: t, held: max(t, c.event.watermark()), id: c.idempotencyKey(), nullKey: c.null != nil && c.null(k), value: v,
	}}
	if err := c.store.Put(p.number, p.key, nil, p.of); err != nil {
		return fmt.Errorf("step %q: update its store: %w", c.label, err)
	}
	return c.admit(k, p, t)
}

// wait has a record that is in the store wait for its result.
func (c *asyncCalls[K, V, W]) wait(_ K, p *pendingCall[K, V, W], _ operators.Time) error {
	c.number++
	c.waiting = append(c.waiting, p)
	c.hold.held = min(c.hold.held, p.of.held)
	c.start()
	return nil
}

// idempotencyKey makes the key of the record in process.
func (c *asyncCalls[K, V, W]) idempotencyKey() string {
	b := append(append([]byte(c.of.app), '/'), c.label...)
	r := c.ctx.Record
	if r == nil {
		b = append(append(b, '/'), c.task.rt.Task.String()...)
		return string(strconv.AppendInt(append(b, '/'), c.number, 10))
	}
	if last := &c.last; last.topic == r.Topic && last.partition == r.Partition && last.offset == r.Offset {
		last.n++
	} else {
		last.topic, last.partition, last.offset, last.n = r.Topic, r.Partition, r.Offset, 0
	}
	b = append(append(b, '/'), r.Topic...)
	b = strconv.AppendInt(append(b, '/'), int64(r.Partition), 10)
	b = strconv.AppendInt(append(b, '/'), r.Offset, 10)
	if c.last.n > 0 {
		b = strconv.AppendInt(append(b, '/'), int64(c.last.n), 10)
	}
	return string(b)
}

// start makes the calls that are due, as many as may run.
func (c *asyncCalls[K, V, W]) start() {
	now := operators.MinTime
	for _, p := range c.waiting {
		if c.running >= c.of.o.concurrency {
			return
		}
		if p.running || p.done {
			continue
		}
		if p.failed > 0 {
			if now == operators.MinTime {
				now = c.task.rt.Now().UnixMilli()
			}
			if p.dueAt > now {
				c.wall.set(p.dueAt)
				continue
			}
		}
		c.run(p)
	}
}

func (c *asyncCalls[K, V, W]) run(p *pendingCall[K, V, W]) {
	p.running = true
	c.running++
	call, timeout, v := c.of.call, c.of.o.timeout, p.of.value
	id := p.of.id
	var w W
	var err error
	c.task.rt.Call(func(ctx context.Context) {
		defer func() {
			if p := recover(); p != nil {
				err = &operators.PanicError{Value: p, Stack: debug.Stack()}
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithValue(ctx, idempotencyKey{}, id), timeout)
		defer cancel()
		w, err = call(ctx, v)
	}, func() error { return c.ended(p, w, err) })
}

// ended takes what a call has returned.
func (c *asyncCalls[K, V, W]) ended(p *pendingCall[K, V, W], w W, err error) error {
	c.running--
	p.running = false
	if err != nil {
		p.failed++
		again, err := c.failed(p, err)
		if err != nil {
			return err
		}
		if again {
			c.start()
			return nil
		}
		p.dropped = true
	}
	p.result, p.done = w, true
	if err := c.emit(p); err != nil {
		return err
	}
	c.start()
	return nil
}

// failed does what the policy says about a call that has failed: it is made again, or the record is dropped, or the
// error ends the epoch.
func (c *asyncCalls[K, V, W]) failed(p *pendingCall[K, V, W], err error) (again bool, failure error) {
	c.enter()
	user := operators.NewUserError(c.ctx, fmt.Errorf("call %s: %w", p.of.id, err))
	f := operators.Failure{Step: c.label, Phase: user.Phase, Topic: user.Topic, Partition: user.Partition, Offset: user.Offset, Err: user}
	policy := c.of.rules.of(user.Phase, err)
	if p.failed > policy.retries {
		return false, c.task.settle(policy, f)
	}
	if l := c.task.rt.Listener; l != nil && l.Retried != nil {
		l.Retried(f)
	}
	p.dueAt = c.task.rt.Now().Add(policy.pause << (p.failed - 1)).UnixMilli()
	return true, nil
}

// emit hands on the results whose turn it is, now that p has its own.
func (c *asyncCalls[K, V, W]) emit(p *pendingCall[K, V, W]) error {
	from, n := 0, 0
	if c.of.o.ordered {
		for n < len(c.waiting) && c.waiting[n].done {
			n++
		}
	} else {
		from, n = slices.Index(c.waiting, p), 1
	}
	out := slices.Clone(c.waiting[from : from+n])
	c.waiting = slices.Delete(c.waiting, from, from+n)
	for _, p := range out {
		if err := c.store.Delete(p.number, p.key, nil); err != nil {
			return fmt.Errorf("step %q: update its store: %w", c.label, err)
		}
		if p.dropped {
			continue
		}
		if err := c.next(p.k, p.result, p.of.time); err != nil {
			return err
		}
	}
	c.holdBack()
	return nil
}

// holdBack lets event time below the step go as far as what still waits allows.
func (c *asyncCalls[K, V, W]) holdBack() {
	held := operators.MaxTime
	for _, p := range c.waiting {
		held = min(held, p.of.held)
	}
	if held != c.hold.held {
		c.hold.held = held
		c.task.proc.events.arm()
	}
}

// callRecord is what is stored of a record that waits.
type callRecord[V any] struct {
	time    operators.Time
	held    operators.Time // up to where event time may go below the step
	id      string         // idempotency key
	nullKey bool
	value   V
}

// callCodec lays a callRecord out as its two times, the second as the difference, the id with its length, a byte that
// is 1 for a null key, and the value.
type callCodec[V any] struct{ value statestore.ValueCodec[V] }

func (c callCodec[V]) Append(dst []byte, r callRecord[V]) ([]byte, error) {
	dst = binary.AppendVarint(dst, r.time)
	dst = binary.AppendVarint(dst, r.held-r.time)
	dst = binary.AppendUvarint(dst, uint64(len(r.id)))
	dst = append(dst, r.id...)
	null := byte(0)
	if r.nullKey {
		null = 1
	}
	return c.value.Append(append(dst, null), r.value)
}

var errCallRecord = errors.New("not a record that waits for a call")

func (c callCodec[V]) Decode(src []byte) (r callRecord[V], err error) {
	var n int
	if r.time, n = binary.Varint(src); n <= 0 {
		return r, errCallRecord
	}
	src = src[n:]
	held, n := binary.Varint(src)
	if n <= 0 {
		return r, errCallRecord
	}
	r.held, src = r.time+held, src[n:]
	length, n := binary.Uvarint(src)
	if n <= 0 || length >= uint64(len(src)-n) {
		return r, errCallRecord
	}
	r.id, src = string(src[n:n+int(length)]), src[n+int(length):]
	r.nullKey = src[0] == 1
	r.value, err = c.value.Decode(src[1:])
	return r, err
}
