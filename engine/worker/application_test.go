// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"testing"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/operators/topology"
)

func TestCheckpointFitsIfThePipelinesCodecsGoOnFromIts(t *testing.T) {
	t.Parallel()
	w := &Worker{
		topology: &topology.Topology{Dropped: []string{"gone"}},
		subs: map[int32]*topology.SubTopology{0: {Stores: []topology.Store{
			{Name: "s", KeyCodec: "string", ValueCodec: "c", FormerValueCodecs: []string{"a", "b"}},
		}}},
	}
	for name, tc := range map[string]struct {
		codecs map[string][]string
		fits   bool
	}{
		"the same":           {map[string][]string{"s": {"string", "", "a", "b", "c"}}, true},
		"of the release":     {map[string][]string{"s": {"string", "", "a", "b"}}, true},
		"of the first one":   {map[string][]string{"s": {"string", "", "a"}}, true},
		"without the store":  {map[string][]string{}, true},
		"with one dropped":   {map[string][]string{"gone": {"string", "", "x"}}, true},
		"of a later release": {map[string][]string{"s": {"string", "", "a", "b", "c", "d"}}, false},
		"of another codec":   {map[string][]string{"s": {"string", "", "c"}}, false},
		"of another key":     {map[string][]string{"s": {"int64", "", "a"}}, false},
		"with one lost":      {map[string][]string{"lost": {"string", "", "x"}}, false},
	} {
		err := w.fits(checkpoint.Manifest{Codecs: tc.codecs})
		if (err == nil) != tc.fits || err != nil && !errors.Is(err, ErrTopologyChanged) {
			t.Errorf("a checkpoint %s: %v", name, err)
		}
	}
}
