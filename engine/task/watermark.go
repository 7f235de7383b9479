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

// upstream is what a task has heard of one task that writes an input of it.
type upstream struct {
	task  partition.TaskID
	heard reading
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
func (in *inputTime) hear(from partition.TaskID, r reading) {
	i, ok := slices.BinarySearchFunc(in.upstream, from, func(u upstream, id partition.TaskID) int { return u.task.Compare(id) })
	if !ok {
		in.upstream = slices.Insert(in.upstream, i, upstream{from, r})
		return
	}
	u := &in.upstream[i]
	r.watermark = max(r.watermark, u.heard.watermark)
	u.heard = r
}

// combine brings the reading of a repartition topic up to date.
func (in *inputTime) combine() {
	all := newCombined()
	for _, u := range in.upstream {
		all.add(u.heard)
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

// appendAnnouncement encodes what a task says of itself, and which round it has entered.
func appendAnnouncement(dst []byte, id partition.TaskID, r reading, round int64) []byte {
	dst = append(dst, announcementFormat, byte(r.status))
	dst = binary.AppendUvarint(dst, uint64(id.SubTopology))
	dst = binary.AppendUvarint(dst, uint64(id.Partition))
	dst = binary.AppendVarint(dst, r.watermark)
	dst = binary.AppendUvarint(dst, uint64(round))
	return append(dst, r.run...)
}

// isControl says whether a record of a repartition topic is an announcement.
func isControl(r *operators.Record) bool {
	return len(r.Headers) == 1 && r.Headers[0].Key == operators.ControlHeader
}

// decodeAnnouncement reads what appendAnnouncement has written.
func decodeAnnouncement(b []byte) (id partition.TaskID, heard reading, round int64, err error) {
	if len(b) < 2 || b[0] != announcementFormat || Status(b[1]) > Finished {
		return id, heard, 0, fmt.Errorf("decode announcement of %d bytes: %w", len(b), ErrPosition)
	}
	r := reader{b: b[2:]}
	id = partition.TaskID{SubTopology: int32(r.uvarint()), Partition: int32(r.uvarint())}
	heard = reading{watermark: r.varint(), status: Status(b[1])}
	round = int64(r.uvarint())
	heard.run = string(r.b)
	if r.bad || round < 0 {
		return id, heard, 0, fmt.Errorf("decode announcement of %d bytes: %w", len(b), ErrPosition)
	}
	return id, heard, round, nil
}
