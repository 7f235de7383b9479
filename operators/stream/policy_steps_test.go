// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// The tests below hold every kind of step to one property: after a record that a step has failed on, outputs and state
// are those of a run in which there was no such record. Poison is a number that user code fails on, after it has
// changed all that it can. It comes right behind a good record of its topic, key and time, so that event time is that of
// the run without it, and where there are two inputs behind one of the other, so that it meets something.

// poison is the least number that user code fails on.
const poison = 1000

// fate decides over a run's poison. It belongs to one run at a time.
type fate struct {
	once   bool // it fails the first time only
	failed map[int64]bool
}

var errPoison = errors.New("poison")

// meet fails on poison: by an error for odd numbers, by a panic for even ones.
func (f *fate) meet(ns ...int64) error {
	for _, n := range ns {
		if n < poison || f.once && f.failed[n] {
			continue
		}
		f.failed[n] = true
		if n%2 == 0 {
			panic(errPoison)
		}
		return errPoison
	}
	return nil
}

// must is meet for code that cannot return an error.
func (f *fate) must(ns ...int64) {
	if err := f.meet(ns...); err != nil {
		panic(err)
	}
}

// bag is an aggregate that is changed in place.
type bag map[string]int64

func newBag() bag { return bag{} }

func (b bag) show() string { return fmt.Sprint("n=", b["n"], " sum=", b["sum"]) }

func (f *fate) add(b bag, n int64) bag {
	b["n"]++
	b["sum"] += n
	f.must(n)
	return b
}

func (f *fate) subtract(b bag, n int64) bag {
	b["n"]--
	b["sum"] -= n
	f.must(n)
	return b
}

func merge(b, other bag) bag {
	for k, n := range other {
		b[k] += n
	}
	return b
}

// bags is their codec; JSON sorts the keys.
var bags = codec.JSON[bag]()

// step is a step under test, with all that it needs from its sources to the topic "out".
type step struct {
	name    string
	inputs  string // the topics it reads, one letter each
	tables  bool   // they are read as tables
	newest  bool   // only the newest values of outputs are determined
	noState bool   // steps above the failing one keep the poison
	oneBad  bool   // only the last of the inputs has poison
	perTask bool   // a record is met by every task
	build   func(p *stream.Pipeline, f *fate)
}

func src(p *stream.Pipeline, topic string) stream.Stream[string, int64] {
	return stream.From(p, topic, codec.String, codec.Int64, stream.OutOfOrder(time.Second))
}

// windowSteps are aggregations by all kinds of windows and emission.
func windowSteps() []step {
	kinds := map[string]stream.Windows{
		"tumbling": stream.Tumbling(4 * time.Second), "hopping": stream.Hopping(4*time.Second, 2*time.Second),
		"sliding": stream.Sliding(3 * time.Second), "session": stream.Session(2 * time.Second), "calendar": stream.Calendar(stream.Day, time.UTC),
	}
	emissions := map[string]func(stream.Windows) stream.Windows{
		"on update": stream.Windows.EmitOnUpdate, "on close": stream.Windows.EmitOnClose,
		"at intervals": func(w stream.Windows) stream.Windows { return w.EmitEvery(3 * time.Second) },
	}
	var all []step
	for kind, w := range kinds {
		for emission, emit := range emissions {
			if kind == "sliding" && emission == "at intervals" {
				continue
			}
			w := emit(w.Grace(time.Second))
			all = append(all, step{name: kind + " windows emitted " + emission, inputs: "a", build: func(p *stream.Pipeline, f *fate) {
				src(p, "a").Group().Window(w).Aggregate("bags", newBag, f.add, merge, bags).Stream().
					Map(func(w stream.Windowed[string], b bag) string { return fmt.Sprint(w.Window, b.show()) }).
					To("out")
			}})
		}
	}
	return all
}

