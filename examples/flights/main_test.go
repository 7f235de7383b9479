// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/examples/data"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

// expected is what the raw files say, computed without anything of the pipeline: first gather, then calculate.
type expected struct {
	delays  map[string]AirportDelays
	busiest map[string]Busiest
}

func expectedOf(t *testing.T, lines string) expected {
	t.Helper()
	delays := map[string][]int64{}          // origin → all delays
	routes := map[string]map[string]int64{} // origin → destination → flights
	for line := range strings.Lines(lines) {
		var f map[string]any
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		from, to := f["origin"].(string), f["destination"].(string)
		delays[from] = append(delays[from], int64(f["delay"].(float64)))
		if routes[from] == nil {
			routes[from] = map[string]int64{}
		}
		routes[from][to]++
	}
	rows, err := csv.NewReader(strings.NewReader(data.Airports())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	airports := map[string][]string{}
	for _, row := range rows {
		airports[row[0]] = row
	}
	e := expected{map[string]AirportDelays{}, map[string]Busiest{}}
	for from, all := range delays {
		sum, late := int64(0), 0
		for _, d := range all {
			sum += d
			if d > 15 {
				late++
			}
		}
		row := airports[from]
		e.delays[from] = AirportDelays{
			Airport: row[1], City: row[2], State: row[3], Flights: int64(len(all)), MaxMinutes: slices.Max(all),
			MeanMinutes: float64(sum) / float64(len(all)), LateShare: float64(late) / float64(len(all)),
		}
		e.busiest[from] = top(from, routes[from])
	}
	return e
}

// top sorts all routes of an airport and takes the first three.
func top(from string, flights map[string]int64) Busiest {
	to := slices.Sorted(maps.Keys(flights))
	sort.SliceStable(to, func(i, j int) bool { return flights[to[i]] > flights[to[j]] })
	var b Busiest
	for _, to := range to[:min(3, len(to))] {
		b.Routes = append(b.Routes, RouteFlights{Route{from, to}, flights[to]})
	}
	return b
}

func (e expected) check(t *testing.T, d *streamtest.Driver) {
	t.Helper()
	if diff := cmp.Diff(e.delays, streamtest.ReadTable(d.Out(delaysTopic, codec.String, codec.JSON[AirportDelays]()))); diff != "" {
		t.Errorf("topic %s (-computed +pipeline):\n%s", delaysTopic, diff)
	}
	if diff := cmp.Diff(e.busiest, streamtest.ReadTable(d.Out(routesTopic, codec.String, codec.JSON[Busiest]()))); diff != "" {
		t.Errorf("topic %s (-computed +pipeline):\n%s", routesTopic, diff)
	}
}

func TestAllFlightsGiveTheNumbersOfTheRawFile(t *testing.T) {
	t.Parallel()
	want := expectedOf(t, data.Flights())
	if len(want.delays) != 220 || want.delays["ATL"].City != "Atlanta" {
		t.Fatalf("the raw file gives %d airports, ATL is %+v; want 220, Atlanta", len(want.delays), want.delays["ATL"])
	}
	lines := slices.Collect(strings.Lines(data.Flights()))
	for _, partitions := range []int{1, 3, 8} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			t.Parallel()
			d := streamtest.New(t, pipeline(), streamtest.Partitions(partitions))
			send := func(lines []string) {
				for _, line := range lines {
					d.SendRaw(flightsTopic, nil, []byte(line))
				}
			}
			// Commits on the way, a checkpoint, and a crash with thousands of flights processed and not committed.
			send(lines[:8000])
			d.Run()
			d.Checkpoint()
			send(lines[8000:15000])
			d.Process(5000)
			d.Commit()
			d.Process(3000)
			d.Crash()
			d.Run()
			send(lines[15000:])
			d.Process(1000)
			d.RestoreCheckpoint()
			d.Run()
			want.check(t, d)
		})
	}
}

func TestCrashesAndPartitionsDoNotChangeTheTables(t *testing.T) {
	t.Parallel()
	first := slices.Collect(strings.Lines(data.Flights()))[:30]
	want := expectedOf(t, strings.Join(first, ""))
	streamtest.ThreeWays(t, pipeline(), func(d *streamtest.Driver) {
		for _, line := range first {
			d.SendRaw(flightsTopic, nil, []byte(line))
		}
		d.Run()
		want.check(t, d)
	}, streamtest.NewestOnly())
}

// TestARouteThatFellOutComesBack holds what keeping only the best routes rests on: counts only grow.
func TestARouteThatFellOutComesBack(t *testing.T) {
	t.Parallel()
	b := NewBusiest()
	for _, r := range []struct {
		to      string
		flights int64
	}{{"A", 2}, {"B", 2}, {"C", 2}, {"D", 1}, {"D", 2}, {"D", 3}, {"C", 3}} {
		b = b.Add(RouteFlights{Route{"X", r.to}, r.flights})
	}
	want := Busiest{[]RouteFlights{{Route{"X", "C"}, 3}, {Route{"X", "D"}, 3}, {Route{"X", "A"}, 2}}}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("busiest (-want +got):\n%s", diff)
	}
}

func TestAnUnknownAirportKeepsItsCode(t *testing.T) {
	t.Parallel()
	got := Airports{}.Describe("XYZ", NewDelays().Add(Flight{Delay: -3}))
	want := AirportDelays{Airport: "XYZ", Flights: 1, MeanMinutes: -3, MaxMinutes: -3}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
