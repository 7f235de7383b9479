// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json/v2"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// board is the newest value of every row in the pipeline's two output topics.
type board struct {
	delays  map[string]AirportDelays
	busiest map[string]Busiest
	flights int64 // in delays
}

func newBoard() *board {
	return &board{delays: map[string]AirportDelays{}, busiest: map[string]Busiest{}}
}

// put takes one record of an output topic.
func (b *board) put(r *kgo.Record) error {
	code := string(r.Key)
	var err error
	switch r.Topic {
	case delaysTopic:
		var d AirportDelays
		err = json.Unmarshal(r.Value, &d)
		b.flights += d.Flights - b.delays[code].Flights
		b.delays[code] = d
	case routesTopic:
		var top Busiest
		err = json.Unmarshal(r.Value, &top)
		b.busiest[code] = top
	}
	if err != nil {
		return fmt.Errorf("read topic %s/%d at offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return nil
}

// ranked returns the codes of the n airports with the most flights.
func (b *board) ranked(n int) []string {
	codes := slices.Collect(maps.Keys(b.delays))
	slices.SortFunc(codes, func(x, y string) int {
		return cmp.Or(cmp.Compare(b.delays[y].Flights, b.delays[x].Flights), cmp.Compare(x, y))
	})
	return codes[:min(n, len(codes))]
}

// table returns the lines of a table of the n airports with the most flights.
func (b *board) table(n int) []string {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AIRPORT\tCITY\tFLIGHTS\tMEAN DELAY\tLATE\tMAX\tBUSIEST ROUTES")
	for _, code := range b.ranked(n) {
		d := b.delays[code]
		fmt.Fprintf(w, "%s\t%s, %s\t%d\t%.1f min\t%.0f %%\t%d min\t%s\n",
			code, d.City, d.State, d.Flights, d.MeanMinutes, 100*d.LateShare, d.MaxMinutes, b.routes(code))
	}
	_ = w.Flush() // to a buffer, which takes everything
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

func (b *board) routes(code string) string {
	var to []string
	for _, r := range b.busiest[code].Routes {
		to = append(to, fmt.Sprintf("%s %d", r.Destination, r.Flights))
	}
	return strings.Join(to, ", ")
}

// screen shows a board: on a terminal as a table that is drawn again in its place, elsewhere as a line of what is
// new.
type screen struct {
	w      io.Writer
	size   func() (width, height int) // nil: no terminal
	began  time.Time
	drawn  int    // lines to go up
	latest string // line printed last
}

// The number of airports shown.
const (
	tableRows = 15
	lineRows  = 3
)

// draw shows the board as it is now.
func (s *screen) draw(b *board) {
	if s.size == nil {
		s.line(b)
		return
	}
	width, height := s.size()
	lines := append([]string{fmt.Sprintf("%d flights", b.flights), ""}, b.table(min(tableRows, max(1, height-5)))...)
	var text strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA\x1b[J", s.drawn) // up, and clear from there
	}
	for _, l := range lines {
		text.WriteString(clip(l, width))
		text.WriteByte('\n')
	}
	s.drawn = len(lines)
	_, _ = io.WriteString(s.w, text.String()) // nobody is there to tell
}

// clip keeps a line from taking two on the terminal.
func clip(line string, width int) string {
	if r := []rune(line); width > 0 && len(r) >= width {
		return string(r[:width-1])
	}
	return line
}

// line prints the first few airports, if anything has changed.
func (s *screen) line(b *board) {
	var text strings.Builder
	fmt.Fprintf(&text, "%5d flights", b.flights)
	for _, code := range b.ranked(lineRows) {
		d := b.delays[code]
		fmt.Fprintf(&text, " | %s %d, mean %.1f min, %.0f %% late, most to %s",
			code, d.Flights, d.MeanMinutes, 100*d.LateShare, b.routes(code))
	}
	if text.String() == s.latest || b.flights == 0 {
		return
	}
	s.latest = text.String()
	fmt.Fprintf(s.w, "%4.1fs %s\n", time.Since(s.began).Seconds(), s.latest)
}

// end shows the board for the last time.
func (s *screen) end(b *board) {
	s.draw(b)
	if s.size == nil {
		fmt.Fprintf(s.w, "\n%s\n", strings.Join(b.table(tableRows), "\n"))
	}
}
