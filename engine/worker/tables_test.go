// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
)

// number is a record of two numbers.
func number(topic string, k, v uint64) *kgo.Record {
	key := binary.BigEndian.AppendUint64(nil, k)
	return &kgo.Record{Topic: topic, Partition: partition.ForKey(key, partitions), Key: key, Value: binary.BigEndian.AppendUint64(nil, v)}
}

// rated adds to each number the rate of its last digit, from a global table.
func rated() *stream.Pipeline {
	p := stream.NewPipeline("rated")
	rates := stream.GlobalTableFrom(p, "rates", codec.Uint64, codec.Uint64)
	stream.From(p, "in", codec.Uint64, codec.Uint64).
		JoinGlobal(rates, func(_, v uint64) uint64 { return v % 10 }, func(v, rate uint64) uint64 { return v + rate }).
		To("out")
	return p
}

func TestGlobalTablesAreReadToTheirEndBeforeTheFirstRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out", "rates")
	want := map[uint64][]uint64{}
	for i := range uint64(3000) {
		r.put(number("rates", i%10, 1000*(i+1))) // the last of each counts
	}
	for i := range uint64(100) {
		r.put(number("in", i%7, i))
		want[i%7] = append(want[i%7], i+1000*(2990+i%10+1))
	}
	var group errgroup.Group
	for i := range 2 {
		group.Go(func() error { return r.run(rated(), i, nil) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.read("out")); diff != "" {
		t.Error(diff)
	}
}

func TestGlobalTablesFollowTheirTopics(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out", "rates")
	r.put(number("rates", 1, 10))
	topology, err := rated().Build()
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	w, err := worker.New(worker.Options{Config: r.config("rated", 0), Topology: topology, Logger: zap.NewNop(), Ready: func() { close(ready) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the worker ended before it was ready: %v", err)
	}
	r.put(number("rates", 1, 20))
	// The topics are independent: records may overtake the change of the rate, but not for long.
	for newest := uint64(0); newest != 21 && ctx.Err() == nil; {
		r.put(number("in", 7, 1))
		if all := r.read("out")[7]; len(all) > 0 {
			newest = all[len(all)-1]
		}
	}
	if ctx.Err() != nil {
		t.Error("the new rate was never used")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTablesAreJoinedByForeignKeyOnSeveralWorkers(t *testing.T) {
	t.Parallel()
	build := func() *stream.Pipeline {
		p := stream.NewPipeline("foreign")
		customers := stream.TableFrom(p, "customers", codec.Uint64, codec.Uint64)
		joined := stream.TableFrom(p, "orders", codec.Uint64, codec.Uint64).
			JoinForeign("joined", func(customer uint64) (uint64, bool) { return customer, customer != 0 }, customers,
				func(customer, credit uint64) uint64 { return 1000*customer + credit })
		joined.To("out")
		joined.GroupBy("by-customer", func(_, v uint64) uint64 { return v / 1000 }).Count("orders-per-customer").To("counts")
		return p
	}
	r := newRig(t, "orders", "customers", "out", "counts")
	const orders, customers, changes = 200, 9, 5
	want, counts := map[uint64]uint64{}, map[uint64]uint64{}
	for round := range uint64(changes) {
		for i := range uint64(orders) {
			r.put(number("orders", i, (i*7+round)%(customers+1)))
		}
		for c := range uint64(customers) {
			r.put(number("customers", c+1, 10*(c+1)+round))
		}
	}
	for i := range uint64(orders) {
		if c := (i*7 + changes - 1) % (customers + 1); c != 0 {
			want[i] = 1000*c + 10*c + changes - 1
			counts[c]++
		}
	}
	var group errgroup.Group
	for i := range 3 {
		group.Go(func() error { return r.run(build(), i, nil) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.table("out")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(counts, r.table("counts")); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// table reads a topic as a table of numbers.
func (r *rig) table(topic string) map[uint64]uint64 {
	r.t.Helper()
	rows := map[uint64]uint64{}
	for _, rec := range r.records(topic) {
		k := binary.BigEndian.Uint64(rec.Key)
		if rec.Value == nil {
			delete(rows, k)
			continue
		}
		rows[k] = binary.BigEndian.Uint64(rec.Value) &^ (1 << 63)
	}
	return rows
}

func TestAGlobalTableThatDoesNotDecodeIsNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out", "rates")
	r.put(&kgo.Record{Topic: "rates", Key: []byte("12345678"), Value: []byte("secret")})
	err := r.run(rated(), 0, nil)
	want := `read the global tables: step "global:rates" on record rates/0 offset 0: decode value as uint64: uint64 takes 8 bytes, found 6`
	if err == nil || err.Error() != want {
		t.Errorf("found\n%v\nwant\n%s", fmt.Sprint(err), want)
	}
}
