// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// emit hands one record to the next step. Steps are closures over the emit of the step after them, made
// once per task, so that a record goes through a chain by plain calls with typed arguments.
type emit[K, V any] func(k K, v V, t operators.Time) error

// node is the typed side of a graph node: who takes its records.
type node[K, V any] struct {
	id       int // of the graph node; the two sides of a branch share one
	children []func(*task) (emit[K, V], error)
}

// open makes the emit of everything below the node, once per task: a node with several parents has
// one set of closures, and its stores are opened once.
func (n *node[K, V]) open(t *task) (emit[K, V], error) {
	if made, ok := t.made[n]; ok {
		return made.(emit[K, V]), nil
	}
	next, err := openAll(t, n.children)
	if err != nil {
		return nil, err
	}
	var e emit[K, V]
	switch len(next) {
	case 0:
		e = func(K, V, operators.Time) error { return nil }
	case 1:
		e = next[0]
	default:
		e = func(k K, v V, tm operators.Time) error {
			for _, to := range next {
				if err := to(k, v, tm); err != nil {
					return err
				}
			}
			return nil
		}
	}
	t.made[n] = e
	return e, nil
}

func openAll[E any](t *task, makers []func(*task) (E, error)) ([]E, error) {
	all := make([]E, 0, len(makers))
	for _, open := range makers {
		e, err := open(t)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// task is what is known while the closures of one task are made.
type task struct {
	rt      *operators.Runtime
	sub     *topology.SubTopology
	made    map[any]any // by *node: its emit
	flushes []flush
	holds   map[int]int64 // by node: see SubTopology.Holds
	proc    *processor
}

// flush is what a node does at the commit.
type flush struct {
	node int
	run  func() error
}

// atRestart has f called when the task's state has been brought to a commit: it derives from the state what the step
// keeps in memory, and sets its clocks.
func (t *task) atRestart(f func() error) { t.proc.restart = append(t.proc.restart, f) }

// output returns the index of an output topic.
func (t *task) output(topic string, internal bool) int {
	return slices.Index(t.sub.Outputs, topology.Sink{Topic: topic, Internal: internal})
}

// store returns the id of a store that the sub-topology declares, for a task that has a database.
func (t *task) store(name string) (statestore.StoreID, error) {
	i := slices.IndexFunc(t.sub.Stores, func(s topology.Store) bool { return s.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("open store %q: it is not part of the pipeline; declare the same states in every call", name)
	}
	if t.rt.DB == nil {
		return 0, fmt.Errorf("open store %q: the task has no database", name)
	}
	return statestore.StoreID(t.sub.Stores[i].ID), nil
}

// opener is a source without its types.
type opener interface {
	open(t *task) (func(*operators.Record) error, error)
}

// processor runs the closures of one task.
type processor struct {
	ctx     *operators.Context
	sources []func(*operators.Record) error
	flushes []flush
	source  int    // index of the one that the record in process is from
	events  clocks // of event time
	walls   clocks // of the wall clock
	restart []func() error
	holders []*holder
	full    []func() bool
}

func (p *Pipeline) newProcessor(sub *topology.SubTopology, rt *operators.Runtime) (operators.Processor, error) {
	if rt.Output == nil || rt.Context == nil || rt.Now == nil {
		return nil, errors.New("make a processor: the runtime needs an output, a context and a clock")
	}
	proc := &processor{ctx: rt.Context, events: newClocks(), walls: newClocks()}
	t := &task{rt: rt, sub: sub, made: make(map[any]any), holds: sub.Holds(), proc: proc}
	for i := range sub.Sources {
		run, err := p.openers[sub.Sources[i].Node].open(t)
		if err != nil {
			return nil, fmt.Errorf("make the processor of task %s: %w", rt.Task, err)
		}
		proc.sources = append(proc.sources, run)
	}
	// Parents flush before children, which may get records from it.
	slices.SortFunc(t.flushes, func(a, b flush) int { return cmp.Compare(a.node, b.node) })
	proc.flushes = t.flushes
	proc.events.link(sub, proc.holders)
	proc.events.sort()
	proc.walls.sort()
	return proc, nil
}

func (p *processor) Process(source int, rec *operators.Record) error {
	p.ctx.Record, p.source = rec, source
	if err := p.sources[source](rec); err != nil || p.events.due > p.ctx.Watermark {
		return err
	}
	// What the record has made due is done at once, and what was left of what had been due.
	return p.Advance(p.ctx.Watermark)
}

func (p *processor) Restart() error {
	p.ctx.Record = nil
	p.events.reset()
	p.walls.reset()
	for _, restart := range p.restart {
		if err := restart(); err != nil {
			return err
		}
	}
	return nil
}

func (p *processor) Due() operators.Time { return p.events.due }

func (p *processor) Advance(watermark operators.Time) error {
	p.ctx.Record = nil
	return p.events.advance(watermark)
}

func (p *processor) WallDue() operators.Time { return p.walls.due }

func (p *processor) AdvanceWall(now operators.Time) error {
	p.ctx.Record = nil
	if err := p.walls.advance(now); err != nil || p.events.due > p.ctx.Watermark {
		return err
	}
	return p.events.advance(p.ctx.Watermark)
}

func (p *processor) Held() operators.Time {
	held := operators.MaxTime
	for _, h := range p.holders {
		held = min(held, operators.Later(h.held, h.hold))
	}
	return held
}

func (p *processor) Full() bool {
	for _, full := range p.full {
		if full() {
			return true
		}
	}
	return false
}

func (p *processor) Flush() error {
	p.ctx.Record = nil
	for i := range p.flushes {
		if err := p.flushes[i].run(); err != nil {
			return err
		}
	}
	return nil
}