// streamSteps are the other steps that process records.
func streamSteps() []step {
	return []step{
		{name: "map", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").Map(func(n int64) string { f.must(n); return fmt.Sprint(n) }).To("out")
		}},
		{name: "results of windows", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").Group().Window(stream.Tumbling(2*time.Second)).Reduce("last", func(_, n int64) int64 { return n }).Stream().
				Filter(func(_ stream.Windowed[string], n int64) bool { f.must(n); return n%3 > 0 }).
				Map(func(_ stream.Windowed[string], n int64) string { return fmt.Sprint(n) }).
				To("out")
		}, noState: true},
		{name: "aggregate", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").Group().Aggregate("bags", newBag, f.add, bags).Stream().Map(bag.show).To("out")
		}},
		{name: "aggregate that is not written", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").WithValue(f.refusing()).Group().Reduce("last", func(_, n int64) int64 { return n }).Stream().To("out", codec.Int64)
		}},
		{name: "process that is not written", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").Process("keep", func(s *stream.Setup) stream.Handler[string, int64, int64] {
				last, many := s.Value("last", f.refusing()), s.Map("many", codec.Int64, f.refusing(), stream.TTL(3*time.Second))
				return func(ctx *stream.Context[int64], _ string, n int64) error {
					ctx.Emit(n)
					return errors.Join(last.Put(n), many.Put(n%2, n))
				}
			}).To("out", codec.Int64)
		}},
		{name: "async", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").WithValue(f.refusing()).AsyncOrdered("call", func(_ context.Context, n int64) (string, error) { return fmt.Sprint(n), nil }).To("out")
		}},
		{name: "aggregate per commit", inputs: "a", newest: true, build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").Group().Aggregate("bags", newBag, f.add, bags).Stream(stream.EmitPerCommit()).Map(bag.show).To("out")
		}},
		{name: "top n", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			stream.TopN(src(p, "a").Group(), "top", 3, func(a, b int64) bool { f.must(a, b); return a > b }).
				Map(func(r stream.Ranked[int64]) string { return fmt.Sprint(r) }).To("out")
		}},
		{name: "distinct", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").DistinctBy("ids", 5*time.Second, func(n int64) int64 { f.must(n); return n % 5 }).To("out")
		}},
		{name: "cogroup", inputs: "ab", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").Group().Cogroup(newBag, f.add).
				Add(src(p, "b").Group(), func(b bag, n int64) bag { b["b"]++; return f.add(b, n) }).
				Aggregate("bags", bags).Stream().Map(bag.show).To("out")
		}},
		{name: "key by", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").KeyBy("by-rest", func(n int64) int64 { f.must(n); return n % 3 }).
				Group().Aggregate("bags", newBag, f.add, bags).Stream().Map(bag.show).To("out")
		}},
		{name: "combine by", inputs: "a", newest: true, build: func(p *stream.Pipeline, f *fate) {
			c := stream.Combiner[int64, bag]{Init: newBag, Add: f.add, Merge: merge, Codec: bags}
			src(p, "a").CombineBy("by-rest", func(n int64) int64 { return n % 3 }, c).
				Aggregate("bags").Stream().Map(bag.show).To("out")
		}},
		{name: "broadcast", inputs: "ba", perTask: true, build: func(p *stream.Pipeline, f *fate) {
			rules := src(p, "b").Broadcast("rules", func(n int64) bool { f.must(n); return n%5 == 0 })
			src(p, "a").ProcessWith("apply", rules, func(_ *stream.Setup, r *stream.BroadcastState[string, int64]) stream.Handler[string, int64, string] {
				return func(ctx *stream.Context[string], k string, n int64) error {
					ctx.Emit(fmt.Sprint(n))
					return f.meet(n)
				}
			}).To("out")
		}},
		{name: "process", inputs: "a", build: func(p *stream.Pipeline, f *fate) { processStep(src(p, "a"), f) }},
		{name: "process with expiry", inputs: "a", build: func(p *stream.Pipeline, f *fate) { expiryStep(src(p, "a"), f) }},
	}
}

// joinSteps are steps that bring records and others together.
func joinSteps() []step {
	near := stream.Within(2 * time.Second).Grace(time.Second)
	pair := func(f *fate) func(v, r int64) string {
		return func(v, r int64) string { f.must(v, r); return fmt.Sprint(v, " ", r) }
	}
	return []step{
		{name: "join stream", inputs: "ab", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").JoinStream("met", src(p, "b"), near, pair(f)).To("out")
		}},
		{name: "left join stream", inputs: "ab", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").LeftJoinStream("met", src(p, "b"), near, func(v, r int64, found bool) string {
				return pair(f)(v, r) + fmt.Sprint(found)
			}).To("out")
		}},
		{name: "outer join stream", inputs: "ab", build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").OuterJoinStream("met", src(p, "b"), near, func(v int64, hasV bool, r int64, hasR bool) string {
				return pair(f)(v, r) + fmt.Sprint(hasV, hasR)
			}).To("out")
		}},
		{name: "join", inputs: "ba", oneBad: true, build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").LeftJoin(stream.TableFrom(p, "b", codec.String, codec.Int64),
				func(v, r int64, found bool) string { return pair(f)(v, r) + fmt.Sprint(found) }).To("out")
		}},
		{name: "join as of", inputs: "ba", oneBad: true, build: func(p *stream.Pipeline, f *fate) {
			t := stream.VersionedTableFrom(p, "b", codec.String, codec.Int64, stream.History(time.Minute))
			src(p, "a").LeftJoinAsOf(t, func(v, r int64, found bool) string { return pair(f)(v, r) + fmt.Sprint(found) }).To("out")
		}},
		{name: "join global", inputs: "ba", oneBad: true, build: func(p *stream.Pipeline, f *fate) {
			t := stream.GlobalTableFrom(p, "b", codec.String, codec.Int64, stream.OnDecodeError(stream.Fail))
			src(p, "a").LeftJoinGlobal(t, func(k string, n int64) string { f.must(n); return k },
				func(v, _ int64, _ bool) string { return fmt.Sprint(v) }).To("out")
		}},
	}
}

