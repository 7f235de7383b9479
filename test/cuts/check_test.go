// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// history is an original, a cut of it, and a fork from there as it should be.
type history struct {
	want  *truth
	whole outputs
	at    state
	fork  outputs
}

func newHistory(t *testing.T) *history {
	t.Helper()
	e := newEvents(1, 4)
	if _, err := e.slots(7000); err != nil {
		t.Fatal(err)
	}
	h := &history{e.evaluate(), outputs{map[uint64][]tally{}, map[uint64][]total{}}, state{counts: map[uint64]tally{}}, outputs{map[uint64][]tally{}, map[uint64][]total{}}}
	for c, amounts := range h.want.orders {
		last := tally{}
		for _, id := range slices.Sorted(maps.Keys(amounts)) {
			last = tally{last.Count + 1, id, last.Sum + amounts[id]}
			h.whole.counts[c] = append(h.whole.counts[c], last)
		}
		n := len(h.whole.counts[c]) / 2
		h.at.counts[c] = h.whole.counts[c][n-1]
		h.fork.counts[c] = slices.Clone(h.whole.counts[c][n:])
	}
	for task := range int64(4) {
		h.at.watermarks = append(h.at.watermarks, firstSlot+2000+task*1000)
	}
	own, faults := line{}.branch(h.whole, h.at)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for w, sum := range h.want.totals {
		h.whole.totals[w.customer] = append(h.whole.totals[w.customer], sum)
		if own.isOpen(w) {
			h.fork.totals[w.customer] = append(h.fork.totals[w.customer], sum)
		}
	}
	return h
}

// faults is what the checks find.
func (h *history) faults() []string {
	own, faults := line{}.branch(h.whole, h.at)
	return append(append(faults, line{}.check(h.want, h.whole)...), own.check(h.want, h.fork)...)
}

func TestChecksFindNothingWhereNothingIsWrong(t *testing.T) {
	if faults := newHistory(t).faults(); len(faults) > 0 {
		t.Errorf("%q", faults)
	}
}

func TestChecksNoticeWhatIsWrong(t *testing.T) {
	const c = 7
	for name, spoil := range map[string]func(h *history){
		"an update is lost":                func(h *history) { h.fork.counts[c] = slices.Delete(h.fork.counts[c], 3, 4) },
		"the first update is lost":         func(h *history) { h.fork.counts[c] = h.fork.counts[c][1:] },
		"the last update is lost":          func(h *history) { h.fork.counts[c] = h.fork.counts[c][:len(h.fork.counts[c])-1] },
		"all updates of a customer are":    func(h *history) { delete(h.fork.counts, c) },
		"an update comes twice":            func(h *history) { h.fork.counts[c] = slices.Insert(h.fork.counts[c], 3, h.fork.counts[c][2]) },
		"one from before the cut is again": func(h *history) { h.fork.counts[c] = slices.Insert(h.fork.counts[c], 0, h.at.counts[c]) },
		"a record in flight is lost, and the counts go on": func(h *history) {
			list := slices.Delete(h.fork.counts[c], 0, 1)
			for i := range list {
				list[i].Count--
			}
		},
		"one is lost and another counted twice": func(h *history) { h.fork.counts[c][3].Order = h.fork.counts[c][2].Order },
		"one is of somebody else":               func(h *history) { h.fork.counts[c][3].Order = h.fork.counts[c+1][3].Order },
		"a sum is wrong":                        func(h *history) { h.fork.counts[c][3].Sum++ },
		"the state is of a commit later":        func(h *history) { h.at.counts[c] = h.fork.counts[c][0] },
		"the state is of a commit before": func(h *history) {
			h.at.counts[c] = h.whole.counts[c][h.at.counts[c].Count-2]
		},
		"the state is of no commit":      func(h *history) { h.at.counts[c] = tally{h.at.counts[c].Count, h.at.counts[c].Order, 1} },
		"a window is lost":               func(h *history) { h.fork.totals[c] = h.fork.totals[c][1:] },
		"a window comes twice":           func(h *history) { h.fork.totals[c] = append(h.fork.totals[c], h.fork.totals[c][0]) },
		"a window that was closed comes": func(h *history) { h.fork.totals[c] = h.whole.totals[c] },
		"a window is wrong":              func(h *history) { h.fork.totals[c][0].Sum++ },
		"a window of nobody comes":       func(h *history) { h.fork.totals[customers] = []total{{Start: firstSlot, Orders: 1}} },
		"the original has lost an update": func(h *history) {
			h.whole.counts[c] = slices.Delete(slices.Clone(h.whole.counts[c]), 1, 2)
		},
		"the original has lost a window": func(h *history) { h.whole.totals[c] = h.whole.totals[c][1:] },
	} {
		h := newHistory(t)
		spoil(h)
		if len(h.faults()) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// A rescale gives keys to tasks of which others were less far. What was closed for a key stays closed.
func TestWindowsOfAKeyStayClosedInATaskThatIsLessFar(t *testing.T) {
	h := newHistory(t)
	first, _ := line{}.branch(h.whole, h.at)
	back := state{h.at.counts, []int64{firstSlot}}
	second, faults := first.branch(outputs{}, back)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if !maps.Equal(first.closed, second.closed) {
		t.Errorf("windows are closed up to %v, before it was %v", second.closed, first.closed)
	}
}

func TestAllFaultsOfAnApplicationAreCounted(t *testing.T) {
	var text bytes.Buffer
	p := report{to: &text}
	o := outcome{App: "fork-1"}
	o.fault("first")
	for range 3 {
		o.fault(slices.Repeat([]string{"another"}, keptFaults)...)
	}
	p.add(o)
	faults := p.finish(options{}, 0, 0).Faults
	if want := "fork-1: … and 21 more"; len(faults) < keptFaults+1 || faults[0] != "fork-1: first" || faults[keptFaults] != want || !strings.Contains(text.String(), want) {
		t.Errorf("got %q, printed are %s", faults, &text)
	}
}

func TestAResultIsJSON(t *testing.T) {
	var text bytes.Buffer
	r := result{Trials: []outcome{{App: "fork-1", Took: time.Second}}}
	if err := r.Print(&text, "json"); err != nil || !strings.Contains(text.String(), `"took":"1s"`) {
		t.Errorf("got %s, %v", &text, err)
	}
}
