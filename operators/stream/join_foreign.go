// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// A join by foreign key runs in three places, one after the other:
//
//	t's task             repartition "-requests"      right's task           repartition "-answers"   result's task
//	version per key ──── by foreign key ────────────▶ who asked for what ──── by t's key ───────────▶ newest version,
//	                     match, leave, end            right's rows                                    rows
//
// Each change of a row of t gets the next version of its key. If the row refers to another row of right than before,
// the former one's task is told that the row has left, the new one's that it matches. That one answers, then
// and whenever its row of right changes. So each version is answered by exactly one task; but the tasks of
// two versions may be differently far, and answers of the former come late. The result takes those only whose
// version is not below one that it has seen. Nothing flows back, so nobody waits for anybody.
//
// The version of a key must not begin anew while answers to an older one may be on their way, which nobody can know.
// So it is kept for good, beside t and beside the result: a few bytes for each key that was ever there.

// JoinForeign is the table of t's rows, each with fn of its value and that of the row of right whose key it refers
// to. key takes that key from a value; false: it refers to none. A change of a row of right changes all rows that
// refer to it. The rows of the result are kept in the store of this name, the values of t and who refers to what in
// others that begin with it. fn must give equal results for equal values. The codec is needed if W has none of its
// own (see UseCodec).
func (t Table[K, V]) JoinForeign[F, R, W any](name string, key func(V) (F, bool), right Table[F, R], fn func(v V, r R) W, value ...codec.Codec[W]) Table[K, W] {
	c := choose(t.p, name, value, carry[W](t.p, t.value))
	return joinForeign(&foreign[K, V, F, R, W]{name: name, left: t, right: right, key: key, value: c,
		pair: func(v V, hasV bool, r R, hasR bool) (w W, ok bool) {
			if !hasV || !hasR {
				return w, false
			}
			return fn(v, r), true
		}})
}

// LeftJoinForeign is JoinForeign for every row of t: fn is told whether right has the row that it refers to.
func (t Table[K, V]) LeftJoinForeign[F, R, W any](name string, key func(V) (F, bool), right Table[F, R], fn func(v V, r R, found bool) W, value ...codec.Codec[W]) Table[K, W] {
	c := choose(t.p, name, value, carry[W](t.p, t.value))
	return joinForeign(&foreign[K, V, F, R, W]{name: name, left: t, right: right, key: key, value: c, keepsLeft: true,
		pair: func(v V, hasV bool, r R, hasR bool) (w W, ok bool) {
			if !hasV {
				return w, false
			}
			return fn(v, r, hasR), true
		}})
}

// foreign is a join by foreign key.
type foreign[K, V, F, R, W any] struct {
	name      string
	left      Table[K, V]
	right     Table[F, R]
	key       func(V) (F, bool)
	pair      pairing[V, R, W]
	keepsLeft bool // rows without a match are in the result
	value     codec.Codec[W]

	references    *storeRef[reference]
	requests      *writer[[]byte, request[V]]
	subscriptions *mapRef[subscription[V]]
	matching      rules // of the step beside right
	answers       *writer[[]byte, answer[W]]
	versions      *storeRef[uint64]
	rows          *keeper[K, W]
}

// joinForeign declares the join's steps.
func joinForeign[K, V, F, R, W any](f *foreign[K, V, F, R, W]) Table[K, W] {
	p := f.left.p
	if f.right.p != p {
		p.fail(f.name, fmt.Sprintf("it joins a table of pipeline %q", f.right.p.Name()), "join tables of one pipeline")
		_, table := newKeeper(p, p.addNamed("foreign-join", f.name, f.left.n.id), f.left.key, f.value, "")
		return table
	}
	// Without the old sides, rows that a Filter takes out would be missed.
	f.left.n.wantOld()
	f.right.n.wantOld()
	requests := f.declareRequests(p)
	answers := f.declareMatches(p, requests)
	n := p.addNamed("foreign-join", f.name, answers.id)
	p.addStore(n, topology.Store{
		Name: f.name + ".versions", Kind: topology.ValueStore, KeyCodec: idOf(f.left.key), ValueCodec: "uvarint", Plain: true,
	})
	f.versions = &storeRef[uint64]{name: f.name + ".versions", codec: versionCodec{}}
	keep, table := newKeeper(p, n, f.left.key, f.value, "give it as the last argument")
	keep.rules, table.rules = p.stepRules(f.left.rules, n), f.left.rules
	f.rows = keep
	answers.children = append(answers.children, f.openResult)
	return table
}

