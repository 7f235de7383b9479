// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"

	"github.com/streamd/streamd/operators/topology"
)

// userSources returns the topics that the pipeline reads and that are not its own, sorted.
func userSources(t *topology.Topology) []string {
	var names []string
	for _, s := range t.SubTopologies {
		for _, src := range s.Sources {
			if !src.Internal {
				names = append(names, src.Topic)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// userOutputs returns the topics that the pipeline writes and that are not its own, sorted.
func userOutputs(t *topology.Topology) []string {
	var names []string
	for _, s := range t.SubTopologies {
		for _, out := range s.Outputs {
			if !out.Internal {
				names = append(names, out.Topic)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
