// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// plan is a pipeline as data: it can be drawn, printed, made smaller and built. Each step uses steps before it.
type plan struct {
	tick  time.Duration // all windows and gaps between records are multiples of it
	bound int           // ticks by which records may be out of order
	steps []step
}

// step is a verb with what it is applied to.
type step struct {
	verb string
	in   []int // numbers of steps
	args args
	tap  bool // its results are written to a topic even if other steps use them
}

// args are the numbers that a verb was drawn with; what each of them means is the verb's own.
type args [6]int64

// kind is what a step gives.
type kind byte

const (
	aStream kind = 's'
	aTable  kind = 't'
	nothing kind = '-' // its results go to topics only
)

// shape is what is known of the result of a step, whatever the order in which records of different keys meet.
type shape struct {
	kind kind
	// ordered says that the records of a key, or the changes of a row, and their order follow from the input. Of a
	// stream that is not ordered only the records follow, of such a table only the last rows.
	ordered bool
	deletes bool // of a table: rows may be deleted
	stored  bool // of a table: it has a store of its own
	sub     int  // steps of one number are in one sub-topology; 0: in those that read the sources
	from    uint // the sources that it comes from, as bits
	records int  // at most about how many there are

	fromTables  bool // all sources that it comes from are tables
	readsTables bool // some are
}

// verb is a part of the language.
type verb struct {
	takes  string // the kind of each input
	gives  kind
	weight int
	timed  bool                    // it goes by event time
	draw   func(r *rand.Rand) args // nil: it has no arguments
	// shape completes what is given: all of the first input's, with the kind of the verb. False: it is not for such inputs.
	shape func(out *shape, in []shape, at place) bool
	build func(b *builder, at place, in []flow) flow
}

// place is a step on its way to be built.
type place struct {
	args
	number int
	name   string
	in     []shape
}

// fresh is the number of a sub-topology that begins with the step. There are two.
func (at place) fresh(which int) int { return 2*at.number + 2 + which }

// maxRecords bounds what a stream may grow to by joins, so that a run takes no time.
const maxRecords = 4000

var errShape = errors.New("the verb is not for such inputs")

// shapes goes through the steps.
func (p *plan) shapes() ([]shape, error) {
	var all []shape
	for i, s := range p.steps {
		out, err := p.shapeOf(i, s, all)
		if err != nil {
			return nil, fmt.Errorf("step %d, %s: %w", i, s.verb, err)
		}
		all = append(all, out)
	}
	return all, nil
}

func (p *plan) shapeOf(number int, s step, before []shape) (shape, error) {
	v := verbs[s.verb]
	var in []shape
	out := shape{kind: v.gives, from: 1 << number}
	for i, n := range s.in {
		if before[n].kind != kind(v.takes[i]) {
			return shape{}, errShape
		}
		in = append(in, before[n])
		if i == 0 {
			out = before[n]
			out.kind = v.gives
			continue
		}
		out.from |= before[n].from
		out.fromTables, out.readsTables = out.fromTables && before[n].fromTables, out.readsTables || before[n].readsTables
	}
	if v.shape != nil && !v.shape(&out, in, place{args: s.args, number: number}) || out.records > maxRecords {
		return shape{}, errShape
	}
	return out, nil
}

// draw makes a random plan.
func draw(r *rand.Rand, records int) *plan {
	p := &plan{
		tick:  []time.Duration{8 * time.Millisecond, time.Second, 10 * time.Minute, 2 * time.Hour}[r.IntN(4)],
		bound: []int{0, 1, 5}[r.IntN(3)],
	}
	sources := []string{"from", "from", "tableFrom", "from", "tableFrom"}[:2+r.IntN(4)]
	for _, name := range sources {
		p.steps = append(p.steps, step{verb: name, args: args{int64(records / len(sources))}})
	}
	names := slices.Sorted(maps.Keys(verbs))
	total := 0
	for _, name := range names {
		total += verbs[name].weight
	}
	for more := 3 + r.IntN(9); more > 0; {
		at := r.IntN(total)
		i := slices.IndexFunc(names, func(name string) bool { at -= verbs[name].weight; return at < 0 })
		if p.add(r, names[i]) {
			more--
		}
	}
	return p
}

