// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"fmt"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func tableVerbs() map[string]verb {
	return map[string]verb{
		"tableFrom":   {gives: aTable, shape: tableFromShape, build: buildTableFrom},
		"fold":        {takes: "s", gives: aTable, weight: 6, draw: upTo(foldKinds), shape: foldShape, build: buildFold},
		"combine":     {takes: "s", gives: aTable, weight: 4, draw: upTo(2, 40), shape: combineShape, build: buildCombine},
		"cogroup":     {takes: "ss", gives: aTable, weight: 3, shape: cogroupShape, build: buildCogroup},
		"table":       {takes: "s", gives: aTable, weight: 2, shape: keptShape, build: buildTable},
		"tableFilter": {takes: "t", gives: aTable, weight: 2, draw: upTo(4), shape: sifted, build: buildTableFilter},
		"tableMap":    {takes: "t", gives: aTable, weight: 2, draw: upTo(2), shape: computed, build: buildTableMap},
		"store":       {takes: "t", gives: aTable, weight: 1, shape: storeShape, build: buildStore},
		"tableSent":   {takes: "t", gives: aTable, weight: 1, shape: tableSentShape, build: buildTableSent},
		"groupBy":     {takes: "t", gives: aTable, weight: 6, draw: upTo(3, 12), shape: groupByShape, build: buildGroupBy},
		"joinTables":  {takes: "tt", gives: aTable, weight: 6, draw: upTo(3), shape: joinTablesShape, build: buildJoinTables},
		"joinForeign": {takes: "tt", gives: aTable, weight: 6, draw: upTo(2, 12), shape: joinForeignShape, build: buildJoinForeign},
		"updates":     {takes: "t", gives: aStream, weight: 2, shape: updatesShape, build: buildUpdates},
		"changes":     {takes: "t", gives: aStream, weight: 3, shape: updatesShape, build: buildChanges},
		"perCommit":   {takes: "t", gives: nothing, weight: 2, shape: perCommitShape, build: buildPerCommit},
	}
}

func tableFromShape(out *shape, _ []shape, at place) bool {
	out.ordered, out.deletes, out.stored, out.records = true, true, true, int(at.args[0])
	out.fromTables, out.readsTables = true, true
	return true
}

func buildTableFrom(b *builder, at place, _ []flow) flow {
	return flow{table: stream.TableFrom(b.p, sourceTopic(at.number), codec.String, codec.Int64, b.sourceOptions()...)}
}

// The kinds of folds. Those from inOrder on depend on the order of records.
const (
	counting int64 = iota
	sums
	maxima
	bags
	inOrder
	lists
	foldKinds
)

func sum(a, b int64) int64 { return a + b }

func zero() int64 { return 0 }

// chain depends on the order.
func chain(kept, v int64) int64 { return mix(kept, v) }

func appended(b bag, v int64) bag { return append(b, v) }

func larger(a, b int64) int64 { return max(a, b) }

// foldShape is that of rows that records are folded into. Where these are in no order, neither are the changes.
func foldShape(out *shape, in []shape, at place) bool {
	out.deletes, out.stored = false, at.args[0] != bags && at.args[0] != lists
	return in[0].ordered || at.args[0] < inOrder
}

func buildFold(_ *builder, at place, in []flow) flow {
	g := in[0].stream.Group()
	switch at.args[0] {
	case counting:
		return flow{table: g.Count(at.name)}
	case sums:
		return flow{table: g.Aggregate(at.name, zero, sum)}
	case maxima:
		return flow{table: g.Reduce(at.name, larger)}
	case bags:
		return flow{table: g.Aggregate(at.name, newBag, bag.insert, bagCodec).Map(bag.hash)}
	case inOrder:
		return flow{table: g.Reduce(at.name, chain)}
	}
	return flow{table: g.Aggregate(at.name, newBag, appended, bagCodec).Map(bag.hash)}
}

func combineShape(out *shape, _ []shape, at place) bool {
	out.ordered, out.deletes, out.stored, out.sub = false, false, at.args[0] == 0, at.fresh(0)
	return true
}

// combiner brings numbers together before they are sent.
var combiner = stream.Combiner[int64, bag]{Init: newBag, Add: bag.insert, Merge: bag.merge, Codec: bagCodec}

func buildCombine(_ *builder, at place, in []flow) flow {
	n := at.args[1] + 1
	by := func(v int64) string { return keyOf(v, n) }
	if at.args[0] == 0 {
		return flow{table: in[0].stream.CombineBy(at.name+"-sent", by, stream.Counting[int64]()).Aggregate(at.name)}
	}
	return flow{table: in[0].stream.CombineBy(at.name+"-sent", by, combiner).Aggregate(at.name).Map(bag.hash)}
}

func cogroupShape(out *shape, in []shape, at place) bool {
	out.deletes, out.stored = false, true
	return together(out, in, at)
}

// twoSums adds what two streams have in ways that can be told apart.
func twoSums(b *builder, at place, in []flow) stream.Cogrouped[string, int64] {
	l, r := b.streams(at, in)
	return l.Group().Cogroup(zero, sum).Add(r.Group(), func(kept, v int64) int64 { return kept + 3*v })
}

func buildCogroup(b *builder, at place, in []flow) flow {
	return flow{table: twoSums(b, at, in).Aggregate(at.name)}
}

