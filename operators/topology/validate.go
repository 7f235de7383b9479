// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxNameLen leaves room for application, incarnation and suffix in Kafka's 249 bytes of a topic name.
const maxNameLen = 100

// maxTopicLen is Kafka's own limit.
const maxTopicLen = 249

const nameRule = "use 1 to 100 letters, digits, '-' and '_'"

// ValidName says whether a name can be that of a pipeline, a step or a state.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxNameLen && strings.Trim(name, nameBytes) == ""
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

func validTopic(topic string) bool {
	return topic != "" && len(topic) <= maxTopicLen && topic != "." && topic != ".." &&
		strings.Trim(topic, nameBytes+".") == ""
}

// validate reports every finding about names and topics.
func (g *Graph) validate() error {
	var errs []error
	if !ValidName(g.App) {
		errs = append(errs, fmt.Errorf("pipeline %q: the name is not valid; %s", g.App, nameRule))
	}
	if len(g.Sources) == 0 {
		errs = append(errs, fmt.Errorf("pipeline %q: it reads no topic; start it with stream.From", g.App))
	}
	errs = append(errs, g.checkNames()...)
	errs = append(errs, g.checkTopics()...)
	errs = append(errs, g.checkDropped()...)
	return errors.Join(errs...)
}

func (g *Graph) checkNames() []error {
	var errs []error
	owners := make(map[string]Kind)
	for _, n := range g.Nodes {
		if n.Name == "" {
			continue
		}
		if !ValidName(n.Name) {
			errs = append(errs, Finding(n.Name, "the name is not valid", nameRule))
		}
		if kind, ok := owners[n.Name]; ok {
			errs = append(errs, Finding(n.Name,
				fmt.Sprintf("a %s step and a %s step have this name", kind, n.Kind),
				"give each its own: the name is the identity of the step's state or topic"))
		}
		owners[n.Name] = n.Kind
	}
	stores := make(map[string]bool)
	for _, st := range g.Stores {
		if stores[st.Name] && g.Nodes[st.Node].Name != st.Name { // Two steps of one name are reported above.
			errs = append(errs, Finding(g.Nodes[st.Node].Label,
				fmt.Sprintf("it declares the state %q twice", st.Name), "give each state its own name"))
		}
		stores[st.Name] = true
	}
	return errs
}

func (g *Graph) checkTopics() []error {
	var errs []error
	read := make(map[string]int) // user topic → source node
	for _, src := range g.Sources {
		if src.Internal {
			continue
		}
		errs = append(errs, g.checkTopic(g.Nodes[src.Node].Label, src.Topic)...)
		if _, ok := read[src.Topic]; ok {
			errs = append(errs, Finding(g.Nodes[src.Node].Label,
				fmt.Sprintf("the topic %q is read twice", src.Topic),
				"call From once and use the stream that it returns in both places"))
		}
		read[src.Topic] = src.Node
	}
	globals := make(map[string]bool)
	for _, t := range g.Globals {
		label := "global:" + t.Topic
		errs = append(errs, g.checkTopic(label, t.Topic)...)
		if globals[t.Topic] {
			errs = append(errs, Finding(label, fmt.Sprintf("the topic %q is a global table twice", t.Topic),
				"call GlobalTableFrom once and use the table that it returns in both places"))
		}
		globals[t.Topic] = true
	}
	for _, n := range g.Nodes {
		for _, out := range n.outputs() {
			if out.Internal {
				continue
			}
			topic := out.Topic
			errs = append(errs, g.checkTopic(n.Label, topic)...)
			if _, ok := read[topic]; ok || globals[topic] {
				errs = append(errs, Finding(n.Label,
					fmt.Sprintf("the topic %q is both read and written by this pipeline", topic),
					"use the stream itself, or Repartition, instead of a topic in between"))
			}
		}
	}
	return errs
}

func (g *Graph) checkTopic(label, topic string) []error {
	if !validTopic(topic) {
		return []error{Finding(label, fmt.Sprintf("%q is not a valid topic name", topic),
			"use 1 to 249 letters, digits, '.', '-' and '_'")}
	}
	rest, ours := strings.CutPrefix(topic, g.App+"-")
	internal := strings.HasSuffix(rest, "-repartition") || strings.HasSuffix(rest, "-changelog")
	if ours && internal && strings.Trim(rest[:1], "0123456789") == "" {
		return []error{Finding(label, fmt.Sprintf("the topic %q has a name that internal topics have", topic),
			"use another topic, or another name for the pipeline")}
	}
	return nil
}

// checkLoops reports the repartition topics through which a sub-topology would send records to itself.
func (t *Topology) checkLoops() []error {
	// A sub-topology is settled once all that write to it are; those in a loop, and behind one, never are.
	settled := make(map[int32]bool)
	for range t.SubTopologies {
		for i := range t.SubTopologies {
			s := &t.SubTopologies[i]
			settled[s.ID] = settled[s.ID] || !slices.ContainsFunc(s.Sources, func(src Source) bool {
				return src.Internal && slices.ContainsFunc(t.Writers(src.Topic), func(w int32) bool { return !settled[w] })
			})
		}
	}
	var errs []error
	for i := range t.SubTopologies {
		s := &t.SubTopologies[i]
		if settled[s.ID] {
			continue
		}
		for _, src := range s.Sources {
			if src.Internal && slices.ContainsFunc(t.Writers(src.Topic), func(w int32) bool { return t.reaches(s.ID, w) }) {
				errs = append(errs, Finding(src.Topic, "what it sends can come back to it, so that event time and the end of a bounded run would wait for themselves",
					"add .Repartition(name) to the stream or table where it comes back: in a join of a table with itself, to one side"))
			}
		}
	}
	return errs
}

// reaches says whether records of a sub-topology get to another.
func (t *Topology) reaches(from, to int32) bool {
	seen := map[int32]bool{from: true}
	for range t.SubTopologies {
		for i := range t.SubTopologies {
			s := &t.SubTopologies[i]
			seen[s.ID] = seen[s.ID] || slices.ContainsFunc(s.Sources, func(src Source) bool {
				return src.Internal && slices.ContainsFunc(t.Writers(src.Topic), func(w int32) bool { return seen[w] })
			})
		}
	}
	return seen[to]
}

func (g *Graph) checkDropped() []error {
	var errs []error
	for _, name := range g.Dropped {
		for _, n := range g.Nodes {
			if n.Name == name {
				errs = append(errs, Finding(name, "it is dropped and in use", "remove the step or the Drop"))
			}
		}
	}
	return errs
}