// tableSteps are steps that process the changes of tables. A row that they fail on is as good as deleted.
func tableSteps() []step {
	rows := func(p *stream.Pipeline, topic string) stream.Table[string, int64] {
		return stream.TableFrom(p, topic, codec.String, codec.Int64)
	}
	rest := func(_ string, n int64) string { return fmt.Sprint("g", n%2) }
	pair := func(f *fate) func(v, r int64) string {
		return func(v, r int64) string { f.must(v, r); return fmt.Sprint(v, " ", r) }
	}
	all := []step{
		{name: "table filter and map", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").Filter(func(n int64) bool { f.must(n); return n%4 > 0 }).
				MapWithKey(func(k string, n int64) string { return fmt.Sprint(k, n) }).To("out")
		}},
		{name: "table map and store", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").Map(func(n int64) int64 { f.must(n); return -n }).Store("kept").To("out")
		}},
		{name: "table to", inputs: "a", build: func(p *stream.Pipeline, f *fate) { rows(p, "a").To("out", f.refusing()) }},
		{name: "table repartition", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").WithValue(f.refusing()).Repartition("moved").To("out")
		}},
		{name: "group by", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").GroupBy("by-rest", func(k string, n int64) string { f.must(n); return rest(k, n) }).Count("count").To("out")
		}},
		{name: "group by with a value that is not written", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").WithValue(f.refusing()).GroupBy("by-rest", rest).Count("count").To("out")
		}},
		{name: "aggregate of a group", inputs: "a", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").GroupBy("by-rest", rest).Aggregate("bags", newBag, f.add, f.subtract, bags).To("out")
		}},
		{name: "join tables", inputs: "ab", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").Join(rows(p, "b"), pair(f)).To("out")
		}},
		{name: "join tables in a group", inputs: "ab", build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").Join(rows(p, "b"), func(v, r int64) int64 { f.must(v, r); return (v * r) % poison }).
				GroupBy("by-rest", rest).Aggregate("bags", newBag, (&fate{}).add, (&fate{}).subtract, bags).To("out")
		}},
		{name: "join by foreign key", inputs: "ba", oneBad: true, build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").JoinForeign("met", func(n int64) (string, bool) { f.must(n); return fmt.Sprint("k", n%3), true }, rows(p, "b"),
				func(v, r int64) string { return fmt.Sprint(v, " ", r) }).To("out")
		}},
		{name: "rows of a join by foreign key", inputs: "ab", newest: true, build: func(p *stream.Pipeline, f *fate) {
			rows(p, "a").JoinForeign("met", func(n int64) (string, bool) { return fmt.Sprint("k", n%3), true }, rows(p, "b"), pair(f)).To("out")
		}},
		{name: "look-up in a mapped table", inputs: "ab", oneBad: true, build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").LeftJoin(rows(p, "b").Map(func(n int64) int64 { f.must(n); return -n }),
				func(v, r int64, found bool) string { return fmt.Sprint(v, r, found) }).To("out")
		}},
		{name: "look-up in joined tables", inputs: "acb", oneBad: true, build: func(p *stream.Pipeline, f *fate) {
			src(p, "a").LeftJoin(rows(p, "c").Join(rows(p, "b"), pair(f)),
				func(v int64, r string, found bool) string { return fmt.Sprint(v, r, found) }).To("out")
		}},
	}
	for i := range all {
		all[i].tables = true
	}
	return all
}

