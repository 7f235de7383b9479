// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/partition"
)

// directory routes queries of several workers in one process by what each says that it has.
type directory struct {
	mu      sync.Mutex
	workers []*worker.Worker
}

func (d *directory) add(w *worker.Worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers = append(d.workers, w)
}

// seat is the directory as one worker sees it.
type seat struct {
	d   *directory
	own *worker.Worker
}

// Owner implements query.Router.
func (s *seat) Owner(id partition.TaskID) (endpoint string, self, ok bool) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	for _, w := range s.d.workers {
		if w.Holds(id) {
			return w.Endpoint(), w == s.own, true
		}
	}
	return "", false, false
}

// Standbys implements query.Router.
func (*seat) Standbys(partition.TaskID) []string { return nil }

// ledger knows of each key at which offsets its records are, so what the count of any position must be.
type ledger struct {
	mu      sync.Mutex
	offsets [10][]int64
	ends    [partitions]int64
}

// add notes records that are about to be written: nobody else writes, so their offsets are known.
func (l *ledger) add(records []*kgo.Record) (offsets []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		key := binary.BigEndian.Uint64(r.Key)
		l.offsets[key] = append(l.offsets[key], l.ends[r.Partition])
		offsets = append(offsets, l.ends[r.Partition])
		l.ends[r.Partition]++
	}
	return offsets
}

// newest is the place of the newest record of a key.
func (l *ledger) newest(key uint64) (place string, count int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.offsets[key]
	return fmt.Sprintf("in/%d@%d", homeOf(key), list[len(list)-1]), int64(len(list))
}

// check compares an answer with its own position: the count is the number of the key's records below it.
func (l *ledger) check(key uint64, a *query.Answer, least int64) error {
	var count int64
	if len(a.Rows) == 1 {
		value, _ := a.Rows[0].Value.([]byte)
		n, err := codec.Stored(codec.Int64).Decode(value)
		if err != nil {
			return err
		}
		count = n
	}
	if count < least {
		return fmt.Errorf("key %d is %d, and was asked for with the position of %d", key, count, least)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	want := int64(0)
	if len(a.Position.Inputs) == 1 {
		at, _ := slices.BinarySearch(l.offsets[key], a.Position.Inputs[0].Offset)
		want = int64(at)
	}
	if count != want {
		return fmt.Errorf("key %d is %d at %+v, where it is %d", key, count, a.Position, want)
	}
	return nil
}

func homeOf(key uint64) int32 {
	return partition.ForKey(binary.BigEndian.AppendUint64(nil, key), partitions)
}

// running is a worker that runs until it is stopped.
type running struct {
	w    *worker.Worker
	stop context.CancelFunc
	done chan error
}

// startQueried runs worker number i of the counting pipeline, with an API.
func (r *rig) startQueried(d *directory, i int) *running {
	r.t.Helper()
	top, err := counting("app").Build()
	if err != nil {
		r.t.Fatal(err)
	}
	s := &seat{d: d}
	cfg := r.config("app", i)
	cfg.HTTPAddress = "127.0.0.1:0"
	w, err := worker.New(worker.Options{Config: cfg, Topology: top, Router: s})
	if err != nil {
		r.t.Fatal(err)
	}
	s.own = w
	d.add(w)
	ctx, stop := context.WithCancel(context.Background())
	run := &running{w, stop, make(chan error, 1)}
	go func() { run.done <- w.Run(ctx) }()
	return run
}

func (run *running) end(t *testing.T) {
	t.Helper()
	run.stop()
	if err := <-run.done; err != nil {
		t.Error(err)
	}
}

// TestEveryAnswerIsRightAsOfItsPositionWhileWorkersComeAndGo feeds, queries from every worker for every key, also with the
// position of the newest record, and replaces one worker after the other.
func TestEveryAnswerIsRightAsOfItsPositionWhileWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	d, l := &directory{}, &ledger{}
	feed := func(from int) error {
		var records []*kgo.Record
		for i := from; i < from+10; i++ {
			key := binary.BigEndian.AppendUint64(nil, uint64(i%10))
			records = append(records, &kgo.Record{Topic: "in", Partition: homeOf(uint64(i % 10)), Key: key, Value: binary.BigEndian.AppendUint64(nil, 1)})
		}
		offsets := l.add(records)
		err := r.cl.ProduceSync(context.Background(), records...).FirstErr()
		for i, rec := range records {
			if err == nil && rec.Offset != offsets[i] {
				err = fmt.Errorf("a record is at %d, expected %d", rec.Offset, offsets[i])
			}
		}
		return err
	}
	if err := feed(0); err != nil {
		t.Fatal(err)
	}
	ctx, enough := context.WithCancel(context.Background())
	defer enough()
	runs := []*running{r.startQueried(d, 0), r.startQueried(d, 1), r.startQueried(d, 2)}
	var group errgroup.Group
	group.Go(func() error {
		for from := 10; ctx.Err() == nil; from += 10 {
			if err := feed(from); err != nil {
				t.Error(err)
				return err
			}
		}
		return nil
	})
	var asked, failed atomic.Int64
	for n := range 4 {
		chance := rand.New(rand.NewPCG(1, uint64(n)))
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := d.ask(ctx, chance, l, &asked, &failed); err != nil {
					t.Error(err)
					return err
				}
			}
			return nil
		})
	}
	for i := range runs {
		r.waitFor(&asked, 300)
		runs[i].end(t)
		r.waitFor(&asked, 300)
		runs[i] = r.startQueried(d, i)
	}
	r.waitFor(&asked, 500)
	enough()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	for _, run := range runs {
		run.end(t)
	}
	t.Logf("%d answers, %d queries failed and may be asked again", asked.Load(), failed.Load())
	if failed.Load()*1000 > asked.Load() {
		t.Errorf("%d of %d queries failed", failed.Load(), asked.Load())
	}
}

// waitFor waits until n more queries were answered.
func (r *rig) waitFor(asked *atomic.Int64, n int64) {
	r.t.Helper()
	more := asked.Load() + n
	r.until("more queries are answered", func() bool { return asked.Load() >= more })
}

// ask asks a worker that runs for a key.
func (d *directory) ask(ctx context.Context, chance *rand.Rand, l *ledger, asked, failed *atomic.Int64) error {
	d.mu.Lock()
	w := d.workers[max(0, len(d.workers)-3)+chance.IntN(min(3, len(d.workers)))]
	d.mu.Unlock()
	key := uint64(chance.IntN(10))
	q := query.Query{Store: "count", Key: binary.BigEndian.AppendUint64(nil, key), Raw: true}
	least := int64(0)
	if chance.IntN(2) == 0 {
		var place string
		place, least = l.newest(key)
		if err := q.Min.Require(place); err != nil {
			return err
		}
	}
	a, err := w.Queries().Do(ctx, q)
	var p *api.Problem
	switch {
	case err == nil:
		asked.Add(1)
		return l.check(key, a, least)
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &p) && p.Retry > 0:
		failed.Add(1)
		return nil
	}
	return err
}
