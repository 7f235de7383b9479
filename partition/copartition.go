// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reasons why sub-topologies and topics do not make a set of tasks. The wrapping error names the sub-topology, the
// topics and their counts.
var (
	// ErrNotCoPartitioned means that the sources of a stateful sub-topology have different numbers of partitions, so
	// that equal keys would meet in different tasks.
	ErrNotCoPartitioned = errors.New("source topics are not co-partitioned")
	// ErrNoPartitions means that the number of partitions of a source topic is not known.
	ErrNoPartitions = errors.New("topic has no known partitions")
	// ErrBadSubTopology means that the sub-topologies contradict each other or have nothing to read.
	ErrBadSubTopology = errors.New("sub-topology is not valid")
	// ErrIncompleteTask means that an assignment holds some but not all inputs of a stateful task.
	ErrIncompleteTask = errors.New("task is incomplete")
)

// SubTopology is the part of a topology between topics, as placement sees it.
type SubTopology struct {
	ID int32
	// Sources are the topics it reads, repartition topics included, sorted. A topic is the source of at most one
	// sub-topology.
	Sources []string
	// Stateful is true if its tasks own a store. Only then must the sources be co-partitioned: without a store
	// nothing ever brings two records together.
	Stateful bool
	// Weight is what one of its tasks costs against one of others; below 1 counts as 1.
	Weight int
}

// Task is one unit of placement: partition n of each source of a sub-topology.
type Task struct {
	ID TaskID
	// Inputs are sorted by topic.
	Inputs   []TopicPartition
	Stateful bool
	// Weight is that of the sub-topology.
	Weight int
}

// Tasks returns the tasks of the sub-topologies, sorted by id, given the number of partitions of each source topic
// (0 or absent: not known). A stateless sub-topology has as many tasks as its widest source has partitions; those of
// a stateful one must be equal. The error tells all problems at once; each is [ErrNotCoPartitioned],
// [ErrNoPartitions] or [ErrBadSubTopology].
func Tasks(subs []SubTopology, partitions map[string]int32) ([]Task, error) {
	if _, err := sourceIndex(subs); err != nil {
		return nil, err
	}
	var tasks []Task
	var problems []error
	for _, sub := range subs {
		width, err := checkWidth(sub, partitions)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		sources := slices.Sorted(slices.Values(sub.Sources))
		for p := range width {
			task := Task{ID: TaskID{SubTopology: sub.ID, Partition: p}, Stateful: sub.Stateful, Weight: sub.Weight}
			for _, topic := range sources {
				if p < partitions[topic] {
					task.Inputs = append(task.Inputs, TopicPartition{Topic: topic, Partition: p})
				}
			}
			tasks = append(tasks, task)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	slices.SortFunc(tasks, func(a, b Task) int { return a.ID.Compare(b.ID) })
	return tasks, nil
}

// TasksOf is the way back: the tasks, sorted by id, that an assignment of topic partitions amounts to. A topic that
// no sub-topology reads is [ErrBadSubTopology], a stateful task of which an input is absent [ErrIncompleteTask]. A
// stateless task has the inputs that the assignment holds, so give it the whole assignment, not a difference.
func TasksOf(subs []SubTopology, assigned map[string][]int32) ([]Task, error) {
	readers, err := sourceIndex(subs)
	if err != nil {
		return nil, err
	}
	found := map[TaskID]*Task{}
	for _, topic := range slices.Sorted(maps.Keys(assigned)) {
		i, ok := readers[topic]
		if !ok {
			return nil, fmt.Errorf("%w: topic %s is assigned, but no sub-topology reads it", ErrBadSubTopology, topic)
		}
		for _, p := range assigned[topic] {
			id := TaskID{SubTopology: subs[i].ID, Partition: p}
			if found[id] == nil {
				found[id] = &Task{ID: id, Stateful: subs[i].Stateful, Weight: subs[i].Weight}
			}
			found[id].Inputs = append(found[id].Inputs, TopicPartition{Topic: topic, Partition: p})
		}
	}
	tasks := make([]Task, 0, len(found))
	for _, id := range slices.SortedFunc(maps.Keys(found), TaskID.Compare) {
		task := *found[id]
		task.Inputs = slices.Compact(task.Inputs)
		sources := subs[readers[task.Inputs[0].Topic]].Sources
		if task.Stateful && len(task.Inputs) != len(sources) {
			return nil, fmt.Errorf("%w: %s reads %s, but only %v is assigned", ErrIncompleteTask, id,
				strings.Join(sources, ", "), task.Inputs)
		}
		tasks = append(tasks, task)
	}
	return tasks, nil
}

// sourceIndex returns, by topic, the index in subs of the one sub-topology that reads it.
func sourceIndex(subs []SubTopology) (map[string]int, error) {
	readers := map[string]int{}
	seen := map[int32]bool{}
	for i, sub := range subs {
		if seen[sub.ID] {
			return nil, fmt.Errorf("%w: id %d is used twice", ErrBadSubTopology, sub.ID)
		}
		seen[sub.ID] = true
		if len(sub.Sources) == 0 {
			return nil, fmt.Errorf("%w: sub-topology %d has no source topic", ErrBadSubTopology, sub.ID)
		}
		for _, topic := range sub.Sources {
			if j, taken := readers[topic]; taken {
				return nil, fmt.Errorf("%w: topic %s is a source of sub-topologies %d and %d, but a partition has one owner",
					ErrBadSubTopology, topic, subs[j].ID, sub.ID)
			}
			readers[topic] = i
		}
	}
	return readers, nil
}

// checkWidth returns how many tasks a sub-topology has.
func checkWidth(sub SubTopology, partitions map[string]int32) (int32, error) {
	width, equal := int32(0), true
	counts := make([]string, 0, len(sub.Sources))
	for _, topic := range sub.Sources {
		n := partitions[topic]
		if n <= 0 {
			return 0, fmt.Errorf("sub-topology %d: %w: %s: create it, or allow this worker to describe it",
				sub.ID, ErrNoPartitions, topic)
		}
		equal = equal && (width == 0 || n == width)
		width = max(width, n)
		counts = append(counts, fmt.Sprintf("%s has %d", topic, n))
	}
	if sub.Stateful && !equal {
		return 0, fmt.Errorf("sub-topology %d: %w: %s partitions: give them equal counts, or repartition by key first",
			sub.ID, ErrNotCoPartitioned, strings.Join(counts, ", "))
	}
	return width, nil
}
