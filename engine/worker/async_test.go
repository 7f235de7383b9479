// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
)

var errService = errors.New("the service is gone")

// echo is a service that answers with what it is asked, and is gone when it has answered so many.
type echo struct {
	mu      sync.Mutex
	answers int            // still to be given; negative: any number
	keys    map[string]int // calls by idempotency key
}

func (e *echo) call(ctx context.Context, v []byte) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys[stream.IdempotencyKey(ctx)]++
	if e.answers == 0 {
		return nil, errService
	}
	e.answers--
	return v, nil
}

// TestCallsInFlightSurviveTheirWorker ends workers in the middle of calls, by a failure that takes everything
// uncommitted with it, and without their disks. Invariants: each record has exactly one result, results
// are in the order of the records, and every call for a record has its idempotency key.
func TestCallsInFlightSurviveTheirWorker(t *testing.T) {
	t.Parallel()
	const records = 600
	r := newRig(t, "in", "out")
	r.feed("in", 0, records)
	e := &echo{keys: map[string]int{}}
	pipeline := func() *stream.Pipeline {
		p := stream.NewPipeline("asking")
		stream.From(p, "in", codec.Uint64, codec.Bytes).
			AsyncOrdered("echo", e.call, stream.Concurrency(8), stream.CallTimeout(30*time.Second)).
			To("out")
		return p
	}
	for _, n := range []int{100, 250, 1} {
		e.answers = n
		if err := r.run(pipeline(), 0, nil); !errors.Is(err, errService) {
			t.Fatalf("the worker ended with %v", err)
		}
		if err := os.RemoveAll(filepath.Join(r.dir, "state-0")); err != nil {
			t.Fatal(err)
		}
	}
	e.answers = -1
	if err := r.run(pipeline(), 0, func(o *worker.Options) { o.Config.Lanes = 2 }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(records/10), r.read("out")); diff != "" {
		t.Error(diff)
	}
	if len(e.keys) != records {
		t.Errorf("%d records were asked for under %d keys", records, len(e.keys))
	}
}

// TestATaskTakesNoMoreThanItsCallsAllow lets no call end until one task has as many in flight as it may, and demands
// that no more are made then.
func TestATaskTakesNoMoreThanItsCallsAllow(t *testing.T) {
	t.Parallel()
	const most, records = 5, 100
	r := newRig(t, "in", "out")
	key := binary.BigEndian.AppendUint64(nil, 7)
	for i := range records {
		r.put(&kgo.Record{
			Topic: "in", Partition: partition.ForKey(key, partitions), Key: key, Value: binary.BigEndian.AppendUint64(nil, uint64(i+1)),
		})
	}
	var mu sync.Mutex
	running, highest := 0, 0
	full := make(chan struct{})
	p := stream.NewPipeline("full")
	stream.From(p, "in", codec.Uint64, codec.Uint64).
		AsyncUnordered("wait", func(ctx context.Context, v uint64) (uint64, error) {
			mu.Lock()
			if running++; running == most {
				select {
				case <-full:
				default:
					close(full)
				}
			}
			highest = max(highest, running)
			mu.Unlock()
			defer func() {
				mu.Lock()
				running--
				mu.Unlock()
			}()
			select {
			case <-full:
				return v, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}, stream.Concurrency(most)).
		To("out")
	if err := r.run(p, 0, nil); err != nil {
		t.Fatal(err)
	}
	if highest != most {
		t.Errorf("up to %d calls ran at a time, want %d", highest, most)
	}
	got := r.read("out")[7]
	slices.Sort(got)
	if len(got) != records || got[0] != 1 || got[records-1] != records {
		t.Errorf("%d results, %v", len(got), got)
	}
}
