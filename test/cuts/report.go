// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json/v2"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// outcome is what an application has given that began from a cut.
type outcome struct {
	App      string        `json:"app"`
	Command  string        `json:"command"`
	Round    int64         `json:"round"`    // of the cut
	InFlight int64         `json:"inFlight"` // records between the stages at the cut
	Began    time.Duration `json:"began"`
	Took     time.Duration `json:"took"`
	Killed   bool          `json:"killed"` // a worker was that had input left
	Counts   int           `json:"counts"` // updates
	Totals   int           `json:"totals"` // windows
	Closed   int           `json:"closed"` // windows that were closed before the cut
	Faults   []string      `json:"faults,omitempty"`
}

// keptFaults bounds what is kept of each application: one lost epoch breaks hundreds of checks.
const keptFaults = 10

// bounded is the first faults, and how many there are more. It is for all faults of an application, once.
func bounded(faults []string) []string {
	if more := len(faults) - keptFaults; more > 0 {
		return append(faults[:keptFaults:keptFaults], fmt.Sprintf("… and %d more", more))
	}
	return faults
}

func (o *outcome) fault(faults ...string) { o.Faults = append(o.Faults, faults...) }

// result is what a run has found.
type result struct {
	Options options       `json:"options"`
	Took    time.Duration `json:"took"`
	Kills   int           `json:"kills"` // of workers of the original application
	Trials  []outcome     `json:"trials"`
	Faults  []string      `json:"faults"`
}

// report gathers outcomes and prints each as it comes. Safe for concurrent use.
type report struct {
	to io.Writer
	mu struct {
		sync.Mutex
		trials []outcome
		faults []string
	}
}

const row = "%-22s %-10s %6v %9v %8v %8v %6v %8v %7v %7v  %s\n"

// heading begins the table. It goes beside the result where that is JSON.
func (p *report) heading(format string) {
	p.to = os.Stdout
	if format == "json" {
		p.to = os.Stderr
	}
	fmt.Fprintf(p.to, row, "application", "command", "round", "in flight", "begin s", "run s", "killed", "counts", "totals", "closed", "result")
}

func (p *report) add(o outcome) {
	o.Faults = bounded(o.Faults)
	verdict, killed := "right", "no"
	if len(o.Faults) > 0 {
		verdict = "WRONG"
	}
	if o.Killed {
		killed = "yes"
	}
	p.mu.Lock()
	p.mu.trials = append(p.mu.trials, o)
	fmt.Fprintf(p.to, row, o.App, o.Command, o.Round, o.InFlight, fmt.Sprintf("%.1f", o.Began.Seconds()), fmt.Sprintf("%.1f", o.Took.Seconds()), killed, o.Counts, o.Totals, o.Closed, verdict)
	p.mu.Unlock()
	p.faults(o.App, o.Faults)
}

// faults notes broken promises of an application.
func (p *report) faults(app string, faults []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range faults {
		f = app + ": " + f
		p.mu.faults = append(p.mu.faults, f)
		fmt.Fprintln(p.to, f)
	}
}

// shows is what most applications must have had, or the run shows less than it should.
var shows = []struct {
	what string
	had  func(outcome) bool
}{
	{"records in flight", func(o outcome) bool { return o.InFlight > 0 }},
	{"updates to come", func(o outcome) bool { return o.Counts > 0 }},
	{"windows on both sides of the cut", func(o outcome) bool { return o.Totals > 0 && o.Closed > 0 }},
	{"a worker killed in the middle of its work", func(o outcome) bool { return o.Killed }},
}

// finish closes the books.
func (p *report) finish(o options, took time.Duration, kills int) *result {
	p.mu.Lock()
	defer p.mu.Unlock()
	res := &result{Options: o, Took: took, Kills: kills, Trials: p.mu.trials, Faults: p.mu.faults}
	for _, s := range shows {
		n := 0
		for _, t := range res.Trials {
			if s.had(t) {
				n++
			}
		}
		if 2*n <= len(res.Trials) {
			res.Faults = append(res.Faults, fmt.Sprintf("%d of %d applications that began from a cut had %s: the run shows less than it should", n, len(res.Trials), s.what))
		}
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
	verdict := "PASS: every round is a cut of the whole pipeline"
	if len(res.Faults) > 0 {
		verdict = fmt.Sprintf("FAIL: %d broken promises", len(res.Faults))
		for _, f := range res.Faults {
			verdict += "\n" + f
		}
	}
	_, err := fmt.Fprintf(w, "seed %d: %d applications from cuts, %d workers of the original killed, %.0f s\n%s\n", res.Options.Seed, len(res.Trials), res.Kills, res.Took.Seconds(), verdict)
	return err
}
