// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// How event time moves: with records (one), with what upstream tasks announce (hear), and with what the engine finds
// out about the ends of inputs (Observe, End, Tick).

// startTime begins event time with nothing known. Upstream tasks that were not heard yet hold it back.
func (t *Task) startTime() {
	e := eventTime{inputs: make([]inputTime, len(t.inputs)), now: reading{watermark: operators.MinTime}}
	for i := range t.inputs {
		e.inputs[i] = t.inputs[i].unheard()
	}
	t.time, t.confirmed = e, e.clone()
	t.ctx.Watermark = operators.MinTime
	t.out.quiet = true
}

func (in *input) unheard() inputTime {
	it := inputTime{newest: operators.MinTime, now: reading{watermark: operators.MinTime}}
	if in.tp.Topic == "" {
		it.now.status = Finished // the source has no such partition
	}
	for _, id := range in.writers {
		it.hear(id, reading{watermark: operators.MinTime}, 0)
	}
	return it
}

// Restart sets the task to a commit: its position, the round that it has entered, and what the position record says of
// event time. Without a record, as in a task without state, event time is that of the last commit of this task, or
// nothing is known of it. Inputs of users are active until they are seen to be otherwise.
func (t *Task) Restart(at Position, round int64, record []byte) (err error) {
	defer t.contain(&err)
	if len(record) > 0 {
		p, err := DecodePoint(record)
		if err != nil {
			return err
		}
		t.restore(p)
	}
	t.time.round, t.confirmed.round = round, round
	t.Seek(at)
	return t.proc.Restart()
}

func (t *Task) restore(p Point) {
	t.startTime()
	for i := range t.inputs {
		in := &t.time.inputs[i]
		was := p.input(t.inputs[i].source, t.inputs[i].internal)
		if was == nil || t.inputs[i].tp.Topic == "" {
			continue
		}
		for _, u := range was.time.upstream {
			if t.inputs[i].writtenBy(u.task) {
				in.hear(u.task, u.heard.in(t.run), u.generation)
			}
		}
		in.newest = was.time.newest
		if t.inputs[i].internal {
			in.combine()
		} else {
			in.now.watermark = operators.Later(was.time.newest, -t.inputs[i].outOfOrder)
		}
	}
	t.time.now.watermark = p.reached
	t.ctx.Watermark = p.reached
	t.confirmed = t.time.clone()
}

// Point returns where the task stands.
func (t *Task) Point() Point {
	p := Point{reached: t.time.now.watermark}
	for i := range t.inputs {
		if in := &t.inputs[i]; in.tp.Topic != "" {
			p.inputs = append(p.inputs, pointInput{in.source, in.internal, in.tp.Partition, in.next, t.time.inputs[i]})
		}
	}
	return p
}

// Watermark returns the task's event time; operators.MinTime if nothing is known.
func (t *Task) Watermark() operators.Time { return t.time.now.watermark }

// Status says what may be expected of the task. While it waits for calls it is active.
func (t *Task) Status() Status {
	if t.proc.Held() != operators.MaxTime {
		return Active
	}
	return t.time.now.status
}

// awake makes an input active, since it has records. What it held back while it was idle is over, so this moves no
// watermark.
func (t *Task) awake(i int) {
	t.inputs[i].caughtUp = time.Time{}
	if t.inputs[i].internal || t.time.inputs[i].now.status == Active {
		return
	}
	t.time.inputs[i].now.status = Active
	t.time.combine()
}

// hear takes the announcement in t.record.
func (t *Task) hear(i int) error {
	s, err := decodeAnnouncement(t.record.Value)
	if err != nil {
		return fmt.Errorf("task %v: %v at offset %d: %w", t.id, t.inputs[i].tp, t.record.Offset, err)
	}
	if s.round > max(t.time.round, t.time.barrier) {
		t.time.barrier = s.round
	}
	if !t.inputs[i].writtenBy(s.by) {
		return nil
	}
	t.time.inputs[i].hear(s.by, s.reading.in(t.run), s.generation)
	t.time.inputs[i].combine()
	return t.advance()
}

// advance lets the task follow its inputs.
func (t *Task) advance() error {
	if !t.time.combine() && t.proc.Due() > t.time.now.watermark {
		return nil
	}
	return t.reached()
}

