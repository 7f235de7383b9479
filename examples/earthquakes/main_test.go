// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/examples/data"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

// expected is what the raw file says, computed over all of it at once: earthquakes by cell, in the order of time.
type expected struct {
	swarms      map[string][]Swarm
	aftershocks map[string][]string // cell → "main id of aftershock", sorted
}

func expectedOf(t *testing.T, lines []string) expected {
	t.Helper()
	cells := map[string][]Quake{}
	for _, line := range lines {
		var q Quake
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		if q.Type == "earthquake" {
			cell := fmt.Sprint(int(math.Floor(q.Latitude)), ",", int(math.Floor(q.Longitude)))
			cells[cell] = append(cells[cell], q)
		}
	}
	e := expected{map[string][]Swarm{}, map[string][]string{}}
	for cell, quakes := range cells {
		for first := 0; first < len(quakes); {
			last := first
			for last+1 < len(quakes) && quakes[last+1].Time-quakes[last].Time <= 6*3600_000 {
				last++
			}
			swarm := quakes[first : last+1]
			if len(swarm) >= 3 {
				e.swarms[cell] = append(e.swarms[cell], Swarm{len(swarm), swarm[0].Time, quakes[last].Time, strongest(swarm)})
			}
			first = last + 1
		}
		for i, main := range quakes {
			for _, q := range quakes[i+1:] {
				if main.Magnitude >= 4 && q.Time-main.Time <= 24*3600_000 && q.Magnitude < main.Magnitude {
					e.aftershocks[cell] = append(e.aftershocks[cell], main.ID+" "+q.ID)
				}
			}
		}
		slices.Sort(e.aftershocks[cell])
	}
	return e
}

// strongest takes the first of those with the highest magnitude.
func strongest(quakes []Quake) Quake {
	return slices.MaxFunc(quakes, func(a, b Quake) int { return int(math.Round(1000 * (a.Magnitude - b.Magnitude))) })
}

func (e expected) check(t *testing.T, d *streamtest.Driver) {
	t.Helper()
	swarms, aftershocks := map[string][]Swarm{}, map[string][]string{}
	for _, r := range d.Out(swarmsTopic, codec.String, codec.JSON[Swarm]()).Read() {
		swarms[r.Key] = append(swarms[r.Key], r.Value)
	}
	if diff := cmp.Diff(e.swarms, swarms); diff != "" {
		t.Errorf("topic %s (-computed +pipeline):\n%s", swarmsTopic, diff)
	}
	for _, r := range d.Out(aftershocksTopic, codec.String, codec.JSON[Aftershock]()).Read() {
		aftershocks[r.Key] = append(aftershocks[r.Key], r.Value.Main+" "+r.Value.ID)
	}
	for cell := range e.aftershocks {
		slices.Sort(aftershocks[cell])
		if diff := cmp.Diff(e.aftershocks[cell], aftershocks[cell]); diff != "" {
			t.Errorf("aftershocks in cell %s (-computed +pipeline):\n%s", cell, diff)
		}
		delete(aftershocks, cell)
	}
	if len(aftershocks) > 0 {
		t.Errorf("aftershocks where there are none: %v", aftershocks)
	}
}

func TestAllEarthquakesGiveTheSwarmsAndAftershocksOfTheRawFile(t *testing.T) {
	t.Parallel()
	lines := slices.Collect(strings.Lines(data.Earthquakes()))
	want := expectedOf(t, lines)
	largest := want.swarms["33,-117"]
	if len(largest) != 1 || largest[0].Quakes < 200 {
		t.Fatalf("the raw file gives %v for southern California; want one swarm that goes on all week", largest)
	}
	for _, partitions := range []int{1, 3, 8} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			t.Parallel()
			d := streamtest.New(t, pipeline(), streamtest.Partitions(partitions))
			for _, line := range lines {
				d.SendRaw(quakesTopic, nil, []byte(line))
			}
			d.Process(1000)
			d.Commit()
			d.Process(1000)
			d.Crash()
			d.Finish()
			want.check(t, d)
		})
	}
}

func TestEarthquakesThatAreReportedLateAreCounted(t *testing.T) {
	t.Parallel()
	lines := slices.Collect(strings.Lines(data.Earthquakes()))
	d := streamtest.New(t, pipeline())
	for _, line := range reported(t, lines) {
		d.SendRaw(quakesTopic, nil, []byte(line))
	}
	d.Finish()
	expectedOf(t, lines).check(t, d)
}

// reported puts the lines into the order in which they are reported, each some minutes after the earthquake.
func reported(t *testing.T, lines []string) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	type report struct {
		line string
		at   int64
	}
	var reports []report
	for _, line := range lines {
		var q Quake
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		reports = append(reports, report{line, q.Time + random.Int64N(reportedWithin.Milliseconds())})
	}
	slices.SortFunc(reports, func(a, b report) int { return int(a.at - b.at) })
	var sorted []string
	disorder := 0
	for i, r := range reports {
		sorted = append(sorted, r.line)
		if r.line != lines[i] {
			disorder++
		}
	}
	if disorder < 500 {
		t.Fatalf("%d lines are out of order, too few to show anything", disorder)
	}
	return sorted
}

func TestCrashesAndPartitionsDoNotChangeTheResults(t *testing.T) {
	t.Parallel()
	lines := slices.Collect(strings.Lines(data.Earthquakes()))[:80]
	streamtest.ThreeWays(t, pipeline(), func(d *streamtest.Driver) {
		for _, line := range lines {
			d.SendRaw(quakesTopic, nil, []byte(line))
		}
		d.Finish()
		expectedOf(t, lines).check(t, d)
	}, streamtest.AnyOrder(aftershocksTopic))
}
