// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"cmp"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
)

// clock is how a step acts when time passes: it sets the clock to when it has something to do. Event time is the
// step's own watermark, which is the task's less what the steps above hold back.
type clock struct {
	all  *clocks
	ctx  *operators.Context
	node int
	hold int64
	due  operators.Time // MaxTime: not set
	// above are the steps above that hold back what they wait for.
	above []*holder
	// reached is the step's watermark while time advances, from its turn on; MinTime else.
	reached operators.Time
	// act does what is due at now, and sets the clock again if there is more to come.
	act func(now operators.Time) error
}

// eventClock makes the clock of a step in event time. While the pipeline is declared the step's node is marked Timed.
func (t *task) eventClock(node int, act func(watermark operators.Time) error) *clock {
	return t.proc.events.add(&clock{ctx: t.rt.Context, node: node, hold: t.holds[node], act: act})
}

// wallClock makes the clock of a step in processing time.
func (t *task) wallClock(node int, act func(now operators.Time) error) *clock {
	return t.proc.walls.add(&clock{ctx: t.rt.Context, node: node, act: act})
}

// set makes the step act once its time has reached due, if it would not do so earlier anyway. MaxTime is too late
// ever to come, but for the end of time.
func (c *clock) set(due operators.Time) {
	if due < c.due {
		c.due = due
		c.all.due = min(c.all.due, operators.Later(due, c.hold))
	}
}

// watermark is the step's own: no input of the step before it is expected any more.
func (c *clock) watermark() operators.Time { return max(c.reached, c.at(c.ctx.Watermark)) }

// at is the step's time when it is now in the task.
func (c *clock) at(now operators.Time) operators.Time {
	return min(operators.Later(now, -c.hold), c.held())
}

// held is what the step's time cannot pass yet.
func (c *clock) held() operators.Time {
	held := operators.MaxTime
	for _, h := range c.above {
		held = min(held, operators.Later(h.held, h.hold-c.hold))
	}
	return held
}

// holder is a step that waits for something before it emits what it has taken.
type holder struct {
	node int
	hold int64          // of the steps above it
	held operators.Time // it may still emit from here on; MaxTime: it waits for nothing
}

// addHolder makes the holder of a step.
func (t *task) addHolder(node int) *holder {
	h := &holder{node: node, hold: t.holds[node], held: operators.MaxTime}
	t.proc.holders = append(t.proc.holders, h)
	return h
}

// clocks are those of one task and one kind of time.
type clocks struct {
	due operators.Time // the earliest of all
	all []*clock
}

func newClocks() clocks { return clocks{due: operators.MaxTime} }

func (cs *clocks) add(c *clock) *clock {
	c.all, c.due, c.reached = cs, operators.MaxTime, operators.MinTime
	cs.all = append(cs.all, c)
	return c
}

// reset forgets what was due.
func (cs *clocks) reset() {
	cs.due = operators.MaxTime
	for _, c := range cs.all {
		c.due = operators.MaxTime
	}
}

// sort brings parents before children: what a step emits when it acts is input of those below, before they act.
func (cs *clocks) sort() {
	slices.SortStableFunc(cs.all, func(a, b *clock) int { return cmp.Compare(a.node, b.node) })
}

func (cs *clocks) advance(now operators.Time) error {
	for _, c := range cs.all {
		own := c.at(now)
		c.reached = own
		if c.due == operators.MaxTime || own < c.due {
			continue
		}
		c.due = operators.MaxTime
		if err := c.act(own); err != nil {
			return err
		}
	}
	for _, c := range cs.all {
		c.reached = operators.MinTime
	}
	cs.arm()
	return nil
}

// arm looks up the earliest of all. What is held back is not due until it is let go.
func (cs *clocks) arm() {
	cs.due = operators.MaxTime
	for _, c := range cs.all {
		if c.due != operators.MaxTime && c.held() >= c.due {
			cs.due = min(cs.due, operators.Later(c.due, c.hold))
		}
	}
}

// link tells each clock of the holders above its step.
func (cs *clocks) link(sub *topology.SubTopology, holders []*holder) {
	for _, c := range cs.all {
		for _, h := range holders {
			if sub.Above(c.node)[h.node] && h.node != c.node {
				c.above = append(c.above, h)
			}
		}
	}
}