// reached lets the processor follow the task's watermark.
func (t *Task) reached() error {
	w := t.time.now.watermark
	if t.time.now.status == Finished {
		w = operators.MaxTime
	}
	// Until Advance has come to a step, the step is still where it was: it takes what those above it emit.
	if due := t.proc.Due(); w >= due && due != operators.MaxTime {
		if err := t.proc.Advance(w); err != nil {
			return err
		}
	}
	t.ctx.Watermark = t.time.now.watermark
	return nil
}

// Expect says that the log of an input is known to hold committed records up to this offset. A task of several inputs
// waits for them, so as to take all in the order of time.
func (t *Task) Expect(tp partition.TopicPartition, end int64) {
	if i, ok := t.source[tp]; ok {
		t.inputs[i].end = max(t.inputs[i].end, end)
	}
}

// Observe says that the log of an input ended at this offset at that time.
func (t *Task) Observe(tp partition.TopicPartition, end int64, at time.Time) {
	i, ok := t.source[tp]
	if !ok {
		return
	}
	in := &t.inputs[i]
	if len(in.queue) == 0 && in.next >= end {
		if in.caughtUp.IsZero() {
			in.caughtUp = at
		}
		return
	}
	in.caughtUp = time.Time{}
}

// Follow says how far the tasks of the sub-topology have come. While a task is idle its event time moves with that of
// the others: the windows of a partition that has gone silent must close, too.
func (t *Task) Follow(others operators.Time) { t.others = others }

// Waits says whether an idle task has something to do at a later watermark, so that it follows the others.
func (t *Task) Waits() bool {
	return t.time.now.status == Idle && t.proc.Due() != operators.MaxTime
}

// following says whether the others have come so far that it matters: here, or to those downstream, who wait for what
// is still to be emitted.
func (t *Task) following() bool {
	return t.Waits() && t.others > t.time.now.watermark && (t.others >= t.proc.Due() || len(t.out.outputs) > 0)
}

// outward is what the task says of itself. While it has something to emit later it is not idle to those downstream: they
// would go on without it, and find it late.
func (t *Task) outward() reading {
	r := t.time.now
	if held := t.proc.Held(); held != operators.MaxTime {
		return reading{watermark: min(r.watermark, held)}
	}
	if t.Waits() {
		r.status = Active
	}
	return r
}

// End makes the run a bounded one: the input is finished when the task has come to this offset, and what lies beyond
// is not processed. Nothing of the input may have been enqueued.
func (t *Task) End(tp partition.TopicPartition, offset int64) {
	if i, ok := t.source[tp]; ok {
		t.inputs[i].stop = offset
	}
}

// Due says whether Tick has something to do.
func (t *Task) Due(now time.Time) bool {
	wall := t.proc.WallDue()
	switch wallDue := wall <= now.UnixMilli() && wall != operators.MaxTime; {
	case t.calls.waiting():
		return true
	case t.waiting > 0:
		return wallDue && t.Full() // else records come first
	case wallDue:
		return true
	}
	for i := range t.inputs {
		if t.settled(i, now) != t.time.inputs[i].now.status && !t.inputs[i].internal {
			return true
		}
		if t.inputs[i].clock && t.clockMatters(now.UnixMilli()) {
			return true
		}
	}
	if t.proc.Due() <= t.time.now.watermark {
		return true // what was left of it
	}
	return t.following() || t.out.due(t, now)
}

// clockEvery is how often a task whose event time follows the clock tells those downstream how late it is.
const clockEvery = 1000 // milliseconds

// clockMatters says whether the time by the clock lets something be done, here or downstream.
func (t *Task) clockMatters(now operators.Time) bool {
	if due := t.proc.Due(); due != operators.MaxTime && due <= now {
		return true
	}
	return t.out.timed && len(t.out.outputs) > 0 && now-t.time.announced.at >= clockEvery
}

// settled is the status that an input of a user's topic should have.
func (t *Task) settled(i int, now time.Time) Status {
	in := &t.inputs[i]
	switch {
	case in.tp.Topic == "" || in.done():
		return Finished
	case t.out.timed && !in.caughtUp.IsZero() && now.Sub(in.caughtUp) >= t.idleAfter:
		return Idle
	}
	return Active
}

