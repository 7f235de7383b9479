// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/worker"
)

// of returns the log lines of a message of one worker.
func (r *rig) of(i int, message string) (lines []map[string]any) {
	for _, line := range r.lines(message) {
		if line["worker"] == float64(i) {
			lines = append(lines, line)
		}
	}
	return lines
}

// ran returns the tasks that a worker has begun to run, and whether the state of each came from a follower.
func (r *rig) ran(i int) map[string]bool {
	tasks := map[string]bool{}
	for _, line := range r.of(i, "task running") {
		tasks[line["task"].(string)] = line["source"] == "follower"
	}
	return tasks
}

// exact waits until the counts of n records per key are there, and looks at each.
func (r *rig) exact(n int) {
	r.t.Helper()
	r.emitted("out", n*10)
	if diff := cmp.Diff(upTo(n), r.read("out")); diff != "" {
		r.t.Error(diff)
	}
}

func TestAJoinerWarmsUpBeforeATaskMovesToIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.start(counting("app"), 0, nil)
	r.feed("in", 0, 200)
	r.exact(20)
	r.start(counting("app"), 1, nil)
	r.until("a task has moved", func() bool { return len(r.ran(1)) > 0 })
	r.feed("in", 200, 200)
	r.exact(40)
	for task, followed := range r.ran(1) {
		if !followed {
			t.Errorf("task %s moved to a worker that was not warm for it", task)
		}
		following := r.of(1, "following task")
		if !slices.ContainsFunc(following, func(l map[string]any) bool { return l["task"] == task }) {
			t.Errorf("task %s: %v", task, following)
		}
	}
}

func TestALeavingWorkerHandsItsTasksOverWarm(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	never := func(o *worker.Options) { o.Config.WarmUps = 0 } // to balance the load: so the first one keeps all
	first := r.start(counting("app"), 0, never)
	r.feed("in", 0, 200)
	r.exact(20)
	r.start(counting("app"), 1, never)
	r.until("the second worker has joined", func() bool { return len(r.of(1, "tasks assigned")) > 0 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	r.feed("in", 200, 200)
	r.exact(40)
	if got := r.ran(1); len(got) != partitions || slices.Contains(slices.Collect(maps.Values(got)), false) {
		t.Errorf("the second worker has begun %v: expected %d tasks that it had followed", got, partitions)
	}
	if len(r.of(0, "task running")) != partitions {
		t.Errorf("tasks went to and fro: %v, %v", r.of(0, "task running"), r.of(0, "tasks assigned"))
	}
}

func TestAStandbyFollowsTheChangelogAndGoesOnFromIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	standby := func(o *worker.Options) { o.Config.WarmUps, o.Config.StandbyReplicas = 0, 1 }
	first := r.start(counting("app"), 0, standby)
	r.start(counting("app"), 1, standby)
	r.until("the standbys are there", func() bool { return len(r.lines("following task")) >= partitions })
	r.feed("in", 0, 200)
	r.exact(20)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	r.feed("in", 200, 200)
	r.exact(40)
	for task, followed := range r.ran(1) {
		if !followed && !slices.ContainsFunc(r.of(0, "following task"), func(l map[string]any) bool { return l["task"] == task }) {
			t.Errorf("task %s was not taken over from a standby", task)
		}
	}
}

func TestTheStateOfATaskThatHasMovedIsDeletedAfterAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	soon := func(o *worker.Options) { o.Config.StateKeptFor = time.Millisecond }
	r.start(counting("app"), 0, soon)
	r.feed("in", 0, 200)
	r.exact(20)
	r.start(counting("app"), 1, soon)
	r.until("a task has moved", func() bool { return len(r.ran(1)) > 0 })
	for task := range r.ran(1) {
		dir := filepath.Join(r.config("app", 0).StateDir, "app-1", task)
		r.until("its former state is deleted", func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) })
	}
	r.feed("in", 200, 200)
	r.exact(40)
}
