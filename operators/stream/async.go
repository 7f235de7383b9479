// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// AsyncFunc gets the result for a value from elsewhere, such as another service. It runs on a goroutine of its own,
// beside others of the same step, and must return soon after ctx has ended. It may be called again for the same value:
// when it has failed, and when a crash or an aborted epoch has taken away its result. IdempotencyKey tells the other
// side so.
type AsyncFunc[V, W any] func(ctx context.Context, v V) (W, error)

// AsyncOption is an option of AsyncOrdered and AsyncUnordered.
type AsyncOption func(*asyncOptions)

type asyncOptions struct {
	ordered     bool
	concurrency int
	timeout     time.Duration
}

// Concurrency bounds how many records of a task wait for their results. At the bound the task takes no further record
// until one is there. The default is 100.
func Concurrency(n int) AsyncOption { return func(o *asyncOptions) { o.concurrency = n } }

// CallTimeout bounds how long one call takes: its context ends then. The default is 30 seconds.
func CallTimeout(d time.Duration) AsyncOption { return func(o *asyncOptions) { o.timeout = d } }

// AsyncOrdered replaces each value by what call returns for it, many calls at a time. Results go on in the order of the
// records: a slow call holds back those after it. Keys and times stay; headers do not go along.
//
// A record that waits is part of the state, in the store of this name: positions move on past it, and it is called for
// again after a crash, so that each record gives exactly one result. Event time below the step is held back
// until the result is there, so no result is late. Records with a key should be where it lives, since that is where they
// go if the partitions of the state are redone.
//
// A call that fails follows the policies of the stream (see OnError) as far as they can be followed without the input
// record, so DeadLetter is Fail. While a Retry pauses, the task goes on.
func (s Stream[K, V]) AsyncOrdered[W any](name string, call AsyncFunc[V, W], opts ...AsyncOption) Stream[K, W] {
	return async(s, name, true, call, opts)
}

// AsyncUnordered is AsyncOrdered with results that go on as soon as they are there, whatever the order of their records.
func (s Stream[K, V]) AsyncUnordered[W any](name string, call AsyncFunc[V, W], opts ...AsyncOption) Stream[K, W] {
	return async(s, name, false, call, opts)
}

func async[K, V, W any](s Stream[K, V], name string, ordered bool, call AsyncFunc[V, W], opts []AsyncOption) Stream[K, W] {
	o := asyncOptions{ordered: ordered, concurrency: 100, timeout: 30 * time.Second}
	for _, set := range opts {
		set(&o)
	}
	n := s.p.addNamed("async", name, s.n.id)
	switch {
	case o.concurrency < 1:
		s.p.fail(n.Label, fmt.Sprintf("Concurrency(%d) allows no call", o.concurrency), "give 1 or more")
	case o.timeout <= 0:
		s.p.fail(n.Label, fmt.Sprintf("CallTimeout(%v) leaves no time", o.timeout), "give a positive duration")
	}
	value := own(s.value)
	st := topology.Store{
		Name: n.Label, Kind: topology.WindowStore,
		KeyCodec:   need(s.p, n.Label, "the key", s.key, "add .WithKey(codec) before it"),
		ValueCodec: callOf + need(s.p, n.Label, "the value", value, "add .WithValue(codec) before it"),
	}
	for _, id := range former(value) {
		st.FormerValueCodecs = append(st.FormerValueCodecs, callOf+id)
	}
	s.p.addStore(n, st)
	step := &asyncStep[K, V, W]{
		id: n.ID, label: n.Label, app: s.p.Name(), key: s.key, value: value, call: call, o: o,
		rules: s.p.stepRules(s.rules, n), out: &node[K, W]{id: n.ID},
	}
	s.n.children = append(s.n.children, step.open)
	return Stream[K, W]{p: s.p, n: step.out, key: s.key, value: carry[W](s.p, s.value), moved: s.moved, rules: s.rules}
}

// callOf begins the id of what is stored of a record that waits, before that of the codec of its value.
const callOf = "call:"

// idempotencyKey is the context key of IdempotencyKey.
type idempotencyKey struct{}

// IdempotencyKey returns, in an AsyncFunc, a text that is the same in every call for one record and differs between
// records. It is made of the names of pipeline and step and of where the input record lies; of a record that came
// of no single input record, as from a timer, an aborted epoch may change it.
func IdempotencyKey(ctx context.Context) string {
	key, _ := ctx.Value(idempotencyKey{}).(string)
	return key
}

// asyncStep is the step as declared.
type asyncStep[K, V, W any] struct {
	id    int
	label string
	app   string
	key   codec.Codec[K]
	value codec.Codec[V]
	call  AsyncFunc[V, W]
	o     asyncOptions
	rules rules
	out   *node[K, W]
}

func (a *asyncStep[K, V, W]) open(t *task) (emit[K, V], error) {
	next, err := a.out.open(t)
	if err != nil {
		return nil, err
	}
	g := t.guard(a.label, a.rules)
	c, err := newAsyncCalls(a, t, g, next)
	if err != nil {
		return nil, err
	}
	t.atRestart(c.restart)
	t.proc.full = append(t.proc.full, func() bool { return len(c.waiting) >= a.o.concurrency })
	return guardedStep(g, c.process), nil
}

// pendingCall is a record that waits for its result.
type pendingCall[K, V, W any] struct {
	k       K
	key     []byte // encoded
	number  int64
	of      callRecord[V]
	result  W
	failed  int            // calls that have failed
	dueAt   operators.Time // of the next call, by the wall clock
	running bool
	done    bool
	dropped bool // done without a result
}
