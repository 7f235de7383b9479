// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"maps"
	"math"
	"math/rand/v2"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// upTo draws numbers of 0 to n-1, one for each n.
func upTo(n ...int64) func(*rand.Rand) args {
	return func(r *rand.Rand) (a args) {
		for i := range n {
			a[i] = r.Int64N(n[i])
		}
		return a
	}
}

// each applies fn to a stream.
func each(fn func(b *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64]) func(*builder, place, []flow) flow {
	return func(b *builder, at place, in []flow) flow { return flow{stream: fn(b, at, in[0].stream)} }
}

// onlyOrdered is the shape of verbs that look at one record after the other.
func onlyOrdered(out *shape, _ []shape, _ place) bool { return out.ordered }

// together is the shape of verbs in which two streams meet that are in no order.
func together(out *shape, in []shape, at place) bool {
	out.ordered, out.sub = false, joined(in, at)
	return true
}

// verbs are all parts of the language, by name.
var verbs = union(streamVerbs(), tableVerbs(), windowVerbs())

func union(parts ...map[string]verb) map[string]verb {
	all := map[string]verb{}
	for _, part := range parts {
		maps.Copy(all, part)
	}
	return all
}

func streamVerbs() map[string]verb {
	return map[string]verb{
		"from": {gives: aStream, shape: fromShape, build: buildFrom},
		"map": {takes: "s", gives: aStream, weight: 2, draw: upTo(1000), build: each(func(_ *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
			n := at.args[0]
			return s.Map(func(v int64) int64 { return mix(v, n) })
		})},
		"mapWithKey": {takes: "s", gives: aStream, weight: 2, build: each(func(_ *builder, _ place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
			return s.MapWithKey(func(k string, v int64) int64 { return mix(numberOf(k), v) })
		})},
		"filter": {takes: "s", gives: aStream, weight: 2, draw: upTo(4), build: each(func(_ *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
			n := at.args[0] + 2
			return s.Filter(func(v int64) bool { return mod(v, n) != 0 })
		})},
		"flatMap": {takes: "s", gives: aStream, weight: 2, shape: twice, build: each(func(_ *builder, _ place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
			return s.FlatMap(func(v int64, yield func(int64)) {
				for i := range mod(v, 3) {
					yield(v + i)
				}
			})
		})},
		"peek": {takes: "s", gives: aStream, weight: 1, build: each(func(_ *builder, _ place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
			return s.Peek(func(string, int64) {})
		})},
		"branch":      {takes: "s", gives: aStream, weight: 2, draw: upTo(3, 2), build: each(buildBranch)},
		"keyBy":       {takes: "s", gives: aStream, weight: 5, draw: upTo(40), shape: moves, build: each(buildKeyBy)},
		"mapKV":       {takes: "s", gives: aStream, weight: 2, draw: upTo(40), shape: moves, build: each(buildMapKV)},
		"repartition": {takes: "s", gives: aStream, weight: 2, shape: sent, build: each(buildRepartition)},
		"merge":       {takes: "ss", gives: aStream, weight: 2, shape: merges, build: buildMerge},
		"distinct":    {takes: "s", gives: aStream, weight: 3, timed: true, draw: upTo(20, 6), shape: onlyOrdered, build: each(buildDistinct)},
		"running":     {takes: "s", gives: aStream, weight: 3, timed: true, draw: upTo(10, 2), shape: onlyOrdered, build: each(buildRunning)},
		"buckets":     {takes: "s", gives: aStream, weight: 4, timed: true, draw: upTo(12), shape: bucketsShape, build: each(buildBuckets)},
		"joinGlobal":  {takes: "s", gives: aStream, weight: 1, draw: upTo(2, 10), build: each(buildJoinGlobal)},
		"joinStream":  {takes: "ss", gives: aStream, weight: 6, timed: true, draw: upTo(3, 6, 6, 4), shape: pairsShape, build: buildJoinStream},
		"joinTable":   {takes: "st", gives: aStream, weight: 4, draw: upTo(2), shape: lookupShape, build: buildJoinTable},
		"topN":        {takes: "s", gives: aStream, weight: 2, draw: upTo(4), shape: topShape, build: buildTopN},
		"lastTopN":    {takes: "s", gives: nothing, weight: 2, draw: upTo(4), build: buildLastTopN},
	}
}

