// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
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
		errs = append(errs, g.checkTopic(src.Node, src.Topic)...)
		if _, ok := read[src.Topic]; ok {
			errs = append(errs, Finding(g.Nodes[src.Node].Label,
				fmt.Sprintf("the topic %q is read twice", src.Topic),
				"call From once and use the stream that it returns in both places"))
		}
		read[src.Topic] = src.Node
	}
	for _, n := range g.Nodes {
		if n.Kind.Internal() {
			continue
		}
		for _, topic := range n.Writes {
			errs = append(errs, g.checkTopic(n.ID, topic)...)
			if _, ok := read[topic]; ok {
				errs = append(errs, Finding(n.Label,
					fmt.Sprintf("the topic %q is both read and written by this pipeline", topic),
					"use the stream itself, or Repartition, instead of a topic in between"))
			}
		}
	}
	return errs
}

func (g *Graph) checkTopic(node int, topic string) []error {
	if !validTopic(topic) {
		return []error{Finding(g.Nodes[node].Label, fmt.Sprintf("%q is not a valid topic name", topic),
			"use 1 to 249 letters, digits, '.', '-' and '_'")}
	}
	rest, ours := strings.CutPrefix(topic, g.App+"-")
	internal := strings.HasSuffix(rest, "-repartition") || strings.HasSuffix(rest, "-changelog")
	if ours && internal && strings.Trim(rest[:1], "0123456789") == "" {
		return []error{Finding(g.Nodes[node].Label, fmt.Sprintf("the topic %q has a name that internal topics have", topic),
			"use another topic, or another name for the pipeline")}
	}
	return nil
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
