// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/fleet"
)

// childEnv makes the process the pipeline's own program; its value is the command line. The settings come from the
// environment like those of any worker, and so does how long each order takes.
const (
	childEnv = "CUTS_PROGRAM"
	whileEnv = "CUTS_WHILE"
)

// child is the pipeline's own program. It does not return. It ends when its parent has: then standard input ends.
func child(line string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	var while time.Duration
	if text := os.Getenv(whileEnv); text != "" {
		var err error
		if while, err = time.ParseDuration(text); err != nil {
			fmt.Fprintf(os.Stderr, "read %s: %v\n", whileEnv, err)
			os.Exit(2)
		}
	}
	os.Args = append(os.Args[:1], strings.Fields(line)...)
	engine.Main(pipeline(while))
}

// stateDir is the folder of state that a process has of its own.
func (r *run) stateDir(name string) string { return filepath.Join(r.dir, "state", name) }

// program starts the pipeline's own program with a folder of state and a command line, for an application.
func (r *run) program(app, name, state, line string, env ...string) (*fleet.Process, error) {
	return fleet.Start(name, filepath.Join(r.dir, "logs"), state, append([]string{
		childEnv + "=" + line,
		"STREAMD_APP_ID=" + app,
		"STREAMD_BROKERS=" + r.brokers,
		"STREAMD_CLIENT_ID=" + name,
		"STREAMD_STORE_URL=" + r.storeURL(),
		"STREAMD_MEMORY=256MiB",
	}, env...)...)
}

// untilEnd is the command line of workers that end with the input.
const untilEnd = "run --until end"

// crew is the workers of one application. It is used by one goroutine.
type crew struct {
	*run
	app      string
	line     string   // command line
	settings []string // for the environment
	rand     *rand.Rand
	all      []*fleet.Process
	started  int
	faults   []string
}

// newCrew makes a crew whose choices depend on the seed and the application alone.
func (r *run) newCrew(app, line string, settings ...string) *crew {
	seed := r.opts.Seed
	for _, b := range []byte(app) {
		seed = seed*31 + uint64(b)
	}
	return &crew{run: r, app: app, line: line, rand: rand.New(rand.NewPCG(seed, 2)), settings: append([]string{
		"STREAMD_SESSION_TIMEOUT=" + r.opts.SessionTimeout.String(),
		"STREAMD_CHECKPOINT_INTERVAL=" + r.opts.CheckpointInterval.String(),
		"STREAMD_CHECKPOINT_TIMEOUT=" + checkpointTimeout.String(),
		"STREAMD_CHECKPOINTS_KEPT=1000",
	}, settings...)}
}

// checkpointTimeout is how long a round may take: one that has lost a task's part with its worker is not waited for long.
const checkpointTimeout = 5 * time.Second

// start runs a worker. An empty folder of state asks for one of its own.
func (c *crew) start(state string) error {
	c.started++
	name := fmt.Sprintf("%s-worker-%d", c.app, c.started)
	if state == "" {
		state = c.stateDir(name)
	}
	p, err := c.program(c.app, name, state, c.line, c.settings...)
	if err != nil {
		return err
	}
	c.all = append(c.all, p)
	return nil
}

// startAll starts workers with folders of their own.
func (c *crew) startAll(n int) error {
	for range n {
		if err := c.start(""); err != nil {
			return err
		}
	}
	return nil
}

// replace kills a worker with SIGKILL and starts another, with the dead one's folder or with an empty one.
func (c *crew) replace(victim *fleet.Process) error {
	state := ""
	if c.rand.IntN(2) == 0 {
		state = victim.State
	}
	if err := victim.Kill(); err != nil {
		return err
	}
	c.all = slices.DeleteFunc(c.all, func(m *fleet.Process) bool { return m == victim })
	return c.start(state)
}

// fault notes a broken promise.
func (c *crew) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// join waits until all workers have ended by themselves; each must do so with exit code 0.
func (c *crew) join(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, c.opts.Limit)
	defer cancel()
	for _, m := range c.all {
		select {
		case <-m.Ended:
			if err := m.Err(); err != nil {
				c.fault("%s ended with %v; the end of its log:\n    %s", m.Name, err, m.Tail())
			}
		case <-limited.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.fault("%s still runs after %v; the end of its log:\n    %s", m.Name, c.opts.Limit, m.Tail())
		}
	}
	return c.killAll()
}

// drain ends all workers by SIGTERM.
func (c *crew) drain(ctx context.Context) error {
	for _, m := range c.all {
		if err := m.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	return c.join(ctx)
}

// killAll ends what is left.
func (c *crew) killAll() error {
	var errs []error
	for _, m := range c.all {
		errs = append(errs, m.Kill())
	}
	c.all = nil
	return errors.Join(errs...)
}

// strike waits for the middle of the work, kills the worker that has the most of it left, and starts another. It says
// whether the dead one had something left. A run that is too far by then goes on as it is.
func (c *crew) strike(ctx context.Context, from map[partition.TopicPartition]int64) (bool, error) {
	victim, owned, err := c.middle(ctx, from)
	if err != nil || victim == nil {
		return false, err
	}
	if err := c.replace(victim); err != nil {
		return false, err
	}
	group, err := c.admin.GroupOf(ctx, c.app)
	return err == nil && fleet.Remaining(owned, group) > 0, err
}

// middle waits until the group has committed a part of the input, between a fifth and three fifths of what was left at a
// cut. It returns the worker that has the most of it left, and the ends of its partitions; nil if it is too late.
func (c *crew) middle(ctx context.Context, from map[partition.TopicPartition]int64) (*fleet.Process, map[partition.TopicPartition]int64, error) {
	total := int64(0)
	for tp, end := range c.ends {
		total += end - from[tp]
	}
	aim := total * (2 + c.rand.Int64N(5)) / 10
	return fleet.Work{Admin: c.admin, App: c.app, Ends: c.ends, Workers: c.all}.Middle(ctx, total-aim)
}