// declareRequests declares the step beside t, and returns the source of what it sends.
func (f *foreign[K, V, F, R, W]) declareRequests(p *Pipeline) *sourceNode[[]byte, request[V]] {
	n := p.add(topology.KindRepartition, part(f.name, "requests"), f.left.n.id)
	p.addStore(n, topology.Store{
		Name: f.name + ".references", Kind: topology.ValueStore, KeyCodec: idOf(f.left.key), ValueCodec: referenceCodec{}.ID(), Plain: true,
	})
	f.references = &storeRef[reference]{name: f.name + ".references", codec: referenceCodec{}}
	c := requestCodec[V]{f.left.value}
	f.requests = &writer[[]byte, request[V]]{label: n.Label, rules: p.stepRules(f.left.rules, n), key: codec.Bytes, value: c}
	src := &sourceNode[[]byte, request[V]]{key: codec.Bytes, value: c, keyID: idOf(f.right.key)}
	if need(p, n.Label, "the value", f.left.value, "add .WithValue(codec) before it") != "" {
		src.valueID = c.ID()
	}
	through(p, n, f.requests, src)
	f.left.n.children = append(f.left.n.children, f.openRequests)
	return src
}

// declareMatches declares the step beside right, and returns the source of what it sends.
func (f *foreign[K, V, F, R, W]) declareMatches(p *Pipeline, requests *sourceNode[[]byte, request[V]]) *sourceNode[K, answer[W]] {
	match := p.add("foreign-match", "", requests.id, f.right.n.id)
	p.addStore(match, topology.Store{
		Name: f.name + ".subscriptions", Kind: topology.MapStore, KeyCodec: idOf(f.right.key), SubKeyCodec: idOf(f.left.key),
		ValueCodec: "subscription:" + idOf(f.left.value), Plain: true,
	})
	f.matching = p.stepRules(f.left.rules, match)
	f.subscriptions = &mapRef[subscription[V]]{name: f.name + ".subscriptions", codec: subscriptionCodec[V]{f.left.value}}
	n := p.add(topology.KindRepartition, part(f.name, "answers"), match.ID)
	c := answerCodec[W]{f.value}
	f.answers = &writer[[]byte, answer[W]]{label: n.Label, key: codec.Bytes, value: c}
	src := &sourceNode[K, answer[W]]{key: f.left.key, value: c, keyID: idOf(f.left.key), valueID: "answer:" + idOf(f.value)}
	through(p, n, f.answers, src)
	requests.children = append(requests.children, f.openMatches)
	f.right.n.children = append(f.right.n.children, f.openRight)
	return src
}

// part names a topic of a step that has several.
func part(step, topic string) string {
	if step == "" {
		return "" // reported where the step itself is declared
	}
	return step + "-" + topic
}

// idOf is the id of a codec whose absence is reported elsewhere.
func idOf[T any](c codec.Codec[T]) string {
	if c == nil {
		return ""
	}
	return c.ID()
}

// openRequests makes what sends the changes of t to the rows of right.
func (f *foreign[K, V, F, R, W]) openRequests(t *task) (emitChange[K, V], error) {
	store, err := f.references.open(t)
	if err != nil {
		return nil, err
	}
	g := t.guard(f.name, f.requests.rules)
	send, err := f.requests.write(t, g)
	if err != nil {
		return nil, err
	}
	c := caller{ctx: t.rt.Context, label: f.name}
	keys, foreigns := newKeyEncoder(f.left.key), newKeyEncoder(f.right.key)
	return guardedChanges(g, true, func(k K, ch Change[V], tm operators.Time) error {
		c.enter()
		pk, err := keys.encode(c.ctx, k)
		if err != nil {
			return err
		}
		var to []byte // nil: nowhere
		if ch.HasNew {
			if key, ok := f.key(ch.New); ok {
				if to, err = foreigns.encode(c.ctx, key); err != nil {
					return err
				}
			}
		}
		was, found, err := store.Get(pk)
		if err != nil {
			return fmt.Errorf("step %q: read its store: %w", f.name, err)
		}
		if to == nil && was.to == nil && (!f.keepsLeft || !found && !ch.HasNew) {
			return nil // It has no row in the result, and gets none.
		}
		is := reference{version: was.version + 1, to: was.to}
		if to == nil || !bytes.Equal(to, was.to) {
			is.to = bytes.Clone(to)
		}
		if err := store.Put(pk, is); err != nil {
			return fmt.Errorf("step %q: update its store: %w", f.name, err)
		}
		r := request[V]{kind: end, version: is.version, pk: pk}
		if f.keepsLeft || is.to != nil {
			r.row = optional[V]{value: ch.New, has: ch.HasNew}
		}
		return ask(send, r, was.to, is.to, tm)
	}), nil
}

// ask tells the rows of right which a row referred to before and refers to now; nil: to none.
func ask[V any](send emit[[]byte, request[V]], r request[V], was, is []byte, tm operators.Time) error {
	switch {
	case is == nil && was == nil:
		// Any task can answer this. That of the row's own key gets all such requests of the row in order.
		return send(r.pk, r, tm)
	case is == nil:
		return send(was, r, tm)
	case was != nil && !bytes.Equal(was, is):
		if err := send(was, request[V]{kind: leave, version: r.version, pk: r.pk}, tm); err != nil {
			return err
		}
	}
	r.kind = match
	return send(is, r, tm)
}