// refusing is a codec that does not write poison.
func (f *fate) refusing() codec.Codec[int64] {
	return codec.New("refusing", func(dst []byte, n int64) ([]byte, error) {
		if err := f.meet(n); err != nil {
			return dst, err
		}
		return codec.Int64.Append(dst, n)
	}, codec.Int64.Decode)
}

// processStep does all that a handler can do before it fails.
func processStep(in stream.Stream[string, int64], f *fate) {
	side := stream.NewSideOutput[string]("side")
	out := in.Process("all", func(s *stream.Setup) stream.Handler[string, int64, string] {
		kept, many := s.Value("kept", bags), s.Map("many", codec.Int64, bags)
		list, put := s.List("list", codec.Int64), s.Side(side)
		timer := s.Timer("timer", func(ctx *stream.Context[string], k string, at operators.Time) error {
			ctx.Emit(fmt.Sprint("timer of ", k, " at ", at))
			return nil
		})
		s.ProcessingTimer("wall", func(*stream.Context[string], string, operators.Time) error { return nil })
		return func(ctx *stream.Context[string], _ string, n int64) error {
			b, found, err := kept.Get()
			if !found {
				b = newBag()
			}
			b["n"]++
			b["sum"] += n
			put(fmt.Sprint("side ", n))
			ctx.Emit(b.show())
			err = errors.Join(err, kept.Put(b), timer.SetAfter(time.Duration(1+n%3)*time.Second))
			for sub, b := range many.All() {
				b["seen"]++
				err = errors.Join(err, many.Put(sub, b))
			}
			err = errors.Join(err, many.Put(n%4, bag{"last": n}), list.Append(n))
			switch {
			case n >= poison:
				err = errors.Join(err, many.Clear(), list.Clear(), timer.Clear(), kept.Delete())
			case n%5 == 0:
				err = errors.Join(err, many.Delete(n%3))
			case n%7 == 0:
				err = errors.Join(err, many.Clear(), list.Clear(), timer.Clear())
			}
			put(fmt.Sprint("side again ", n))
			return errors.Join(err, f.meet(n))
		}
	})
	out.Merge(out.Side(side)).To("out")
}

// expiryStep does the same with states that expire.
func expiryStep(in stream.Stream[string, int64], f *fate) {
	in.Process("all", func(s *stream.Setup) stream.Handler[string, int64, string] {
		kept := s.Value("kept", bags, stream.TTL(3*time.Second), stream.RefreshOnRead())
		many := s.Map("many", codec.Int64, bags, stream.TTL(4*time.Second))
		list := s.List("list", codec.Int64, stream.TTL(2*time.Second))
		return func(ctx *stream.Context[string], _ string, n int64) error {
			b, found, err := kept.Get()
			if !found {
				b = newBag()
			}
			b["n"]++
			var seen []bag
			for _, other := range many.All() {
				seen = append(seen, other)
			}
			ctx.Emit(fmt.Sprint(b.show(), slices.Collect(list.All()), seen))
			err = errors.Join(err, list.Append(n))
			if n >= poison {
				err = errors.Join(err, many.Clear())
			}
			if n >= poison || n%3 == 0 {
				err = errors.Join(err, kept.Put(b), many.Put(n%2, bag{"last": n}))
			}
			return errors.Join(err, f.meet(n))
		}
	}).To("out")
}

// sent is a record of a script.
type sent struct {
	topic, key string
	at         time.Duration
	n          int64
}

// script returns rounds of records, some of them poison.
func (s *step) script(seed int64) (rounds [][]sent) {
	inputs := s.inputs
	at := 10 * time.Second
	n := seed * 7 % 50
	for i := range int64(10) {
		at += time.Duration((seed+i*i*311)%1900) * time.Millisecond
		key := fmt.Sprint("k", (seed+i)%3)
		var round []sent
		for _, topic := range inputs {
			n++
			round = append(round, sent{string(topic), key, at, n})
		}
		if (seed+i)%2 == 0 {
			// Behind the last good record.
			round = append(round, sent{round[len(round)-1].topic, key, at, poison + n})
		}
		if len(inputs) > 1 && !s.oneBad && (seed+i)%3 == 0 {
			n++ // later, since tasks take their inputs in the order of time
			round = append(round, sent{inputs[:1], key, at + 10*time.Millisecond, n}, sent{inputs[:1], key, at + 10*time.Millisecond, poison + n})
		}
		rounds = append(rounds, round)
	}
	return rounds
}