func fromShape(out *shape, _ []shape, at place) bool {
	out.ordered, out.records = true, int(at.args[0])
	return true
}

func buildFrom(b *builder, at place, _ []flow) flow {
	s := stream.From(b.p, sourceTopic(at.number), codec.String, codec.Int64, b.sourceOptions()...)
	if b.watch != nil {
		s = s.Peek(func(string, int64) { b.watch() })
	}
	return flow{stream: s}
}

func twice(out *shape, _ []shape, _ place) bool {
	out.records *= 2
	return true
}

// moves is the shape of what is sent to new keys: records of several tasks meet there.
func moves(out *shape, _ []shape, at place) bool {
	out.ordered, out.sub = false, at.fresh(0)
	return true
}

// sent is the shape of what is sent and keeps its keys.
func sent(out *shape, _ []shape, at place) bool {
	out.sub = at.fresh(0)
	return true
}

// buildBranch takes one branch through another step, and either merges the two or writes one of them as it is.
func buildBranch(b *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	n := at.args[0] + 2
	matched, rest := s.Branch(func(v int64) bool { return mod(v, n) == 0 })
	changed := matched.Map(func(v int64) int64 { return mix(v, n) })
	if at.args[1] == 0 {
		return changed.Merge(rest)
	}
	b.writeStream(at.name+"-rest", rest, b.shapes[at.number].ordered)
	return changed
}

func buildKeyBy(_ *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	n := at.args[0] + 1
	return s.KeyBy(at.name, func(v int64) string { return keyOf(v, n) })
}

func buildMapKV(_ *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	n := at.args[0] + 1
	return s.MapKV(func(k string, v int64) (string, int64) {
		return keyOf(mix(numberOf(k), v), n), mix(v, numberOf(k))
	}).Repartition(at.name)
}

func buildRepartition(_ *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	return s.Repartition(at.name)
}

func merges(out *shape, in []shape, at place) bool {
	out.records = in[0].records + in[1].records
	return together(out, in, at)
}

func buildMerge(b *builder, at place, in []flow) flow {
	l, r := b.streams(at, in)
	return flow{stream: l.Merge(r)}
}

// buildDistinct drops repetitions, of a key or of numbers that are alike.
func buildDistinct(b *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	within, n := b.ticks(at.args[0]+1), at.args[1]
	if n == 0 {
		return s.Distinct(at.name, within)
	}
	return s.DistinctBy(at.name, within, func(v int64) int64 { return mod(v, n) })
}

// buildRunning keeps a number that depends on all records of a key and their order, with or without an end to it, and
// sends some results to a side output.
func buildRunning(b *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	side := stream.NewSideOutput[int64](at.name + "-side")
	var opts []stream.StateOption
	if at.args[1] == 1 {
		opts = append(opts, stream.TTL(b.ticks(at.args[0]+1)))
	}
	out := s.Process(at.name, func(setup *stream.Setup) stream.Handler[string, int64, int64] {
		kept := setup.Value("kept", codec.Int64, opts...)
		aside := setup.Side(side)
		return func(ctx *stream.Context[int64], _ string, v int64) error {
			was, found, err := kept.Get()
			if err != nil {
				return err
			}
			if !found {
				was = -1
			}
			is := mix(was, v)
			if mod(is, 5) == 0 {
				aside(is)
			} else {
				ctx.Emit(is)
			}
			return kept.Put(is)
		}
	})
	b.writeStream(at.name+"-side", out.Side(side), true)
	return out
}

func bucketsShape(out *shape, _ []shape, _ place) bool {
	out.ordered = true // the timers of a key fire one after the other
	return true
}

