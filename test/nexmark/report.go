// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json/v2"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// outcome is what a cell has given.
type outcome struct {
	Query      string        `json:"query"`
	Seed       uint64        `json:"seed"`
	Partitions int           `json:"partitions"`
	Workers    int           `json:"workers"`
	Kills      int           `json:"kills"`   // of workers with input left
	Records    int           `json:"records"` // in the topic of the results
	Rows       int           `json:"rows"`    // that these amount to
	Took       time.Duration `json:"took"`
	Faults     []string      `json:"faults,omitempty"`
}

func (o *outcome) fault(format string, args ...any) {
	o.Faults = append(o.Faults, fmt.Sprintf(format, args...))
}

// result is what a run has found.
type result struct {
	Options options       `json:"options"`
	Took    time.Duration `json:"took"`
	Cells   []outcome     `json:"cells"`
	Kills   int           `json:"kills"`
	Faults  []string      `json:"faults"`
}

// report gathers outcomes and prints each as it comes. Safe for concurrent use.
type report struct {
	mu struct {
		sync.Mutex
		to    io.Writer
		cells []outcome
	}
}

// heading begins the table. It goes beside the result where that is JSON.
func (p *report) heading(format string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.to = os.Stdout
	if format == "json" {
		p.mu.to = os.Stderr
	}
	fmt.Fprintf(p.mu.to, "%-5s %6s %10s %7s %5s %9s %9s %8s  %s\n", "query", "seed", "partitions", "workers", "kills", "records", "rows", "seconds", "result")
}

func (p *report) add(o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.cells = append(p.mu.cells, o)
	verdict := "right"
	if len(o.Faults) > 0 {
		verdict = "WRONG"
	}
	fmt.Fprintf(p.mu.to, "%-5s %6d %10d %7d %5d %9d %9d %8.1f  %s\n", o.Query, o.Seed, o.Partitions, o.Workers, o.Kills, o.Records, o.Rows, o.Took.Seconds(), verdict)
	for _, f := range o.Faults {
		fmt.Fprintln(p.mu.to, f)
	}
}

// finish closes the books.
func (p *report) finish(o options, took time.Duration) *result {
	p.mu.Lock()
	defer p.mu.Unlock()
	res := &result{Options: o, Took: took, Cells: p.mu.cells}
	var hit []string // queries of which a busy worker was killed
	for _, c := range res.Cells {
		res.Kills += c.Kills
		if c.Kills > 0 && !slices.Contains(hit, c.Query) {
			hit = append(hit, c.Query)
		}
		for _, f := range c.Faults {
			res.Faults = append(res.Faults, fmt.Sprintf("%s, seed %d, %d partitions, %d workers: %s", c.Query, c.Seed, c.Partitions, c.Workers, f))
		}
	}
	if o.Kill && 2*len(hit) <= len(o.Queries) {
		res.Faults = append(res.Faults, fmt.Sprintf("a busy worker was killed in %d of %d queries only: the others were done too soon; give more --events", len(hit), len(o.Queries)))
	}
	return res
}

// Broken says whether there are faults.
func (res *result) Broken() bool { return len(res.Faults) > 0 }

// Print writes the end of the table, or all of the result as JSON.
func (res *result) Print(w io.Writer, format string) error {
	if format == "json" {
		return json.MarshalWrite(w, res, fleet.Durations)
	}
	verdict := "PASS: every result equals the evaluation"
	if len(res.Faults) > 0 {
		verdict = fmt.Sprintf("FAIL: %d broken promises", len(res.Faults))
	}
	_, err := fmt.Fprintf(w, "%d cells, %d busy workers killed, %.0f s\n%s\n", len(res.Cells), res.Kills, res.Took.Seconds(), verdict)
	return err
}
