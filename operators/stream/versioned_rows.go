// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

const (
	// forgetParts is into how many parts the history is cut: what is out of reach is forgotten a part at a time, which
	// takes one look for all that is due.
	forgetParts = 64
	// minForgetPart keeps tables of a short history from looking all the time, in milliseconds.
	minForgetPart = 1000
)

// versionedRows is a versioned table in a task.
type versionedRows[K, V any] struct {
	*versionedNode[K, V]
	ctx    *operators.Context
	keys   *keyEncoder[K]
	own    func(V) V // nil: a value can be kept as it is
	drop   func(step string)
	guard  *guard
	next   emitChange[K, V]
	newest *statestore.Value[row[optional[V]]]
	older  *statestore.Map[optional[V]]
	// retired are the versions that nobody can reach once a time is out of reach, by that time, key and version. The
	// history is not part of it, and may change.
	retired *statestore.Window[none]
	part    int64 // milliseconds: times in retired are at its multiples
	// clocks are those of the readers, or the table's own if nobody reads it as of a time.
	clocks []*clock
	sub    []byte // scratch
}

// open makes the rows once per task.
func (n *versionedNode[K, V]) open(t *task) (*versionedRows[K, V], error) {
	if made, ok := t.made[n]; ok {
		return made.(*versionedRows[K, V]), nil
	}
	next, err := n.latest.open(t)
	if err != nil {
		return nil, err
	}
	if next == nil {
		next = func(K, Change[V], operators.Time) error { return nil }
	}
	v := &versionedRows[K, V]{
		versionedNode: n, ctx: t.rt.Context, keys: newKeyEncoder(n.key), own: ownerOf[V](), drop: func(string) {}, guard: t.guard(n.label, n.rules),
		part: max(n.history/forgetParts, minForgetPart),
	}
	v.next = holdChanges(v.guard, next)
	if l := t.rt.Listener; l != nil && l.Late != nil {
		v.drop = l.Late
	}
	if v.newest, err = n.newest.open(t); err != nil {
		return nil, err
	}
	if v.older, err = n.older.open(t); err != nil {
		return nil, err
	}
	retired, err := t.store(n.label + retiredState)
	if err != nil {
		return nil, err
	}
	v.retired = statestore.NewWindow(t.rt.DB, retired, noneCodec{})
	if len(n.readers) == 0 {
		v.clocks = []*clock{t.eventClock(n.id, v.act)}
	}
	for _, reader := range n.readers {
		v.clocks = append(v.clocks, t.eventClock(reader, v.act))
	}
	t.atRestart(v.rewind)
	t.made[n] = v
	return v, nil
}

func (v *versionedRows[K, V]) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("step %q: update its stores: %w", v.label, err)
}

// watermark is that of the slowest reader, which is earlier than the table's if steps before it hold results back.
func (v *versionedRows[K, V]) watermark() operators.Time {
	watermark := operators.MaxTime
	for _, c := range v.clocks {
		watermark = min(watermark, c.watermark())
	}
	return watermark
}

// reach is how far back one can look at a watermark.
func (v *versionedRows[K, V]) reach(watermark operators.Time) operators.Time {
	return operators.Later(watermark, -v.history)
}

// lateFor returns what tells the records of a reader that are too old to be looked up.
func (v *versionedRows[K, V]) lateFor(reader int) func(operators.Time) bool {
	own := v.clocks[slices.Index(v.readers, reader)]
	return func(t operators.Time) bool { return t < v.reach(own.watermark()) }
}

func (v *versionedRows[K, V]) version(t operators.Time) []byte {
	v.sub = topology.AppendVersionTime(v.sub[:0], t)
	return v.sub
}