// add appends a step of a verb if it finds inputs for it.
func (p *plan) add(r *rand.Rand, name string) bool {
	v, before := verbs[name], p.mustShapes()
	s := step{verb: name, tap: r.IntN(6) == 0}
	if v.draw != nil {
		s.args = v.draw(r)
	}
	for tries := 0; tries < 4; tries++ {
		s.in = nil
		for _, k := range v.takes {
			var fit []int
			for n, b := range before {
				if b.kind == kind(k) {
					fit = append(fit, n)
				}
			}
			if len(fit) == 0 {
				return false
			}
			s.in = append(s.in, fit[max(r.IntN(len(fit)), r.IntN(len(fit)))]) // later ones rather than earlier ones
		}
		if _, err := p.shapeOf(len(p.steps), s, before); err == nil {
			p.steps = append(p.steps, s)
			return true
		}
	}
	return false
}

func (p *plan) mustShapes() []shape {
	all, err := p.shapes()
	if err != nil {
		panic(fmt.Sprintf("metamorphic: the plan does not hold together: %v\n%v", err, p))
	}
	return all
}

// uses counts how often each step is used by others.
func (p *plan) uses() []int {
	n := make([]int, len(p.steps))
	for _, s := range p.steps {
		for _, in := range s.in {
			n[in]++
		}
	}
	return n
}

// has says whether a step of one of the verbs is there.
func (p *plan) has(verbs ...string) bool {
	return slices.ContainsFunc(p.steps, func(s step) bool { return slices.Contains(verbs, s.verb) })
}

// mayIdle says whether all inputs may be seen to be idle before the end. Where a step that goes by event time gets its records
// through topics of ours, those that wake up first would be ahead of the others.
func (p *plan) mayIdle() bool {
	all := p.mustShapes()
	for i, s := range p.steps {
		if verbs[s.verb].timed && all[i].sub != 0 {
			return false
		}
	}
	return true
}

// sources returns the topics that the plan reads, and by each whether it is a table's. The topic of the global table is
// not among them.
func (p *plan) sources() (topics []string, table map[string]bool) {
	table = map[string]bool{}
	for i, s := range p.steps {
		if len(verbs[s.verb].takes) == 0 {
			topics = append(topics, sourceTopic(i))
			table[sourceTopic(i)] = verbs[s.verb].gives == aTable
		}
	}
	return topics, table
}

func sourceTopic(number int) string { return fmt.Sprint("in-", number) }

// globalTopic is that of the one global table.
const globalTopic = "global"

// without returns the plan without a step that none uses.
func (p *plan) without(gone int) *plan {
	c := p.clone()
	c.steps = slices.Delete(c.steps, gone, gone+1)
	for i := range c.steps {
		for j, n := range c.steps[i].in {
			if n > gone {
				c.steps[i].in[j] = n - 1
			}
		}
	}
	return c
}

// around returns the plan in which others use the first input of a step in its place.
func (p *plan) around(gone int) *plan {
	c := p.clone()
	for i := range c.steps {
		for j, n := range c.steps[i].in {
			if n == gone {
				c.steps[i].in[j] = p.steps[gone].in[0]
			}
		}
	}
	return c.without(gone)
}

func (p *plan) clone() *plan {
	c := *p
	c.steps = slices.Clone(p.steps)
	for i := range c.steps {
		c.steps[i].in = slices.Clone(c.steps[i].in)
	}
	return &c
}

// String lists the steps, one a line.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tick %v, out of order by up to %d ticks\n", p.tick, p.bound)
	for i, s := range p.steps {
		fmt.Fprintf(&b, "  %2d = %s", i, s.verb)
		for _, n := range s.in {
			fmt.Fprintf(&b, " %d", n)
		}
		if verbs[s.verb].draw != nil {
			fmt.Fprintf(&b, " %v", s.args)
		}
		if s.tap {
			b.WriteString(" (written too)")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
