// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/streamd/streamd/operators"
)

// Maker makes the Processor of one task of a compiled sub-topology.
type Maker func(*SubTopology, *operators.Runtime) (operators.Processor, error)

// Compile validates the graph and cuts it into sub-topologies. The errors of the whole graph are joined.
func Compile(g *Graph, newProcessor Maker) (*Topology, error) {
	if err := g.validate(); err != nil {
		return nil, err
	}
	t := &Topology{Version: version, App: g.App, Dropped: slices.Sorted(slices.Values(g.Dropped))}
	t.Globals = slices.SortedFunc(slices.Values(g.Globals), func(a, b Global) int { return cmp.Compare(a.Topic, b.Topic) })
	ids := g.split(t)
	var errs []error
	for _, st := range g.Stores {
		sub := &t.SubTopologies[ids[st.Node]]
		st.ID = StoreID(st.Name)
		sub.Stores = append(sub.Stores, st)
	}
	for i := range t.SubTopologies {
		sub := &t.SubTopologies[i]
		slices.SortFunc(sub.Stores, func(a, b Store) int { return cmp.Compare(a.Name, b.Name) })
		errs = append(errs, sub.checkStoreIDs()...)
		sub.New = func(rt *operators.Runtime) (operators.Processor, error) {
			return newProcessor(&t.SubTopologies[i], rt)
		}
	}
	errs = append(errs, t.checkLoops()...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

// split fills in the sub-topologies with their nodes, sources and outputs, and returns the
// sub-topology's index per node.
func (g *Graph) split(t *Topology) []int {
	comp := g.components()
	index := make(map[int]int) // component → sub-topology
	for _, src := range g.Sources {
		root := comp.find(src.Node)
		if _, ok := index[root]; !ok {
			index[root] = len(t.SubTopologies)
			t.SubTopologies = append(t.SubTopologies, SubTopology{ID: int32(len(t.SubTopologies))})
		}
		sub := &t.SubTopologies[index[root]]
		sub.Sources = append(sub.Sources, Source{
			Topic: src.Topic, Internal: src.Internal, KeyCodec: src.KeyCodec, ValueCodec: src.ValueCodec,
			FormerValueCodecs: src.FormerValueCodecs, OnDecodeError: src.OnDecodeError, OutOfOrder: src.OutOfOrder, ProcessingTime: src.ProcessingTime, Node: src.Node,
		})
	}
	of := make([]int, len(g.Nodes))
	for _, n := range g.Nodes {
		of[n.ID] = index[comp.find(n.ID)]
		sub := &t.SubTopologies[of[n.ID]]
		sub.Nodes = append(sub.Nodes, n)
		for _, out := range n.outputs() {
			if !slices.Contains(sub.Outputs, out) {
				sub.Outputs = append(sub.Outputs, out)
			}
		}
	}
	for i := range t.SubTopologies {
		sub := &t.SubTopologies[i]
		slices.SortFunc(sub.Outputs, func(a, b Sink) int {
			if a.Internal != b.Internal {
				if b.Internal {
					return -1
				}
				return 1
			}
			return cmp.Compare(a.Topic, b.Topic)
		})
	}
	return of
}

const (
	firstStoreID = 0x0100
	lastStoreID  = 0x3eff
)

// StoreID returns the id that a store of this name has, in any sub-topology of any pipeline.
func StoreID(name string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // hash.Hash never returns an error.
	return uint16(firstStoreID + h.Sum32()%(lastStoreID-firstStoreID+1))
}

func (s *SubTopology) checkStoreIDs() []error {
	var errs []error
	names := make(map[uint16]string)
	for _, st := range s.Stores {
		if other, ok := names[st.ID]; ok {
			errs = append(errs, Finding(st.Name,
				fmt.Sprintf("the store's id %#04x, a hash of its name, is that of store %q too", st.ID, other),
				"rename the newer of the two"))
		}
		names[st.ID] = st.Name
	}
	return errs
}

// Finding is the form of every build error: which step, what was found, what to do.
func Finding(step, found, todo string) error {
	return fmt.Errorf("step %q: %s; %s", step, found, todo)
}
