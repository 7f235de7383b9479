// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// This file gives tasks to lanes. A lane takes a task's records in slices and looks at the clock after each, so that
// slow user code holds an epoch beyond the commit interval by a record, not by all that was fetched.

const (
	// maxSlice is how many records are processed without a look at the clock.
	maxSlice = 1024
	// slowRecord is how long a record may take before the log names it.
	slowRecord = time.Second
	// stuckLane is how long one call into a task may take before the log says where it is.
	stuckLane = 10 * time.Second
)

// laneLabel is the label by which profiles, and stuck, tell the goroutines of tasks apart.
const laneLabel = "task"

// run processes what waits in the tasks, until the commit interval has passed, and decides whether to commit.
func (w *Worker) run(work []partition.TaskID, behind bool) {
	if len(work) == 0 {
		return
	}
	if w.machine.Phase() == core.Idle {
		w.epoch.began = w.now()
		if err := w.producer.Begin(); err != nil {
			w.step(core.TaskFailed{Err: err})
			return
		}
	}
	before := w.emitted(work)
	n, err := w.runLanes(work, w.epoch.began.Add(w.cfg.CommitInterval))
	w.epoch.records += n
	w.epoch.bytes += w.emitted(work) - before
	w.noteBacklog(work)
	w.epoch.dry = !behind && len(w.fetched) == 0 && len(w.backlog) == 0
	w.step(core.Touched{Tasks: work})
	switch {
	case err != nil:
		w.step(core.TaskFailed{Err: err})
	case w.epoch.records >= w.cfg.EpochMaxRecords || w.epoch.bytes >= w.cfg.EpochMaxBytes || w.now().Sub(w.epoch.began) >= w.cfg.CommitInterval:
		w.step(core.CommitDue{})
	}
}

// runBacklog goes on with the tasks that the last turns have left with records.
func (w *Worker) runBacklog() {
	var work []partition.TaskID
	for _, id := range w.backlog {
		if w.machine.Running(id) {
			work = append(work, id)
		}
	}
	if len(work) == 0 {
		w.backlog = nil
		return
	}
	w.run(work, true)
}

// noteBacklog takes note of the tasks that have run out of time. No more is fetched for them until they have worked
// off what they have: others go on.
func (w *Worker) noteBacklog(worked []partition.TaskID) {
	var backlog, pause, resume []partition.TaskID
	for _, id := range w.backlog {
		if w.tasks[id] != nil && w.tasks[id].more {
			backlog = append(backlog, id)
		}
	}
	for _, id := range worked {
		switch rt := w.tasks[id]; {
		case rt.more && !rt.paused:
			backlog, pause = append(backlog, id), append(pause, id)
		case !rt.more && rt.paused:
			resume = append(resume, id)
		}
	}
	w.backlog = backlog
	for _, id := range pause {
		w.tasks[id].paused = true
		w.consumer.Pause(w.tasks[id].inputs)
	}
	for _, id := range resume {
		w.tasks[id].paused = false
		w.consumer.Resume(w.tasks[id].inputs)
	}
}

// runLanes processes what waits in the tasks, until the given time, on up to as many goroutines as there are lanes, and
// returns the number of records. After an error the epoch must be aborted.
func (w *Worker) runLanes(ids []partition.TaskID, until time.Time) (int, error) {
	var total atomic.Int64
	stopWatch := w.watchLanes(ids)
	defer stopWatch()
	err := w.onLanes(ids, func(rt *runningTask) (err error) {
		var n int
		pprof.Do(w.hard, pprof.Labels(laneLabel, rt.id.String()), func(context.Context) { n, err = w.processUntil(rt, until) })
		total.Add(int64(n))
		return err
	})
	return int(total.Load()), err
}

// processUntil processes a task's waiting records in slices. The length of a slice is chosen so that it takes about an
// eighth of the commit interval at most.
func (w *Worker) processUntil(rt *runningTask, until time.Time) (n int, err error) {
	share := w.cfg.CommitInterval / 8
	rt.more = false
	for began := w.now(); ; {
		slice := max(1, rt.slice)
		k, err := rt.task.Process(slice)
		n += k
		if err != nil {
			return n, err
		}
		ended := w.now()
		took := ended.Sub(began)
		if took > slowRecord {
			w.listener.slow(rt, k, took)
		}
		switch {
		case took > share:
			rt.slice = max(1, int(int64(slice)*int64(share)/int64(took)))
		case took < share/2:
			rt.slice = min(maxSlice, 2*slice)
		}
		if k < slice {
			return n, nil
		}
		if !ended.Before(until) {
			rt.more = rt.task.Waiting() > 0
			return n, nil
		}
		began = ended
	}
}

// watchLanes reports what has not come back from a task for long. A goroutine cannot be ended from outside; what can be
// done is to say where it is.
func (w *Worker) watchLanes(ids []partition.TaskID) (stop func()) {
	watch := time.AfterFunc(stuckLane, func() {
		for _, id := range ids {
			if stack := stackOf(id.String()); stack != "" {
				w.listener.stuck(id, stack)
			}
		}
	})
	return func() { watch.Stop() }
}

// stackOf returns where the goroutine is that processes a task; empty if none does. It holds function names and lines,
// no values.
func stackOf(task string) string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return ""
	}
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, `"`+laneLabel+`":"`+task+`"`) {
			return stack
		}
	}
	return ""
}

// onLanes calls f for each task, in parallel on the lanes, and returns the first error.
func (w *Worker) onLanes(ids []partition.TaskID, f func(*runningTask) error) error {
	if len(ids) == 1 || w.cfg.Lanes == 1 {
		for _, id := range ids {
			if err := f(w.tasks[id]); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		next  atomic.Int64
		once  sync.Once
		first error
		wg    sync.WaitGroup
	)
	for range min(w.cfg.Lanes, len(ids)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(ids) {
					return
				}
				if err := f(w.tasks[ids[i]]); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	wg.Wait()
	return first
}
