// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// TopicPartition names one partition of one Kafka topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns the form used in logs and errors, "orders/3".
func (tp TopicPartition) String() string {
	return tp.Topic + "/" + strconv.FormatInt(int64(tp.Partition), 10)
}

// Compare orders by topic, then by partition.
func (tp TopicPartition) Compare(other TopicPartition) int {
	return cmp.Or(strings.Compare(tp.Topic, other.Topic), cmp.Compare(tp.Partition, other.Partition))
}

// TaskID names a task: one partition of one sub-topology. Both numbers are zero or more.
type TaskID struct {
	SubTopology int32
	Partition   int32
}

// String returns the one written form of a task, "0_3": in logs, file names, object names and the CLI.
func (id TaskID) String() string {
	return strconv.FormatInt(int64(id.SubTopology), 10) + "_" + strconv.FormatInt(int64(id.Partition), 10)
}

// Compare orders by sub-topology, then by partition.
func (id TaskID) Compare(other TaskID) int {
	return cmp.Or(cmp.Compare(id.SubTopology, other.SubTopology), cmp.Compare(id.Partition, other.Partition))
}

// MarshalText lets a task appear as "0_3" in JSON, as a value and as a map key.
func (id TaskID) MarshalText() ([]byte, error) {
	return []byte(id.String()), nil
}

// UnmarshalText is the inverse of [TaskID.MarshalText], with the strictness of [ParseTaskID].
func (id *TaskID) UnmarshalText(text []byte) error {
	parsed, err := ParseTaskID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseTaskID reads the form that [TaskID.String] writes, and only that form: task ids are parts of directory and
// object names, where a second spelling ("0_03", "+0_3") would be a second place for the same state.
func ParseTaskID(s string) (TaskID, error) {
	left, right, found := strings.Cut(s, "_")
	sub, errSub := strconv.ParseInt(left, 10, 32)
	part, errPart := strconv.ParseInt(right, 10, 32)
	id := TaskID{SubTopology: int32(sub), Partition: int32(part)}
	if !found || errSub != nil || errPart != nil || sub < 0 || part < 0 || id.String() != s {
		return TaskID{}, fmt.Errorf("parse task id %q: want <sub-topology>_<partition>, as in 0_3", s)
	}
	return id, nil
}
