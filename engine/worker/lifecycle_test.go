// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/statestore"
)

func TestTasksThatAreRestoredTogetherShareTheirAnchor(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out")
	const many = 64
	if err := r.broker.CreateTopics(many, "in"); err != nil {
		t.Fatal(err)
	}
	w := r.start(counting("app"), 0, nil)
	r.until("every task has committed its anchor", func() bool {
		anchored := 0
		for _, m := range r.committed("app", "in") {
			if m.Epoch > 0 {
				anchored++
			}
		}
		return anchored == many
	})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if got := len(r.lines("task running")); got != many {
		t.Errorf("%d tasks were started, expected %d", got, many)
	}
	if got := len(r.lines("epoch committed")); got > many/4 {
		t.Errorf("%d commits for %d tasks without input", got, many)
	}
}

func TestAnIdleTaskNamesItsCheckpointsAndTrimsWhatTheyReplace(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	key := binary.BigEndian.AppendUint64(nil, 1)
	r.put(&kgo.Record{Topic: "in", Partition: 2, Key: key, Value: binary.BigEndian.AppendUint64(nil, 1)})
	w := r.start(counting("app"), 0, func(o *worker.Options) { o.Config.CheckpointsKept = 1 })
	r.until("every task names a checkpoint, and its changelog is trimmed", func() bool {
		named := 0
		for _, m := range r.committed("app", "in") {
			if m.Round > 0 {
				named++
			}
		}
		if named < partitions {
			return false
		}
		for _, start := range r.starts("app-1-0-changelog") {
			if start == 0 {
				return false
			}
		}
		return true
	})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	// Naming must not feed on itself: a checkpoint is named once, and there is one in an interval at most.
	if commits, stored := len(r.lines("epoch committed")), len(r.lines("checkpoint stored")); commits > stored+2*partitions {
		t.Errorf("%d commits of tasks without input, %d checkpoints", commits, stored)
	}
}

func TestNamingTheCheckpointsOfIdleTasksDoesNotDisturbBusyOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	// Records come a little more often than commits, so that some meet an epoch that has begun with naming.
	w := r.start(counting("app"), 0, func(o *worker.Options) {
		o.Config.CommitFloor, o.Config.CommitInterval = 100*time.Millisecond, 200*time.Millisecond
	})
	key, polls := binary.BigEndian.AppendUint64(nil, 7), uint64(0)
	r.until("idle tasks have named several checkpoints", func() bool {
		if polls++; polls%4 == 0 {
			r.put(&kgo.Record{Topic: "in", Partition: 2, Key: key, Value: binary.BigEndian.AppendUint64(nil, polls)})
		}
		return r.committed("app", "in")[0].Epoch > 3
	})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if lines := r.lines("epoch not committed; going back to what is"); len(lines) > 0 {
		t.Errorf("got %v", lines)
	}
}

// newest keeps the newest value of each key: as much state as there are bytes in the input.
func newest(app string) *stream.Pipeline {
	p := stream.NewPipeline(app)
	stream.From(p, "in", codec.Uint64, codec.Bytes).Group().Reduce("newest", func(_, v []byte) []byte { return v }).Stream().To("out")
	return p
}

func TestALeavingWorkerStoresWhatItsSuccessorsWouldReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	const keys, bytes = 2000 * partitions, 1000 // per task twice as much as a successor may have to replay
	records := make([]*kgo.Record, keys)
	for i := range records {
		records[i] = &kgo.Record{Topic: "in", Partition: int32(i % partitions), Key: binary.BigEndian.AppendUint64(nil, uint64(i)), Value: make([]byte, bytes)}
	}
	r.put(records...)
	rarely := func(o *worker.Options) { o.Config.CheckpointInterval = time.Hour }
	w := r.start(newest("app"), 0, rarely)
	r.emitted("out", keys)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if got := len(r.lines("checkpoint stored")); got != partitions {
		t.Fatalf("%d checkpoints were stored before leaving, expected %d", got, partitions)
	}
	r.loseDisk(0)
	if err := r.run(newest("app"), 0, rarely); err != nil {
		t.Fatal(err)
	}
	for _, line := range r.lines("task running")[partitions:] {
		if line["source"] != "checkpoint" || line["replayedCommits"] != 0.0 {
			t.Errorf("the successor had to replay: %v", line)
		}
	}
	if got := len(r.records("out")); got != keys {
		t.Errorf("%d counts of %d keys", got, keys)
	}
}

