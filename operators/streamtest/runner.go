// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// maxRecordBytes is the engine's default of changelog.max-record-bytes.
const maxRecordBytes = 512 << 10

// runner is one task: what outlives a crash, and what one process holds of it.
type runner struct {
	d         *Driver
	id        partition.TaskID
	sub       *topology.SubTopology
	inputs    []partition.TopicPartition // in the order of sub.Sources
	changelog []change
	committed commit
	standby   *standby // of the changelog, for State
	cut       *cut     // of the newest round that it has entered
	base      *cut     // that it was set back to; nil: it has begun with nothing

	// of the process
	db      *statestore.DB
	task    *task.Task
	out     *outbox
	fetched []int64 // by input: up to where the task was given records
	scratch *scratch
	skipped []operators.Failure // in this epoch
	calls   []func()            // that steps have asked for

	// of the commit in progress
	deltas    [][]byte
	coming    commit
	announced map[partition.TopicPartition]int64 // where its last announcements of the epoch lie
}

// change is one record of a changelog. Its offset is its index.
type change struct {
	kind  changeKind
	epoch uint64
	value []byte
}

type changeKind byte

const (
	deltaRecord    changeKind = 'd'
	positionRecord changeKind = 'p'
	markerRecord   changeKind = 'm'
)

// commit is what the offset commit of a task says: where it stands, and which position record goes with that.
type commit struct {
	epoch           uint64
	changelogOffset int64 // of the position record; -1: none yet
	position        task.Position
	detail          []byte // of the position record
	entered         int64  // newest round
}

// start brings the task to its committed position, from what is on the disk and the changelog.
func (r *runner) start() error {
	if r.sub.Stateful() {
		if err := r.restore(); err != nil {
			return fmt.Errorf("restore task %v: %w", r.id, err)
		}
	}
	r.out = &outbox{d: r.d, task: r.id}
	for _, sink := range r.sub.Outputs {
		r.out.topics = append(r.out.topics, r.d.topic(sink.Topic, sink.Internal))
	}
	r.scratch = &scratch{}
	r.skipped = nil
	var err error
	r.task, err = task.New(task.Options{
		ID: r.id, SubTopology: r.sub, Inputs: r.inputs, DB: r.db, Output: r.out, Now: r.d.Now, Wait: r.d.Advance, Run: r.d.run,
		Globals: r.d.globalStores(), Timed: r.d.topology.Timed(),
		Partitions: r.d.outputPartitions(r.sub),
		Go:         func(call func()) { r.calls = append(r.calls, call) },
		Wake:       func() {},
		Upstream:   task.Upstream(r.d.topology, r.sub, func(int32) int32 { return r.d.partitions }),
		Listener:   &operators.Listener{Skipped: func(f operators.Failure) { r.skipped = append(r.skipped, f) }},
	})
	if err != nil {
		return err
	}
	r.task.SetGeneration(r.d.generation)
	if r.d.finishing {
		r.finish()
	}
	return r.restart()
}

// finish ends the user's topics that the task reads where they end now.
func (r *runner) finish() {
	for i, tp := range r.inputs {
		if !r.sub.Sources[i].Internal {
			r.task.End(tp, int64(len(r.d.topics[tp.Topic].partitions[tp.Partition])))
		}
	}
}

func (r *runner) dir() string { return "/state/" + r.id.String() }

func (r *runner) open(fs vfs.FS, dir string) (*statestore.DB, error) {
	names := map[statestore.StoreID]string{}
	for _, s := range r.sub.Stores {
		names[statestore.StoreID(s.ID)] = s.Name
	}
	return statestore.Open(statestore.Options{
		Dir: dir, FS: fs, Resources: r.d.resources, StoreNames: names,
		Identity: statestore.Identity{App: r.d.topology.App, Incarnation: 1, Task: r.id},
	})
}

// restore opens the state and replays the changelog up to exactly the position record that the offset commit names.
func (r *runner) restore() error {
	var err error
	if r.db, err = r.openBase(r.d.disk); err != nil {
		return err
	}
	from := int64(0)
	if have, ok := r.db.Position(); ok {
		if have.Epoch > r.committed.epoch || have.Offset > r.committed.changelogOffset {
			return fmt.Errorf("the state on disk is ahead of the commit: it is of epoch %d, changelog offset %d; committed are epoch %d, offset %d",
				have.Epoch, have.Offset, r.committed.epoch, r.committed.changelogOffset)
		}
		from = have.Offset + 1
	}
	if err := r.replay(r.db, from); err != nil {
		return err
	}
	have, ok := r.db.Position()
	if !ok {
		if r.committed.changelogOffset >= 0 {
			return fmt.Errorf("no state was restored, committed is epoch %d", r.committed.epoch)
		}
		return nil
	}
	if have.Epoch != r.committed.epoch || have.Offset != r.committed.changelogOffset {
		return fmt.Errorf("restored is epoch %d, changelog offset %d; committed are epoch %d, offset %d",
			have.Epoch, have.Offset, r.committed.epoch, r.committed.changelogOffset)
	}
	at, err := task.DecodePoint(have.Detail)
	if err != nil {
		return err
	}
	if is := at.Position(r.d.topicName); !maps.Equal(is, r.committed.position) {
		return fmt.Errorf("the restored state belongs to the input offsets %v, committed are %v", is, r.committed.position)
	}
	return nil
}

