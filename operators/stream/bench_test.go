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

// BenchmarkTableUpdate and BenchmarkVersionedUpdate are the price of an update of a row, commits included: 4096 rows, each
// updated every 4 s of event time, with a history that keeps five versions of each.
func BenchmarkTableUpdate(b *testing.B) {
	p := stream.NewPipeline("bench")
	stream.TableFrom(p, "in", codec.Uint64, codec.String)
	benchmarkEpochs(b, p, 0)
}

func BenchmarkVersionedUpdate(b *testing.B) {
	p := stream.NewPipeline("bench")
	stream.VersionedTableFrom(p, "in", codec.Uint64, codec.String, stream.History(16*time.Second))
	benchmarkEpochs(b, p, 0)
}

// BenchmarkJoinAsOf is an update and the look-up of a row: of the newest version, and of the one two before it.
func BenchmarkJoinAsOf(b *testing.B) {
	for name, behind := range map[string]int64{"newest": 0, "older": 8000} {
		b.Run("version="+name, func(b *testing.B) {
			p := stream.NewPipeline("bench")
			rows := stream.VersionedTableFrom(p, "in", codec.Uint64, codec.String, stream.History(16*time.Second))
			stream.From(p, "asked", codec.Uint64, codec.String).JoinAsOf(rows, func(v, _ string) string { return v })
			benchmarkEpochs(b, p, behind)
		})
	}
}

// benchmarkEpochs sends records to each source in turn, to all but the first with times that lie behind, and commits and
// lets event time follow with each round of keys.
func benchmarkEpochs(b *testing.B, p *stream.Pipeline, behind int64) {
	proc, ctx, db := openBench(b, p)
	sources, err := p.Build()
	if err != nil {
		b.Fatal(err)
	}
	const keys = 4096
	key := make([]byte, 8)
	rec := operators.Record{Topic: "in", Key: key, Value: []byte("0123456789012345678901234567890123456789")}
	b.ReportAllocs()
	for i := int64(1); b.Loop(); i++ {
		binary.BigEndian.PutUint64(key, uint64(i%keys))
		for source := range sources.SubTopologies[0].Sources {
			rec.Time, rec.Offset = i, i
			if source > 0 {
				rec.Time -= behind
			}
			if err := proc.Process(source, &rec); err != nil {
				b.Fatal(err)
			}
		}
		if i%keys > 0 {
			continue
		}
		ctx.Watermark = i
		if err := proc.Advance(i); err != nil {
			b.Fatal(err)
		}
		if _, err := db.Prepare(1 << 20); err != nil {
			b.Fatal(err)
		}
		if err := db.Confirm(statestore.Position{Epoch: uint64(i), Offset: i}); err != nil {
			b.Fatal(err)
		}
	}
}

// openBench makes the processor of a pipeline of one sub-topology.
func openBench(b *testing.B, p *stream.Pipeline) (operators.Processor, *operators.Context, *statestore.DB) {
	topo, err := p.Build()
	if err != nil {
		b.Fatal(err)
	}
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = res.Close() })
	db, err := statestore.Open(statestore.Options{Dir: "/task", FS: vfs.NewMem(), Resources: res,
		Identity: statestore.Identity{App: "bench"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	ctx := &operators.Context{}
	proc, err := topo.SubTopologies[0].New(&operators.Runtime{
		DB: db, Output: &arena{buf: make([]byte, 0, 1<<20)}, Context: ctx, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	return proc, ctx, db
}

func benchmarkProcess(b *testing.B, p *stream.Pipeline) {
	proc, _, _ := openBench(b, p)
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
