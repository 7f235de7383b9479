// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/examples/data"
)

// TestTheDemoEndsWithTheNumbersOfTheRawFile runs everything that the demo is made of: broker, worker, feed, table.
func TestTheDemoEndsWithTheNumbersOfTheRawFile(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	d := &demo{dir: t.TempDir(), rate: 0, out: &out}
	if err := d.run(ctx); err != nil {
		t.Fatalf("demo: %v\n%s", err, out.String())
	}
	if ctx.Err() != nil {
		t.Fatalf("the demo did not end by itself:\n%s", out.String())
	}
	text := strings.Join(strings.Fields(out.String()), " ") // columns are of any width
	want := expectedOf(t, data.Flights())
	for _, code := range []string{"ATL", "ORD", "LAX"} {
		e := want.delays[code]
		row := fmt.Sprintf("%s %s, %s %d %.1f min %.0f %% %d min", code, e.City, e.State, e.Flights, e.MeanMinutes, 100*e.LateShare, e.MaxMinutes)
		for i, r := range want.busiest[code].Routes {
			row += fmt.Sprintf("%s %s %d", map[bool]string{true: ",", false: ""}[i > 0], r.Destination, r.Flights)
		}
		if !strings.Contains(text, row) {
			t.Errorf("the table does not have the row %q:\n%s", row, out.String())
		}
	}
	if !strings.Contains(text, "state get delays ATL --store-url file://") {
		t.Errorf("the demo does not say where to look next:\n%s", out.String())
	}
}

func TestATerminalsTableIsDrawnInItsPlace(t *testing.T) {
	t.Parallel()
	b := newBoard()
	b.delays["ATL"] = AirportDelays{City: "Atlanta", State: "GA", Flights: 2}
	b.delays["XYZ"] = AirportDelays{City: strings.Repeat("long", 30), Flights: 1}
	var out bytes.Buffer
	s := &screen{w: &out, size: func() (int, int) { return 60, 24 }}
	s.draw(b)
	first := out.String()
	if strings.Contains(first, "\x1b") || strings.Count(first, "\n") != 5 {
		t.Errorf("first table is %q, want 5 lines where the cursor is", first)
	}
	for line := range strings.Lines(first) {
		if n := len(strings.TrimSuffix(line, "\n")); n >= 60 {
			t.Errorf("line of %d columns does not fit the terminal: %q", n, line)
		}
	}
	out.Reset()
	s.draw(b)
	if got := out.String(); !strings.HasPrefix(got, "\x1b[5A\x1b[J") {
		t.Errorf("second table begins with %.20q, want it to go up 5 lines", got)
	}
}
