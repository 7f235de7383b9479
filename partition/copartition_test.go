// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/partition"
)

func inputs(p int32, topics ...string) []partition.TopicPartition {
	var in []partition.TopicPartition
	for _, topic := range topics {
		in = append(in, partition.TopicPartition{Topic: topic, Partition: p})
	}
	return in
}

func TestTasksArePartitionsOfSubTopologies(t *testing.T) {
	t.Parallel()
	subs := []partition.SubTopology{
		{ID: 1, Sources: []string{"clicks", "views"}},
		{ID: 0, Sources: []string{"orders", "customers"}, Stateful: true},
	}
	got, err := partition.Tasks(subs, map[string]int32{"orders": 2, "customers": 2, "clicks": 1, "views": 2, "other": 9})
	if err != nil {
		t.Fatal(err)
	}
	want := []partition.Task{
		{ID: partition.TaskID{SubTopology: 0, Partition: 0}, Inputs: inputs(0, "customers", "orders"), Stateful: true},
		{ID: partition.TaskID{SubTopology: 0, Partition: 1}, Inputs: inputs(1, "customers", "orders"), Stateful: true},
		{ID: partition.TaskID{SubTopology: 1, Partition: 0}, Inputs: inputs(0, "clicks", "views")},
		{ID: partition.TaskID{SubTopology: 1, Partition: 1}, Inputs: inputs(1, "views")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}

	back, err := partition.TasksOf(subs, map[string][]int32{
		"views": {1, 0}, "orders": {0, 1}, "customers": {1, 0}, "clicks": {0},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Fatalf("tasks of the assignment of all partitions: %s", diff)
	}
}

func TestTasksNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := partition.Tasks([]partition.SubTopology{
		{ID: 0, Sources: []string{"customers", "orders"}, Stateful: true},
		{ID: 1, Sources: []string{"clicks"}},
	}, map[string]int32{"orders": 6, "customers": 4})
	if !errors.Is(err, partition.ErrNotCoPartitioned) || !errors.Is(err, partition.ErrNoPartitions) {
		t.Fatalf("err = %v", err)
	}
	for _, part := range []string{"sub-topology 0", "customers has 4", "orders has 6", "sub-topology 1", "clicks"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not named in: %v", part, err)
		}
	}
}

func TestContradictingSubTopologiesAreRefused(t *testing.T) {
	t.Parallel()
	counts := map[string]int32{"a": 1, "b": 1}
	for name, subs := range map[string][]partition.SubTopology{
		"no source":     {{ID: 0}},
		"id twice":      {{ID: 0, Sources: []string{"a"}}, {ID: 0, Sources: []string{"b"}}},
		"shared source": {{ID: 0, Sources: []string{"a"}}, {ID: 1, Sources: []string{"a", "b"}}},
		"source twice":  {{ID: 0, Sources: []string{"a", "a"}}},
	} {
		if _, err := partition.Tasks(subs, counts); !errors.Is(err, partition.ErrBadSubTopology) {
			t.Errorf("%s: Tasks gave err = %v", name, err)
		}
		if _, err := partition.TasksOf(subs, nil); !errors.Is(err, partition.ErrBadSubTopology) {
			t.Errorf("%s: TasksOf gave err = %v", name, err)
		}
	}
}

func TestHalfOfAStatefulTaskIsNoTask(t *testing.T) {
	t.Parallel()
	subs := []partition.SubTopology{{ID: 0, Sources: []string{"customers", "orders"}, Stateful: true}}
	_, err := partition.TasksOf(subs, map[string][]int32{"orders": {3}})
	if !errors.Is(err, partition.ErrIncompleteTask) || !strings.Contains(err.Error(), "0_3") {
		t.Fatalf("err = %v", err)
	}
	_, err = partition.TasksOf(subs, map[string][]int32{"payments": {3}})
	if !errors.Is(err, partition.ErrBadSubTopology) || !strings.Contains(err.Error(), "payments") {
		t.Fatalf("err = %v", err)
	}
}
