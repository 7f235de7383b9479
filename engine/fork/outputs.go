// SPDX-License-Identifier: Apache-2.0

package fork

import (
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
)

// Redirect returns the topology with every topic that it writes renamed: prefix and name. Repartition topics keep
// their names, which are the application's own.
func Redirect(t *topology.Topology, prefix string) *topology.Topology {
	return rewrite(t, func(s *topology.SubTopology) {
		for i := range s.Outputs {
			if !s.Outputs[i].Internal {
				s.Outputs[i].Topic = prefix + s.Outputs[i].Topic
			}
		}
	})
}

// Mute returns the topology with every record dropped that it would write to a user's topic. State and what flows
// inside the pipeline are as ever.
func Mute(t *topology.Topology) *topology.Topology {
	return rewrite(t, func(s *topology.SubTopology) {
		internal := make([]bool, len(s.Outputs))
		for i, out := range s.Outputs {
			internal[i] = out.Internal
		}
		open := s.New
		s.New = func(rt *operators.Runtime) (operators.Processor, error) {
			muted := *rt
			muted.Output = &internalOnly{rt.Output, internal}
			return open(&muted)
		}
	})
}

// rewrite applies change to a copy. The processors that the copy makes know the outputs by their index, so names may
// change and the order may not.
func rewrite(t *topology.Topology, change func(*topology.SubTopology)) *topology.Topology {
	c := *t
	c.SubTopologies = slices.Clone(t.SubTopologies)
	for i := range c.SubTopologies {
		c.SubTopologies[i].Outputs = slices.Clone(c.SubTopologies[i].Outputs)
		change(&c.SubTopologies[i])
	}
	return &c
}

// internalOnly passes on what goes to internal topics. A record that is not emitted leaves no trace in the buffer.
type internalOnly struct {
	operators.Output
	internal []bool // by output
}

// Emit implements operators.Output.
func (o *internalOnly) Emit(e operators.Emission) {
	if o.internal[e.Topic] {
		o.Output.Emit(e)
	}
}
