// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json/v2"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// result is what a run has found.
type result struct {
	Options       options       `json:"options"`
	Took          time.Duration `json:"took"`
	Outputs       int64         `json:"outputs"`
	Kills         int           `json:"kills"`
	InTransaction int           `json:"killsInTransaction"`
	Disruptions   []disruption  `json:"disruptions"`
	Outage        *outage       `json:"outage,omitempty"`
	Late          int           `json:"late"` // disruptions after which a task came back later than promised
	Faults        []string      `json:"faults"`
}

// disruption is one kill, wipe or zombie.
type disruption struct {
	Kind          string          `json:"kind"`
	Worker        string          `json:"worker"`
	Settled       bool            `json:"settled"` // no rebalance was going on
	InTransaction bool            `json:"inTransaction"`
	Tasks         int             `json:"tasks"` // with output, that the worker owned
	Back          []time.Duration `json:"-"`     // until each had committed output again, sorted
	Slowest       time.Duration   `json:"back"`
	Limit         time.Duration   `json:"limit"` // promised; 0: nothing is
	slowest       time.Duration   // what the limit is longer by: commit intervals beyond the usual, starts of processes
}

// outage is what happened while the object store was away.
type outage struct {
	Length    time.Duration `json:"length"`
	Outputs   int64         `json:"outputs"`
	AgeBefore float64       `json:"ageBefore"` // seconds, of the oldest checkpoint
	AgeAtEnd  float64       `json:"ageAtEnd"`
	Healed    time.Duration `json:"healed"`
}

func (d *disruption) median() time.Duration {
	if len(d.Back) == 0 {
		return 0
	}
	return d.Back[len(d.Back)/2]
}

// record takes a disruption down.
func (r *run) record(d disruption) {
	if len(d.Back) > 0 {
		d.Slowest = d.Back[len(d.Back)-1]
	}
	// A second disruption while the group still deals with the first adds to it; nothing is promised then.
	if d.Settled {
		d.Limit = r.opts.SessionTimeout + time.Second + d.slowest
	}
	if d.Kind == "kill" {
		r.result.Kills++
		if d.InTransaction {
			r.result.InTransaction++
		}
	}
	late := d.Limit > 0 && d.Slowest > d.Limit
	if late {
		r.result.Late++
		if r.opts.Strict {
			r.Faults.Add("%s of %s: a task was back after %v, promised are %v", d.Kind, d.Worker, d.Slowest, d.Limit)
		}
	}
	r.result.Disruptions = append(r.result.Disruptions, d)
	r.Say("%-6s %s  %d tasks, in a transaction: %-5t  back after %.2fs (median %.2fs)%s", d.Kind, d.Worker, d.Tasks, d.InTransaction,
		d.Slowest.Seconds(), d.median().Seconds(), map[bool]string{true: "  LATE", false: ""}[late])
}

// finish closes the books.
func (r *run) finish() *result {
	if r.opts.Kills > 0 && r.result.Kills == 0 {
		r.Faults.Add("no worker was killed")
	}
	r.result.Options, r.result.Took, r.result.Faults = r.opts, r.Took(), r.Faults.List()
	if len(r.result.Faults) > 0 {
		r.Say("logs: %s", r.Dir)
	}
	return &r.result
}

// Broken says whether there are faults.
func (res *result) Broken() bool { return len(res.Faults) > 0 }

// Print writes the result as text or JSON.
func (res *result) Print(w io.Writer, format string) error {
	if format == "json" {
		return json.MarshalWrite(w, res, fleet.Durations)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-6s %-10s %-8s %-6s %6s %9s %9s %9s\n", "", "worker", "settled", "in txn", "tasks", "median s", "slowest s", "limit s")
	for _, d := range res.Disruptions {
		limit := "-"
		if d.Limit > 0 {
			limit = fmt.Sprintf("%.1f", d.Limit.Seconds())
		}
		fmt.Fprintf(&b, "%-6s %-10s %-8t %-6t %6d %9.2f %9.2f %9s\n", d.Kind, d.Worker, d.Settled, d.InTransaction, d.Tasks, d.median().Seconds(), d.Slowest.Seconds(), limit)
	}
	var tasks []time.Duration
	for _, d := range res.Disruptions {
		if d.Kind == "kill" && d.Settled {
			tasks = append(tasks, d.Back...)
		}
	}
	slices.Sort(tasks)
	if n := len(tasks); n > 0 {
		fmt.Fprintf(&b, "tasks of workers killed in a settled group: back after p50 %.2f s, p90 %.2f s, max %.2f s; session timeout %v, promised within %v; %d disruptions were late\n",
			tasks[n/2].Seconds(), tasks[n*9/10].Seconds(), tasks[n-1].Seconds(), res.Options.SessionTimeout, res.Options.SessionTimeout+time.Second, res.Late)
	}
	if o := res.Outage; o != nil {
		fmt.Fprintf(&b, "object store away for %v: %d outputs meanwhile, checkpoint age %.1f s -> %.1f s, healed %.1f s after\n", o.Length, o.Outputs, o.AgeBefore, o.AgeAtEnd, o.Healed.Seconds())
	}
	fmt.Fprintf(&b, "%d input records, %d committed updates, %d kills (%d inside an open transaction), %.0f s, seed %d\n",
		res.Options.Records, res.Outputs, res.Kills, res.InTransaction, res.Took.Seconds(), res.Options.Seed)
	if len(res.Faults) == 0 {
		b.WriteString("PASS: output and state equal the single-threaded evaluation; nothing lost, nothing repeated, every key in order, no open transaction\n")
	} else {
		fmt.Fprintf(&b, "FAIL: %d broken promises; repeat with --seed %d\n", len(res.Faults), res.Options.Seed)
		for _, f := range res.Faults {
			fmt.Fprintf(&b, "  - %s\n", f)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
