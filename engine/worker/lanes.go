// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// This file gives tasks to lanes. A lane takes a task's records in slices and looks at the clock after each, so that
// slow user code holds an epoch beyond the commit interval by a record, not by all that was fetched.
//
// The deadline of lanes lies well below the transaction timeout. A lane that has not come back by then is left alone with
// its task, and the epoch is given up: the others go on. The task is restored when the lane comes back, and has epochs of
// its own until it has worked off what it has in time.

const (
	// maxSlice is how many records are processed without a look at the clock.
	maxSlice = 1024
	// slowRecord is how long a record may take before the log names it.
	slowRecord = time.Second
	// deadlineShare of the transaction timeout is the deadline of lanes.
	deadlineShare = 3
	// maxOverdue is how often in a row a task may miss it.
	maxOverdue = 3
)

// ErrStuck ends a worker whose pipeline holds a lane for longer than a transaction may be open.
var ErrStuck = errors.New("the pipeline's code did not come back within a third of transaction.timeout; the log says where it was: make it faster, or raise the timeout")

// laneLabel is the label by which profiles, and stackOf, tell the goroutines of tasks apart.
const laneLabel = "task"

// run processes what waits in the tasks, until the commit interval has passed, and decides whether to commit.
func (w *Worker) run(work []partition.TaskID, behind bool) {
	if len(work) == 0 {
		return
	}
	if !w.begin() {
		return
	}
	t, stuck := w.runLanes(work)
	w.epoch.records += int(t.records.Load())
	w.epoch.bytes += t.bytes.Load()
	if len(stuck) > 0 {
		w.overdue(work, stuck)
		return
	}
	alone := w.tasks[work[0]].alone
	w.noteBacklog(work)
	w.pace(work)
	w.epoch.dry = !behind && len(w.fetched) == 0 && len(w.backlog) == 0
	w.step(core.Touched{Tasks: work})
	full := w.epoch.records >= w.cfg.EpochMaxRecords || w.epoch.bytes >= w.cfg.EpochMaxBytes
	switch {
	case t.err != nil:
		w.step(core.TaskFailed{Err: t.err})
	case full || alone || t.barrier.Load() || w.now().Sub(w.epoch.began) >= w.cfg.CommitInterval:
		w.step(core.CommitDue{})
	}
}

// begin opens an epoch and its transaction, unless they are open.
func (w *Worker) begin() bool {
	if w.machine.Phase() == core.Idle {
		w.epoch.began = w.now()
	}
	if err := w.producer.Begin(); err != nil { // once in an epoch, which may have begun with a commit of checkpoints' names
		w.step(core.TaskFailed{Err: err})
		return false
	}
	return true
}

// turn is one turn of the lanes.
type turn struct {
	tasks          []*runningTask
	until          time.Time
	next           atomic.Int64 // index of the next task that a lane takes
	records, bytes atomic.Int64
	barrier        atomic.Bool   // a task stands at a barrier, or before a record: the epoch is to end soon
	ended          chan struct{} // one for each lane
	once           sync.Once
	err            error // the first; not to be read while lanes run
}

// runLanes processes what waits in the tasks, on up to as many goroutines as there are lanes, and returns the tasks that
// are still in their hands at the deadline. After an error the epoch must be aborted.
func (w *Worker) runLanes(ids []partition.TaskID) (*turn, []partition.TaskID) {
	lanes := min(w.cfg.Lanes, len(ids))
	t := &turn{until: w.epoch.began.Add(w.cfg.CommitInterval), ended: make(chan struct{}, lanes)}
	for _, id := range ids {
		rt := w.tasks[id]
		rt.lane = make(chan struct{})
		t.tasks = append(t.tasks, rt)
	}
	for range lanes {
		go w.lane(t) // nobody can wait for it without end: it runs the user's code
	}
	deadline := time.NewTimer(w.cfg.TransactionTimeout/deadlineShare - w.now().Sub(w.epoch.began))
	defer deadline.Stop()
	for range lanes {
		select {
		case <-t.ended:
		case <-deadline.C:
			return t, t.abandon()
		}
	}
	return t, nil
}

// lane takes tasks until there is none left.
func (w *Worker) lane(t *turn) {
	defer func() { t.ended <- struct{}{} }()
	for {
		i := int(t.next.Add(1)) - 1
		if i >= len(t.tasks) {
			return
		}
		rt := t.tasks[i]
		pprof.Do(w.hard, pprof.Labels(laneLabel, rt.id.String()), func(context.Context) {
			defer close(rt.lane)
			before := rt.outbox.Held()
			n, err := w.processUntil(rt, t)
			after := rt.outbox.Held()
			t.records.Add(int64(n))
			t.bytes.Add(after - before)
			if err != nil {
				t.once.Do(func() { t.err = err })
			}
		})
	}
}