func keptShape(out *shape, in []shape, _ place) bool {
	out.deletes, out.stored = false, true
	return in[0].ordered
}

func buildTable(_ *builder, at place, in []flow) flow {
	return flow{table: in[0].stream.Table(at.name)}
}

// computed is the shape of rows that are computed from others.
func computed(out *shape, _ []shape, _ place) bool {
	out.stored = false
	return true
}

func sifted(out *shape, _ []shape, _ place) bool {
	out.stored, out.deletes = false, true
	return true
}

func buildTableFilter(_ *builder, at place, in []flow) flow {
	n := at.args[0] + 2
	return flow{table: in[0].table.Filter(func(v int64) bool { return mod(v, n) != 0 })}
}

func buildTableMap(_ *builder, at place, in []flow) flow {
	if at.args[0] == 0 {
		return flow{table: in[0].table.Map(func(v int64) int64 { return mix(v, 5) })}
	}
	return flow{table: in[0].table.MapWithKey(func(k string, v int64) int64 { return mix(numberOf(k), v) })}
}

func storeShape(out *shape, _ []shape, _ place) bool {
	out.stored = true
	return true
}

func buildStore(_ *builder, at place, in []flow) flow { return flow{table: in[0].table.Store(at.name)} }

func tableSentShape(out *shape, _ []shape, at place) bool {
	out.stored, out.sub = true, at.fresh(0)
	return true
}

func buildTableSent(_ *builder, at place, in []flow) flow {
	return flow{table: in[0].table.Repartition(at.name)}
}

func groupByShape(out *shape, _ []shape, at place) bool {
	out.ordered, out.deletes, out.stored, out.sub = false, true, true, at.fresh(0)
	return true
}

func buildGroupBy(_ *builder, at place, in []flow) flow {
	n := at.args[1] + 1
	g := in[0].table.GroupBy(at.name+"-sent", func(k string, v int64) string { return keyOf(mix(numberOf(k), v), n) })
	minus := func(kept, v int64) int64 { return kept - v }
	switch at.args[0] {
	case 0:
		return flow{table: g.Count(at.name)}
	case 1:
		return flow{table: g.Reduce(at.name, sum, minus)}
	}
	add := func(kept, v int64) int64 { return kept ^ mix(v) }
	return flow{table: g.Aggregate(at.name, zero, add, add)}
}

// joinTablesShape is that of rows of two tables. What tables have in common would be one change here and another there.
func joinTablesShape(out *shape, in []shape, at place) bool {
	out.ordered, out.stored, out.sub = false, false, joined(in, at)
	out.deletes = in[0].deletes || in[1].deletes
	return in[0].from&in[1].from == 0
}

func buildJoinTables(b *builder, at place, in []flow) flow {
	l, r := b.tables(at, in)
	switch at.args[0] {
	case 0:
		return flow{table: l.Join(r, func(v, o int64) int64 { return mix(v, o) })}
	case 1:
		return flow{table: l.LeftJoin(r, func(v, o int64, found bool) int64 { return mix(v, o, bit(found)) })}
	}
	return flow{table: l.OuterJoin(r, func(v int64, hasV bool, o int64, hasO bool) int64 { return mix(v, bit(hasV), o, bit(hasO)) })}
}

func joinForeignShape(out *shape, in []shape, at place) bool {
	out.ordered, out.stored, out.sub = false, true, at.fresh(0)
	out.deletes = true
	return in[0].from&in[1].from == 0
}

// buildJoinForeign has rows refer to keys of the other table, and some to none.
func buildJoinForeign(b *builder, at place, in []flow) flow {
	l, r, n := in[0].table, in[1].table, at.args[1]+1
	if !b.apart(at.in[0], at.in[1]) {
		r = r.Repartition(at.name + "-copy")
	}
	key := func(v int64) (string, bool) { return keyOf(v, n), mod(v, 7) != 0 }
	if at.args[0] == 0 {
		return flow{table: l.JoinForeign(at.name, key, r, func(v, o int64) int64 { return mix(v, o) })}
	}
	return flow{table: l.LeftJoinForeign(at.name, key, r, func(v, o int64, found bool) int64 { return mix(v, o, bit(found)) })}
}

// updatesShape is that of the changes of a table, which are known where their order is.
func updatesShape(out *shape, in []shape, _ place) bool { return in[0].ordered }

func buildUpdates(_ *builder, _ place, in []flow) flow { return flow{stream: in[0].table.Stream()} }

func buildChanges(_ *builder, _ place, in []flow) flow {
	return flow{stream: stream.Changes(in[0].table).Map(func(c stream.Change[int64]) int64 {
		return mix(c.Old, bit(c.HasOld), c.New, bit(c.HasNew))
	})}
}

// perCommitShape is that of the rows that are written at commits, where deleted ones would be missing.
func perCommitShape(_ *shape, in []shape, _ place) bool { return in[0].stored && !in[0].deletes }

func buildPerCommit(b *builder, at place, in []flow) flow {
	in[0].table.Stream(stream.EmitPerCommit()).To(b.output(at.name, newest))
	return flow{}
}

// rankKey is the key under which a rank of another key is written.
func rankKey(k string, rank int) string { return fmt.Sprintf("%s#%d", k, rank) }
