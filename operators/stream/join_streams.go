// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"slices"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// JoinWindow says which records of two streams meet: those of one key whose times are near enough.
type JoinWindow struct {
	before, after int64 // milliseconds: the right record's time lies in [left - before, left + after]
	grace         int64
	wrong         string
}

// Within has records meet whose times differ by at most d.
func Within(d time.Duration) JoinWindow { return Between(-d, d) }

// Between has a record of the left stream meet those of the right one that come from lower to upper after it; a
// negative bound is before it. Both bounds are included.
func Between(lower, upper time.Duration) JoinWindow {
	w := JoinWindow{before: -ms(lower), after: ms(upper)}
	if lower > upper {
		w.wrong = fmt.Sprintf("the lower bound %v is above the upper bound %v; exchange them", lower, upper)
	}
	return w
}

// Grace is by how much event time a record may be late and still be joined. The default is zero.
func (w JoinWindow) Grace(d time.Duration) JoinWindow {
	w.grace = ms(d)
	if d < 0 {
		w.wrong = fmt.Sprintf("the grace %v is negative; choose zero or more", d)
	}
	return w
}

// JoinStream brings each pair of records of one key together that are near enough in time, whichever comes first. The
// records are kept in stores of this name until none can meet them any more. The result has the later time of the two. A
// record that is late by more than the grace is dropped and counted.
func (s Stream[K, V]) JoinStream[R, W any](name string, right Stream[K, R], w JoinWindow, fn func(v V, r R) W) Stream[K, W] {
	return joinStreams(s, right, pairs[V, R, W]{
		kind: "join-stream", name: name, window: w,
		join: func(v V, _ bool, r R, _ bool) W { return fn(v, r) },
	})
}

// LeftJoinStream is JoinStream, with a result for each record of the left stream that has met none as well: once, with
// its own time, when none can come any more.
func (s Stream[K, V]) LeftJoinStream[R, W any](name string, right Stream[K, R], w JoinWindow, fn func(v V, r R, found bool) W) Stream[K, W] {
	return joinStreams(s, right, pairs[V, R, W]{
		kind: "left-join-stream", name: name, window: w, left: true,
		join: func(v V, _ bool, r R, has bool) W { return fn(v, r, has) },
	})
}

// OuterJoinStream is JoinStream, with a result for each record of either stream that has met none as well: once, with its
// own time, when none can come any more.
func (s Stream[K, V]) OuterJoinStream[R, W any](name string, right Stream[K, R], w JoinWindow, fn func(v V, hasV bool, r R, hasR bool) W) Stream[K, W] {
	return joinStreams(s, right, pairs[V, R, W]{
		kind: "outer-join-stream", name: name, window: w, left: true, right: true, join: fn,
	})
}

// pairs is the declaration of a join of streams.
type pairs[L, R, W any] struct {
	kind        topology.Kind
	name        string
	window      JoinWindow
	left, right bool // records of this side that meet none have a result too
	join        func(L, bool, R, bool) W
}

// The states of a join.
const (
	leftState  = ".left"
	rightState = ".right"
)

