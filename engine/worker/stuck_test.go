// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// stuckKey is the key whose record does not come back.
const stuckKey = 1 << 40

// waiting is a pipeline whose code waits on the record of stuckKey until released is closed. entered counts how often it
// was given the record.
func waiting(released <-chan struct{}, entered *atomic.Int64) *stream.Pipeline {
	p := stream.NewPipeline("app")
	stream.From(p, "in", codec.Uint64, codec.Uint64).
		Peek(func(k, _ uint64) {
			if k == stuckKey {
				entered.Add(1)
				<-released
			}
		}).
		Group().Count("count").Stream().To("out")
	return p
}

// putStuck writes the record that does not come back.
func (r *rig) putStuck() {
	r.t.Helper()
	key := binary.BigEndian.AppendUint64(nil, stuckKey)
	r.put(&kgo.Record{Topic: "in", Partition: 0, Key: key, Value: binary.BigEndian.AppendUint64(nil, 1)})
}

// impatient makes the deadline of lanes a second.
func impatient(o *worker.Options) {
	o.Config.TransactionTimeout, o.Config.DrainTimeout, o.Config.Lanes = 3*time.Second, time.Second, 2
}

func TestALaneThatIsStuckHoldsOnlyItsTaskAndLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	released, entered := make(chan struct{}), new(atomic.Int64)
	release := sync.OnceFunc(func() { close(released) })
	defer release()
	r.feed("in", 0, 100)
	r.putStuck()
	w := r.start(waiting(released, entered), 0, impatient)
	r.until("the record holds its lane", func() bool { return entered.Load() > 0 })
	r.feed("in", 100, 100)
	others := func() int {
		n := 0
		for _, rec := range r.records("out") {
			if rec.Partition != 0 {
				n++
			}
		}
		return n
	}
	want := 0
	for _, rec := range r.records("in") {
		if rec.Partition != 0 {
			want++
		}
	}
	r.until("the other tasks have processed everything", func() bool { return others() == want })
	release()
	r.until("the task has processed everything", func() bool { return len(r.records("out")) == 201 })
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	got := r.read("out")
	if diff := cmp.Diff([]uint64{1}, got[stuckKey]); diff != "" {
		t.Error(diff)
	}
	delete(got, stuckKey)
	if diff := cmp.Diff(upTo(20), got); diff != "" {
		t.Error(diff)
	}
	if entered.Load() != 2 {
		t.Errorf("the record was given to the pipeline %d times, expected 2: in the epoch that was given up, and after the restore", entered.Load())
	}
	lines := r.lines("a task does not come back from the pipeline's code; its epoch is given up")
	if len(lines) != 1 || lines[0]["task"] != "0_0" || !strings.Contains(lines[0]["stack"].(string), "worker_test.waiting") {
		t.Errorf("got %v", lines)
	}
}

func TestAWorkerLeavesAStuckLaneBehindAndSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	released, entered := make(chan struct{}), new(atomic.Int64)
	r.putStuck()
	w := r.start(waiting(released, entered), 0, impatient)
	r.until("the record holds its lane", func() bool { return entered.Load() > 0 })
	err := w.stop()
	close(released)
	if !errors.Is(err, worker.ErrStuck) {
		t.Errorf("got %v", err)
	}
	// Another process goes on where this one has committed.
	if err := r.run(waiting(released, entered), 1, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uint64][]uint64{stuckKey: {1}}, r.read("out")); diff != "" {
		t.Error(diff)
	}
}
