// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/test/fleet"
)

func main() {
	if size := os.Getenv(childEnv); size != "" {
		os.Exit(child(size))
	}
	os.Exit(command(os.Args[1:]))
}

// options are what a run can be asked for.
type options struct {
	Scenarios          []string      `json:"scenarios"`
	Workers            int           `json:"workers"`
	Partitions         int           `json:"partitions"`
	StateBytes         int64         `json:"stateBytes"`
	ValueBytes         int           `json:"valueBytes"`
	Rate               int           `json:"rate"`
	Queries            int           `json:"queries"`
	Memory             string        `json:"memory"`
	Calm               time.Duration `json:"calm"`
	Surge              bool          `json:"surge"`
	Repetitions        int           `json:"repetitions"`
	Storm              time.Duration `json:"storm"`
	Every              time.Duration `json:"every"`
	Away               time.Duration `json:"away"`
	Delay              time.Duration `json:"delay"`
	SessionTimeout     time.Duration `json:"sessionTimeout"`
	CommitInterval     time.Duration `json:"commitInterval"`
	CheckpointInterval time.Duration `json:"checkpointInterval"`
	S3                 bool          `json:"s3"`
	Seed               uint64        `json:"seed"`
	Strict             bool          `json:"strict"`

	dir  string
	keep bool
}

// command parses a command line, runs it and returns the exit code.
func command(args []string) int {
	var o options
	var scenarios, state string
	fs := flag.NewFlagSet("pods", flag.ContinueOnError)
	fs.StringVar(&scenarios, "scenario", "all", "what happens to the workers: "+strings.Join(scenarioNames(), ", ")+"; several with commas, or all")
	fs.IntVar(&o.Workers, "workers", 4, "worker processes")
	fs.IntVar(&o.Partitions, "partitions", 16, "partitions of every topic, which is how many tasks there are")
	fs.StringVar(&state, "state", "256MiB", "size of the state of all tasks, not counting keys")
	fs.IntVar(&o.ValueBytes, "value-bytes", 500, "mean size of a value of the state")
	fs.IntVar(&o.Rate, "rate", 2000, "input records a second")
	fs.IntVar(&o.Queries, "queries", 0, "queries of single keys a second")
	fs.StringVar(&o.Memory, "memory", "512MiB", "of the workers, as their setting")
	fs.DurationVar(&o.Calm, "calm", 10*time.Second, "how long the output is looked at before an incident, for its cadence")
	fs.BoolVar(&o.Surge, "surge", true, "rolling: the new worker comes before the old one goes; otherwise it gets its disk")
	fs.IntVar(&o.Repetitions, "repetitions", 3, "failover: kills of each kind")
	fs.DurationVar(&o.Storm, "storm", 3*time.Minute, "storm: how long it lasts")
	fs.DurationVar(&o.Every, "every", 5*time.Second, "storm: time between two changes")
	fs.DurationVar(&o.Away, "away", 15*time.Second, "broker-away, store-away, slow: how long")
	fs.DurationVar(&o.Delay, "delay", 50*time.Millisecond, "slow: how late all is, each way")
	fs.DurationVar(&o.SessionTimeout, "session-timeout", 6*time.Second, "of the workers")
	fs.DurationVar(&o.CommitInterval, "commit-interval", 100*time.Millisecond, "of the workers")
	fs.DurationVar(&o.CheckpointInterval, "checkpoint-interval", 10*time.Second, "of the workers")
	fs.BoolVar(&o.S3, "s3", false, "use a real S3 server as object store, not a folder; network scenarios always do")
	fs.Uint64Var(&o.Seed, "seed", 0, "repeat the choices of a run; 0: a new seed")
	fs.BoolVar(&o.Strict, "strict", false, "fail also when a pause was longer than its limit")
	fs.StringVar(&o.dir, "dir", "", "folder for logs, state and checkpoints (default: a temporary one, deleted after a good run)")
	fs.BoolVar(&o.keep, "keep", false, "keep the folder also after a good run")
	check := func() string { return o.check(scenarios, state) }
	return fleet.Command{Flags: fs, Check: check, Execute: func(ctx context.Context, _ string) (fleet.Result, error) {
		return execute(ctx, o)
	}}.Run(args)
}

// check says what is wrong with the options; "" for nothing. It fills in what depends on others.
func (o *options) check(scenarios, state string) string {
	if o.Scenarios = strings.Split(scenarios, ","); scenarios == "all" {
		o.Scenarios = scenarioNames()
	}
	for _, name := range o.Scenarios {
		s, ok := scenarioNamed(name)
		if !ok {
			return fmt.Sprintf("there is no scenario %q: use %s, or all", name, strings.Join(scenarioNames(), ", "))
		}
		o.S3 = o.S3 || s.lines
	}
	var err error
	if o.StateBytes, err = config.ParseSize(state); err != nil {
		return fmt.Sprintf("--state: %v", err)
	}
	if o.Workers < 2 || o.Partitions < 1 || o.ValueBytes < 16 || o.Rate < 1 || o.Queries < 0 || o.Repetitions < 1 {
		return "workers must be at least 2, value-bytes at least 16, partitions, rate and repetitions at least 1, queries not negative"
	}
	if o.keys() < 1 {
		return "the state must hold at least one value"
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 32)
	}
	return ""
}

// keys is how many there are.
func (o *options) keys() uint64 { return uint64(o.StateBytes) / uint64(o.ValueBytes) }

// lines says whether any scenario needs lines.
func (o *options) lines() bool {
	return slices.ContainsFunc(o.Scenarios, func(name string) bool {
		s, _ := scenarioNamed(name)
		return s.lines
	})
}
