// SPDX-License-Identifier: Apache-2.0

package groupbalance_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
)

// Strategy: a group is taken through random generations. In each, some workers take part; of these, some never hear
// the answer to their join, and some fail to sync. Those left out are expelled, but go on believing in what they own
// until they are told otherwise. Then all is well for a few generations.
//
// Invariants: a partition is never given to a worker while another that takes part still reads it; a worker that may
// keep a partition is the last one it was given to, without a gap; a task's inputs are given together; in the end
// every partition is read once, evenly, and nothing moves any more.

// quiet is how many generations suffice to move, one after the other, the tasks that the slowest share needs: to warm up
// for one, to give it up and to take it.
const quiet = 12

type history struct {
	t          *rapid.T
	counts     map[string]int32
	workers    []*worker
	generation int32
	given      map[partition.TopicPartition]int             // how often a partition was taken up
	since      map[*worker]map[partition.TopicPartition]int // and which of these times was the worker's
}

func TestNoHistoryGivesAPartitionToTwoOrToAStaleOwner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := &history{
			t:      t,
			counts: map[string]int32{"orders": 4, "customers": 4, "clicks": 3},
			given:  map[partition.TopicPartition]int{},
			since:  map[*worker]map[partition.TopicPartition]int{},
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "workers") {
			w := newWorker(fmt.Sprintf("w%d", i), groupbalance.Self{}, joined, clicks)
			h.workers = append(h.workers, w)
			h.since[w] = map[partition.TopicPartition]int{}
		}
		for range rapid.IntRange(0, 12).Draw(t, "generations") {
			some := rapid.SliceOfNDistinct(rapid.SampledFrom(h.workers), 1, len(h.workers),
				func(w *worker) string { return w.id }).Draw(t, "taking part")
			h.step(some, true)
			if rapid.Bool().Draw(t, "generation without any of them") {
				h.generation++
			}
		}
		for range quiet {
			h.step(h.workers, false)
		}
		before := maps.Clone(h.given)
		h.step(h.workers, false)
		if !maps.Equal(before, h.given) {
			t.Fatalf("after %d quiet generations partitions still move", quiet)
		}
		h.checkSpread()
	})
}

// step forms one generation out of some workers.
func (h *history) step(workers []*worker, faults bool) {
	h.generation++
	var members []kmsg.JoinGroupResponseMember
	claims := map[partition.TopicPartition][]*worker{}
	for _, w := range workers {
		members = append(members, w.join())
		for topic, partitions := range w.owned {
			for _, p := range partitions {
				tp := partition.TopicPartition{Topic: topic, Partition: p}
				claims[tp] = append(claims[tp], w)
			}
		}
	}
	assigned, err := balance(workers[0], h.generation, h.counts, members...)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, w := range workers {
		if faults && rapid.IntRange(0, 4).Draw(h.t, "join answer lost") == 0 {
			continue
		}
		w.generation = h.generation
		if faults && rapid.IntRange(0, 3).Draw(h.t, "sync fails") == 0 {
			continue
		}
		h.sync(w, assigned[w.id], claims)
	}
}

// sync lets a worker act on its assignment.
func (h *history) sync(w *worker, assignment []byte, claims map[partition.TopicPartition][]*worker) {
	owned, err := w.balancer.ParseSyncAssignment(assignment)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := w.balancer.Tasks(owned); err != nil {
		h.t.Fatal(err)
	}
	w.owned = owned
	since := map[partition.TopicPartition]int{}
	for topic, partitions := range owned {
		for _, p := range partitions {
			tp := partition.TopicPartition{Topic: topic, Partition: p}
			if had, keeps := h.since[w][tp]; keeps {
				if had != h.given[tp] {
					h.t.Fatalf("generation %d: %s keeps %s, which another has read since", h.generation, w.id, tp)
				}
				since[tp] = had
				continue
			}
			if len(claims[tp]) > 0 {
				h.t.Fatalf("generation %d: %s gets %s, which %s still reads", h.generation, w.id, tp, claims[tp][0].id)
			}
			h.given[tp]++
			since[tp] = h.given[tp]
		}
	}
	h.since[w] = since
}

// checkSpread fails unless every partition is read once and the workers have equal numbers of tasks, give or take one.
func (h *history) checkSpread() {
	readers := map[partition.TopicPartition]int{}
	var tasks []int
	for _, w := range h.workers {
		got, err := w.balancer.Tasks(w.owned)
		if err != nil {
			h.t.Fatal(err)
		}
		tasks = append(tasks, len(got))
		for tp := range h.since[w] {
			readers[tp]++
		}
	}
	for topic, n := range h.counts {
		for p := range n {
			if tp := (partition.TopicPartition{Topic: topic, Partition: p}); readers[tp] != 1 {
				h.t.Fatalf("%s has %d readers", tp, readers[tp])
			}
		}
	}
	if slices.Max(tasks)-slices.Min(tasks) > 1 {
		h.t.Fatalf("tasks per worker: %v", tasks)
	}
}
