// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/test/fleet"
)

// at is a moment, in milliseconds of a test.
func at(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }

func moments(ms ...int) (times []time.Time) {
	for _, m := range ms {
		times = append(times, at(m))
	}
	return times
}

func TestAPauseIsTheLongestSilenceInAnIncidentLessTheUsualOne(t *testing.T) {
	t.Parallel()
	incident := span{at(1000), at(2000)}
	for _, c := range []struct {
		name  string
		times []time.Time
		want  time.Duration
	}{
		{"steady", moments(800, 900, 990, 1090, 1190, 1290, 1390, 1490, 1590, 1690, 1790, 1890, 1990, 2090), 10 * time.Millisecond},
		{"silent for 500 ms", moments(700, 800, 900, 1000, 1100, 1600, 1700, 1800, 1900, 2000), 400 * time.Millisecond},
		{"silent from before the incident on", moments(600, 700, 800, 1300, 1400, 1500, 1600, 1700, 1800, 1900, 2000), 400 * time.Millisecond},
		{"silent beyond the incident", moments(700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 1700, 2500), 700 * time.Millisecond},
		{"never back", moments(700, 800, 900), time.Second},
		{"silence before the incident does not count", moments(100, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 1700, 1800, 1900, 2000), 0},
	} {
		if got := pause(c.times, incident); got != c.want {
			t.Errorf("%s: the pause is %v, expected %v", c.name, got, c.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	t.Parallel()
	values := []time.Duration{5, 1, 4, 2, 3}
	for p, want := range map[int]time.Duration{0: 1, 20: 1, 50: 3, 80: 4, 99: 5, 100: 5} {
		if got := percentile(values, p); got != want {
			t.Errorf("p%d of 1 to 5 is %d, expected %d", p, got, want)
		}
	}
}

func TestATaskThatRunsAgainWhereItWasHasNotMoved(t *testing.T) {
	t.Parallel()
	running := func(ms int, worker, task, source string) fleet.Entry {
		return fleet.Entry{At: at(ms), Worker: worker, Message: logRunning, Task: task, Source: source}
	}
	entries := []fleet.Entry{
		running(100, "a", "0_0", "changelog"), running(100, "a", "0_1", "changelog"), running(1500, "a", "0_1", "local"),
		running(1400, "b", "0_0", "follower"), running(2500, "b", "0_1", "follower"),
		{At: at(1600), Worker: "b", Message: logAssigned, Tasks: []string{"0_1"}},
	}
	want := []move{{"0_0", "a", "b", at(1400), "follower"}}
	if diff := cmp.Diff(want, moves(entries, span{at(1000), at(2000)})); diff != "" {
		t.Errorf("moves (-want +got):\n%s", diff)
	}
}

func TestTheFewestMovesOfAChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change change
		want   int
	}{
		{change{workers: 3, leaving: 4}, 4},
		{change{workers: 4, joining: 1}, 4},
		{change{workers: 4, joining: 2}, 8},
		{change{workers: 4, joining: 1, leaving: 5}, 5},
		{change{}, 0},
	} {
		if got := c.change.fewest(16); got != c.want {
			t.Errorf("%+v of 16 tasks: %d, expected %d", c.change, got, c.want)
		}
	}
}
