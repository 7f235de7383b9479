// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// This file takes checkpoints of the whole pipeline, stages and what is between them, as the engine's rounds do.

// cut is a task at its cut of a round.
type cut struct {
	round     int64
	base      *checkpoint // nil: the task has no state
	commit    commit
	announced map[partition.TopicPartition]int64 // of repartition topics by name, where the task's marker lies
	written   map[partition.TopicPartition]int64 // of the user's topics, how many records there were
}

// pipelineCut is a complete round.
type pipelineCut struct {
	tasks    map[partition.TaskID]*cut
	inFlight map[partition.TopicPartition][]entry // of repartition topics
}

// BeginRound begins a checkpoint of the whole pipeline. Tasks enter it with their commits while the test goes on: those
// that read the user's topics with their next, the others when they come to the marker of one that has entered. One that
// is not complete by then is given up.
func (d *Driver) BeginRound() { d.round++ }

// Rollback ends the process at once and sets the pipeline back to the last round that is complete: state, positions, and
// the records that were between the stages. The user's output topics hold again what they held at the cut, so that a
// test can compare; on a cluster they keep what was written since. It says whether there was a complete round.
func (d *Driver) Rollback() bool {
	d.t.Helper()
	if d.complete == nil {
		return false
	}
	if err := d.stop(); err != nil {
		d.fail("stop: %v", err)
	}
	for _, r := range d.tasks {
		if err := r.standby.close(); err != nil {
			d.fail("stop: %v", err)
		}
		r.standby = nil
	}
	d.disk, d.standbys, d.kept = vfs.NewCrashableMem(), vfs.NewMem(), nil
	d.setBackTopics()
	for _, r := range d.tasks {
		r.begin(d.complete.tasks[r.id])
	}
	d.start()
	return true
}

// completeRound takes note of a round that all tasks have entered.
func (d *Driver) completeRound() {
	c := &pipelineCut{tasks: map[partition.TaskID]*cut{}, inFlight: map[partition.TopicPartition][]entry{}}
	for _, r := range d.tasks {
		if r.cut == nil || r.cut.round != d.round {
			return
		}
		c.tasks[r.id] = r.cut
	}
	for i := range d.topology.SubTopologies {
		sub := &d.topology.SubTopologies[i]
		for _, src := range sub.Sources {
			if src.Internal {
				c.keepInFlight(sub.ID, d.topic(src.Topic, true))
			}
		}
	}
	d.complete = c
}

// keepInFlight keeps the records of a repartition topic between where each reader stood and what each writer had produced.
func (c *pipelineCut) keepInFlight(reader int32, t *topic) {
	for p := range t.partitions {
		of := t.partition(int32(p))
		at := c.tasks[partition.TaskID{SubTopology: reader, Partition: int32(p)}].commit.position[of]
		for offset := at; offset < int64(len(t.partitions[p])); offset++ {
			if e := t.partitions[p][offset]; !e.marker && !e.control && offset < c.tasks[e.origin].announced[of] {
				c.inFlight[of] = append(c.inFlight[of], e)
			}
		}
	}
}

// setBackTopics leaves in repartition topics what was in flight at the cut, and in output topics what was there.
func (d *Driver) setBackTopics() {
	d.t.Helper()
	for i := range d.topology.SubTopologies {
		sub := &d.topology.SubTopologies[i]
		for _, src := range sub.Sources {
			if src.Internal {
				d.topic(src.Topic, true).fill(d.complete.inFlight)
			}
		}
	}
	seen := map[*topic]bool{}
	for i := range d.topology.SubTopologies {
		for _, sink := range d.topology.SubTopologies[i].Outputs {
			if t := d.topic(sink.Topic, sink.Internal); !sink.Internal && !seen[t] {
				seen[t] = true
				t.keep(d.complete.tasks)
			}
		}
	}
}

// fill makes the topic anew with the records in flight.
func (t *topic) fill(inFlight map[partition.TopicPartition][]entry) {
	anew := newTopic(t.name, int32(len(t.partitions)))
	for p := range t.partitions {
		for _, e := range inFlight[t.partition(int32(p))] {
			anew.append(int32(p), e)
		}
	}
	*t = *anew
}

// keep leaves in an output topic what each task had written by its cut.
func (t *topic) keep(cuts map[partition.TaskID]*cut) {
	kept := newTopic(t.name, int32(len(t.partitions)))
	for _, at := range t.arrived {
		e := *t.at(at)
		c := cuts[e.origin]
		if c == nil || at.offset < c.written[t.partition(at.partition)] {
			kept.append(at.partition, e)
		}
	}
	kept.unkeyed = t.unkeyed
	*t = *kept
	for _, c := range cuts { // the offsets are others now
		for p := range t.partitions {
			c.written[t.partition(int32(p))] = int64(len(t.partitions[p]))
		}
	}
}

// begin makes the task one that has just been set back to a cut.
func (r *runner) begin(c *cut) {
	r.cut, r.base, r.changelog, r.committed = c, c, nil, c.commit
	r.committed.changelogOffset = -1
	r.committed.position = task.Position{}
	for i, tp := range r.inputs {
		at := c.commit.position[tp]
		if r.sub.Sources[i].Internal {
			at = 0 // the topic begins with what was in flight
		}
		r.committed.position[tp] = at
	}
}

// roundToEnter is the round that the task enters with its next commit, 0 if there is none.
func (r *runner) roundToEnter() int64 {
	round := r.task.Barrier()
	if slices.ContainsFunc(r.sub.Sources, func(src topology.Source) bool { return !src.Internal }) {
		round = max(round, r.d.round)
	}
	if round <= r.task.Round() {
		return 0
	}
	return round
}

// takeCut keeps the task as of the commit that was just confirmed.
func (r *runner) takeCut() error {
	c := &cut{round: r.committed.entered, commit: r.committed, announced: r.announced, written: map[partition.TopicPartition]int64{}}
	for _, sink := range r.sub.Outputs {
		t := r.d.topic(sink.Topic, sink.Internal)
		for p := range t.partitions {
			c.written[t.partition(int32(p))] = int64(len(t.partitions[p]))
		}
	}
	if r.db != nil {
		var err error
		if c.base, err = r.checkpoint(); err != nil {
			return fmt.Errorf("take the cut of task %v: %w", r.id, err)
		}
	}
	r.cut = c
	r.d.completeRound()
	return nil
}

// openBase opens a task's state; of one that was set back and has none yet, as of its cut.
func (r *runner) openBase(fs vfs.FS) (*statestore.DB, error) {
	db, err := r.open(fs, r.dir())
	if err != nil || r.base == nil || r.base.base == nil {
		return db, err
	}
	if _, ok := db.Position(); !ok {
		if err := db.Close(); err != nil {
			return nil, err
		}
		if err := fs.RemoveAll(r.dir()); err != nil {
			return nil, err
		}
		if err := r.base.base.write(fs, r.dir()); err != nil {
			return nil, err
		}
		if db, err = r.open(fs, r.dir()); err != nil {
			return nil, err
		}
	}
	have, _ := db.Position()
	if have.Epoch != r.base.commit.epoch || have.Offset < 0 {
		return db, nil
	}
	point, err := task.DecodePoint(have.Detail)
	if err != nil {
		return nil, err
	}
	point.Transplant()
	return db, db.Apply(nil, statestore.Position{Epoch: have.Epoch, Offset: -1, Detail: point.AppendTo(nil)})
}
