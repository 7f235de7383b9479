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
	// pruneParts is into how many parts the history is cut: keys are looked through once per part of it in which they
	// were updated, and versions stay for up to a part longer than they must.
	pruneParts = 4
	// minPrunePart keeps tables of a short history from looking through their keys all the time, in milliseconds.
	minPrunePart = 1000
	// maxPruned is up to how many versions of a key are deleted one by one. More go by a range, which costs the state's
	// readers something until it is compacted away.
	maxPruned = 64
)

// versionedRows is a versioned table in a task.
type versionedRows[K, V any] struct {
	*versionedNode[K, V]
	ctx    *operators.Context
	keys   *keyEncoder[K]
	own    func(V) V // nil: a value can be kept as it is
	drop   func(step string)
	next   emitChange[K, V]
	newest *statestore.Value[row[optional[V]]]
	older  *statestore.Map[optional[V]]
	// due are the keys that may have versions which nobody can reach, by the time from which on they cannot.
	due  *statestore.Window[none]
	part int64 // of the history, in milliseconds: times in due are at its multiples
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
		versionedNode: n, ctx: t.rt.Context, keys: newKeyEncoder(n.key), own: ownerOf[V](), drop: func(string) {}, next: next,
		part: max(n.history/pruneParts, minPrunePart),
	}
	if l := t.rt.Listener; l != nil && l.Late != nil {
		v.drop = l.Late
	}
	if v.newest, err = n.newest.open(t); err != nil {
		return nil, err
	}
	if v.older, err = n.older.open(t); err != nil {
		return nil, err
	}
	due, err := t.store(n.label + dueState)
	if err != nil {
		return nil, err
	}
	v.due = statestore.NewWindow(t.rt.DB, due, noneCodec{})
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
		return v.first(k, key, row[optional[V]]{t, o})
	case t < r.time:
		return v.wrap(v.insert(key, row[optional[V]]{t, o}, r.time))
	}
	was := *r
	if err := v.newest.Touch(); err != nil {
		return v.wrap(err)
	}
	r.time, r.value = t, o
	if was.time < t {
		if err := v.older.Put(key, v.version(was.time), was.value); err != nil {
			return v.wrap(err)
		}
	}
	if err := v.prunes(key, t); err != nil || !was.value.has && !o.has {
		return v.wrap(err)
	}
	return v.next(k, Change[V]{Old: was.value.value, HasOld: was.value.has, New: o.value, HasNew: o.has}, t)
}

// first takes the first version of a row. A deletion is kept for the sake of older updates that may follow.
func (v *versionedRows[K, V]) first(k K, key []byte, r row[optional[V]]) error {
	if err := v.newest.Put(key, r); err != nil {
		return v.wrap(err)
	}
	if !r.value.has {
		return v.wrap(v.prunes(key, r.time))
	}
	return v.next(k, Change[V]{New: r.value.value, HasNew: true}, r.time)
}

// insert takes a version that is older than the newest one.
func (v *versionedRows[K, V]) insert(key []byte, r row[optional[V]], newest operators.Time) error {
	if err := v.older.Put(key, v.version(r.time), r.value); err != nil {
		return err
	}
	if err := v.prunes(key, r.time); err != nil {
		return err
	}
	return v.prunes(key, newest)
}

// prunes notes that a key has versions that nobody can reach once a time is out of reach.
func (v *versionedRows[K, V]) prunes(key []byte, t operators.Time) error {
	due := operators.Later(floor(operators.Later(t, v.history), v.part), v.part)
	for _, c := range v.clocks {
		c.set(due)
	}
	return v.due.Put(due, key, nil, none{})
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

// act forgets what no reader can reach any more, up to a number of keys; the rest comes the next time.
func (v *versionedRows[K, V]) act(operators.Time) error {
	v.ctx.Node = v.label
	watermark := v.watermark()
	for patience := maxRemovals; patience > 0; {
		due, ok, err := v.due.First()
		if err != nil {
			return v.wrap(err)
		}
		if !ok || due > watermark {
			break
		}
		n, err := v.pruneAll(due, v.reach(watermark), patience)
		if err != nil {
			return v.wrap(err)
		}
		patience -= n
	}
	return v.rewind()
}

// rewind sets the clocks by what the store holds.
func (v *versionedRows[K, V]) rewind() error {
	due, ok, err := v.due.First()
	if err != nil || !ok {
		return v.wrap(err)
	}
	behind := false
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

// pruneAll prunes up to n keys that are due at a time, and returns their number.
func (v *versionedRows[K, V]) pruneAll(due, bound operators.Time, n int) (done int, err error) {
	for k := range v.due.All(due) {
		if err := v.prune(k.Key, bound); err != nil {
			return done, err
		}
		if err := v.due.Delete(due, k.Key, nil); err != nil {
			return done, err
		}
		if done++; done == n {
			break
		}
	}
	return done, nil
}

// prune forgets what a row was before the bound, save what it was at the bound. There a row that is deleted needs
// nothing that says so.
func (v *versionedRows[K, V]) prune(key []byte, bound operators.Time) error {
	r, found, err := v.newest.Ref(key)
	if err != nil {
		return err
	}
	atBound := !found || r.time > bound // the first of the older versions is the row at the bound
	if !atBound && !r.value.has {
		if err := v.newest.Delete(key); err != nil {
			return err
		}
	}
	pruned := 0
	for sub, o := range v.older.Between(key, v.version(bound), nil) {
		if atBound {
			atBound = false
			if o.has {
				continue
			}
		}
		if pruned == maxPruned {
			return v.older.DeleteRange(key, sub, nil)
		}
		if err := v.older.Delete(key, sub); err != nil {
			return err
		}
		pruned++
	}
	return nil
}
