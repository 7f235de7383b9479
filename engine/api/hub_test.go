// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"testing"
)

func TestTheHubKeepsABoundedNumberOfEventsAndWhoIsBehindIsTold(t *testing.T) {
	t.Parallel()
	h := newHub(nil, nil)
	if events, _, err := h.after(0); err != nil || len(events) != 0 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for range keptEvents + 10 {
		h.publish("task", map[string]string{})
	}
	if _, _, err := h.after(9); !errors.Is(err, errBehind) {
		t.Errorf("after an event whose successor is gone: %v", err)
	}
	events, more, err := h.after(10)
	if err != nil || len(events) != keptEvents || events[0].number != 11 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for id, want := range map[string]bool{h.id(10): true, h.id(9): false, h.id(keptEvents + 10): true, h.id(keptEvents + 11): false, h.id(-1): false, "": false} {
		if _, ok := h.position(id); ok != want {
			t.Errorf("position %q: %v", id, ok)
		}
	}
	h.publish("task", map[string]string{})
	select {
	case <-more:
	default:
		t.Error("nobody was told of the next event")
	}
}

func TestOnlyWhatHasChangedIsAnEvent(t *testing.T) {
	t.Parallel()
	h, was := newHub(nil, nil), map[string]facet{}
	one, two := facet{"task", "0_0", 1}, facet{"task", "0_1", 1}
	h.compare(was, []facet{one, two}, false)
	h.compare(was, []facet{one, two}, true)
	h.compare(was, nil, true) // could not be found out
	h.compare(was, []facet{{"task", "0_0", 2}}, true)
	events, _, err := h.after(0)
	if err != nil || len(events) != 2 || events[0].kind != "task" || events[1].kind != "task-gone" || string(events[1].data) != `{"id":"0_1"}` {
		t.Errorf("%+v, %v", events, err)
	}
}
