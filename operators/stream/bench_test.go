// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/statestore"
)

// arena is an Output that does as little as the engine's can: it keeps bytes until the epoch ends.
type arena struct {
	buf     []byte
	records int
}

func (a *arena) Buffer() []byte { return a.buf[len(a.buf):] }

func (a *arena) Emit(e operators.Emission) {
	a.records++
	a.buf = a.buf[:len(a.buf)+len(e.Buf)]
	if len(a.buf) > cap(a.buf)-1024 {
		a.buf = a.buf[:0]
	}
}

// BenchmarkFusedChain is the price of the engine's part of a record's way, with keys that are in the state's cache:
// From, Filter, Map, Group, Count, Stream, To.
func BenchmarkFusedChain(b *testing.B) {
	p := stream.NewPipeline("bench")
	stream.From(p, "in", codec.Uint64, codec.Bytes).
		Filter(func(v []byte) bool { return len(v) > 0 }).
		Map(func(v []byte) int64 { return int64(v[0]) }).
		Group().
		Count("count").
		Stream().
		To("out")
	benchmarkProcess(b, p)
}

// BenchmarkPolicies is the same under a policy: what that costs a record that no step fails on.
func BenchmarkPolicies(b *testing.B) {
	p := stream.NewPipeline("bench")
	p.OnError(stream.Skip)
	stream.From(p, "in", codec.Uint64, codec.Bytes).
		Filter(func(v []byte) bool { return len(v) > 0 }).
		Map(func(v []byte) int64 { return int64(v[0]) }).
		Group().
		Count("count").
		Stream().
		To("out")
	benchmarkProcess(b, p)
}

// BenchmarkStateless is the same without state, to tell the two apart.
func BenchmarkStateless(b *testing.B) {
	p := stream.NewPipeline("bench")
	stream.From(p, "in", codec.Uint64, codec.Bytes).
		Filter(func(v []byte) bool { return len(v) > 0 }).
		Map(func(v []byte) int64 { return int64(v[0]) }).
		To("out")
	benchmarkProcess(b, p)
}

func benchmarkProcess(b *testing.B, p *stream.Pipeline) {
	topo, err := p.Build()
	if err != nil {
		b.Fatal(err)
	}
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Close()
	db, err := statestore.Open(statestore.Options{Dir: "/task", FS: vfs.NewMem(), Resources: res,
		Identity: statestore.Identity{App: "bench"}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	proc, err := topo.SubTopologies[0].New(&operators.Runtime{
		DB: db, Output: &arena{buf: make([]byte, 0, 1<<20)}, Context: &operators.Context{}, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	const keys = 4096
	records := make([]operators.Record, keys)
	for i := range records {
		records[i] = operators.Record{Topic: "in", Offset: int64(i), Time: int64(i),
			Key: binary.BigEndian.AppendUint64(nil, uint64(i)), Value: []byte("0123456789012345678901234567890123456789")}
	}
	for i := range records {
		if err := proc.Process(0, &records[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := proc.Process(0, &records[i%keys]); err != nil {
			b.Fatal(err)
		}
	}
}
