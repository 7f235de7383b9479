// SPDX-License-Identifier: Apache-2.0

package topology

// Kind is what a node does, by the verb of the DSL.
type Kind string

// Kinds that Compile treats on their own; all others are opaque to it.
const (
	KindSource      Kind = "from"
	KindSink        Kind = "to"
	KindRepartition Kind = "repartition"
	KindBroadcast   Kind = "broadcast"
)

// Internal says whether the topics that a node of this kind writes are internal ones.
func (k Kind) Internal() bool { return k == KindRepartition || k == KindBroadcast }

// Node is one step of the pipeline. What it does with records lives in the DSL; here is only what names, topics
// and stores need.
type Node struct {
	ID      int    `json:"id"` // index in Graph.Nodes
	Kind    Kind   `json:"kind"`
	Name    string `json:"name,omitempty"` // given by the user; empty for stateless steps
	Label   string `json:"label"`          // Name, or something to call it in a message
	Parents []int  `json:"parents,omitempty"`
	// Writes are the topics that the node writes: a sink's, or the logical name of a repartition or a broadcast (which is
	// internal).
	Writes []string `json:"writes,omitempty"`
	// Globals are the topics of the global tables that the node looks up.
	Globals []string `json:"globals,omitempty"`
	// OnError says what becomes of records that the node fails on; empty: the epoch fails. DeadLetters are the topics
	// among it.
	OnError     string   `json:"onError,omitempty"`
	DeadLetters []string `json:"deadLetters,omitempty"`
	// Timed says that the step acts when event time passes.
	Timed bool `json:"timed,omitzero"`
	// Hold is by how many milliseconds of event time the step's results may trail what went into them: a window
	// that waits for late records before it emits.
	Hold int64 `json:"hold,omitzero"`
}

// outputs lists the topics that the node writes.
func (n *Node) outputs() []Sink {
	outs := make([]Sink, 0, len(n.Writes)+len(n.DeadLetters))
	for _, topic := range n.Writes {
		outs = append(outs, Sink{Topic: topic, Internal: n.Kind.Internal()})
	}
	for _, topic := range n.DeadLetters {
		outs = append(outs, Sink{Topic: topic})
	}
	return outs
}

// Graph is what the DSL builds: nodes in the order of declaration, so that parents come before children.
type Graph struct {
	App     string
	Nodes   []Node
	Sources []GraphSource
	Stores  []Store // ID is filled in by Compile
	Globals []Global
	Dropped []string
}

// GraphSource is a source node's topic; a node may have several.
type GraphSource struct {
	Node                 int
	Topic                string
	Internal             bool
	KeyCodec, ValueCodec string
	FormerValueCodecs    []string // Internal only
	OnDecodeError        string
	OutOfOrder           int64
	ProcessingTime       bool
}

// sets is a union-find over node ids.
type sets []int

func newSets(n int) sets {
	s := make(sets, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func (s sets) find(i int) int {
	for s[i] != i {
		s[i] = s[s[i]]
		i = s[i]
	}
	return i
}

// join makes one set of two, represented by its lowest member.
func (s sets) join(a, b int) {
	a, b = s.find(a), s.find(b)
	s[max(a, b)] = min(a, b)
}

// components returns for each node the lowest node of its connected component. A repartition topic does not
// connect: the node that writes it and the source that reads it are not parent and child.
func (g *Graph) components() sets {
	s := newSets(len(g.Nodes))
	for _, n := range g.Nodes {
		for _, p := range n.Parents {
			s.join(n.ID, p)
		}
	}
	return s
}

// Above returns the node and those of its sub-topology from which records reach it.
func (g *Graph) Above(node int) map[int]bool {
	above := map[int]bool{node: true}
	for id := node; id >= 0; id-- { // Parents come before their children.
		if above[id] {
			for _, p := range g.Nodes[id].Parents {
				above[p] = true
			}
		}
	}
	return above
}
