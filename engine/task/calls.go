// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"sync"
	"sync/atomic"
)

// calls are what the task's steps have asked to be done elsewhere. They run on goroutines of the engine and meet the
// task in a list of what has ended, which it takes when it is its turn.
type calls struct {
	run  func(func())
	wake func()

	// Of the life that the next abort ends. What was called in an earlier one is dropped when it ends.
	life   int
	ctx    context.Context
	cancel context.CancelFunc
	made   bool // any, in any life

	ended struct {
		sync.Mutex
		list []endedCall
		any  atomic.Bool
	}
}

type endedCall struct {
	life int
	done func() error
}

func (c *calls) begin() { c.ctx, c.cancel = context.WithCancel(context.Background()) }

// abort cancels what is under way.
func (c *calls) abort() {
	c.cancel()
	c.life++
	c.begin()
}

// call implements operators.Runtime.Call.
func (c *calls) call(f func(context.Context), done func() error) {
	c.made = true
	e, ctx := endedCall{c.life, done}, c.ctx
	c.run(func() {
		f(ctx)
		c.end(e)
	})
}

func (c *calls) end(e endedCall) {
	c.ended.Lock()
	c.ended.list = append(c.ended.list, e)
	c.ended.any.Store(true)
	c.ended.Unlock()
	c.wake()
}

// waiting says whether calls have ended that were not collected.
func (c *calls) waiting() bool { return c.ended.any.Load() }

// take returns what has ended.
func (c *calls) take() []endedCall {
	c.ended.Lock()
	defer c.ended.Unlock()
	list := c.ended.list
	c.ended.list = nil
	c.ended.any.Store(false)
	return list
}

// collect goes on with what has ended since the last time.
func (t *Task) collect() error {
	if !t.calls.waiting() {
		return nil
	}
	t.ctx.Record = nil
	for _, e := range t.calls.take() {
		if e.life != t.calls.life {
			continue
		}
		t.acted = true
		if err := e.done(); err != nil {
			return err
		}
	}
	return t.reached()
}

// Full says that the task takes no records until calls of its steps have ended.
func (t *Task) Full() bool { return t.calls.made && t.proc.Full() }
