// SPDX-License-Identifier: Apache-2.0

package task

import (
	"testing"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/statestore"
)

func TestIdleAndFinishedInputsHoldNobodyBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		inputs []reading
		want   reading
	}{
		"the lowest of the active ones": {[]reading{{watermark: 7}, {watermark: 5}}, reading{watermark: 5}},
		"an idle one is left out":       {[]reading{{watermark: 7}, {watermark: 5, status: Idle}}, reading{watermark: 7}},
		"a finished one is left out":    {[]reading{{watermark: 7}, {watermark: 5, status: Finished}}, reading{watermark: 7}},
		"an unheard one holds back":     {[]reading{{watermark: 7}, {watermark: operators.MinTime}}, reading{watermark: operators.MinTime}},
		"the highest if all are idle":   {[]reading{{watermark: 7, status: Idle}, {watermark: 5, status: Idle}}, reading{watermark: 7, status: Idle}},
		"idle if only some are finished": {
			[]reading{{watermark: 7, status: Finished}, {watermark: 5, status: Idle}}, reading{watermark: 7, status: Idle},
		},
		"finished if all are": {
			[]reading{{watermark: 7, status: Finished}, {watermark: 5, status: Finished}}, reading{watermark: 7, status: Finished},
		},
	} {
		all := newCombined()
		for _, r := range c.inputs {
			all.add(r)
		}
		if got := all.reading(); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestEventTimeNeverGoesBack(t *testing.T) {
	t.Parallel()
	e := eventTime{now: reading{watermark: operators.MinTime}, inputs: []inputTime{
		{now: reading{watermark: 9}}, {now: reading{watermark: 4, status: Idle}},
	}}
	if !e.combine() || e.now.watermark != 9 {
		t.Fatalf("event time is %d, want that of the active input, 9", e.now.watermark)
	}
	e.inputs[1].now.status = Active // it has an old record
	if e.combine() || e.now.watermark != 9 {
		t.Errorf("an input that wakes up has brought event time from 9 to %d", e.now.watermark)
	}
}

// The group may go on between the two halves of a commit.
func TestATaskAnnouncesItselfInANewGenerationWhateverBecomesOfTheEpoch(t *testing.T) {
	t.Parallel()
	tk, _ := newTask(t, "in")
	tk.time.announced.made = true
	tk.prepared = tk.time.clone()
	tk.SetGeneration(2)
	if err := tk.Confirm(statestore.Position{}); err != nil {
		t.Fatal(err)
	}
	if tk.time.announced.made || tk.confirmed.announced.made {
		t.Error("what was announced in the former generation counts in the new one")
	}
}
