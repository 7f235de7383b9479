// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if line := os.Getenv(childEnv); line != "" {
		child(line)
	}
	os.Exit(command(os.Args[1:]))
}

// options are what a run can be asked for.
type options struct {
	Cuts               int      `json:"cuts"`
	Rescales           int      `json:"rescales"`
	Partitions         int      `json:"partitions"`
	Rate               int      `json:"rate"`
	Tail               int      `json:"tail"`
	Every              duration `json:"every"`
	CheckpointInterval duration `json:"checkpointInterval"`
	SessionTimeout     duration `json:"sessionTimeout"`
	Parallel           int      `json:"parallel"`
	Limit              duration `json:"limit"`
	Seed               uint64   `json:"seed"`

	output string
}

// command parses a command line, runs it and returns the exit code.
func command(args []string) int {
	var o options
	fs := flag.NewFlagSet("cuts", flag.ContinueOnError)
	fs.IntVar(&o.Cuts, "cuts", 10, "complete rounds to fork from")
	fs.IntVar(&o.Rescales, "rescales", 3, "of these, how many are rescaled as well, twice in a row")
	fs.IntVar(&o.Partitions, "partitions", 4, "partitions of every topic")
	fs.IntVar(&o.Rate, "rate", 1000, "orders a second while the rounds are taken")
	fs.IntVar(&o.Tail, "tail", 30_000, "orders after the rounds, which every fork has before it")
	fs.DurationVar((*time.Duration)(&o.Every), "every", 5*time.Second, "mean time between kills while the rounds are taken")
	fs.DurationVar((*time.Duration)(&o.CheckpointInterval), "checkpoint-interval", time.Second, "of the workers")
	fs.DurationVar((*time.Duration)(&o.SessionTimeout), "session-timeout", 2*time.Second, "of the workers")
	fs.IntVar(&o.Parallel, "parallel", 2, "applications from cuts that run at the same time")
	fs.DurationVar((*time.Duration)(&o.Limit), "limit", 3*time.Minute, "longest time that the rounds, and the workers of each application, may take")
	fs.Uint64Var(&o.Seed, "seed", 0, "repeat the input and the choices of a run; 0: a new seed")
	fs.StringVar(&o.output, "o", "text", "text or json")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if problem := o.check(fs.NArg()); problem != "" {
		fmt.Fprintln(os.Stderr, "cuts:", problem)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := execute(ctx, o)
	if err == nil {
		err = result.print(os.Stdout, o.output)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cuts: %v (seed %d)\n", err, o.Seed)
		return 1
	}
	if len(result.Faults) > 0 {
		return 1
	}
	return 0
}

// check says what is wrong with the options; "" for nothing. It fills in what depends on others.
func (o *options) check(extra int) string {
	switch {
	case extra > 0:
		return "there are only flags, no arguments"
	case o.output != "text" && o.output != "json":
		return fmt.Sprintf("-o %q is not known: use text or json", o.output)
	case o.Cuts < 1 || o.Rescales < 0 || o.Rescales > o.Cuts || o.Partitions < 1 || o.Rate < 1 || o.Tail < 1 || o.Every <= 0 || o.Parallel < 1:
		return "cuts, partitions, rate, tail, every and parallel must be positive, rescales between 0 and cuts"
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 32)
	}
	return ""
}