// answering is how the steps beside right answer. Each answer is a unit.
type answering[V, R, W any] struct {
	caller
	guard *guard
	send  emit[[]byte, answer[W]]
	pair  pairing[V, R, W]
}

// answer tells the result of a request, with the row of right or without. A row that cannot be made, and that a policy
// drops, is not in the result.
func (a *answering[V, R, W]) answer(q request[V], r R, hasR bool, tm operators.Time) error {
	if a.guard == nil {
		return a.tell(q, r, hasR, tm)
	}
	return a.guarded(q, r, hasR, tm)
}

func (a *answering[V, R, W]) guarded(q request[V], r R, hasR bool, tm operators.Time) error {
	dropped, err := a.guard.try(operators.PhaseProcess, func() error { return a.tell(q, r, hasR, tm) })
	if err != nil || !dropped {
		return err
	}
	return a.send(q.pk, answer[W]{version: q.version}, tm)
}

func (a *answering[V, R, W]) tell(q request[V], r R, hasR bool, tm operators.Time) error {
	a.enter()
	w, ok := a.pair(q.row.value, q.row.has, r, hasR)
	return a.send(q.pk, answer[W]{version: q.version, row: optional[W]{value: w, has: ok}}, tm)
}

func (f *foreign[K, V, F, R, W]) openAnswering(t *task) (*answering[V, R, W], error) {
	g := t.guard(f.name, f.matching)
	send, err := f.answers.write(t, g)
	return &answering[V, R, W]{caller{ctx: t.rt.Context, label: f.name}, g, send, f.pair}, err
}

// openMatches makes what takes requests.
func (f *foreign[K, V, F, R, W]) openMatches(t *task) (emit[[]byte, request[V]], error) {
	subscriptions, err := f.subscriptions.open(t)
	if err != nil {
		return nil, err
	}
	rows, err := f.right.n.rows(t)
	if err != nil {
		return nil, err
	}
	a, err := f.openAnswering(t)
	if err != nil {
		return nil, err
	}
	return func(to []byte, q request[V], tm operators.Time) error {
		a.enter()
		if q.kind != match {
			if err := subscriptions.Delete(to, q.pk); err != nil {
				return fmt.Errorf("step %q: delete from its store: %w", f.name, err)
			}
			if q.kind == leave {
				return nil
			}
			var none R
			return a.answer(q, none, false, tm)
		}
		if err := subscriptions.Put(to, q.pk, subscription[V]{version: q.version, row: row[V]{time: tm, value: q.row.value}}); err != nil {
			return fmt.Errorf("step %q: update its store: %w", f.name, err)
		}
		k, err := f.right.key.Decode(to)
		if err != nil {
			return fmt.Errorf("step %q: decode a foreign key as %s: %w", f.name, f.right.key.ID(), err)
		}
		r, found, err := rows(k, to)
		if err != nil {
			return err
		}
		return a.answer(q, r.value, found, latest(tm, true, r.time, found))
	}, nil
}

// openRight makes what takes the changes of right, each of which changes all rows that refer to its key.
func (f *foreign[K, V, F, R, W]) openRight(t *task) (emitChange[F, R], error) {
	subscriptions, err := f.subscriptions.open(t)
	if err != nil {
		return nil, err
	}
	a, err := f.openAnswering(t)
	if err != nil {
		return nil, err
	}
	keys := newKeyEncoder(f.right.key)
	return func(k F, ch Change[R], tm operators.Time) error {
		a.enter()
		key, err := keys.encode(a.ctx, k)
		if err != nil {
			return err
		}
		for pk, s := range subscriptions.Range(key) {
			q := request[V]{version: s.version, pk: pk, row: optional[V]{value: s.row.value, has: true}}
			if err := a.answer(q, ch.New, ch.HasNew, max(tm, s.row.time)); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// openResult makes what takes answers.
func (f *foreign[K, V, F, R, W]) openResult(t *task) (emit[K, answer[W]], error) {
	versions, err := f.versions.open(t)
	if err != nil {
		return nil, err
	}
	g := t.guard(f.name, f.rows.rules)
	set, err := f.rows.run(t, g)
	if err != nil {
		return nil, err
	}
	ctx, keys := t.rt.Context, newKeyEncoder(f.left.key)
	return guardedStep(g, func(k K, a answer[W], tm operators.Time) error {
		ctx.Node = f.name
		key, err := keys.encode(ctx, k)
		if err != nil {
			return err
		}
		seen, _, err := versions.Get(key)
		if err != nil {
			return fmt.Errorf("step %q: read its store: %w", f.name, err)
		}
		if a.version < seen {
			return nil // The row has moved on.
		}
		if a.version > seen {
			if err := versions.Put(key, a.version); err != nil {
				return fmt.Errorf("step %q: update its store: %w", f.name, err)
			}
		}
		return set(k, a.row, tm)
	}), nil
}
