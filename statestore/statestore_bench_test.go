// SPDX-License-Identifier: Apache-2.0

package statestore_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// uint64s encodes values in 8 bytes, big-endian.
type uint64s struct{}

func (uint64s) Append(dst []byte, v uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, v), nil
}

func (uint64s) Decode(src []byte) (uint64, error) {
	if len(src) != 8 {
		return 0, fmt.Errorf("want 8 bytes, found %d", len(src))
	}
	return binary.BigEndian.Uint64(src), nil
}

// blobs are values as they are.
type blobs struct{}

func (blobs) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }

func (blobs) Decode(src []byte) ([]byte, error) { return bytes.Clone(src), nil }

const benchMemory = 512 << 20

func benchDB(b *testing.B, memory int64) *statestore.DB {
	b.Helper()
	res, err := statestore.NewResources(memory)
	if err != nil {
		b.Fatal(err)
	}
	db, err := statestore.Open(statestore.Options{
		Dir:       b.TempDir(),
		Identity:  statestore.Identity{App: "bench", Incarnation: 1, Task: partition.TaskID{}},
		Resources: res,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
		if err := res.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

func commit(tb testing.TB, db *statestore.DB, epoch uint64) {
	tb.Helper()
	if _, err := db.Prepare(1 << 20); err != nil {
		tb.Fatal(err)
	}
	if err := db.Confirm(statestore.Position{Epoch: epoch, Offset: int64(epoch)}); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkUpdate is count++ on a random key, all keys being cached.
func BenchmarkUpdate(b *testing.B) {
	for _, keys := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			db := benchDB(b, benchMemory)
			counts := statestore.NewValue(db, 1, uint64s{})
			var key [8]byte
			bump := func(n int) {
				binary.BigEndian.PutUint64(key[:], uint64(n))
				p, _, err := counts.Update(key[:])
				if err != nil {
					b.Fatal(err)
				}
				*p++
			}
			for n := range keys {
				bump(n)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				bump(int(rng.Uint64() % uint64(keys)))
			}
		})
	}
}

// BenchmarkCommit is Prepare and Confirm of an epoch that changed that many
// random keys of a million.
func BenchmarkCommit(b *testing.B) {
	for _, dirty := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("dirty=%d", dirty), func(b *testing.B) {
			db := benchDB(b, benchMemory)
			counts := statestore.NewValue(db, 1, uint64s{})
			rng := rand.New(rand.NewPCG(1, 2))
			var key [8]byte
			epoch := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for range dirty {
					binary.BigEndian.PutUint64(key[:], rng.Uint64()%1_000_000)
					p, _, err := counts.Update(key[:])
					if err != nil {
						b.Fatal(err)
					}
					*p++
				}
				epoch++
				b.StartTimer()
				commit(b, db, epoch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(dirty), "ns/entry")
		})
	}
}

// BenchmarkRestoreApply replays changelog records of 1000 entries each into an
// empty state.
func BenchmarkRestoreApply(b *testing.B) {
	const entries = 1000
	source := benchDB(b, benchMemory)
	counts := statestore.NewValue(source, 1, uint64s{})
	rng := rand.New(rand.NewPCG(1, 2))
	var key [8]byte
	var log [][]byte
	for epoch := range uint64(200) {
		for range entries {
			binary.BigEndian.PutUint64(key[:], rng.Uint64()%1_000_000)
			if err := counts.Put(key[:], epoch); err != nil {
				b.Fatal(err)
			}
		}
		d, err := source.Prepare(1 << 20)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range d.Records {
			log = append(log, bytes.Clone(r))
		}
		if err := source.Confirm(statestore.Position{Epoch: epoch}); err != nil {
			b.Fatal(err)
		}
	}
	db := benchDB(b, benchMemory)
	// A restore applies what one fetch returned.
	const perCall = 20
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		at := n * perCall % len(log)
		if err := db.Apply(log[at:at+perCall], statestore.Position{Epoch: uint64(n)}); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries/perCall, "ns/entry")
}

// BenchmarkMiss updates random keys of which the cache holds few: each reads
// Pebble, and evicts another. They are all there, or none of them is: the state
// grows then.
func BenchmarkMiss(b *testing.B) {
	const keys, valueBytes = 1_000_000, 500
	for _, name := range []string{"present", "absent"} {
		b.Run(name, func(b *testing.B) {
			db := benchDB(b, 64<<20)
			values := statestore.NewValue(db, 1, blobs{})
			rng := rand.New(rand.NewPCG(1, 2))
			fresh := make([]byte, valueBytes)
			var key [8]byte
			epoch, writes := uint64(0), 0
			set := func(n uint64) {
				binary.BigEndian.PutUint64(key[:], n*0x9e3779b97f4a7c15) // odd: neighbours lie far apart
				p, _, err := values.Update(key[:])
				if err != nil {
					b.Fatal(err)
				}
				binary.BigEndian.PutUint64(fresh, n)
				*p = bytes.Clone(fresh)
				if writes++; writes%2000 == 0 {
					epoch++
					commit(b, db, epoch)
				}
			}
			for n := range uint64(keys) {
				set(n)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := range uint64(b.N) {
				if name == "present" {
					set(rng.Uint64N(keys))
				} else {
					set(keys + n)
				}
			}
		})
	}
}

// BenchmarkWindow counts records of random keys in windows of 10 s, with a
// commit per second: a window opens, is filled, and the one before is read out
// and dropped. An op is one window of 50,000 keys and 500,000 records.
func BenchmarkWindow(b *testing.B) {
	const keys, records, commits = 50_000, 500_000, 10
	db := benchDB(b, benchMemory)
	counts := statestore.NewWindow(db, 1, uint64s{})
	rng := rand.New(rand.NewPCG(1, 2))
	var key [8]byte
	var added, updated, closed, committed time.Duration
	bump := func(t int64, n uint64) {
		binary.BigEndian.PutUint64(key[:], n)
		p, _, err := counts.Update(t, key[:], nil)
		if err != nil {
			b.Fatal(err)
		}
		*p++
	}
	window, epoch := int64(0), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		window += 10_000
		order := rng.Perm(keys)
		for part := range commits {
			start := time.Now()
			for _, n := range order[part*keys/commits : (part+1)*keys/commits] {
				bump(window, uint64(n))
			}
			filled := time.Now()
			for range (records - keys) / commits {
				bump(window, uint64(order[rng.IntN((part+1)*keys/commits)]))
			}
			ended := time.Now()
			if part == 0 && window > 10_000 {
				sum := uint64(0)
				for _, v := range counts.All(window - 10_000) {
					sum += v
				}
				if sum != records {
					b.Fatalf("the window has %d records, want %d", sum, records)
				}
				if err := counts.Drop(window - 10_000); err != nil {
					b.Fatal(err)
				}
			}
			dropped := time.Now()
			epoch++
			commit(b, db, epoch)
			added, updated = added+filled.Sub(start), updated+ended.Sub(filled)
			closed, committed = closed+dropped.Sub(ended), committed+time.Since(dropped)
		}
	}
	per := func(d time.Duration, n int, unit string) {
		b.ReportMetric(float64(d.Nanoseconds())/float64(b.N)/float64(n), unit)
	}
	per(added, keys, "ns/new")
	per(updated, records-keys, "ns/update")
	per(closed, keys, "ns/closed")
	per(committed, records, "ns/committed")
}