// Tick lets time pass where no record does it: calls have ended, inputs become idle or finished, timers of the wall clock
// fire. Acted says whether there is anything to be committed.
func (t *Task) Tick(now time.Time) (err error) {
	defer t.contain(&err)
	t.acted = t.acted || t.Due(now)
	if err := t.collect(); err != nil {
		return err
	}
	for i := range t.inputs {
		if !t.inputs[i].internal {
			t.time.inputs[i].now.status = t.settled(i, now)
		}
		if in := &t.time.inputs[i].now; t.inputs[i].clock {
			in.watermark = max(in.watermark, now.UnixMilli())
		}
	}
	if err := t.advance(); err != nil {
		return err
	}
	if t.following() {
		t.time.now.watermark = t.others
		if err := t.reached(); err != nil {
			return err
		}
	}
	if ms := now.UnixMilli(); ms >= t.proc.WallDue() && t.proc.WallDue() != operators.MaxTime {
		return t.proc.AdvanceWall(ms)
	}
	return nil
}

// Acted says whether a Tick since the last commit has done something.
func (t *Task) Acted() bool { return t.acted }

// announcer tells the tasks downstream how far event time has come, by records among the others.
type announcer struct {
	output     operators.Output
	outputs    []int // indexes of the repartition topics
	partitions []int32
	holds      []int64
	timed      bool
	every      time.Duration
	// quiet says that those downstream do not count this task as active: it must announce itself before the first
	// record.
	quiet      bool
	generation int32 // of the group
}

func newAnnouncer(o Options) announcer {
	a := announcer{output: o.Output, partitions: o.Partitions, timed: o.Timed, every: o.AnnounceEvery, holds: o.SubTopology.OutputHolds()}
	for i, out := range o.SubTopology.Outputs {
		if out.Internal {
			a.outputs = append(a.outputs, i)
		}
	}
	return a
}

// due says whether there is news. Where no step of the pipeline acts on event time, only the end is.
func (a *announcer) due(t *Task, now time.Time) bool {
	said, is := &t.time.announced, t.outward()
	switch {
	case len(a.outputs) == 0:
		return false
	case !said.made || is.status != said.status:
		return a.timed || is.status == Finished || said.made
	}
	return a.timed && is.watermark > said.watermark && now.UnixMilli()-said.at >= a.every.Milliseconds()
}

// SetGeneration tells the task of a new generation of the group. Others may have been restarted, and may know less of it than
// before: it says again what it is, before the first record that it writes.
func (t *Task) SetGeneration(generation int32) {
	if t.out.generation == generation {
		return
	}
	t.out.generation, t.out.quiet = generation, true
	t.time.announced.made, t.prepared.announced.made, t.confirmed.announced.made = false, false, false
}

// Barrier is the round of a checkpoint that an upstream task has entered before it wrote what comes next: 0 if there is
// none. The task processes nothing more until it has entered the round itself, and committed.
func (t *Task) Barrier() int64 { return t.time.barrier }

// Round is the newest checkpoint round that the task has entered.
func (t *Task) Round() int64 { return t.time.round }

// Enter makes the next commit the task's cut of a round, and Prepare tell those downstream. A round that is not newer than
// the one entered last changes nothing.
func (t *Task) Enter(round int64) { t.time.round, t.time.barrier = max(t.time.round, round), 0 }

// announce writes r to every partition of every repartition topic that the task feeds.
func (a *announcer) announce(t *Task, r reading) {
	a.quiet = r.status != Active
	t.time.announced = announcement{reading: r, made: true, at: t.now().UnixMilli()}
	for _, i := range a.outputs {
		own := reading{operators.Later(r.watermark, -a.holds[i]), r.status, t.run}
		for p := range a.partitions[i] {
			buf := said{t.id, own, t.time.round, a.generation}.appendTo(a.output.Buffer())
			// Stamped with event time, so that it takes its place between the records of the other inputs.
			a.output.Emit(operators.Emission{
				Topic: i, Partition: p, Buf: buf, KeyLen: -1, Time: max(0, min(own.watermark, operators.MaxTime-1)), Control: true,
			})
		}
	}
}

// Upstream returns, for each source of a sub-topology, the tasks that write it, where it is a repartition topic. The
// tasks of a sub-topology are counted by tasks.
func Upstream(all *topology.Topology, sub *topology.SubTopology, tasks func(subTopology int32) int32) [][]partition.TaskID {
	writers := make([][]partition.TaskID, len(sub.Sources))
	for i, src := range sub.Sources {
		if !src.Internal {
			continue
		}
		for _, w := range all.Writers(src.Topic) {
			for p := range tasks(w) {
				writers[i] = append(writers[i], partition.TaskID{SubTopology: w, Partition: p})
			}
		}
	}
	return writers
}