func joinStreams[K, L, R, W any](l Stream[K, L], r Stream[K, R], j pairs[L, R, W]) Stream[K, W] {
	p := l.p
	n := p.addNamed(j.kind, j.name, l.n.id)
	n.Timed, n.Hold = true, j.window.grace
	if j.left || j.right {
		n.Hold += max(j.window.before, j.window.after, 0) + 1
	}
	id, label := n.ID, n.Label
	out := &node[K, W]{id: id}
	result := Stream[K, W]{p: p, n: out, key: l.key, value: codecOf[W](p), rules: l.rules}
	if j.window.wrong != "" {
		p.fail(label, "its window is not valid", j.window.wrong)
	}
	l.keyed(n)
	if !meets(p, n, r.side(), l.key) {
		return result
	}
	r.keyed(n)
	policies := p.timedRules(l.rules, n)
	keyID := need(p, label, "the key", l.key, "add .WithKey(codec) before it")
	leftID := need(p, label, "the left value", l.value, "add .WithValue(codec) before it")
	rightID := need(p, label, "the right value", r.value, "add .WithValue(codec) to the stream that it is joined with")
	for _, side := range []struct{ state, value string }{{leftState, leftID}, {rightState, rightID}} {
		store := topology.Store{Name: label + side.state, Kind: topology.WindowStore, KeyCodec: keyID, SubKeyCodec: codec.Int64.ID(), ValueCodec: "joined:" + side.value, Plain: true}
		p.addStore(&p.graph.Nodes[id], store)
		store.Name, store.SubKeyCodec, store.ValueCodec = store.Name+dueState, "", noneCodec{}.ID()
		p.addStore(&p.graph.Nodes[id], store)
	}
	both := &meeting[K, L, R, W]{id: id, label: label, pairs: j, rules: policies, out: out, key: l.key, l: l.value, r: r.value}
	l.n.children = append(l.n.children, func(t *task) (emit[K, L], error) {
		m, err := both.open(t)
		if err != nil {
			return nil, err
		}
		return guardedStep(m.guard, m.takeLeft), nil
	})
	r.n.children = append(r.n.children, func(t *task) (emit[K, R], error) {
		m, err := both.open(t)
		if err != nil {
			return nil, err
		}
		return guardedStep(m.guard, m.takeRight), nil
	})
	return result
}

// meeting is where two streams meet.
type meeting[K, L, R, W any] struct {
	id    int
	label string
	pairs pairs[L, R, W]
	rules rules
	out   *node[K, W]
	key   codec.Codec[K]
	l     codec.Codec[L]
	r     codec.Codec[R]
}

// meetingTask is a meeting in a task.
type meetingTask[K, L, R, W any] struct {
	*meeting[K, L, R, W]
	ctx   *operators.Context
	drop  func(step string)
	keys  *keyEncoder[K]
	clock *clock
	guard *guard // of both sides, and of what is done as time passes
	next  emit[K, W]
	left  joinBuffer[L]
	right joinBuffer[R]
}

// open makes the step once per task, for both of its parents.
func (j *meeting[K, L, R, W]) open(t *task) (*meetingTask[K, L, R, W], error) {
	if made, ok := t.made[j]; ok {
		return made.(*meetingTask[K, L, R, W]), nil
	}
	next, err := j.out.open(t)
	if err != nil {
		return nil, err
	}
	w, g := j.pairs.window, t.guard(j.label, j.rules)
	m := &meetingTask[K, L, R, W]{meeting: j, ctx: t.rt.Context, keys: newKeyEncoder(j.key), guard: g, next: hold(g, next), drop: func(string) {}}
	if l := t.rt.Listener; l != nil && l.Late != nil {
		m.drop = l.Late
	}
	// A segment is as long as the window, so that what a record meets lies in two of them, three at most.
	segment := max(w.before+w.after, 1000)
	m.left = joinBuffer[L]{label: j.label, segment: segment, keep: w.after + w.grace + 1, alone: j.pairs.left}
	m.right = joinBuffer[R]{label: j.label, segment: segment, keep: w.before + w.grace + 1, alone: j.pairs.right}
	if err := m.left.open(t, j.label+leftState, j.l); err != nil {
		return nil, err
	}
	if err := m.right.open(t, j.label+rightState, j.r); err != nil {
		return nil, err
	}
	m.clock = t.eventClock(j.id, m.act)
	t.atRestart(func() error { return m.act(operators.MinTime) })
	t.made[j] = m
	return m, nil
}

// late says whether a record is late by more than the grace: what it could have met may be gone.
func (m *meetingTask[K, L, R, W]) late(t operators.Time) bool {
	if operators.Later(t, m.pairs.window.grace) >= m.clock.watermark() {
		return false
	}
	m.drop(m.label)
	return true
}

