// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"errors"
	"fmt"
	"slices"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/operators/topology"
)

// written is what the manifests of a checkpoint say of a store.
type written struct {
	sub    int32
	codecs []string // of key, sub-key, and values, oldest first
}

// Plan says what becomes of each part of the application when the pipeline goes on with it, as topology.Compare does.
// What the application has recorded is the topology with which its life began. A release that came later in the same life
// may have added stores, or migrated values: the manifests tell. A Checkpoint of no round is compared by the record alone.
func (c *Checkpoint) Plan() ([]topology.Change, error) {
	if c.own == nil || c.recorded == nil {
		return nil, errors.New("compare the pipeline with the application: the one or the other has no topology; use the pipeline's own binary, and an application that has recorded its topology")
	}
	was, later, err := c.wrote()
	if err != nil {
		return nil, err
	}
	changes := topology.Compare(was, c.own)
	for name, w := range later {
		changes = slices.DeleteFunc(changes, func(ch topology.Change) bool { return ch.Part == topology.PartStore && ch.Name == name })
		i := slices.IndexFunc(changes, func(ch topology.Change) bool { return ch.Part == topology.PartStore && ch.Name > name })
		if i < 0 {
			i = len(changes)
		}
		changes = slices.Insert(changes, i, c.added(name, w))
	}
	return changes, nil
}

// wrote returns the recorded topology with the codecs that the manifests name, and the stores that it does not have.
func (c *Checkpoint) wrote() (*topology.Topology, map[string]written, error) {
	was := *c.recorded
	was.SubTopologies = slices.Clone(was.SubTopologies)
	stores := map[string]*topology.Store{}
	for i := range was.SubTopologies {
		sub := &was.SubTopologies[i]
		sub.Stores = slices.Clone(sub.Stores)
		for j := range sub.Stores {
			stores[sub.Stores[j].Name] = &sub.Stores[j]
		}
	}
	later := map[string]written{}
	for _, m := range c.manifests {
		for name, codecs := range m.Codecs {
			if len(codecs) < 3 {
				return nil, nil, fmt.Errorf("task %s: store %s: %w: it has the codecs %q, of key, sub-key and value were expected", m.Task, name, checkpoint.ErrCorrupt, codecs)
			}
			st := stores[name]
			switch {
			case st == nil && len(codecs) > len(later[name].codecs):
				later[name] = written{m.Task.SubTopology, codecs}
			case st != nil && len(codecs) > len(st.Codecs()):
				last := len(codecs) - 1
				st.FormerValueCodecs, st.ValueCodec = codecs[2:last], codecs[last]
			}
		}
	}
	return &was, later, nil
}

// added says what becomes of a store that a later release of the life has added. Its kind is not recorded, its id is a hash of
// its name, so that codecs and sub-topology are what can be compared.
func (c *Checkpoint) added(name string, w written) topology.Change {
	ch := topology.Change{Part: topology.PartStore, Name: name, Verdict: topology.Kept, Detail: "a later release of this life has added it"}
	st, sub := c.own.Store(name)
	now := st.Codecs()
	switch {
	case sub == nil && c.own.Drops(name):
		ch.Verdict, ch.Detail = topology.Dropped, "its state, which a later release of this life has added, goes"
	case sub == nil:
		ch.Verdict, ch.Detail = topology.Refused, fmt.Sprintf("a later release of this life has added it, and it has no step in the new pipeline; keep the step's name, or give its state up with Drop(%q)", name)
	case sub.ID != w.sub:
		ch.Verdict, ch.Detail = topology.Refused, fmt.Sprintf("it moved from sub-topology %d to %d; declare sources and repartitions in the order they had, new ones last", w.sub, sub.ID)
	case !extends(w.codecs, now):
		ch.Verdict, ch.Detail = topology.Refused, fmt.Sprintf("it was written with the codecs %q of key, sub-key and values, the pipeline has %q; upgrade its values by codec.Migrate, or give the step a new name", w.codecs, now)
	case len(now) > len(w.codecs):
		ch.Verdict, ch.Detail = topology.Migrated, fmt.Sprintf("values of %q are upgraded to %q when they are read", w.codecs[len(w.codecs)-1], st.ValueCodec)
	}
	return ch
}
