// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/test/fleet"
)

func TestATakeoverIsSplitIntoItsStages(t *testing.T) {
	t.Parallel()
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	entries := []fleet.Entry{
		{At: at(0), Worker: "victim", Message: logRunning, Task: "0_0"},
		{At: at(3000), Worker: "other", Message: logAssigned, Tasks: []string{"0_1"}},
		{At: at(3100), Worker: "heir", Message: logAssigned, Tasks: []string{"0_0", "0_2"}},
		{At: at(3150), Worker: "heir", Message: logAborted},
		{At: at(3500), Worker: "heir", Message: logRunning, Task: "0_0", Source: "follower", Took: ms(200)},
		{At: at(9000), Worker: "other", Message: logRunning, Task: "0_0", Source: "local", Took: ms(200)},
	}
	got, ok := takeoverOf("0_0", at(100), entries, moments(110, 3520, 3600))
	want := takeover{Task: "0_0", To: "heir", Source: "follower", Detection: ms(3000), Fencing: ms(50), Ready: ms(150), Anchor: ms(200), Output: ms(20)}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("found %v (-want +got):\n%s", ok, diff)
	}
	if got.comeback() != ms(420) {
		t.Errorf("from the detection to new output are %v, expected 420ms", got.comeback())
	}
	if _, ok := takeoverOf("0_0", at(100), entries, moments(110)); ok {
		t.Error("a task without new output counts as back")
	}
	if _, ok := takeoverOf("0_2", at(100), entries, moments(3600)); ok {
		t.Error("a task that does not run counts as back")
	}
}