// put takes an update. One that is too old to be kept could come back as the row where a deletion after it has been
// forgotten.
func (v *versionedRows[K, V]) put(k K, o optional[V], t operators.Time) error {
	v.ctx.Node = v.label
	if t < v.reach(v.watermark()) {
		v.drop(v.label)
		return nil
	}
	key, err := v.keys.encode(v.ctx, k)
	if err != nil {
		return err
	}
	if v.own != nil && o.has {
		o.value = v.own(o.value)
	}
	r, found, err := v.newest.Ref(key)
	switch {
	case err != nil:
		return v.wrap(err)
	case !found:
		if err := v.newest.Put(key, row[optional[V]]{t, o}); err != nil {
			return v.wrap(err)
		}
		return v.changed(k, key, Change[V]{New: o.value, HasNew: o.has}, t)
	case t < r.time:
		return v.wrap(v.retire(key, row[optional[V]]{t, o}, r.time))
	}
	was := *r
	if err := v.newest.Touch(); err != nil {
		return v.wrap(err)
	}
	r.time, r.value = t, o
	if was.time < t {
		if err := v.retire(key, was, t); err != nil {
			return v.wrap(err)
		}
	}
	return v.changed(k, key, Change[V]{Old: was.value.value, HasOld: was.value.has, New: o.value, HasNew: o.has}, t)
}

// changed ends an update of the newest version. One that is a deletion stays for the sake of older updates that may
// follow, as long as they are taken.
func (v *versionedRows[K, V]) changed(k K, key []byte, c Change[V], t operators.Time) error {
	if !c.HasNew {
		if err := v.forgetOnce(key, nil, t); err != nil || !c.HasOld {
			return v.wrap(err)
		}
	}
	return v.next(k, c, t)
}

// retire keeps a version among the older ones. It has been followed by another, whose time is not later than until.
func (v *versionedRows[K, V]) retire(key []byte, r row[optional[V]], until operators.Time) error {
	version := v.version(r.time)
	if err := v.older.Put(key, version, r.value); err != nil {
		return err
	}
	return v.forgetOnce(key, version, until)
}

// forgetOnce has a version forgotten once a time is out of reach, or, without one, the newest if it is a deletion.
func (v *versionedRows[K, V]) forgetOnce(key, version []byte, t operators.Time) error {
	at := floor(operators.Later(t, v.part-1), v.part)
	due := operators.Later(at, v.history)
	for _, c := range v.clocks {
		c.set(due)
	}
	return v.retired.Put(at, key, version, none{})
}

// asOf returns a row as it was at a time.
func (v *versionedRows[K, V]) asOf(key []byte, t operators.Time) (value V, found bool, err error) {
	r, found, err := v.newest.Ref(key)
	if err != nil {
		return value, false, fmt.Errorf("step %q: read its store: %w", v.label, err)
	}
	if !found {
		return value, false, nil
	}
	if r.time <= t {
		return r.value.value, r.value.has, nil
	}
	for _, o := range v.older.Between(key, v.version(t), nil) {
		return o.value, o.has, nil
	}
	return value, false, nil
}

// act forgets what no reader can reach any more. If that is much it leaves a part for the next time.
func (v *versionedRows[K, V]) act(operators.Time) error {
	v.ctx.Node = v.label
	reach := v.reach(v.watermark())
	for patience := maxRemovals; patience > 0; {
		at, ok, err := v.retired.First()
		if err != nil {
			return v.wrap(err)
		}
		if !ok || at > reach {
			break
		}
		n, err := v.forget(at, reach)
		if err != nil {
			return v.wrap(err)
		}
		patience -= n
	}
	return v.rewind()
}

// rewind sets the clocks by what the store holds.
func (v *versionedRows[K, V]) rewind() error {
	at, ok, err := v.retired.First()
	if err != nil || !ok {
		return v.wrap(err)
	}
	due, behind := operators.Later(at, v.history), false
	for _, c := range v.clocks {
		if c.watermark() < due {
			c.set(due)
			behind = true
		}
	}
	if !behind {
		v.clocks[0].set(due)
	}
	return nil
}

// forget forgets the versions that retired at a time, and returns their number. None can come back: updates of their times
// are late.
func (v *versionedRows[K, V]) forget(at, reach operators.Time) (n int, err error) {
	for k := range v.retired.All(at) {
		if len(k.Sub) > 0 {
			err = v.older.Delete(k.Key, k.Sub)
		} else {
			err = v.forgetDeletion(k.Key, reach)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, v.retired.Drop(at)
}

// forgetDeletion forgets the newest version of a row if it is a deletion that is out of reach: nothing says the same.
func (v *versionedRows[K, V]) forgetDeletion(key []byte, reach operators.Time) error {
	r, found, err := v.newest.Ref(key)
	if err != nil || !found || r.value.has || r.time > reach {
		return err
	}
	return v.newest.Delete(key)
}
