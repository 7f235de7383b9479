// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/kafka"
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

func TestTopicsThatWereCreatedAreWaitedForAndOthersAreUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		slow := func(context.Context, []string) (map[string]kafka.TopicInfo, error) {
			if time.Since(began) < 20*time.Second {
				return nil, nil
			}
			return map[string]kafka.TopicInfo{"a": {Name: "a"}}, nil
		}
		if _, err := waitForTopics(t.Context(), []string{"a"}, topicPatience, slow); !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("got %v, expected %v", err, kafka.ErrUnknownTopic)
		}
		if got, err := waitForTopics(t.Context(), []string{"a"}, createdPatience, slow); err != nil || got["a"].Name != "a" {
			t.Errorf("got %v, %v", got, err)
		}
	})
}