// send sends a script; without poison it is left out, or the row is deleted if the topics are tables.
func (s *step) send(d *streamtest.Driver, rounds [][]sent, without bool) {
	for _, round := range rounds {
		for _, r := range round {
			in, at := d.In(r.topic, codec.String, codec.Int64), time.UnixMilli(r.at.Milliseconds())
			switch {
			case !without || r.n < poison:
				in.SendAt(at, r.key, r.n)
			case s.tables:
				in.DeleteAt(at, r.key)
			}
		}
		d.Run()
	}
}

// runResult is what a run has left: records of "out" by key, the state before the inputs end, and after it.
type runResult struct {
	Out           map[string][]string
	Before, After map[string]string
}

func (s *step) state(d *streamtest.Driver) map[string]string {
	if s.tables || s.noState {
		return nil
	}
	return d.Contents()
}

// play runs a script to its end.
func (s *step) play(d *streamtest.Driver, rounds [][]sent, without bool) runResult {
	s.send(d, rounds, without)
	r := runResult{Out: map[string][]string{}, Before: s.state(d)}
	d.Finish()
	r.After = s.state(d)
	for _, rec := range d.Out("out", codec.Bytes, codec.Bytes).Read() {
		line := fmt.Sprintf("%d %q %v", rec.Time.UnixMilli(), rec.Value, rec.Null)
		if key := string(rec.Key); s.newest {
			r.Out[key] = []string{line}
		} else {
			r.Out[key] = append(r.Out[key], line)
		}
	}
	return r
}

// without is the result of a run without the poison.
func (s *step) without(t *testing.T, rounds [][]sent) runResult {
	p := stream.NewPipeline("test")
	s.build(p, &fate{failed: map[int64]bool{}})
	d := streamtest.New(t, p)
	return s.play(d, rounds, true)
}

// check runs the step with the poison, in three ways, and compares.
func (s *step) check(t *testing.T, policy stream.ErrorPolicy, seed int64) {
	rounds := s.script(seed)
	want := s.without(t, rounds)
	if len(want.Out) == 0 {
		t.Fatal("the run without poison has no output")
	}
	f := &fate{failed: map[int64]bool{}}
	p := stream.NewPipeline("test")
	p.OnError(policy)
	s.build(p, f)
	var opts []streamtest.Option
	if s.newest {
		opts = append(opts, streamtest.NewestOnly())
	}
	if s.perTask {
		opts = append(opts, streamtest.NewestOnly("dead"))
	}
	streamtest.ThreeWays(t, p, func(d *streamtest.Driver) {
		clear(f.failed)
		got := s.play(d, rounds, false)
		if len(f.failed) == 0 {
			t.Error("nothing has failed")
		}
		if diff := diff.Diff(want, got); diff != "" {
			t.Errorf("%v: the run with poison differs (-without +with):\n%s", policy, diff)
		}
	}, opts...)
}

func allSteps() []step {
	all := slices.Concat(windowSteps(), streamSteps(), joinSteps(), tableSteps())
	slices.SortFunc(all, func(a, b step) int { return cmp.Compare(a.name, b.name) })
	return all
}

func TestStepsAreAsIfASkippedRecordHadNeverBeen(t *testing.T) {
	t.Parallel()
	for _, s := range allSteps() {
		t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			for seed := range int64(2) {
				s.check(t, stream.Skip, seed)
			}
		})
	}
}

func TestStepsAreAsIfADeadLetterHadNeverBeen(t *testing.T) {
	t.Parallel()
	for _, s := range allSteps() {
		if s.newest {
			continue // some of what they emit has no input record
		}
		t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			s.check(t, stream.DeadLetter("dead"), 3)
		})
	}
}

func TestStepsAreAsIfARetriedRecordHadNotFailed(t *testing.T) {
	t.Parallel()
	for _, s := range allSteps() {
		t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			run := func(policy stream.ErrorPolicy, f *fate) runResult {
				p := stream.NewPipeline("test")
				p.OnError(policy)
				s.build(p, f)
				d := streamtest.New(t, p)
				return s.play(d, s.script(4), false)
			}
			want := run(stream.Fail, &fate{once: true, failed: allPoison()})
			f := &fate{once: true, failed: map[int64]bool{}}
			if diff := diff.Diff(want, run(stream.Retry(9, 0), f)); diff != "" {
				t.Errorf("the run with failures differs (-without +with):\n%s", diff)
			}
			if len(f.failed) == 0 {
				t.Error("nothing has failed")
			}
		})
	}
}

// allPoison is that which has failed already.
func allPoison() map[int64]bool {
	all := map[int64]bool{}
	for n := int64(poison); n < 2*poison; n++ {
		all[n] = true
	}
	return all
}
