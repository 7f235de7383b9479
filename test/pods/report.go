// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json/v2"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/fleet"
)

// Limits of pauses.
const (
	warmLimit   = time.Second            // of a task that moves to a worker that has followed it
	coldLimit   = 2 * time.Second        // of one that moves to another, while its owner goes in order
	stayedLimit = 250 * time.Millisecond // of one that does not move
)

// failedShare is how many queries there must be for each that fails.
const failedShare = 1000

// nothing is what happens in an incident that others are compared with.
const nothing = "nothing"

// incident is something that was done to the workers, and what the output had of it.
type incident struct {
	Kind   string          `json:"kind"`
	What   string          `json:"what"`
	Took   time.Duration   `json:"took"`
	Moves  int             `json:"moves"`
	Fewest int             `json:"fewest"` // moves that it takes; -1: nobody can say
	Warm   []time.Duration `json:"warm"`   // pauses of tasks that moved to a worker that had followed them
	Cold   []time.Duration `json:"cold"`   // of those that moved to another
	Stayed []time.Duration `json:"stayed"` // of those that did not move
	// Memory is the most that a worker has taken since it began, in bytes, of those that are there at the end.
	Memory int64 `json:"memory"`
	// Queries are what they had of it; nil: there were none.
	Queries *answers `json:"queries,omitempty"`

	span span
}

// result is what a run has found.
type result struct {
	Options   options       `json:"options"`
	Took      time.Duration `json:"took"`
	Inputs    int64         `json:"inputs"`
	Incidents []incident    `json:"incidents"`
	Takeovers []takeover    `json:"takeovers"`
	Faults    []string      `json:"faults"`
}

// partitionOf is the number of a task in its sub-topology; there is but one.
func partitionOf(task string) int {
	id, err := partition.ParseTaskID(task)
	if err != nil {
		panic(err) // it is of a worker's log or status
	}
	return int(id.Partition)
}

// record takes an incident down.
func (r *run) record(i incident) {
	made := moves(r.entries(time.Time{}), i.span)
	i.Took, i.Moves = i.span.To.Sub(i.span.From), len(made)
	for _, p := range r.All {
		i.Memory = max(i.Memory, p.PeakMemory())
	}
	for p, times := range r.watcher.arrivals(i.span.From.Add(-r.opts.Calm)) {
		of := slices.DeleteFunc(slices.Clone(made), func(mv move) bool { return partitionOf(mv.Task) != p })
		took := pause(times, i.span)
		switch {
		case len(of) == 0:
			i.Stayed = append(i.Stayed, took)
		case slices.ContainsFunc(of, func(mv move) bool { return !mv.warm() }):
			i.Cold = append(i.Cold, took)
		default:
			i.Warm = append(i.Warm, took)
		}
	}
	if r.opts.Queries > 0 {
		i.Queries = r.querier.during(i.span)
	}
	r.result.Incidents = append(r.result.Incidents, i)
	r.Say("%-14s %-16s %5.1f s, moves %d of %s, pauses: warm %s, cold %s, stayed %s", i.Kind, i.What, i.Took.Seconds(), i.Moves,
		i.least(), longest(i.Warm), longest(i.Cold), longest(i.Stayed))
	if q := i.Queries; q != nil {
		r.Say("%-31s queries: %d, failed %d %s", "", q.Asked, q.Failed, q.Failure)
	}
	if r.opts.Strict {
		r.hold(i)
	}
}

// hold compares with the limits. Who kills or cuts off is promised nothing but what takeovers are.
func (r *run) hold(i incident) {
	if i.Fewest == unknown || i.Kind == "failover" || i.What == nothing {
		return
	}
	for _, c := range []struct {
		what   string
		pauses []time.Duration
		limit  time.Duration
	}{{"moved warm", i.Warm, warmLimit}, {"moved cold", i.Cold, coldLimit}, {"did not move", i.Stayed, stayedLimit}} {
		if p99 := percentile(c.pauses, 99); p99 > c.limit {
			r.Faults.Add("%s, %s: a task that %s paused for %v, the limit is %v", i.Kind, i.What, c.what, p99, c.limit)
		}
	}
	if q := i.Queries; q != nil && (q.Failed+q.Skipped)*failedShare > q.Asked {
		r.Faults.Add("%s, %s: of %d queries %d failed and %d could not be asked, the limit is one in %d", i.Kind, i.What, q.Asked, q.Failed, q.Skipped, failedShare)
	}
	if i.Moves > i.Fewest {
		r.Faults.Add("%s, %s: %d moves, %d would have done", i.Kind, i.What, i.Moves, i.Fewest)
	}
}

func (i *incident) least() string {
	if i.Fewest == unknown {
		return "-"
	}
	return fmt.Sprint(i.Fewest)
}

