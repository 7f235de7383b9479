// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// Where the state is that the tasks of a killed worker go on from.
const (
	onDisk    = "disk kept"
	onNoDisk  = "disk gone"
	onStandby = "standby"
)

// failoverLimits is how long it may take from the detection to new output.
var failoverLimits = map[string]time.Duration{onDisk: time.Second, onNoDisk: 10 * time.Second, onStandby: time.Second}

// takeover is how a task of a killed worker came back.
type takeover struct {
	Kind   string `json:"kind"`
	Killed string `json:"killed"`
	Task   string `json:"task"`
	To     string `json:"to"`
	Source string `json:"source"`
	// Detection is from the kill to the assignment to the new owner, Fencing to the end of what the dead one had open, Ready to
	// the state at the committed position, Anchor to the commit that makes the new owner the owner, Output to the first
	// new output at a reader.
	Detection time.Duration `json:"detection"`
	Fencing   time.Duration `json:"fencing"`
	Ready     time.Duration `json:"ready"`
	Anchor    time.Duration `json:"anchor"`
	Output    time.Duration `json:"output"`
}

// comeback is from the detection to the first new output.
func (t takeover) comeback() time.Duration { return t.Fencing + t.Ready + t.Anchor + t.Output }

// takeoverOf finds how a task came back after a kill, in the entries of all logs since then and the times of its output.
// False: it has not yet.
func takeoverOf(task string, killed time.Time, entries []fleet.Entry, output []time.Time) (takeover, bool) {
	find := func(match func(fleet.Entry) bool) (found fleet.Entry) {
		for _, e := range entries {
			if match(e) && e.At.After(killed) && (found.At.IsZero() || e.At.Before(found.At)) {
				found = e
			}
		}
		return found
	}
	running := find(func(e fleet.Entry) bool { return e.Message == logRunning && e.Task == task })
	assigned := find(func(e fleet.Entry) bool {
		return e.Message == logAssigned && e.Worker == running.Worker && slices.Contains(e.Tasks, task)
	})
	first := slices.IndexFunc(output, func(t time.Time) bool { return t.After(running.At) })
	if running.At.IsZero() || assigned.At.IsZero() || first < 0 {
		return takeover{}, false
	}
	t := takeover{Task: task, To: running.Worker, Source: running.Source, Detection: assigned.At.Sub(killed), Output: output[first].Sub(running.At)}
	if aborted := find(func(e fleet.Entry) bool { return e.Message == logAborted }); aborted.At.Before(running.At) {
		t.Fencing = max(0, aborted.At.Sub(assigned.At)) // negative: another new owner has seen to it
	}
	t.Ready = max(0, running.Took-t.Fencing)
	t.Anchor = max(0, running.At.Sub(assigned.At)-t.Fencing-t.Ready)
	return t, true
}

// failover kills workers and measures how their tasks come back.
func (r *run) failover(ctx context.Context) error {
	for _, kind := range []string{onDisk, onNoDisk, onStandby} {
		if kind == onStandby {
			r.standbys = 1
			if err := r.staff(ctx, r.opts.Workers); err != nil {
				return err
			}
		}
		for range r.opts.Repetitions {
			if err := r.kill(ctx, kind); err != nil {
				return err
			}
		}
	}
	return nil
}

// kill ends a worker with SIGKILL, starts another, and waits until the dead one's tasks have output.
func (r *run) kill(ctx context.Context, kind string) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	// Anywhere between two commits, and between two checkpoints.
	if err := fleet.Wait(ctx, time.Duration(r.rand.Int64N(int64(2*time.Second)))); err != nil {
		return err
	}
	victim := r.any()
	tasks, err := tasksOf(ctx, victim)
	if err != nil {
		return err
	}
	c := change{workers: len(r.All), leaving: len(tasks)}
	return r.during(ctx, incident{Kind: "failover", What: kind, Fewest: c.fewest(r.opts.Partitions)}, func() error {
		killed := time.Now()
		if err := r.Kill(victim); err != nil {
			return err
		}
		disk := ""
		if kind == onDisk {
			disk = victim.State
		} else if err := os.RemoveAll(victim.State); err != nil {
			return err
		}
		if _, err := r.hire(disk); err != nil {
			return err
		}
		for _, task := range tasks {
			if err := r.cameBack(ctx, takeover{Kind: kind, Killed: victim.Name, Task: task}, killed); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) cameBack(ctx context.Context, of takeover, killed time.Time) error {
	return r.await(ctx, "task "+of.Task+" of "+of.Killed+" has output again", settleLimit, func() (bool, error) {
		output := r.watcher.arrivals(killed)[partitionOf(of.Task)]
		t, ok := takeoverOf(of.Task, killed, r.entries(killed), output)
		if ok {
			t.Kind, t.Killed = of.Kind, of.Killed
			r.result.Takeovers = append(r.result.Takeovers, t)
		}
		return ok, nil
	})
}