func TestALeavingWorkerWithAShortChangelogStoresNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	if err := r.run(counting("app"), 0, func(o *worker.Options) { o.Config.CheckpointInterval = time.Hour }); err != nil {
		t.Fatal(err)
	}
	if got := r.lines("checkpoint stored"); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestASecondWorkerOnAStateFolderIsRefusedAtStartAndToldWhoHasIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	w := r.start(counting("app"), 0, nil)
	r.until("the first worker runs", func() bool { return len(r.committed("app", "in")) == partitions })
	err := r.run(counting("app"), 0, nil)
	if !errors.Is(err, statestore.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("held by process %d on ", os.Getpid())) || !strings.Contains(err.Error(), "state.dir") {
		t.Errorf("got %v", err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.run(counting("app"), 0, nil); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
	if diff := cmp.Diff(upTo(10), r.read("out")); diff != "" {
		t.Error(diff)
	}
}

func TestAContextThatEndsDuringTheStartIsACleanEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	w := r.start(counting("app"), 0, func(o *worker.Options) { o.Config.Brokers = []string{mute.Addr().String()} })
	conn, err := mute.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := w.stop(); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAStateWhoseReplacementWasInterruptedIsPutInPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	if err := r.run(counting("app"), 0, nil); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(r.config("app", 0).StateDir, "app-1")
	for i := range partitions {
		dir := filepath.Join(folder, fmt.Sprintf("0_%d", i))
		if err := os.Rename(dir, dir+".next"); err != nil { // as a kill right after the removal of the old state leaves it
			t.Fatal(err)
		}
	}
	leftover := filepath.Join(folder, "cuts", "0_0-1")
	if err := os.MkdirAll(leftover, 0o755); err != nil {
		t.Fatal(err)
	}
	r.feed("in", 100, 100)
	if err := r.run(counting("app"), 0, nil); err != nil {
		t.Fatal(err)
	}
	for _, line := range r.lines("task running")[partitions:] {
		if line["source"] != "local" {
			t.Errorf("got %v", line)
		}
	}
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files of a checkpoint that was never sent are still there: %v", err)
	}
	if diff := cmp.Diff(upTo(20), r.read("out")); diff != "" {
		t.Error(diff)
	}
}

func TestSlowUserCodeHoldsAnEpochByARecordNotByAllThatWasFetched(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	const slow, perRecord = 100, 10 * time.Millisecond
	for i := range slow {
		key := binary.BigEndian.AppendUint64(nil, 7)
		r.put(&kgo.Record{Topic: "in", Partition: 3, Key: key, Value: binary.BigEndian.AppendUint64(nil, uint64(i))})
	}
	p := stream.NewPipeline("app")
	stream.From(p, "in", codec.Uint64, codec.Uint64).Map(func(v uint64) uint64 {
		<-time.After(perRecord)
		return v
	}).To("out")
	if err := r.run(p, 0, nil); err != nil {
		t.Fatal(err)
	}
	most := 3 * r.config("app", 0).CommitInterval / perRecord
	for _, line := range r.lines("epoch committed") {
		if n := line["records"].(float64); n > float64(most) {
			t.Errorf("an epoch of %v records, at %v each, with a commit interval of %v", n, perRecord, r.config("app", 0).CommitInterval)
		}
	}
	if got := len(r.read("out")[7]); got != slow {
		t.Errorf("%d of %d records", got, slow)
	}
}

func TestARecordThatTakesLongIsNamedInTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.put(&kgo.Record{Topic: "in", Partition: 3, Key: binary.BigEndian.AppendUint64(nil, 7), Value: binary.BigEndian.AppendUint64(nil, 1)})
	p := stream.NewPipeline("app")
	stream.From(p, "in", codec.Uint64, codec.Uint64).Peek(func(uint64, uint64) { <-time.After(1100 * time.Millisecond) }).To("out")
	if err := r.run(p, 0, nil); err != nil {
		t.Fatal(err)
	}
	lines := r.lines("slow record")
	if len(lines) != 1 || lines[0]["topic"] != "in" || lines[0]["partition"] != 3.0 || lines[0]["offset"] != 0.0 || lines[0]["step"] == "" {
		t.Errorf("got %v", lines)
	}
}
