// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/partition"
)

func TestTaskIDIsReadBackAsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := partition.TaskID{
			SubTopology: rapid.Int32Min(0).Draw(t, "sub-topology"),
			Partition:   rapid.Int32Min(0).Draw(t, "partition"),
		}
		got, err := partition.ParseTaskID(id.String())
		if err != nil || got != id {
			t.Fatalf("ParseTaskID(%q) = %v, %v", id.String(), got, err)
		}
	})
}

func TestTaskIDHasOneSpelling(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "_", "0", "0_", "_0", "0_3_1", "00_3", "0_03", "+0_3", "0_+3", "-1_3", "0_-3", " 0_3", "0_3 ", "0-3",
		"2147483648_0", "0_2147483648", "a_b", "0x1_2",
	} {
		if id, err := partition.ParseTaskID(s); err == nil {
			t.Errorf("ParseTaskID(%q) = %v, want an error", s, id)
		}
	}
}

func TestTaskIDIsTextInJSON(t *testing.T) {
	t.Parallel()
	in := map[partition.TaskID][]partition.TaskID{{SubTopology: 1, Partition: 2}: {{SubTopology: 0, Partition: 3}}}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"1_2":["0_3"]}` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	var out map[partition.TaskID][]partition.TaskID
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Fatal(diff)
	}
	if err := json.Unmarshal([]byte(`["0_03"]`), &[]partition.TaskID{}); err == nil {
		t.Fatal("a second spelling was read from JSON")
	}
}

func TestNamesAreWrittenAndOrderedByTheirParts(t *testing.T) {
	t.Parallel()
	tp := partition.TopicPartition{Topic: "orders", Partition: 3}
	if tp.String() != "orders/3" {
		t.Errorf("String() = %q", tp)
	}
	if tp.Compare(partition.TopicPartition{Topic: "orders", Partition: 10}) >= 0 ||
		tp.Compare(partition.TopicPartition{Topic: "customers", Partition: 10}) <= 0 || tp.Compare(tp) != 0 {
		t.Error("topic partitions are not ordered by topic, then by number")
	}
	id := partition.TaskID{SubTopology: 1, Partition: 9}
	if id.Compare(partition.TaskID{SubTopology: 1, Partition: 10}) >= 0 ||
		id.Compare(partition.TaskID{SubTopology: 0, Partition: 10}) <= 0 || id.Compare(id) != 0 {
		t.Error("tasks are not ordered by sub-topology, then by partition")
	}
}
