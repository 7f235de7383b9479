// SPDX-License-Identifier: Apache-2.0

package task

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// Status says what may be expected of an input, or of an upstream task.
type Status uint8

// The statuses. A minimum of watermarks is taken over what is active; what is finished counts as the end of time.
const (
	Active   Status = iota // it has records, or may have
	Idle                   // all there is has been processed; more may come
	Finished               // all there will be in this run has been processed
)

// reading is what one input, or one upstream task, says of event time.
type reading struct {
	watermark operators.Time
	status    Status
	run       string // of what is finished: the bounded run whose end it has come to
}

// in is the reading as it counts in a run: what has finished another one is idle in this.
func (r reading) in(run string) reading {
	if r.status == Finished && (run == "" || r.run != run) {
		r.status = Idle
	}
	return r
}

// combined is the reading of several inputs: the lowest watermark of those which are active. If none is, the highest:
// what has gone idle holds nobody back, and all that there is has been seen.
type combined struct {
	lowest, highest operators.Time
	status          Status
}

func newCombined() combined { return combined{operators.MaxTime, operators.MinTime, Finished} }

func (c *combined) add(r reading) {
	c.highest = max(c.highest, r.watermark)
	c.status = min(c.status, r.status)
	if r.status == Active {
		c.lowest = min(c.lowest, r.watermark)
	}
}

func (c *combined) reading() reading {
	if c.status == Active {
		return reading{watermark: c.lowest}
	}
	return reading{watermark: c.highest, status: c.status}
}

// Progress is how far several tasks have come together. The zero value is not valid, see NewProgress.
type Progress struct{ all combined }

// NewProgress is that of no task.
func NewProgress() Progress { return Progress{newCombined()} }

// Add takes one task into account.
func (p *Progress) Add(watermark operators.Time, s Status) {
	p.all.add(reading{watermark: watermark, status: s})
}

// Watermark is the lowest of those which are active, or the highest if none is.
func (p *Progress) Watermark() operators.Time { return p.all.reading().watermark }

// upstream is what a task has heard of one task that writes an input of it, and in which generation of the group. What was
// idle may have got records since: that it is idle counts until some task of a newer generation is heard. From then on the
// task is waited for, until it has spoken in that generation, too, as each does.
type upstream struct {
	task       partition.TaskID
	heard      reading
	generation int32
}

// inputTime is what a task knows of event time in one input. Of a user's topic that is the newest time of a record, of
// a repartition topic what the upstream tasks have announced.
type inputTime struct {
	newest   operators.Time
	upstream []upstream // sorted by task; nil for a user's topic
	now      reading
}

// hear takes an announcement. Watermarks never go back: an owner that has just taken the upstream task over may know
// less than the one before.
func (in *inputTime) hear(from partition.TaskID, r reading, generation int32) {
	i, ok := slices.BinarySearchFunc(in.upstream, from, func(u upstream, id partition.TaskID) int { return u.task.Compare(id) })
	if !ok {
		in.upstream = slices.Insert(in.upstream, i, upstream{from, r, generation})
		return
	}
	u := &in.upstream[i]
	r.watermark = max(r.watermark, u.heard.watermark)
	u.heard, u.generation = r, generation
}

// combine brings the reading of a repartition topic up to date.
func (in *inputTime) combine() {
	all, newest := newCombined(), int32(0)
	for _, u := range in.upstream {
		newest = max(newest, u.generation)
	}
	for _, u := range in.upstream {
		r := u.heard
		if r.status == Idle && u.generation < newest {
			r.status = Active
		}
		all.add(r)
	}
	in.now = all.reading()
}

// announcement is what a task has told those downstream.
type announcement struct {
	reading
	made bool
	at   operators.Time // by the wall clock
}

// eventTime is all that a task knows of event time. It belongs to an epoch: an abort brings back what was confirmed.
type eventTime struct {
	inputs    []inputTime
	now       reading // of the task
	announced announcement
	round     int64 // newest checkpoint round that the task has entered
	barrier   int64 // a newer one that an upstream task has announced; 0: none
}

func (e *eventTime) clone() eventTime {
	c := *e
	c.inputs = slices.Clone(e.inputs)
	for i := range c.inputs {
		c.inputs[i].upstream = slices.Clone(c.inputs[i].upstream)
	}
	return c
}

// combine brings the task's own reading up to date and says whether it has changed. Its watermark never goes back.
func (e *eventTime) combine() bool {
	all := newCombined()
	for i := range e.inputs {
		all.add(e.inputs[i].now)
	}
	r := all.reading()
	r.watermark = max(r.watermark, e.now.watermark)
	changed := r != e.now
	e.now = r
	return changed
}

const announcementFormat = 2

// said is an announcement as it is written: what a task says of itself, in which generation of the group, and which round
// it has entered.
type said struct {
	by         partition.TaskID
	reading    reading
	round      int64
	generation int32
}

func (s said) appendTo(dst []byte) []byte {
	dst = append(dst, announcementFormat, byte(s.reading.status))
	dst = binary.AppendUvarint(dst, uint64(s.by.SubTopology))
	dst = binary.AppendUvarint(dst, uint64(s.by.Partition))
	dst = binary.AppendVarint(dst, s.reading.watermark)
	dst = binary.AppendUvarint(dst, uint64(s.round))
	dst = binary.AppendUvarint(dst, uint64(s.generation))
	return append(dst, s.reading.run...)
}

// isControl says whether a record of a repartition topic is an announcement.
func isControl(r *operators.Record) bool {
	return len(r.Headers) == 1 && r.Headers[0].Key == operators.ControlHeader
}

// decodeAnnouncement reads what appendTo has written.
func decodeAnnouncement(b []byte) (said, error) {
	if len(b) < 2 || b[0] != announcementFormat || Status(b[1]) > Finished {
		return said{}, fmt.Errorf("decode announcement of %d bytes: %w", len(b), ErrPosition)
	}
	r := reader{b: b[2:]}
	s := said{by: partition.TaskID{SubTopology: int32(r.uvarint()), Partition: int32(r.uvarint())}}
	s.reading = reading{watermark: r.varint(), status: Status(b[1])}
	s.round, s.generation = int64(r.uvarint()), int32(r.uvarint())
	s.reading.run = string(r.b)
	if r.bad || s.round < 0 || s.generation < 0 {
		return said{}, fmt.Errorf("decode announcement of %d bytes: %w", len(b), ErrPosition)
	}
	return s, nil
}