func (m *meetingTask[K, L, R, W]) takeLeft(k K, v L, t operators.Time) error {
	m.ctx.Node = m.label
	if m.late(t) {
		return nil
	}
	key, err := m.keys.encode(m.ctx, k)
	if err != nil {
		return err
	}
	w := m.pairs.window
	var met bool
	err = m.right.meet(key, t-w.before, t+w.after, func(r R, at operators.Time) error {
		met = true
		return m.next(k, m.pairs.join(v, true, r, true), max(t, at))
	})
	if err != nil {
		return err
	}
	m.ctx.Node = m.label
	due, err := m.left.put(key, t, v, met)
	m.clock.set(due)
	return err
}

func (m *meetingTask[K, L, R, W]) takeRight(k K, v R, t operators.Time) error {
	m.ctx.Node = m.label
	if m.late(t) {
		return nil
	}
	key, err := m.keys.encode(m.ctx, k)
	if err != nil {
		return err
	}
	w := m.pairs.window
	var met bool
	err = m.left.meet(key, t-w.after, t+w.before, func(l L, at operators.Time) error {
		met = true
		return m.next(k, m.pairs.join(l, true, v, true), max(t, at))
	})
	if err != nil {
		return err
	}
	m.ctx.Node = m.label
	due, err := m.right.put(key, t, v, met)
	m.clock.set(due)
	return err
}

// act emits the records that have met none, and forgets what nothing can meet any more. Of equal times the left comes
// first.
func (m *meetingTask[K, L, R, W]) act(now operators.Time) error {
	m.ctx.Node = m.label
	var noL L
	var noR R
	for {
		l, okL, err := m.left.due.First()
		if err != nil {
			return err
		}
		r, okR, err := m.right.due.First()
		if err != nil {
			return err
		}
		switch {
		case okL && l <= now && (!okR || l-m.left.keep <= r-m.right.keep || r > now):
			err = m.left.settle(l, func(stored []byte, v L, at operators.Time) error {
				return m.alone(stored, met[L, R]{v, true, noR, false}, at)
			})
		case okR && r <= now:
			err = m.right.settle(r, func(stored []byte, v R, at operators.Time) error {
				return m.alone(stored, met[L, R]{noL, false, v, true}, at)
			})
		default:
			if okL {
				m.clock.set(l)
			}
			if okR {
				m.clock.set(r)
			}
			return m.forget(now)
		}
		if err != nil {
			return err
		}
	}
}

// alone emits a record that has met none, which is a unit.
func (m *meetingTask[K, L, R, W]) alone(stored []byte, one met[L, R], at operators.Time) error {
	if m.guard == nil {
		return m.emit(stored, one, at)
	}
	return m.guardedAlone(stored, one, at)
}

func (m *meetingTask[K, L, R, W]) guardedAlone(stored []byte, one met[L, R], at operators.Time) error {
	_, err := m.guard.try(operators.PhaseTimer, func() error { return m.emit(stored, one, at) })
	return err
}

func (m *meetingTask[K, L, R, W]) emit(stored []byte, one met[L, R], at operators.Time) error {
	m.ctx.Node = m.label
	v := m.pairs.join(one.value, one.has, one.other, one.found)
	k, err := m.key.Decode(stored)
	if err != nil {
		return fmt.Errorf("step %q: decode a key of its store as %s: %w", m.label, m.key.ID(), err)
	}
	return m.next(k, v, at)
}

func (m *meetingTask[K, L, R, W]) forget(now operators.Time) error {
	for _, forget := range []func(operators.Time) (operators.Time, error){m.left.forget, m.right.forget} {
		due, err := forget(now)
		if err != nil {
			return err
		}
		m.clock.set(due)
	}
	return nil
}

// joinBuffer keeps the records of one side by segment of time, key and time.
type joinBuffer[V any] struct {
	label   string
	segment int64
	keep    int64     // by how much the watermark must be past a record for none to meet it any more
	alone   bool      // records that meet none have a result too
	own     func(V) V // nil: a value can be kept as it is
	rows    *statestore.Window[[]joinRow[V]]
	due     *statestore.Window[none] // keys with records that have met none, by when they never will
	time    []byte                   // scratch
}

