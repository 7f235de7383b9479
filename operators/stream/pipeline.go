// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// Pipeline collects the steps that verbs declare. It is used by one goroutine.
type Pipeline struct {
	graph    topology.Graph
	openers  map[int]opener       // by source node
	sides    map[any]*sides       // by *node of a Process step
	defaults map[reflect.Type]any // codec.Codec[T] by T
	openings []operators.Opening
	views    map[string]codec.View // by the codec's id
	rules    rules
	errs     []error
	built    bool
}

// NewPipeline starts a pipeline. The name is the application's identity in consumer group, internal topics and
// checkpoints: 1 to 100 letters, digits, '-' and '_'.
func NewPipeline(name string) *Pipeline {
	return &Pipeline{
		graph:    topology.Graph{App: name},
		openers:  make(map[int]opener),
		sides:    make(map[any]*sides),
		defaults: make(map[reflect.Type]any),
		views:    make(map[string]codec.View),
	}
}

// UseCodec makes c the codec of its type in every later step that is not given another. Call it before the
// steps.
func UseCodec[T any](p *Pipeline, c codec.Codec[T]) {
	c = codec.Own(c)
	t := reflect.TypeFor[T]()
	if old, ok := p.defaults[t].(codec.Codec[T]); ok && old.ID() != c.ID() {
		p.errs = append(p.errs, fmt.Errorf("pipeline %q: UseCodec gives %v the codecs %q and %q; keep one, and give the other to the steps that need it",
			p.graph.App, t, old.ID(), c.ID()))
	}
	p.defaults[t] = c
}

// Drop says that the store or repartition topic of a former release with this name is not wanted any more.
// Without it a pipeline that lost the step is refused, because its state would be lost.
func (p *Pipeline) Drop(name string) { p.graph.Dropped = append(p.graph.Dropped, name) }

// Name returns the pipeline's name.
func (p *Pipeline) Name() string { return p.graph.App }

// Build checks the pipeline and compiles it. The error joins everything that was found. No steps can be
// declared after it; it can be called again.
func (p *Pipeline) Build() (*topology.Topology, error) {
	p.built = true
	t, err := topology.Compile(&p.graph, p.newProcessor)
	if err := errors.Join(append(p.errs[:len(p.errs):len(p.errs)], err)...); err != nil {
		return nil, err
	}
	t.Openings, t.Views = p.openings, p.views
	return t, nil
}

// fail collects a build error in the form of topology.Finding.
func (p *Pipeline) fail(step, found, todo string) {
	p.errs = append(p.errs, topology.Finding(step, found, todo))
}

// add declares a node. The label is the name, or the kind with the node's number.
func (p *Pipeline) add(kind topology.Kind, name string, parents ...int) *topology.Node {
	id := len(p.graph.Nodes)
	label := name
	if label == "" {
		label = fmt.Sprintf("%s-%d", kind, id)
	}
	if p.built {
		p.fail(label, "it is declared after Build", "declare all steps, then build")
	}
	p.graph.Nodes = append(p.graph.Nodes, topology.Node{ID: id, Kind: kind, Name: name, Label: label, Parents: parents})
	return &p.graph.Nodes[id]
}

// addNamed declares a node whose name is required.
func (p *Pipeline) addNamed(kind topology.Kind, name string, parents ...int) *topology.Node {
	n := p.add(kind, name, parents...)
	if name == "" {
		p.fail(n.Label, fmt.Sprintf("%s has no name", kind),
			"give it one: the name is the identity of its state or topic")
	}
	return n
}

func (p *Pipeline) addStore(n *topology.Node, st topology.Store) {
	st.Node = n.ID
	p.graph.Stores = append(p.graph.Stores, st)
}

// codecOf returns the codec that T has in this pipeline without being given one, or nil.
func codecOf[T any](p *Pipeline) codec.Codec[T] {
	if c, ok := p.defaults[reflect.TypeFor[T]()].(codec.Codec[T]); ok {
		return c
	}
	c, _ := codec.For[T]()
	return c
}

// carry returns the codec of T after a step whose input had c: the same one if the type stayed.
func carry[T, From any](p *Pipeline, c codec.Codec[From]) codec.Codec[T] {
	if same, ok := any(c).(codec.Codec[T]); ok {
		return same
	}
	return codecOf[T](p)
}

// choose returns the codec given as an optional argument, or the one at hand, as the pipeline itself uses it.
func choose[T any](p *Pipeline, step string, given []codec.Codec[T], atHand codec.Codec[T]) codec.Codec[T] {
	return own(whereGiven(p, step, given, atHand))
}

// whereGiven returns the codec given as an optional argument, or the one at hand.
func whereGiven[T any](p *Pipeline, step string, given []codec.Codec[T], atHand codec.Codec[T]) codec.Codec[T] {
	switch len(given) {
	case 0:
		return atHand
	case 1:
		if given[0] != nil {
			return given[0]
		}
		p.fail(step, "the codec given is nil", "give one, or leave it out")
	default:
		p.fail(step, fmt.Sprintf("%d codecs are given", len(given)), "give one")
	}
	return atHand
}

// own is codec.Own, and nil for no codec.
func own[T any](c codec.Codec[T]) codec.Codec[T] {
	if c == nil {
		return nil
	}
	return codec.Own(c)
}

// stored is the codec of values in a store: behind the number of the codec that wrote them.
func stored[T any](c codec.Codec[T]) codec.Codec[T] {
	if c == nil {
		return nil
	}
	return codec.Stored(c)
}

// need reports a codec that is missing where a topic or a store needs it. It returns the id, "" if missing.
func need[T any](p *Pipeline, step, what string, c codec.Codec[T], todo string) string {
	if c == nil {
		p.fail(step, fmt.Sprintf("%s, type %v, has no codec", what, reflect.TypeFor[T]()), todo)
		return ""
	}
	if c.ID() == "" {
		p.fail(step, fmt.Sprintf("the codec of %s has no id", what), "give codec.New an id")
	}
	if err := codec.Err(c); err != nil {
		p.errs = append(p.errs, fmt.Errorf("step %q: the codec of %s: %w", step, what, err))
	}
	for id, view := range codec.Views(c) {
		if _, known := p.views[id]; !known {
			p.views[id] = view
		}
	}
	return c.ID()
}

// former is codec.Former, and empty for no codec.
func former[T any](c codec.Codec[T]) []string {
	if c == nil {
		return nil
	}
	return codec.Former(c)
}

// needKey is need for keys, which say where a record and its state live.
func needKey[T any](p *Pipeline, step, what string, c codec.Codec[T], todo string) string {
	if c != nil && codec.Ambiguous(c) {
		p.fail(step, fmt.Sprintf("the codec of %s, %q, may encode one value in several ways, which would be several keys", what, c.ID()),
			"use a codec that has one encoding of each value")
	}
	return need(p, step, what, c, todo)
}
