// SPDX-License-Identifier: Apache-2.0

package stream

import "fmt"

// SideOutput is the tag of a second output of a Process step, of a type of its own: for what is late, refused or of
// another kind. The step opens it with Setup.Side, and Stream.Side of the step's result is the stream of what was
// emitted there.
type SideOutput[T any] struct{ name string }

// NewSideOutput makes a tag. Its name is for messages; the tag itself is what the two ends have in common.
func NewSideOutput[T any](name string) *SideOutput[T] { return &SideOutput[T]{name: name} }

// Side opens a side output and returns what emits to it, under the key and the time of the record or timer in process,
// as Context.Emit does, and to be called while there is one. What is emitted goes nowhere if no step takes it.
func (s *Setup) Side[T any](side *SideOutput[T]) func(T) {
	if s.p != nil {
		s.sides.declared[side] = true
	}
	if send, ok := s.sends[side].(func(T)); ok {
		return send
	}
	return func(T) {}
}

// Side is the stream of what the Process step that made s emits to one of its side outputs. Its keys are those of s.
func (s Stream[K, V]) Side[T any](side *SideOutput[T]) Stream[K, T] {
	all := s.p.sides[s.n]
	if all == nil || !all.declared[side] {
		s.p.fail(s.p.graph.Nodes[s.n.id].Label, fmt.Sprintf("it has no side output %q", side.name),
			"call Side on the stream that Process has returned, with a tag that its setup was given")
		all = newSides()
	}
	out, ok := all.nodes[side].(*node[K, T])
	if !ok {
		out = &node[K, T]{id: s.n.id}
		all.nodes[side] = out
		all.openers[side] = func(sc *scope, at any) (any, error) {
			next, err := out.open(sc.task)
			if err != nil {
				return nil, err
			}
			return sender(at.(*place[K]), hold(sc.guard, next)), nil
		}
	}
	return Stream[K, T]{p: s.p, n: out, key: s.key, value: codecOf[T](s.p), moved: s.moved, rules: s.rules}
}

// sides are the side outputs of one step, by tag.
type sides struct {
	declared map[any]bool
	nodes    map[any]any // of those that are taken: *node[K, T]
	// openers make the func(T) that emits, given the *place[K] of the step.
	openers map[any]func(sc *scope, at any) (any, error)
}

func newSides() *sides {
	return &sides{declared: map[any]bool{}, nodes: map[any]any{}, openers: map[any]func(*scope, any) (any, error){}}
}

func (s *sides) open(sc *scope, at any) (map[any]any, error) {
	sends := make(map[any]any, len(s.openers))
	for side, open := range s.openers {
		send, err := open(sc, at)
		if err != nil {
			return nil, err
		}
		sends[side] = send
	}
	return sends, nil
}
