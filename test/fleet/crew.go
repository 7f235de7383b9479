// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/streamd/streamd/engine/api"
)

// stopLimit is longer than the workers' drain timeout.
const stopLimit = 40 * time.Second

// Crew starts and ends the workers of one application. It is used by one goroutine.
type Crew struct {
	*Scene
	// All are those that should be running, oldest first.
	All []*Process
	// Ever are all that were started.
	Ever []*Process
	// Changed, if not nil, is told what All has become.
	Changed func(all []*Process)
}

// Start runs another worker. An empty folder of state asks for one of its own.
func (c *Crew) Start(state string, env ...string) (*Process, error) {
	name := fmt.Sprintf("worker-%02d", len(c.Ever)+1)
	if state == "" {
		state = filepath.Join(c.Dir, "state", name)
	}
	p, err := Start(name, filepath.Join(c.Dir, "logs"), state, env...)
	if err != nil {
		return nil, err
	}
	c.Ever = append(c.Ever, p)
	c.set(append(c.All, p))
	return p, nil
}

func (c *Crew) set(all []*Process) {
	c.All = all
	if c.Changed != nil {
		c.Changed(all)
	}
}

// Kill ends a worker with SIGKILL and takes it off the list.
func (c *Crew) Kill(p *Process) error {
	if err := p.Kill(); err != nil {
		return err
	}
	c.Forget(p)
	return nil
}

// Forget takes a worker off the list of those that should be running.
func (c *Crew) Forget(p *Process) {
	c.set(slices.DeleteFunc(slices.Clone(c.All), func(other *Process) bool { return other == p }))
}

// Reap reports workers that have ended without being told to, takes them off the list and returns how many they are.
func (c *Crew) Reap() (ended int) {
	for _, p := range slices.Clone(c.All) {
		if p.HasEnded() {
			c.Forget(p)
			c.Faults.Add("%s ended by itself (%v); the end of its log:\n    %s", p.Name, p.Err(), p.Tail())
			ended++
		}
	}
	return ended
}

// KillAll ends what is left, when the run is over for another reason than its end.
func (c *Crew) KillAll() {
	for _, p := range slices.Clone(c.All) {
		if err := c.Kill(p); err != nil {
			c.Say("%v", err)
		}
	}
}

// StopAll ends all workers in order; each must exit with code 0.
func (c *Crew) StopAll(ctx context.Context) error {
	all := slices.Clone(c.All)
	for _, p := range all {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	for _, p := range all {
		if err := c.Stopped(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Stopped waits for a worker that got SIGTERM, and takes it off the list.
func (c *Crew) Stopped(ctx context.Context, p *Process) error {
	select {
	case <-p.Ended:
		if err := p.Err(); err != nil {
			c.Faults.Add("%s did not end in order after SIGTERM (%v); the end of its log:\n    %s", p.Name, err, p.Tail())
		}
		c.Forget(p)
		return nil
	case <-time.After(stopLimit):
		c.Faults.Add("%s still runs %v after SIGTERM; the end of its log:\n    %s", p.Name, stopLimit, p.Tail())
		return c.Kill(p)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Statuses asks all workers what they do. One that does not answer has a zero snapshot.
func (c *Crew) Statuses(ctx context.Context) []api.Status {
	all := make([]api.Status, len(c.All))
	for i, p := range c.All {
		if snap, err := p.Status(ctx); err == nil {
			all[i] = snap
		}
	}
	return all
}

// Placed says how many tasks run on exactly one worker, and how many workers run any.
func Placed(all []api.Status) (tasks, busy int) {
	running := map[string]int{}
	for _, snap := range all {
		if len(snap.Tasks) > 0 {
			busy++
		}
		for _, t := range snap.Tasks {
			if t.State == "running" {
				running[t.Task]++
			}
		}
	}
	for _, n := range running {
		if n == 1 {
			tasks++
		}
	}
	return tasks, busy
}

// Describe says what every worker does, for a fault.
func (c *Crew) Describe(ctx context.Context) string {
	var b strings.Builder
	for _, p := range c.All {
		snap, err := p.Status(ctx)
		fmt.Fprintf(&b, "\n    %s: phase %s, generation %d, %d tasks, %d moves, error %v", p.Name, snap.Phase, snap.Generation, len(snap.Tasks), len(snap.Moves), err)
		for _, t := range snap.Tasks {
			if t.State != "running" {
				fmt.Fprintf(&b, ", %s %s", t.Task, t.State)
			}
		}
	}
	return b.String()
}
