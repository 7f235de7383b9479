// SPDX-License-Identifier: Apache-2.0

package task

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
)

func TestTaskStopsBeforeARecordUntilItIsLetThrough(t *testing.T) {
	t.Parallel()
	task, s := newTask(t, "a")
	let := false
	task.breaks = func(_ int, r *operators.Record) bool { return r.Offset%3 == 2 && !let }
	if err := task.Enqueue(at("a"), batch{first: 1, marker: 3, times: []int64{1, 2, 3, 4, 5}}); err != nil {
		t.Fatal(err)
	}
	process := func(limit, want int, stopped bool) {
		t.Helper()
		if n, err := task.Process(limit); n != want || err != nil || task.Stopped() != stopped {
			t.Fatalf("processed %d, %v, stopped: %t; expected %d, %t", n, err, task.Stopped(), want, stopped)
		}
	}
	process(100, 1, true)
	process(100, 0, true) // it is asked again
	if got, _ := task.At(at("a")); got != 2 {
		t.Errorf("it stands at %d, expected 2", got)
	}
	let = true
	process(1, 1, false)
	let = false
	process(100, 2, true)
	task.Abort()
	if task.Stopped() || task.Waiting() != 0 {
		t.Error("it stands before a record that is gone")
	}
	if diff := cmp.Diff([]string{"0:1", "0:2", "0:4"}, s.seen); diff != "" {
		t.Error(diff)
	}
}
