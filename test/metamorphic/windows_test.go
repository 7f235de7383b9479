// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/streamd/streamd/operators/stream"
)

func windowVerbs() map[string]verb {
	return map[string]verb{
		"window":        {takes: "s", gives: aStream, weight: 10, timed: true, draw: windowArgs(allWindows, foldKinds), shape: windowShape, build: buildWindow},
		"windowUpdates": {takes: "s", gives: nothing, weight: 6, timed: true, draw: windowArgs(allWindows, foldKinds), shape: windowUpdatesShape, build: buildWindowUpdates},
		"windowCombine": {takes: "s", gives: aStream, weight: 3, timed: true, draw: windowArgs(withPanes, 40), shape: windowCombineShape, build: buildWindowCombine},
		"windowCogroup": {takes: "ss", gives: aStream, weight: 3, timed: true, draw: windowArgs(allWindows, 1), shape: windowCogroupShape, build: buildWindowCogroup},
	}
}

// What the arguments of windows mean.
const (
	windowKind = iota // one of those below
	windowSize
	windowHop
	windowGrace
	windowFold // or what else the verb has
	windowTick // 0: on update; else every so many ticks
)

// The kinds of windows. The first have panes.
const (
	tumbling int64 = iota
	days
	hopping
	session
	sliding
	allWindows

	withPanes = hopping + 1
)

// windowArgs draws windows of some of the kinds.
func windowArgs(kinds, fold int64) func(*rand.Rand) args {
	return func(r *rand.Rand) (a args) {
		a[windowKind], a[windowSize], a[windowHop] = r.Int64N(kinds), 1+r.Int64N(12), 1+r.Int64N(5)
		a[windowGrace], a[windowFold], a[windowTick] = r.Int64N(4), r.Int64N(fold), r.Int64N(5)
		return a
	}
}

// zone has a day of 23 hours, soon after startOfTime.
var zone = func() *time.Location {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return berlin
}()

// windows makes windows of arguments, but for when they emit.
func (b *builder) windows(a args) stream.Windows {
	size := b.ticks(a[windowSize])
	w := stream.Tumbling(size)
	switch a[windowKind] {
	case days:
		w = stream.Calendar(stream.Day, zone)
	case hopping:
		w = stream.Hopping(size, b.ticks(a[windowHop]))
	case session:
		w = stream.Session(size / 2)
	case sliding:
		w = stream.Sliding(size)
	}
	return w.Grace(b.ticks(a[windowGrace]))
}

// windowShape is that of results on close: of each key one window closes after the other.
func windowShape(out *shape, in []shape, at place) bool {
	out.ordered = true
	if at.args[windowKind] == hopping {
		out.records *= int(at.args[windowSize]/at.args[windowHop]) + 1
	}
	// Windows that merge, or are made of panes, bring aggregates together in an order of their own.
	byOne := at.args[windowKind] == tumbling || at.args[windowKind] == days
	return at.args[windowFold] < inOrder || in[0].ordered && byOne
}

// results is a stream of all results of windows, mixed with their windows.
func results[A any](t stream.WindowedTable[string, A], hash func(A) int64) stream.Stream[string, int64] {
	return t.Stream().Map(func(w stream.Windowed[string], v A) int64 { return mix(w.Start, w.End, hash(v)) })
}

// byWindow writes all results under keys of their own for each window.
func byWindow[A any](t stream.WindowedTable[string, A], hash func(A) int64, topic string) {
	t.Stream().
		Map(func(w stream.Windowed[string], v A) bag { return bag{w.Start, w.End, hash(v)} }).
		MapKV(func(k string, v bag) (string, int64) { return fmt.Sprintf("%s[%d,%d)", k, v[0], v[1]), v[2] }).
		To(topic)
}

func same(v int64) int64 { return v }

// folded is an aggregation by window, of numbers or of bags.
type folded struct {
	numbers *stream.WindowedTable[string, int64]
	bags    *stream.WindowedTable[string, bag]
}

func foldWindows(g stream.WindowedGroup[string, int64], name string, kind int64) folded {
	number := func(t stream.WindowedTable[string, int64]) folded { return folded{numbers: &t} }
	ofBags := func(t stream.WindowedTable[string, bag]) folded { return folded{bags: &t} }
	switch kind {
	case counting:
		return number(g.Count(name))
	case sums:
		return number(g.Aggregate(name, zero, sum, sum))
	case maxima:
		return number(g.Reduce(name, larger))
	case bags:
		return ofBags(g.Aggregate(name, newBag, bag.insert, bag.merge, bagCodec))
	case inOrder:
		return number(g.Reduce(name, chain))
	}
	return ofBags(g.Aggregate(name, newBag, appended, nil, bagCodec))
}

func (f folded) results() stream.Stream[string, int64] {
	if f.bags != nil {
		return results(*f.bags, bag.hash)
	}
	return results(*f.numbers, same)
}

func (f folded) byWindow(topic string) {
	if f.bags != nil {
		byWindow(*f.bags, bag.hash, topic)
		return
	}
	byWindow(*f.numbers, same, topic)
}

func buildWindow(b *builder, at place, in []flow) flow {
	g := in[0].stream.Group().Window(b.windows(at.args).EmitOnClose())
	f := foldWindows(g, at.name, at.args[windowFold])
	g.Late().To(b.output(at.name+"-late", empty))
	return flow{stream: f.results()}
}

// windowUpdatesShape is that of windows that emit more than once. Sliding ones cannot emit at intervals.
func windowUpdatesShape(out *shape, in []shape, at place) bool {
	if at.args[windowKind] == sliding && at.args[windowTick] > 0 {
		return false
	}
	return windowShape(out, in, at)
}

// buildWindowUpdates has the same windows emit more than once, and on close. The last results must be the same. Of sessions
// some results are left behind by those that they became part of.
func buildWindowUpdates(b *builder, at place, in []flow) flow {
	closing := b.windows(at.args).EmitOnClose()
	w := closing.EmitOnUpdate()
	if every := at.args[windowTick]; every > 0 {
		w = closing.EmitEvery(b.ticks(every))
	}
	agree := newest
	if at.args[windowKind] == session {
		agree = covered
	}
	foldWindows(in[0].stream.Group().Window(w), at.name, at.args[windowFold]).byWindow(b.output(at.name, agree))
	b.outputs[len(b.outputs)-1].twin = "out-" + at.name + "-closed"
	foldWindows(in[0].stream.Group().Window(closing), at.name+"-closed", at.args[windowFold]).byWindow(b.output(at.name+"-closed", multisets))
	return flow{}
}

func windowCombineShape(out *shape, in []shape, at place) bool {
	at.args[windowFold] = bags
	ok := windowShape(out, in, at)
	out.sub = at.fresh(0)
	return ok
}

func buildWindowCombine(b *builder, at place, in []flow) flow {
	n := at.args[windowFold] + 1
	c := in[0].stream.CombineBy(at.name+"-sent", func(v int64) string { return keyOf(v, n) }, combiner)
	return flow{stream: results(c.Window(b.windows(at.args).EmitOnClose()).Aggregate(at.name), bag.hash)}
}

func windowCogroupShape(out *shape, in []shape, at place) bool {
	ok := windowShape(out, in, at)
	out.sub = joined(in, at)
	return ok
}

func buildWindowCogroup(b *builder, at place, in []flow) flow {
	c := twoSums(b, at, in).Window(b.windows(at.args).EmitOnClose())
	return flow{stream: results(c.Aggregate(at.name, sum), same)}
}
