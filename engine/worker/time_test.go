// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
)

// Each test holds event time up in one way, by what producers, brokers or slow tasks do. The windows of the second
// stage must not close before all that belongs to them has arrived, of which the sums tell, and must close then.

// windows counts the records of each key per hour, and adds these counts up per two hours: windows of windows, with a
// shuffle between them. step is called for each record.
func windows(step func(k uint64)) *stream.Pipeline {
	p := stream.NewPipeline("app")
	stream.From(p, "in", codec.Uint64, codec.Uint64).
		Peek(func(k, _ uint64) { step(k) }).
		Group().Window(stream.Tumbling(time.Hour).EmitOnClose()).Count("per-key").
		Stream().Map(func(_ stream.Windowed[uint64], n int64) uint64 { return uint64(n) }).
		KeyBy("all", func(uint64) uint64 { return 0 }, codec.Uint64).
		Group().Window(stream.Tumbling(2*time.Hour).EmitOnClose()).Reduce("sum", func(sum, n uint64) uint64 { return sum + n }).
		Stream().Map(func(_ stream.Windowed[uint64], n uint64) uint64 { return n }).
		To("out")
	return p
}

// keyIn returns a key of the partition.
func keyIn(p int32) uint64 {
	for k := uint64(0); ; k++ {
		if partition.ForKey(binary.BigEndian.AppendUint64(nil, k), partitions) == p {
			return k
		}
	}
}

// hours is n records for a partition in each of the hours from to to, to excluded.
func hours(p int32, from, to, n int) (records []*kgo.Record) {
	for h := from; h < to; h++ {
		for i := range n {
			r := number("in", keyIn(p), uint64(i))
			r.Timestamp = time.UnixMilli(0).Add(time.Duration(h)*time.Hour + time.Duration(i)*time.Millisecond)
			records = append(records, r)
		}
	}
	return records
}

// sums are the results by the first hour of their window.
func (r *rig) sums() map[int][]uint64 {
	got := map[int][]uint64{}
	for _, rec := range r.records("out") {
		h := int(rec.Timestamp.UnixMilli()/time.Hour.Milliseconds()) - 1 // a result has the last instant of its window
		got[h] = append(got[h], binary.BigEndian.Uint64(rec.Value))
	}
	return got
}

// closed waits for as many windows as expected, and compares them.
func (r *rig) closed(want map[int][]uint64) {
	r.t.Helper()
	r.until("all windows are closed", func() bool { return len(r.sums()) >= len(want) })
	if diff := cmp.Diff(want, r.sums()); diff != "" {
		r.t.Errorf("sums by the first hour of the window (-want +got):\n%s", diff)
	}
}

// idle waits until the tasks of these partitions of the input have committed that they have nothing to do.
func (r *rig) idle(of ...int32) {
	r.t.Helper()
	r.until("the other tasks are idle", func() bool {
		committed := r.committed("app", "in")
		for _, p := range of {
			if !committed[p].Idle {
				return false
			}
		}
		return true
	})
}

// nothing expects that no window of the second stage has closed.
func (r *rig) nothing() {
	r.t.Helper()
	if got := r.sums(); len(got) > 0 {
		r.t.Errorf("windows have closed too early: %v", got)
	}
}

func noStep(uint64) {}

func TestASilentPartitionHoldsNoWindowBack(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]int{"idle after some records": 2, "empty": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out")
			r.put(hours(3, 0, before, 5)...)
			r.start(windows(noStep), 0, nil)
			for p := range int32(3) {
				r.put(hours(p, 0, 9, 5)...)
			}
			want := map[int][]uint64{0: {2 * 15}, 2: {2 * 15}, 4: {2 * 15}, 6: {2 * 15}}
			if before > 0 {
				want[0] = []uint64{2 * 20}
			}
			r.closed(want)
		})
	}
}

func TestAPartitionThatIsHoursBehindIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.put(hours(0, 0, 9, 2000)...)
	for p := range int32(3) {
		r.put(hours(p+1, 0, 9, 5)...)
	}
	r.start(windows(noStep), 0, func(o *worker.Options) { o.Config.CommitInterval = 5 * time.Millisecond })
	n := []uint64{2 * 2015}
	r.closed(map[int][]uint64{0: n, 2: n, 4: n, 6: n})
}

func TestAPartitionThatIsPausedIsNotIdle(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.put(hours(0, 0, 9, 40)...)
	for p := range int32(3) {
		r.put(hours(p+1, 0, 9, 5)...)
	}
	slow := keyIn(0)
	// Its task has so much to work off that its input is paused for longer than it takes to be idle.
	r.start(windows(func(k uint64) {
		if k == slow {
			<-time.After(5 * time.Millisecond)
		}
	}), 0, nil)
	n := []uint64{2 * 55}
	r.closed(map[int][]uint64{0: n, 2: n, 4: n, 6: n})
}

func TestATaskThatIsLateHoldsTheTasksDownstreamBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	for p := range int32(partitions) {
		r.put(hours(p, 0, 9, 5)...)
	}
	released, late := make(chan struct{}), keyIn(0)
	r.start(windows(func(k uint64) {
		if k == late {
			<-released
		}
	}), 0, impatient)
	r.idle(1, 2, 3)
	r.nothing()
	close(released)
	n := []uint64{2 * 20}
	r.closed(map[int][]uint64{0: n, 2: n, 4: n, 6: n})
}

// transactional returns a client whose records are part of the transactions that the test begins and ends.
func (r *rig) transactional() *kgo.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("producer"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return cl
}

// produceIn writes records in a transaction, which it leaves open.
func (r *rig) produceIn(cl *kgo.Client, records ...*kgo.Record) {
	r.t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		r.t.Fatal(err)
	}
	if err := cl.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) endTransaction(cl *kgo.Client, how kgo.TransactionEndTry) {
	r.t.Helper()
	if err := cl.EndTransaction(context.Background(), how); err != nil {
		r.t.Fatal(err)
	}
}

func TestMarkersAtTheEndOfAPartitionAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	cl := r.transactional()
	r.start(windows(noStep), 0, nil)
	for p := range int32(3) {
		r.produceIn(cl, hours(p, 0, 9, 5)...)
		r.endTransaction(cl, kgo.TryCommit)
	}
	r.produceIn(cl, hours(3, 0, 9, 5)...) // nobody will read them, but the log is as long as if
	r.endTransaction(cl, kgo.TryAbort)
	n := []uint64{2 * 15}
	r.closed(map[int][]uint64{0: n, 2: n, 4: n, 6: n})
}

func TestAnOpenTransactionIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	cl := r.transactional()
	r.produceIn(cl, hours(3, 0, 9, 5)...)
	for p := range int32(3) {
		r.put(hours(p, 0, 9, 5)...)
	}
	r.start(windows(noStep), 0, nil)
	r.idle(0, 1, 2)
	r.nothing()
	r.endTransaction(cl, kgo.TryCommit)
	n := []uint64{2 * 20}
	r.closed(map[int][]uint64{0: n, 2: n, 4: n, 6: n})
}