// joinRow is one record of a key and a time; there may be several.
type joinRow[V any] struct {
	value V
	met   bool
}

func (b *joinBuffer[V]) open(t *task, store string, value codec.Codec[V]) error {
	id, err := t.store(store)
	if err != nil {
		return err
	}
	due, err := t.store(store + dueState)
	if err != nil {
		return err
	}
	b.own = ownerOf[V]()
	b.rows = statestore.NewWindow(t.rt.DB, id, joinRowsCodec[V]{value})
	b.due = statestore.NewWindow(t.rt.DB, due, noneCodec{})
	return nil
}

func (b *joinBuffer[V]) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("step %q: update its store: %w", b.label, err)
}

func (b *joinBuffer[V]) sub(t operators.Time) []byte {
	b.time = appendTime(b.time[:0], t)
	return b.time
}

// put keeps a record and returns when there is something to do because of it.
func (b *joinBuffer[V]) put(key []byte, t operators.Time, v V, met bool) (operators.Time, error) {
	segment := floor(t, b.segment)
	rows, _, err := b.rows.Update(segment, key, b.sub(t))
	if err != nil {
		return operators.MaxTime, b.wrap(err)
	}
	if b.own != nil {
		v = b.own(v)
	}
	*rows = append(slices.Clip(*rows), joinRow[V]{v, met})
	if !b.alone || met {
		return b.forgets(segment), nil
	}
	due := operators.Later(t, b.keep)
	return due, b.wrap(b.due.Put(due, key, nil, none{}))
}

// forgets is when a segment is of no use any more.
func (b *joinBuffer[V]) forgets(segment operators.Time) operators.Time {
	return operators.Later(segment+b.segment-1, b.keep)
}

// meet yields the records of a key from a time to another, in the order of time.
func (b *joinBuffer[V]) meet(key []byte, from, to operators.Time, yield func(V, operators.Time) error) error {
	for segment := floor(from, b.segment); segment <= to; segment += b.segment {
		for sub, rows := range b.rows.Range(segment, key) {
			at := timeOf(sub)
			if at < from || at > to {
				continue
			}
			if err := b.meetAll(segment, key, at, rows, yield); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *joinBuffer[V]) meetAll(segment operators.Time, key []byte, at operators.Time, rows []joinRow[V], yield func(V, operators.Time) error) error {
	if b.alone && slices.ContainsFunc(rows, func(r joinRow[V]) bool { return !r.met }) {
		rows = slices.Clone(rows) // the store's own are not to be changed
		for i := range rows {
			rows[i].met = true
		}
		if err := b.rows.Put(segment, key, b.sub(at), rows); err != nil {
			return b.wrap(err)
		}
	}
	for i := range rows {
		if err := yield(rows[i].value, at); err != nil {
			return err
		}
	}
	return nil
}

// settle yields the records that are due at a time and have met none, and forgets that they were due.
func (b *joinBuffer[V]) settle(due operators.Time, yield func(stored []byte, v V, at operators.Time) error) error {
	at := due - b.keep
	for k := range b.due.All(due) {
		rows, _, err := b.rows.Get(floor(at, b.segment), k.Key, b.sub(at))
		if err != nil {
			return b.wrap(err)
		}
		for i := range rows {
			if rows[i].met {
				continue
			}
			if err := yield(k.Key, rows[i].value, at); err != nil {
				return err
			}
		}
	}
	return b.wrap(b.due.Drop(due))
}

// forget drops the segments that are of no use any more, and returns when there will be another.
func (b *joinBuffer[V]) forget(now operators.Time) (operators.Time, error) {
	for {
		segment, ok, err := b.rows.First()
		if err != nil || !ok {
			return operators.MaxTime, b.wrap(err)
		}
		if at := b.forgets(segment); at > now {
			return at, nil
		}
		if err := b.rows.Drop(segment); err != nil {
			return operators.MaxTime, b.wrap(err)
		}
	}
}
