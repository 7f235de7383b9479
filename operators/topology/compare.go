// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Verdict says what becomes of a part of a pipeline's state when another release goes on with it.
type Verdict string

// The verdicts.
const (
	Kept     Verdict = "kept"     // as it is
	Migrated Verdict = "migrated" // values are upgraded when they are read
	New      Verdict = "new"      // it begins empty
	Dropped  Verdict = "dropped"  // the new release says that it may go
	Refused  Verdict = "refused"  // the new release cannot go on with it
)

// Part is the kind of what a Change is about.
type Part string

// The parts of a pipeline that outlive a release.
const (
	PartSubTopology Part = "sub-topology"
	PartSource      Part = "source topic"
	PartRepartition Part = "repartition topic"
	PartStore       Part = "store"
)

// Change is what becomes of one part.
type Change struct {
	Part    Part    `json:"part"`
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"` // why, or what follows
}

// Compare says of every sub-topology, source topic, repartition topic and store of two releases what becomes of it,
// in this order and then by name. A change that Compatible refuses has the verdict Refused, with what to do about it.
func Compare(old, new *Topology) []Change {
	c := comparison{old: old, new: new}
	c.subTopologies()
	c.sources()
	c.repartitions()
	c.stores()
	order := map[Part]int{PartSubTopology: 0, PartSource: 1, PartRepartition: 2, PartStore: 3}
	slices.SortStableFunc(c.changes, func(a, b Change) int {
		return cmp.Or(order[a.Part]-order[b.Part], strings.Compare(a.Name, b.Name))
	})
	return c.changes
}

type comparison struct {
	old, new *Topology
	changes  []Change
}

func (c *comparison) add(part Part, name string, v Verdict, detail string) {
	c.changes = append(c.changes, Change{part, name, v, detail})
}

func (c *comparison) subTopologies() {
	for i := range max(len(c.old.SubTopologies), len(c.new.SubTopologies)) {
		name := fmt.Sprint(i)
		switch {
		case i >= len(c.old.SubTopologies):
			c.add(PartSubTopology, name, New, "its tasks begin empty, with what is written to its topics from then on")
		case i >= len(c.new.SubTopologies):
			c.add(PartSubTopology, name, Dropped, "")
		default:
			c.add(PartSubTopology, name, Kept, "")
		}
	}
}

func (c *comparison) sources() {
	was, is := c.old.UserSources(), c.new.UserSources()
	for _, topic := range was {
		if slices.Contains(is, topic) {
			c.add(PartSource, topic, Kept, "")
		} else {
			c.add(PartSource, topic, Dropped, "it is no longer read")
		}
	}
	for _, topic := range is {
		if !slices.Contains(was, topic) {
			c.add(PartSource, topic, New, "it is read from its start")
		}
	}
}

func (c *comparison) repartitions() {
	was, is := internalSources(c.old), internalSources(c.new)
	for name, src := range was {
		now, ok := is[name]
		switch errs := c.new.acceptsRepartition(src); {
		case !ok && c.new.Drops(name):
			c.add(PartRepartition, name, Dropped, "what is in flight in it is lost")
		case len(errs) > 0:
			c.add(PartRepartition, name, Refused, errors.Join(errs...).Error())
		case len(history(now.FormerValueCodecs, now.ValueCodec)) > len(history(src.FormerValueCodecs, src.ValueCodec)):
			c.add(PartRepartition, name, Migrated, migration(src.ValueCodec, now.ValueCodec))
		default:
			c.add(PartRepartition, name, Kept, "")
		}
	}
	for name := range is {
		if _, had := was[name]; !had {
			c.add(PartRepartition, name, New, "it is created")
		}
	}
}

func internalSources(t *Topology) map[string]Source {
	sources := map[string]Source{}
	for _, s := range t.SubTopologies {
		for _, src := range s.Sources {
			if src.Internal {
				sources[src.Topic] = src
			}
		}
	}
	return sources
}

func (c *comparison) stores() {
	for i := range c.old.SubTopologies {
		sub := &c.old.SubTopologies[i]
		for _, was := range sub.Stores {
			c.store(sub, was)
		}
	}
	for i := range c.new.SubTopologies {
		for _, is := range c.new.SubTopologies[i].Stores {
			if _, had := c.old.Store(is.Name); had == nil {
				c.add(PartStore, is.Name, New, "it begins empty")
			}
		}
	}
}

func (c *comparison) store(sub *SubTopology, was Store) {
	is, now := c.new.Store(was.Name)
	errs := c.new.accepts(sub.ID, was)
	switch {
	case now == nil && c.new.Drops(was.Name):
		c.add(PartStore, was.Name, Dropped, fmt.Sprintf("its state, of kind %s, goes", was.Kind))
	case len(errs) > 0:
		c.add(PartStore, was.Name, Refused, errors.Join(errs...).Error())
	case !slices.Equal(sub.keyPath(was.Node), now.keyPath(is.Node)):
		c.add(PartStore, was.Name, Kept, fmt.Sprintf("its keys came from %s and come from %s: what it holds stays", strings.Join(sub.keyPath(was.Node), ", "), strings.Join(now.keyPath(is.Node), ", ")))
	case len(is.FormerValueCodecs) > len(was.FormerValueCodecs):
		c.add(PartStore, was.Name, Migrated, migration(was.ValueCodec, is.ValueCodec))
	default:
		c.add(PartStore, was.Name, Kept, "")
	}
}

func migration(from, to string) string {
	return fmt.Sprintf("values of %q are upgraded to %q when they are read", from, to)
}
