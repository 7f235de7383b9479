// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/examples/nexmark/queries"
	"github.com/streamd/streamd/test/fleet"
)

func main() {
	if chosen := os.Getenv(childEnv); chosen != "" {
		os.Exit(child(chosen))
	}
	os.Exit(command(os.Args[1:]))
}

// options are what a run can be asked for.
type options struct {
	Queries        []string      `json:"queries"`
	Events         int64         `json:"events"`
	Rate           int64         `json:"rate"`
	Seeds          []uint64      `json:"seeds"`
	Partitions     []int         `json:"partitions"`
	Workers        []int         `json:"workers"`
	Kill           bool          `json:"kill"`
	Parallel       int           `json:"parallel"`
	SessionTimeout time.Duration `json:"sessionTimeout"`
	Limit          time.Duration `json:"limit"`
}

// command parses a command line, runs it and returns the exit code.
func command(args []string) int {
	o := options{Queries: queries.Names(), Seeds: []uint64{1}, Partitions: []int{1, 4, 7}, Workers: []int{1, 3}}
	fs := flag.NewFlagSet("nexmark", flag.ContinueOnError)
	fs.Func("queries", "queries, with commas between them (default all)", func(s string) error {
		o.Queries = strings.Split(s, ",")
		return nil
	})
	fs.Func("seeds", "seeds of the events (default 1)", numbers(&o.Seeds, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }))
	fs.Func("partitions", "numbers of partitions of every topic (default 1,4,7)", numbers(&o.Partitions, strconv.Atoi))
	fs.Func("workers", "numbers of worker processes (default 1,3)", numbers(&o.Workers, strconv.Atoi))
	fs.Int64Var(&o.Events, "events", 1_000_000, "events of all three kinds")
	fs.Int64Var(&o.Rate, "rate", 0, "events a second of event time; 0: so that they last 100 seconds, over midnight")
	fs.BoolVar(&o.Kill, "kill", true, "kill a worker of each cell in the middle of its run, and start another")
	fs.IntVar(&o.Parallel, "parallel", 2, "cells that run at the same time")
	fs.DurationVar(&o.SessionTimeout, "session-timeout", 3*time.Second, "of the workers")
	fs.DurationVar(&o.Limit, "limit", 10*time.Minute, "longest time that the workers of a cell may take")
	return fleet.Command{Flags: fs, Check: o.check, Execute: func(ctx context.Context, format string) (fleet.Result, error) {
		return execute(ctx, o, format)
	}}.Run(args)
}

// numbers parses a list of numbers with commas between them.
func numbers[T any](to *[]T, parse func(string) (T, error)) func(string) error {
	return func(list string) error {
		*to = nil
		for text := range strings.SplitSeq(list, ",") {
			n, err := parse(text)
			if err != nil {
				return err
			}
			*to = append(*to, n)
		}
		return nil
	}
}

// check says what is wrong with the options; "" for nothing. It fills in what depends on others.
func (o *options) check() string {
	if o.Events < 1 || o.Rate < 0 || o.Parallel < 1 || slices.Min(o.Partitions) < 1 || slices.Min(o.Workers) < 1 {
		return "events, parallel, partitions and workers must be at least 1, rate at least 0"
	}
	for _, q := range o.Queries {
		if !slices.Contains(queries.Names(), q) {
			return fmt.Sprintf("query %q is not known: the queries are %s", q, strings.Join(queries.Names(), " "))
		}
	}
	if o.Rate == 0 {
		const span = 100 // seconds
		o.Rate = max(1, o.Events/span)
	}
	return ""
}