// abandon keeps the lanes from taking more tasks and returns those that they have.
func (t *turn) abandon() (stuck []partition.TaskID) {
	taken := min(int(t.next.Swap(int64(len(t.tasks)))), len(t.tasks))
	for i, rt := range t.tasks {
		if i >= taken {
			rt.lane = nil
			continue
		}
		select {
		case <-rt.lane:
		default:
			stuck = append(stuck, rt.id)
		}
	}
	return stuck
}

// processUntil processes a task's waiting records in slices, until the turn is to end. The length of a slice is chosen so
// that it takes about an eighth of the commit interval at most.
func (w *Worker) processUntil(rt *runningTask, t *turn) (n int, err error) {
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
		if rt.task.Barrier() > 0 {
			t.barrier.Store(true)
			rt.barredAt = ended
			rt.more = rt.task.Waiting() > 0
			return n, nil
		}
		if rt.task.Stopped() {
			t.barrier.Store(true)
			rt.more = true
			return n, nil
		}
		if k < slice {
			return n, nil
		}
		if t.barrier.Load() || !ended.Before(t.until) {
			rt.more = rt.task.Waiting() > 0
			return n, nil
		}
		began = ended
	}
}

// overdue gives up an epoch whose transaction would time out. The stuck tasks stay with their lanes until these come back.
func (w *Worker) overdue(work, stuck []partition.TaskID) {
	w.step(core.Touched{Tasks: work})
	w.backlog = slices.DeleteFunc(w.backlog, func(id partition.TaskID) bool { return slices.Contains(stuck, id) })
	for _, id := range stuck {
		rt := w.tasks[id]
		rt.alone = true
		rt.overdue++
		w.listener.stuck(id, stackOf(id.String()))
		if rt.overdue >= maxOverdue {
			w.pendingFailure = fmt.Errorf("task %v: overdue %d times in a row: %w", id, rt.overdue, ErrStuck)
		}
		lane := rt.lane
		w.routines.Go(func() {
			select {
			case <-lane:
			case <-w.hard.Done():
				return
			}
			select {
			case w.returned <- rt:
			case <-w.hard.Done():
			}
		})
	}
	w.step(core.Overdue{Tasks: stuck})
}

// laneReturned takes a task back from a lane that was stuck. One that was closed meanwhile is dropped: close has seen to it.
func (w *Worker) laneReturned(rt *runningTask) {
	if w.tasks[rt.id] == rt {
		w.step(core.Returned{Task: rt.id})
	}
}

// setAside moves tasks that have epochs of their own from work to the backlog.
func (w *Worker) setAside(work []partition.TaskID) []partition.TaskID {
	return slices.DeleteFunc(work, func(id partition.TaskID) bool {
		rt := w.tasks[id]
		if rt.alone && !rt.paused {
			rt.more = true
			w.noteBacklog([]partition.TaskID{id})
		}
		return rt.alone
	})
}

// runBacklog goes on with the tasks that the last turns have left with records: with one that has epochs of its own, if
// none is in progress, else with all that share theirs.
func (w *Worker) runBacklog() {
	if rt := w.stoppedTask(); rt != nil {
		w.stepOver(rt)
		return
	}
	var together, alone []partition.TaskID
	for _, id := range w.backlog {
		switch {
		case !w.machine.Running(id) || w.tasks[id].halted:
		case w.tasks[id].alone:
			alone = append(alone, id)
		default:
			together = append(together, id)
		}
	}
	switch {
	case len(alone) > 0 && w.machine.Phase() == core.Idle:
		w.run(alone[:1], true)
	case len(together) > 0:
		w.run(together, true)
	case len(alone) > 0:
		w.step(core.CommitDue{})
	default:
		w.backlog = nil
	}
}

// noteBacklog takes note of the tasks that have run out of time. No more is fetched for them until they have worked
// off what they have: others go on.
func (w *Worker) noteBacklog(worked []partition.TaskID) {
	for _, id := range worked {
		switch rt := w.tasks[id]; {
		case rt.more && !rt.paused:
			rt.paused = true
			w.backlog = append(w.backlog, id)
			w.consumer.Pause(rt.inputs)
		case !rt.more:
			rt.alone, rt.overdue = false, 0
			if rt.paused {
				rt.paused = false
				w.consumer.Resume(rt.inputs)
				for _, tp := range rt.inputs {
					delete(w.paused, tp)
				}
			}
		}
	}
	w.backlog = slices.DeleteFunc(w.backlog, func(id partition.TaskID) bool { return w.tasks[id] == nil || !w.tasks[id].more })
}

// noteBarred takes note of tasks that stand at a barrier with records left.
func (w *Worker) noteBarred(ids []partition.TaskID) {
	for _, id := range ids {
		if w.tasks[id].more {
			w.noteBacklog([]partition.TaskID{id})
		}
	}
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