// replay applies the commits of the changelog from an offset up to the committed position record.
func (r *runner) replay(db *statestore.DB, from int64) error {
	var deltas [][]byte
	for offset := from; offset <= r.committed.changelogOffset; offset++ {
		switch c := r.changelog[offset]; c.kind {
		case deltaRecord:
			deltas = append(deltas, c.value)
		case positionRecord:
			if err := db.Apply(deltas, statestore.Position{Epoch: c.epoch, Offset: offset, Detail: c.value}); err != nil {
				return err
			}
			deltas = nil
		}
	}
	return nil
}

// stop ends what the process holds of the task.
func (r *runner) stop() error {
	var err error
	if r.db != nil {
		err = r.db.Close()
	}
	r.db, r.task, r.out, r.calls = nil, nil, nil, nil
	return err
}

// restart sets the task to its commit.
func (r *runner) restart() error {
	r.fetched = make([]int64, len(r.inputs))
	for i, tp := range r.inputs {
		r.fetched[i] = r.committed.position[tp]
	}
	return r.task.Restart(r.committed.position, r.committed.entered, r.record())
}

// record is the position record that the state goes with.
func (r *runner) record() []byte {
	if r.db == nil {
		return nil
	}
	have, _ := r.db.Position()
	return have.Detail
}

// rewind drops what is not committed.
func (r *runner) rewind() error {
	r.task.Abort()
	r.out.emitted, r.skipped = nil, nil
	return r.restart()
}

// next returns the sequence of the oldest record that waits for the task, if it takes any.
func (r *runner) next() (sequence int64, ok bool) {
	if r.task.Full() || r.task.Barrier() > 0 {
		return 0, false
	}
	for _, tp := range r.inputs {
		at, _ := r.task.At(tp)
		log := r.d.topics[tp.Topic].partitions[tp.Partition]
		for at < int64(len(log)) && log[at].marker {
			at++
		}
		if at < int64(len(log)) && (!ok || log[at].sequence < sequence) {
			sequence, ok = log[at].sequence, true
		}
	}
	return sequence, ok
}

// step processes one record, or a marker before it.
func (r *runner) step() error {
	for i, tp := range r.inputs {
		log := r.d.topics[tp.Topic].partitions[tp.Partition]
		if err := r.task.Enqueue(tp, &batch{tp: tp, first: r.fetched[i], entries: log[r.fetched[i]:], scratch: r.scratch}); err != nil {
			return err
		}
		r.fetched[i] = int64(len(log))
	}
	_, err := r.task.Process(1)
	return err
}

// touched says whether the epoch holds anything of the task.
func (r *runner) touched() bool {
	return r.task.Acted() || r.roundToEnter() > 0 || !maps.Equal(r.task.Position(), r.committed.position)
}

// settle makes the calls that steps have asked for, and tells the task that its inputs end where they end now. It says whether the task has done anything.
func (r *runner) settle() (bool, error) {
	for i, tp := range r.inputs {
		if !r.sub.Sources[i].Internal {
			r.task.Observe(tp, int64(len(r.d.topics[tp.Topic].partitions[tp.Partition])), r.d.now)
		}
	}
	calls := r.calls
	r.calls = nil
	for _, call := range calls {
		call()
	}
	if !r.task.Due(r.d.now) {
		return false, nil
	}
	return true, r.task.Tick(r.d.now)
}

// prepare encodes the epoch's changes. Nothing of it is visible yet.
func (r *runner) prepare() error {
	r.scratch.scribble()
	r.task.Enter(r.roundToEnter())
	deltas, err := r.task.Prepare(maxRecordBytes)
	if err != nil {
		return err
	}
	r.deltas = nil
	for _, delta := range deltas {
		r.deltas = append(r.deltas, cloneBytes(delta))
	}
	point := r.task.Point()
	r.coming = commit{epoch: r.committed.epoch + 1, changelogOffset: -1, position: r.task.Position(), detail: point.AppendTo(nil), entered: r.task.Round()}
	return nil
}

// publish makes the epoch part of what outlives the process: changes, then their position record, then the offsets
// that name it.
func (r *runner) publish() {
	if r.db != nil {
		for _, delta := range r.deltas {
			r.changelog = append(r.changelog, change{deltaRecord, r.coming.epoch, delta})
		}
		r.coming.changelogOffset = int64(len(r.changelog))
		r.changelog = append(r.changelog,
			change{positionRecord, r.coming.epoch, r.coming.detail},
			change{kind: markerRecord})
	}
	r.committed = r.coming
	r.d.skipped = append(r.d.skipped, r.skipped...)
	r.out.emitted, r.skipped = nil, nil
}

// confirm tells the task that its commit stands.
func (r *runner) confirm() error {
	err := r.task.Confirm(statestore.Position{
		Epoch: r.committed.epoch, Offset: r.committed.changelogOffset, Detail: r.committed.detail,
	})
	if err != nil || r.cut != nil && r.cut.round >= r.committed.entered || r.committed.entered == 0 {
		return err
	}
	return r.takeCut()
}

// errNoCheckpoint says that RestoreCheckpoint came before any Checkpoint.
var errNoCheckpoint = errors.New("there is no checkpoint to restore; call Checkpoint first")
