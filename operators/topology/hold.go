// SPDX-License-Identifier: Apache-2.0

package topology

import "slices"

// Timed says whether any step of the pipeline acts when event time passes. If none does, watermarks need not travel.
func (t *Topology) Timed() bool {
	return slices.ContainsFunc(t.SubTopologies, func(s SubTopology) bool {
		return slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Timed })
	})
}

// Holds returns, by node id, by how many milliseconds a node's input may trail the watermark of the task: the largest
// sum of the holds of the steps above it.
func (s *SubTopology) Holds() map[int]int64 {
	own := make(map[int]int64, len(s.Nodes))
	holds := make(map[int]int64, len(s.Nodes))
	for _, n := range s.Nodes { // Parents come before their children.
		own[n.ID] = n.Hold
		for _, p := range n.Parents {
			holds[n.ID] = max(holds[n.ID], holds[p]+own[p])
		}
	}
	return holds
}

// OutputHolds returns, in the order of Outputs, by how many milliseconds what is written there may trail the watermark
// of the task.
func (s *SubTopology) OutputHolds() []int64 {
	holds := s.Holds()
	outputs := make([]int64, len(s.Outputs))
	for _, n := range s.Nodes {
		for i, out := range s.Outputs {
			if slices.Contains(n.Writes, out.Topic) && out.Internal == n.Kind.Internal() {
				outputs[i] = max(outputs[i], holds[n.ID]+n.Hold)
			}
		}
	}
	return outputs
}

// Writers returns the ids of the sub-topologies that write a repartition topic.
func (t *Topology) Writers(repartition string) []int32 {
	var ids []int32
	for i := range t.SubTopologies {
		if s := &t.SubTopologies[i]; slices.Contains(s.Outputs, Sink{Topic: repartition, Internal: true}) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