// buildBuckets adds up what lies between multiples of a width, by hand: records wait in a map by time, and a timer at each
// end takes those before it.
func buildBuckets(b *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	width := b.ticks(at.args[0] + 1).Milliseconds()
	endOf := func(t operators.Time) operators.Time { return t - mod(t, width) + width }
	return s.Process(at.name, func(setup *stream.Setup) stream.Handler[string, int64, int64] {
		waiting := setup.Map("waiting", codec.Int64, codec.Int64)
		var end *stream.Timer
		end = setup.Timer("end", func(ctx *stream.Context[int64], _ string, now operators.Time) error {
			sum, n := int64(0), int64(0)
			var gone []int64
			for t, v := range waiting.Range(math.MinInt64, now) {
				sum, n, gone = sum+v, n+1, append(gone, t)
			}
			for _, t := range gone {
				if err := waiting.Delete(t); err != nil {
					return err
				}
			}
			ctx.Emit(mix(now, sum, n))
			for t := range waiting.All() {
				return end.Set(endOf(t))
			}
			return nil
		})
		return func(ctx *stream.Context[int64], _ string, v int64) error {
			t := ctx.Time()
			was, _, err := waiting.Get(t)
			if err != nil {
				return err
			}
			if err := waiting.Put(t, was+v); err != nil {
				return err
			}
			if due, set, err := end.Get(); err != nil || set && due <= endOf(t) {
				return err
			}
			return end.Set(endOf(t))
		}
	})
}

func buildJoinGlobal(b *builder, at place, s stream.Stream[string, int64]) stream.Stream[string, int64] {
	g, n := b.globals(), at.args[1]+1
	key := func(_ string, v int64) string { return keyOf(v, n) }
	if at.args[0] == 0 {
		return s.JoinGlobal(g, key, func(v, row int64) int64 { return mix(v, row) })
	}
	return s.LeftJoinGlobal(g, key, func(v, row int64, found bool) int64 { return mix(v, row, bit(found)) })
}

// bit is a bool as a number.
func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func pairsShape(out *shape, in []shape, at place) bool {
	if in[0].records*in[1].records > 40*maxRecords {
		return false
	}
	out.records = in[0].records + in[1].records + in[0].records*in[1].records/40
	return together(out, in, at)
}

func buildJoinStream(b *builder, at place, in []flow) flow {
	l, r := b.streams(at, in)
	w := stream.Between(-b.ticks(at.args[1]), b.ticks(at.args[2])).Grace(b.ticks(at.args[3]))
	switch at.args[0] {
	case 0:
		return flow{stream: l.JoinStream(at.name, r, w, func(v, o int64) int64 { return mix(v, o) })}
	case 1:
		return flow{stream: l.LeftJoinStream(at.name, r, w, func(v, o int64, found bool) int64 { return mix(v, o, bit(found)) })}
	}
	return flow{stream: l.OuterJoinStream(at.name, r, w, func(v int64, hasV bool, o int64, hasO bool) int64 {
		return mix(v, bit(hasV), o, bit(hasO))
	})}
}

// lookupShape is that of a stream that looks up rows: all that becomes of the table is older than all of the stream, and
// neither comes through a topic of ours, where it could be behind.
func lookupShape(_ *shape, in []shape, _ place) bool {
	return in[0].sub == 0 && in[1].sub == 0 && in[1].fromTables && !in[0].readsTables
}

func buildJoinTable(_ *builder, at place, in []flow) flow {
	if at.args[0] == 0 {
		return flow{stream: in[0].stream.Join(in[1].table, func(v, row int64) int64 { return mix(v, row) })}
	}
	return flow{stream: in[0].stream.LeftJoin(in[1].table, func(v, row int64, found bool) int64 { return mix(v, row, bit(found)) })}
}

func topShape(out *shape, _ []shape, at place) bool {
	out.records *= int(at.args[0]) + 1
	return out.ordered
}

func top(at place, in []flow) stream.Stream[string, stream.Ranked[int64]] {
	return stream.TopN(in[0].stream.Group(), at.name, int(at.args[0])+1, func(a, b int64) bool { return a > b })
}

func buildTopN(_ *builder, at place, in []flow) flow {
	return flow{stream: top(at, in).Map(func(r stream.Ranked[int64]) int64 { return mix(int64(r.Rank), r.Value) })}
}

// buildLastTopN writes each rank under a key of its own: where records are in no order, the last of each is known.
func buildLastTopN(b *builder, at place, in []flow) flow {
	top(at, in).
		MapKV(func(k string, r stream.Ranked[int64]) (string, int64) { return rankKey(k, r.Rank), r.Value }).
		To(b.output(at.name, newest))
	return flow{}
}
