// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/partition"
)

// addresses are where the workers of a test have their APIs.
type addresses struct {
	mu        sync.Mutex
	endpoints map[int]string
}

func (a *addresses) set(i int, endpoint string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endpoints[i] = endpoint
}

func (a *addresses) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Values(a.endpoints))
}

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

// startQueried runs worker number i of the counting pipeline, with an API.
func (r *rig) startQueried(a *addresses, i int) *background {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		r.t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		r.t.Fatal(err)
	}
	b := r.start(counting("app"), i, func(o *worker.Options) {
		o.Config.HTTPAddress, o.Config.CheckpointInterval, o.Config.StandbyReplicas = addr, time.Second, 1
	})
	a.set(i, "http://"+addr)
	return b
}

// TestEveryAnswerIsRightAsOfItsPositionWhileWorkersComeAndGo feeds, queries from every worker for every key, also with the
// position of the newest record, and replaces one worker after the other.
func TestEveryAnswerIsRightAsOfItsPositionWhileWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	addr, l := &addresses{endpoints: map[int]string{}}, &ledger{}
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
	var runs []*background
	for i := range 3 {
		runs = append(runs, r.startQueried(addr, i))
	}
	var group errgroup.Group
	a := &asker{addresses: addr, ledger: l, processed: make(chan struct{}, 1)}
	group.Go(func() error {
		for from := 10; ; from += 10 {
			select {
			case <-a.processed: // no more than workers process
			case <-ctx.Done():
				return nil
			}
			if err := feed(from); err != nil {
				t.Error(err)
				return err
			}
		}
	})
	for n := range 4 {
		group.Go(func() error {
			err := a.askOn(ctx, rand.New(rand.NewPCG(1, uint64(n))))
			if err != nil {
				t.Error(err)
			}
			return err
		})
	}
	for i := range runs {
		r.answered(a, 200)
		if err := runs[i].stop(); err != nil {
			t.Error(err)
		}
		r.answered(a, 200)
		runs[i] = r.startQueried(addr, i)
	}
	r.answered(a, 500)
	enough()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d answers, %d of them of standbys; %d queries failed and may be asked again", a.answers.Load(), a.stale.Load(), a.failures.Load())
	if a.failures.Load()*1000 > a.answers.Load() {
		t.Errorf("%d of %d queries failed", a.failures.Load(), a.answers.Load())
	}
}

// answered waits until n more queries were answered.
func (r *rig) answered(a *asker, n int64) {
	r.t.Helper()
	more := a.answers.Load() + n
	r.until("more queries are answered", func() bool { return a.answers.Load() >= more })
}

// asker asks workers for keys, and counts.
type asker struct {
	*addresses
	*ledger
	processed                chan struct{} // capacity 1; an answer has reflected a newest record
	answers, stale, failures atomic.Int64
}

// askOn asks until ctx ends, as a client that knows the addresses of all workers.
func (a *asker) askOn(ctx context.Context, chance *rand.Rand) error {
	var client *query.Client
	var endpoints []string
	defer func() { client.Close() }()
	for ctx.Err() == nil {
		if now := a.all(); !slices.Equal(now, endpoints) {
			if client != nil {
				client.Close()
			}
			var err error
			if client, err = query.NewClient(query.ClientOptions{Endpoints: now}); err != nil {
				return err
			}
			endpoints = now
		}
		if err := a.ask(ctx, client, chance); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for a key, at times with the position of its newest record, at times of a standby, too.
func (a *asker) ask(ctx context.Context, client *query.Client, chance *rand.Rand) error {
	key := uint64(chance.IntN(10))
	q := query.Query{Store: "count", Key: binary.BigEndian.AppendUint64(nil, key), Raw: true, Stale: chance.IntN(2) == 0}
	least := int64(0)
	if chance.IntN(2) == 0 {
		var place string
		place, least = a.newest(key)
		if err := q.Min.Require(place); err != nil {
			return err
		}
	}
	got, err := client.Do(ctx, q)
	var p *api.Problem
	switch {
	case err == nil:
		a.answers.Add(1)
		if least > 0 {
			select {
			case a.processed <- struct{}{}:
			default:
			}
		}
		if got.Role == query.Standby {
			a.stale.Add(1)
		}
		return a.check(key, got, least)
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &p) && p.Retry > 0:
		a.failures.Add(1)
		return nil
	}
	return err
}