func longest(pauses []time.Duration) string {
	if len(pauses) == 0 {
		return "-"
	}
	return seconds(percentile(pauses, 100))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

// finish closes the books.
func (r *run) finish() *result {
	res := &r.result
	for kind, limit := range failoverLimits {
		if p99 := percentile(stage(res.Takeovers, kind, takeover.comeback), 99); r.opts.Strict && p99 > limit {
			r.Faults.Add("failover, %s: a task had output %v after the detection, the limit is %v", kind, p99, limit)
		}
	}
	res.Took, res.Inputs, res.Faults = r.Took(), r.feeder.sent(), r.Faults.List()
	if len(res.Faults) > 0 {
		r.Say("logs: %s", r.Dir)
	}
	return res
}

// stage gives one duration of each takeover of a kind.
func stage(all []takeover, kind string, of func(takeover) time.Duration) (values []time.Duration) {
	for _, t := range all {
		if t.Kind == kind {
			values = append(values, of(t))
		}
	}
	return values
}

// Broken says whether there are faults.
func (res *result) Broken() bool { return len(res.Faults) > 0 }

// Print writes the result as text or JSON.
func (res *result) Print(w io.Writer, format string) error {
	if format == "json" {
		return json.MarshalWrite(w, res, fleet.Durations)
	}
	var b strings.Builder
	res.printTables(&b)
	fmt.Fprintf(&b, "%d input records, as many committed updates, %d keys, %.0f s, seed %d\n", res.Inputs, res.Options.keys(), res.Took.Seconds(), res.Options.Seed)
	if len(res.Faults) == 0 {
		b.WriteString("PASS: nothing lost, nothing repeated, every key in order, every state the one before, no open transaction\n")
	} else {
		fmt.Fprintf(&b, "FAIL: %d broken promises; repeat with --seed %d\n", len(res.Faults), res.Options.Seed)
		for _, f := range res.Faults {
			fmt.Fprintf(&b, "  - %s\n", f)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (res *result) printTables(b *strings.Builder) {
	res.printIncidents(b)
	res.printTakeovers(b)
	res.printQueries(b)
}

// printIncidents writes a line per incident, and one per kind of all its tasks.
func (res *result) printIncidents(b *strings.Builder) {
	if len(res.Incidents) == 0 {
		return
	}
	b.WriteString("Pauses of a task's output in seconds, beyond its usual cadence: p50, p99 and longest, of tasks that moved to a\n")
	b.WriteString("worker that had followed them, of tasks that moved to another, and of tasks that did not move. Memory is the most\n")
	b.WriteString("that one of the workers has had resident.\n")
	fmt.Fprintf(b, "%-14s %-17s %6s %5s %6s  %20s  %20s  %20s  %8s\n", "", "", "took s", "moves", "fewest", "warm", "cold", "did not move", "memory")
	kinds := map[string]*incident{}
	var order []string
	for _, i := range res.Incidents {
		i.print(b)
		if i.What == nothing {
			continue
		}
		all := kinds[i.Kind]
		if all == nil {
			all = &incident{Kind: i.Kind, What: "all"}
			kinds[i.Kind], order = all, append(order, i.Kind)
		}
		all.add(i)
	}
	for _, kind := range order {
		kinds[kind].print(b)
	}
	b.WriteString("\n")
}

// add makes the sum of incidents.
func (i *incident) add(o incident) {
	i.Took, i.Moves, i.Memory = i.Took+o.Took, i.Moves+o.Moves, max(i.Memory, o.Memory)
	i.Warm, i.Cold, i.Stayed = append(i.Warm, o.Warm...), append(i.Cold, o.Cold...), append(i.Stayed, o.Stayed...)
	if i.Fewest == unknown || o.Fewest == unknown {
		i.Fewest = unknown
	} else {
		i.Fewest += o.Fewest
	}
}

func (i *incident) print(b *strings.Builder) {
	fmt.Fprintf(b, "%-14s %-17s %6.1f %5d %6s  %20s  %20s  %20s  %4d MiB\n", i.Kind, i.What, i.Took.Seconds(), i.Moves, i.least(),
		spread(i.Warm), spread(i.Cold), spread(i.Stayed), i.Memory>>20)
}

// spread gives the median, the 99th percentile and the longest.
func spread(pauses []time.Duration) string {
	if len(pauses) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s %6s %6s", seconds(percentile(pauses, 50)), seconds(percentile(pauses, 99)), seconds(percentile(pauses, 100)))
}

// printTakeovers writes how the time from a kill to new output is spent.
func (res *result) printTakeovers(b *strings.Builder) {
	if len(res.Takeovers) == 0 {
		return
	}
	b.WriteString("From SIGKILL to the first new output of a task in seconds: p50, p99 and longest.\n")
	fmt.Fprintf(b, "%-10s %5s  %19s  %19s  %19s  %19s  %19s  %22s\n", "", "tasks", "detection", "fencing", "state ready", "anchor commit", "first output", "detection to output")
	for _, kind := range []string{onDisk, onNoDisk, onStandby} {
		column := func(of func(takeover) time.Duration) string { return spread(stage(res.Takeovers, kind, of)) }
		fmt.Fprintf(b, "%-10s %5d  %19s  %19s  %19s  %19s  %19s  %22s\n", kind, len(stage(res.Takeovers, kind, takeover.comeback)),
			column(func(t takeover) time.Duration { return t.Detection }),
			column(func(t takeover) time.Duration { return t.Fencing }),
			column(func(t takeover) time.Duration { return t.Ready }),
			column(func(t takeover) time.Duration { return t.Anchor }),
			column(func(t takeover) time.Duration { return t.Output }),
			column(takeover.comeback))
	}
	b.WriteString("\n")
}

// printQueries writes what queries had of each incident.
func (res *result) printQueries(b *strings.Builder) {
	if res.Options.Queries == 0 {
		return
	}
	b.WriteString("Queries of single keys: how many have ended, were answered by a standby, failed so that they may be asked again,\n")
	b.WriteString("and were due when as many as can be were on their way; seconds from when due to the end: p50, p99 and longest.\n")
	fmt.Fprintf(b, "%-14s %-17s %8s %9s %8s %7s %8s  %23s\n", "", "", "ended", "a second", "standby", "failed", "not sent", "took")
	for _, i := range res.Incidents {
		q := i.Queries
		if q == nil {
			continue
		}
		fmt.Fprintf(b, "%-14s %-17s %8d %9.0f %8d %7d %8d  %7.4f %7.4f %7.4f\n", i.Kind, i.What, q.Asked, float64(q.Asked)/i.Took.Seconds(),
			q.Standbys, q.Failed, q.Skipped, q.P50.Seconds(), q.P99.Seconds(), q.Max.Seconds())
	}
	b.WriteString("\n")
}
