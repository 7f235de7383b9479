// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"io"
	"strings"
)

// Format is a way to write a topology down.
type Format string

// The formats.
const (
	Text    Format = "text"    // for people
	JSON    Format = "json"    // for programs; Decode reads it
	DOT     Format = "dot"     // for Graphviz
	Mermaid Format = "mermaid" // for Markdown
)

// Describe writes the topology in one of the formats. Equal topologies give equal bytes.
func (t *Topology) Describe(w io.Writer, f Format) error {
	var b strings.Builder
	switch f {
	case Text:
		t.text(&b)
	case JSON:
		if err := json.MarshalWrite(&b, t, jsontext.WithIndent("  "), json.Deterministic(true)); err != nil {
			return fmt.Errorf("describe topology %s: %w", t.App, err)
		}
		b.WriteByte('\n')
	case DOT:
		t.dot(&b)
	case Mermaid:
		t.mermaid(&b)
	default:
		return fmt.Errorf("describe topology %s: format %q is not known; use text, json, dot or mermaid", t.App, f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Topology) text(b *strings.Builder) {
	fmt.Fprintf(b, "pipeline %s\n", t.App)
	for i := range t.SubTopologies {
		s := &t.SubTopologies[i]
		state := "stateless"
		if s.Stateful() {
			state = "stateful"
		}
		fmt.Fprintf(b, "\nsub-topology %d (%s)\n", s.ID, state)
		for _, src := range s.Sources {
			fmt.Fprintf(b, "  read   %s [%s, %s] on decode error: %s\n",
				topicName(src.Topic, src.Internal), src.KeyCodec, src.ValueCodec, src.OnDecodeError)
		}
		labels := make(map[int]string)
		for _, n := range s.Nodes {
			labels[n.ID] = n.Label
			fmt.Fprintf(b, "  step   %s (%s)%s%s\n", n.Label, n.Kind, afterParents(n, labels), onError(n))
			for _, g := range n.Globals {
				fmt.Fprintf(b, "  look up topic %s\n", g)
			}
		}
		for _, st := range s.Stores {
			key := st.KeyCodec
			if st.SubKeyCodec != "" {
				key += ", " + st.SubKeyCodec
			}
			ttl := ""
			if st.TTL != "" {
				ttl = ", TTL in " + string(st.TTL)
			}
			fmt.Fprintf(b, "  store  %s %#04x (%s%s) [%s, %s]\n", st.Name, st.ID, st.Kind, ttl, key, st.ValueCodec)
		}
		for _, out := range s.Outputs {
			fmt.Fprintf(b, "  write  %s\n", topicName(out.Topic, out.Internal))
		}
	}
	if len(t.Globals) > 0 {
		b.WriteString("\nin every worker\n")
	}
	for _, g := range t.Globals {
		fmt.Fprintf(b, "  read   topic %s [%s, %s] on decode error: %s\n", g.Topic, g.KeyCodec, g.ValueCodec, g.OnDecodeError)
	}
	for _, name := range t.Dropped {
		fmt.Fprintf(b, "\ndropped %s\n", name)
	}
}

func afterParents(n Node, labels map[int]string) string {
	if len(n.Parents) == 0 {
		return ""
	}
	names := make([]string, len(n.Parents))
	for i, p := range n.Parents {
		names[i] = labels[p]
	}
	return " after " + strings.Join(names, ", ")
}

func onError(n Node) string {
	if n.OnError == "" {
		return ""
	}
	return " on error: " + n.OnError
}

func topicName(topic string, internal bool) string {
	if internal {
		return "repartition " + topic
	}
	return "topic " + topic
}

// edge is one arrow of a drawing; the node's end is its id, the topic's end its name.
type edge struct {
	node     int
	topic    string
	internal bool
}

// arrows lists which nodes read and write which topics.
func (s *SubTopology) arrows() (in, out []edge) {
	for _, src := range s.Sources {
		in = append(in, edge{node: src.Node, topic: src.Topic, internal: src.Internal})
	}
	for _, n := range s.Nodes {
		for _, topic := range n.Globals {
			in = append(in, edge{node: n.ID, topic: topic})
		}
		for _, o := range n.outputs() {
			out = append(out, edge{node: n.ID, topic: o.Topic, internal: o.Internal})
		}
	}
	return in, out
}

func (e edge) topicID() string {
	if e.internal {
		return "repartition:" + e.topic
	}
	return "topic:" + e.topic
}

func (t *Topology) dot(b *strings.Builder) {
	fmt.Fprintf(b, "digraph %q {\n  rankdir=LR;\n  node [shape=box];\n", t.App)
	for i := range t.SubTopologies {
		s := &t.SubTopologies[i]
		fmt.Fprintf(b, "  subgraph cluster_%d {\n    label=\"sub-topology %d\";\n", s.ID, s.ID)
		for _, n := range s.Nodes {
			fmt.Fprintf(b, "    n%d [label=%q];\n", n.ID, n.Label)
		}
		for _, st := range s.Stores {
			fmt.Fprintf(b, "    %q [label=%q, shape=cylinder];\n    n%d -> %q [dir=none];\n", "store:"+st.Name, st.Name, st.Node, "store:"+st.Name)
		}
		for _, n := range s.Nodes {
			for _, p := range n.Parents {
				fmt.Fprintf(b, "    n%d -> n%d;\n", p, n.ID)
			}
		}
		b.WriteString("  }\n")
		in, out := s.arrows()
		for _, e := range in {
			fmt.Fprintf(b, "  %q [label=%q, shape=ellipse];\n  %q -> n%d;\n", e.topicID(), e.topic, e.topicID(), e.node)
		}
		for _, e := range out {
			fmt.Fprintf(b, "  %q [label=%q, shape=ellipse];\n  n%d -> %q;\n", e.topicID(), e.topic, e.node, e.topicID())
		}
	}
	b.WriteString("}\n")
}

func (t *Topology) mermaid(b *strings.Builder) {
	b.WriteString("flowchart LR\n")
	topics := make(map[string]string) // topic id → node name in the drawing
	topic := func(e edge) string {
		name, ok := topics[e.topicID()]
		if !ok {
			name = fmt.Sprintf("t%d", len(topics))
			topics[e.topicID()] = name
			fmt.Fprintf(b, "  %s([%q])\n", name, e.topic)
		}
		return name
	}
	for i := range t.SubTopologies {
		s := &t.SubTopologies[i]
		fmt.Fprintf(b, "  subgraph s%d [\"sub-topology %d\"]\n", s.ID, s.ID)
		for _, n := range s.Nodes {
			fmt.Fprintf(b, "    n%d[%q]\n", n.ID, n.Label)
		}
		for j, st := range s.Stores {
			fmt.Fprintf(b, "    s%d_%d[(%q)]\n    n%d --- s%d_%d\n", s.ID, j, st.Name, st.Node, s.ID, j)
		}
		for _, n := range s.Nodes {
			for _, p := range n.Parents {
				fmt.Fprintf(b, "    n%d --> n%d\n", p, n.ID)
			}
		}
		b.WriteString("  end\n")
		in, out := s.arrows()
		for _, e := range in {
			fmt.Fprintf(b, "  %s --> n%d\n", topic(e), e.node)
		}
		for _, e := range out {
			fmt.Fprintf(b, "  n%d --> %s\n", e.node, topic(e))
		}
	}
}
