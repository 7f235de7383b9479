// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

// TestReadingsAreComparedWithTheRulesOfTheirTime changes the rules between portions of readings.
func TestReadingsAreComparedWithTheRulesOfTheirTime(t *testing.T) {
	t.Parallel()
	portions := []struct {
		rules []Rule
		max   float64 // above it a temperature is an alert
	}{
		{nil, 1000},
		{[]Rule{{Kind: "temperature", Max: 40}, {Kind: "pressure", Min: 50, Max: 60}}, 40},
		{[]Rule{{Kind: "temperature", Max: 70}}, 70},
		{[]Rule{{Kind: "temperature", Retired: true}}, 1000},
	}
	for _, partitions := range []int{1, 3, 8} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			t.Parallel()
			d := streamtest.New(t, pipeline(), streamtest.Partitions(partitions))
			for i, portion := range portions {
				for _, r := range portion.rules {
					send(t, d, rulesTopic, r)
				}
				d.Run()
				want := []float64{}
				for n := range 100 {
					value := float64(n)
					send(t, d, readingsTopic, Reading{fmt.Sprint("s-", n%7), "temperature", value})
					if value > portion.max {
						want = append(want, value)
					}
				}
				d.Process(50)
				d.Crash()
				d.Run()
				got := []float64{}
				for _, r := range d.Out(alertsTopic, codec.String, codec.JSON[Alert]()).Read() {
					got = append(got, r.Value.Reading.Value)
				}
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("alerts of portion %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func send[V any](t *testing.T, d *streamtest.Driver, topic string, v V) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d.SendRaw(topic, nil, raw)
}
