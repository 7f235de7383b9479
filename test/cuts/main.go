// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

func main() {
	if line := os.Getenv(childEnv); line != "" {
		child(line)
	}
	os.Exit(command(os.Args[1:]))
}

// options are what a run can be asked for.
type options struct {
	Cuts               int           `json:"cuts"`
	Rescales           int           `json:"rescales"`
	Partitions         int           `json:"partitions"`
	Rate               int           `json:"rate"`
	Tail               int           `json:"tail"`
	Every              time.Duration `json:"every"`
	CheckpointInterval time.Duration `json:"checkpointInterval"`
	SessionTimeout     time.Duration `json:"sessionTimeout"`
	Parallel           int           `json:"parallel"`
	Limit              time.Duration `json:"limit"`
	Seed               uint64        `json:"seed"`
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
	fs.DurationVar(&o.Every, "every", 5*time.Second, "mean time between kills while the rounds are taken")
	fs.DurationVar(&o.CheckpointInterval, "checkpoint-interval", time.Second, "of the workers")
	fs.DurationVar(&o.SessionTimeout, "session-timeout", 2*time.Second, "of the workers")
	fs.IntVar(&o.Parallel, "parallel", 2, "applications from cuts that run at the same time")
	fs.DurationVar(&o.Limit, "limit", 3*time.Minute, "longest time that the rounds, and the workers of each application, may take")
	fs.Uint64Var(&o.Seed, "seed", 0, "repeat the input and the choices of a run; 0: a new seed")
	return fleet.Command{Flags: fs, Check: o.check, Execute: func(ctx context.Context, format string) (fleet.Result, error) {
		res, err := execute(ctx, o, format)
		if err != nil {
			err = fmt.Errorf("%w (seed %d)", err, o.Seed)
		}
		return res, err
	}}.Run(args)
}

// check says what is wrong with the options; "" for nothing. It fills in what depends on others.
func (o *options) check() string {
	if o.Cuts < 1 || o.Rescales < 0 || o.Rescales > o.Cuts || o.Partitions < 1 || o.Rate < 1 || o.Tail < 1 || o.Every <= 0 || o.Parallel < 1 {
		return "cuts, partitions, rate, tail, every and parallel must be positive, rescales between 0 and cuts"
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 32)
	}
	return ""
}
