// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

const (
	// maxRemovals bounds what is removed of expired state whenever time passes; the rest comes the next time.
	maxRemovals = 256
	// maxTaken bounds how many keys of one time are in memory at once.
	maxTaken = 256
)

// agenda is what a step has to do in one kind of time: timers that fire and state that expires. All of it is done in
// the order of time, so that what a timer finds does not depend on how far time went at once.
type agenda struct {
	label string
	clock *clock
	lists []*dueList

	// of the time in progress
	keys  []byte // key and sub-key, one after the other
	taken []dueKey
}

// dueKey are the lengths of a key and a sub-key.
type dueKey struct{ key, sub int }

// dueList is what is to be done of one sort, by time, key and sub-key.
type dueList struct {
	agenda *agenda
	index  *statestore.Window[none]
	do     func(at operators.Time, key, sub []byte) error
	// patient says that it may be done later than it is due.
	patient bool
}

func (d *dueList) add(at operators.Time, key, sub []byte) error {
	d.agenda.clock.set(at)
	return d.index.Put(at, key, sub, none{})
}

func (d *dueList) remove(at operators.Time, key, sub []byte) error {
	return d.index.Delete(at, key, sub)
}

// addList opens the store of what is due, which the topology has under this name.
func (a *agenda) addList(t *task, store string, d *dueList) error {
	id, err := t.store(store)
	if err != nil {
		return err
	}
	d.agenda, d.index = a, statestore.NewWindow[none](t.rt.DB, id, noneCodec{})
	a.lists = append(a.lists, d)
	return nil
}

// act does what is due at now.
func (a *agenda) act(now operators.Time) error {
	patience := maxRemovals
	for {
		list, at, err := a.first(patience > 0)
		if err != nil {
			return err
		}
		if list == nil || at > now {
			return a.rewind()
		}
		n, err := a.do(list, at)
		if err != nil {
			return err
		}
		if list.patient {
			patience -= n
		}
	}
}

// rewind sets the clock by what the stores hold.
func (a *agenda) rewind() error {
	list, at, err := a.first(true)
	if err == nil && list != nil {
		a.clock.set(at)
	}
	return err
}

// first returns what is to be done next, nil if there is nothing.
func (a *agenda) first(patient bool) (next *dueList, at operators.Time, err error) {
	for _, d := range a.lists {
		if d.patient && !patient {
			continue
		}
		t, ok, err := d.index.First()
		if err != nil {
			return nil, 0, fmt.Errorf("step %q: look up what is due: %w", a.label, err)
		}
		if ok && (next == nil || t < at) {
			next, at = d, t
		}
	}
	return next, at, nil
}

// do takes keys of one time off the list and does what is to be done for each. It returns how many there were.
func (a *agenda) do(list *dueList, at operators.Time) (int, error) {
	a.keys, a.taken = a.keys[:0], a.taken[:0]
	for k := range list.index.All(at) {
		a.keys = append(append(a.keys, k.Key...), k.Sub...)
		a.taken = append(a.taken, dueKey{len(k.Key), len(k.Sub)})
		if len(a.taken) == maxTaken {
			break
		}
	}
	rest := a.keys
	for _, n := range a.taken {
		key, sub := rest[:n.key:n.key], rest[n.key:n.key+n.sub:n.key+n.sub]
		rest = rest[n.key+n.sub:]
		if err := list.remove(at, key, sub); err != nil {
			return 0, fmt.Errorf("step %q: remove what was due: %w", a.label, err)
		}
		if err := list.do(at, key, sub); err != nil {
			return 0, err
		}
	}
	return len(a.taken), nil
}

// none is the value of an entry whose key says it all.
type none struct{}

type noneCodec struct{}

func (noneCodec) ID() string                                { return "none" }
func (noneCodec) Append(dst []byte, _ none) ([]byte, error) { return dst, nil }
func (noneCodec) Decode([]byte) (none, error)               { return none{}, nil }

// dueStore is the store of a dueList.
func dueStore(subKeyCodec string) topology.Store {
	return topology.Store{Kind: topology.WindowStore, SubKeyCodec: subKeyCodec, ValueCodec: noneCodec{}.ID(), Plain: true}
}
