// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// Names of the application and of its topics.
const (
	app    = "chaos"
	clicks = "clicks"
	orders = "orders"
	counts = "counts"
	totals = "totals"
)

// seen is the state of one key of orders. Value number n of a key is n, so that a gap, a repetition and a wrong
// order all count as a fault.
type seen struct{ Count, Last, Faults uint64 }

// step is an update of one key on its way to its group.
type step struct{ Key, Count, Faults uint64 }

// total is the state of a group: how many updates it has seen, what they add up to, the newest of them.
type total struct{ Updates, Sum, Key, Count, Faults uint64 }

var (
	seenCodec = words("chaos.seen", 3,
		func(v seen) []uint64 { return []uint64{v.Count, v.Last, v.Faults} },
		func(w []uint64) seen { return seen{w[0], w[1], w[2]} })
	stepCodec = words("chaos.step", 3,
		func(v step) []uint64 { return []uint64{v.Key, v.Count, v.Faults} },
		func(w []uint64) step { return step{w[0], w[1], w[2]} })
	totalCodec = words("chaos.total", 5,
		func(v total) []uint64 { return []uint64{v.Updates, v.Sum, v.Key, v.Count, v.Faults} },
		func(w []uint64) total { return total{w[0], w[1], w[2], w[3], w[4]} })
)

// words is the codec of a struct of n numbers.
func words[T any](id string, n int, to func(T) []uint64, from func([]uint64) T) codec.Codec[T] {
	return codec.New(id,
		func(dst []byte, v T) ([]byte, error) {
			for _, w := range to(v) {
				dst = binary.BigEndian.AppendUint64(dst, w)
			}
			return dst, nil
		},
		func(src []byte) (v T, err error) {
			if len(src) != 8*n {
				return v, fmt.Errorf("decode %s: %d bytes, expected %d", id, len(src), 8*n)
			}
			w := make([]uint64, n)
			for i := range w {
				w[i] = binary.BigEndian.Uint64(src[8*i:])
			}
			return from(w), nil
		})
}

// pipeline is what the workers run.
func pipeline(groups uint64) *stream.Pipeline {
	p := stream.NewPipeline(app)
	stream.From(p, clicks, codec.Uint64, codec.Uint64).
		Group().
		Count("count").
		Stream().
		To(counts)

	stream.From(p, orders, codec.Uint64, codec.Uint64).
		Group().
		Aggregate("per-key", func() seen { return seen{} }, see, seenCodec).
		Stream().
		MapWithKey(func(k uint64, s seen) step { return step{k, s.Count, s.Faults} }).
		WithValue(stepCodec).
		KeyBy("by-group", func(s step) uint64 { return s.Key % groups }).
		Group().
		Aggregate("per-group", func() total { return total{} }, add, totalCodec).
		Stream().
		To(totals)
	return p
}

func see(s seen, number uint64) seen {
	s.Count++
	if number != s.Last+1 {
		s.Faults++
	}
	s.Last = number
	return s
}

func add(t total, s step) total {
	return total{Updates: t.Updates + 1, Sum: t.Sum + s.Count, Key: s.Key, Count: s.Count, Faults: t.Faults + s.Faults}
}
