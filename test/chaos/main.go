// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

func main() {
	if groups := os.Getenv(childEnv); groups != "" {
		os.Exit(child(groups))
	}
	os.Exit(command(os.Args[1:]))
}

// options are what a run can be asked for.
type options struct {
	Records            int64         `json:"records"`
	Keys               uint64        `json:"keys"`
	Groups             uint64        `json:"groups"`
	Partitions         int           `json:"partitions"`
	Workers            int           `json:"workers"`
	Kills              int           `json:"kills"`
	Every              time.Duration `json:"every"`
	Wipe               bool          `json:"wipe"`
	Zombie             bool          `json:"zombie"`
	Drain              bool          `json:"drain"`
	Outage             time.Duration `json:"outage"`
	S3                 bool          `json:"s3"`
	SessionTimeout     time.Duration `json:"sessionTimeout"`
	CommitInterval     time.Duration `json:"commitInterval"`
	SlowCommit         time.Duration `json:"slowCommit"`
	CheckpointInterval time.Duration `json:"checkpointInterval"`
	Seed               uint64        `json:"seed"`
	Strict             bool          `json:"strict"`

	dir  string
	keep bool
}

// command parses a command line, runs it and returns the exit code.
func command(args []string) int {
	var o options
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.Int64Var(&o.Records, "records", 5_000_000, "input records, half of them for each pipeline")
	fs.Uint64Var(&o.Keys, "keys", 100_000, "distinct keys")
	fs.Uint64Var(&o.Groups, "groups", 1000, "groups to which keys are re-keyed")
	fs.IntVar(&o.Partitions, "partitions", 8, "partitions of every topic")
	fs.IntVar(&o.Workers, "workers", 3, "worker processes")
	fs.IntVar(&o.Kills, "kills", 20, "how often a worker is killed and replaced")
	fs.DurationVar(&o.Every, "every", 6*time.Second, "mean time between kills")
	fs.BoolVar(&o.Wipe, "wipe", false, "also kill all workers at once and delete all local state")
	fs.BoolVar(&o.Drain, "drain", false, "also end a worker by SIGTERM while it is busy")
	fs.BoolVar(&o.Zombie, "zombie", false, "also stop a worker for twice the session timeout and let it go on")
	fs.DurationVar(&o.Outage, "store-outage", 0, "also cut the workers off from the object store for this long (implies --s3)")
	fs.BoolVar(&o.S3, "s3", false, "use a real S3 server as object store, not a folder")
	fs.DurationVar(&o.SessionTimeout, "session-timeout", 3*time.Second, "of the workers")
	fs.DurationVar(&o.CommitInterval, "commit-interval", 100*time.Millisecond, "of the workers")
	fs.DurationVar(&o.SlowCommit, "slow-commit", time.Second, "commit interval of every fourth worker, to be killed inside a long transaction")
	fs.DurationVar(&o.CheckpointInterval, "checkpoint-interval", 5*time.Second, "of the workers")
	fs.Uint64Var(&o.Seed, "seed", 0, "repeat the choices of a run; 0: a new seed")
	fs.BoolVar(&o.Strict, "strict", false, "fail also when a task came back later than promised")
	fs.StringVar(&o.dir, "dir", "", "folder for logs, state and checkpoints (default: a temporary one, deleted after a good run)")
	fs.BoolVar(&o.keep, "keep", false, "keep the folder also after a good run")
	return fleet.Command{Flags: fs, Check: o.check, Execute: func(ctx context.Context, _ string) (fleet.Result, error) {
		return execute(ctx, o)
	}}.Run(args)
}

// check says what is wrong with the options; "" for nothing. It fills in what depends on others.
func (o *options) check() string {
	if o.Records < 1 || o.Keys < 1 || o.Groups < 1 || o.Partitions < 1 || o.Workers < 2 || o.Kills < 0 {
		return "records, keys, groups and partitions must be at least 1, workers at least 2, kills at least 0"
	}
	if o.Outage > 0 {
		o.S3 = true
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 32)
	}
	return ""
}
