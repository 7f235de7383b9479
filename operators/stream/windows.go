// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"time"

	"github.com/streamd/streamd/operators"
)

// Window is a stretch of event time: Start belongs to it, End does not.
type Window struct{ Start, End operators.Time }

// StartTime and EndTime are the ends as times, in UTC.
func (w Window) StartTime() time.Time { return time.UnixMilli(w.Start).UTC() }

// EndTime is the first instant after the window, in UTC.
func (w Window) EndTime() time.Time { return time.UnixMilli(w.End).UTC() }

// Windowed is a key in one window.
type Windowed[K any] struct {
	Key K
	Window
}

// Windows says how the records of a key are cut into windows of event time, until when late ones are taken, and when
// results are emitted. It is a value: each method returns a changed copy.
type Windows struct {
	kind  windowKind
	size  int64 // milliseconds; of a session: the gap
	every int64 // hopping: from one window's start to the next
	unit  CalendarUnit
	zone  *time.Location
	grace int64
	emit  emitMode
	tick  int64 // emitEvery
	wrong string
}

type windowKind string

const (
	tumbling windowKind = "tumbling"
	hopping  windowKind = "hopping"
	sliding  windowKind = "sliding"
	session  windowKind = "session"
	calendar windowKind = "calendar"
)

type emitMode uint8

const (
	emitOnUpdate emitMode = iota
	emitOnClose
	emitEvery
)

// Tumbling windows have one size and follow each other without a gap. They begin at multiples of the size since 1970.
func Tumbling(size time.Duration) Windows {
	return Windows{kind: tumbling, every: ms(size)}.sized("size", size)
}

// Hopping windows have one size, and a new one begins after each hop: a record is in several if the hop is shorter
// than the size. They begin at multiples of the hop since 1970.
func Hopping(size, hop time.Duration) Windows {
	w := Windows{kind: hopping, every: ms(hop)}.sized("hop", hop)
	return w.sized("size", size)
}

// Sliding gives each record a window of its own: the size up to and including the record's time.
func Sliding(size time.Duration) Windows {
	return Windows{kind: sliding}.sized("size", size)
}

// Session windows hold records of a key that are no further apart than the gap. A session ends a gap after its last
// record; two that a record brings together become one.
func Session(gap time.Duration) Windows {
	return Windows{kind: session}.sized("gap", gap)
}

// CalendarUnit is the length of a calendar window.
type CalendarUnit uint8

// The units. A week begins on Monday.
const (
	Day CalendarUnit = iota
	Week
	Month
	Year
)

// Calendar windows are the days, weeks, months or years of a time zone, whatever their length.
func Calendar(unit CalendarUnit, zone *time.Location) Windows {
	w := Windows{kind: calendar, unit: unit, zone: zone}
	switch {
	case unit > Year:
		w.wrong = fmt.Sprintf("the calendar unit %d is not known; use Day, Week, Month or Year", unit)
	case zone == nil:
		w.wrong = "the calendar has no time zone; give it one, time.UTC for instance"
	}
	return w
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

func (w Windows) sized(what string, d time.Duration) Windows {
	w.size = ms(d)
	if d < time.Millisecond || d%time.Millisecond != 0 {
		w.wrong = fmt.Sprintf("the %s %v is not a positive number of milliseconds; choose another", what, d)
	}
	return w
}

// Grace is for how much event time after its end a window takes late records. The default is none.
func (w Windows) Grace(d time.Duration) Windows {
	w.grace = ms(d)
	if d < 0 {
		w.wrong = fmt.Sprintf("the grace %v is negative; choose zero or more", d)
	}
	return w
}

// EmitOnUpdate emits a window's result each time that a record changes it. It is the default.
func (w Windows) EmitOnUpdate() Windows {
	w.emit = emitOnUpdate
	return w
}

// EmitOnClose emits one result per window, when no record of it is expected any more: once the watermark has passed
// its end and the grace.
func (w Windows) EmitOnClose() Windows {
	w.emit = emitOnClose
	return w
}

// EmitEvery emits the windows that have changed each time that event time has come a further d, and the last results
// when they close.
func (w Windows) EmitEvery(d time.Duration) Windows {
	w.emit, w.tick = emitEvery, ms(d)
	if d < time.Millisecond {
		w.wrong = fmt.Sprintf("EmitEvery(%v) is less than a millisecond; choose more", d)
	}
	return w
}

// first returns the start of the earliest window that a time is in.
func (w *Windows) first(t operators.Time) operators.Time {
	switch w.kind {
	case calendar:
		return w.calendarStart(t)
	case hopping:
		return floor(t-w.size, w.every) + w.every
	default:
		return floor(t, w.every)
	}
}

// next returns the start of the window after the one that begins at start.
func (w *Windows) next(start operators.Time) operators.Time {
	if w.kind == calendar {
		return w.end(start)
	}
	return start + w.every
}

// end returns the end of the window that begins at start.
func (w *Windows) end(start operators.Time) operators.Time {
	if w.kind != calendar {
		return start + w.size
	}
	t := time.UnixMilli(start).In(w.zone)
	y, m, d := t.Date()
	switch w.unit {
	case Day:
		d++
	case Week:
		d += 7
	case Month:
		m, d = m+1, 1
	case Year:
		y, m, d = y+1, time.January, 1
	}
	return time.Date(y, m, d, 0, 0, 0, 0, w.zone).UnixMilli()
}

func (w *Windows) calendarStart(at operators.Time) operators.Time {
	y, m, d := time.UnixMilli(at).In(w.zone).Date()
	switch w.unit {
	case Week:
		weekday := time.Date(y, m, d, 12, 0, 0, 0, w.zone).Weekday()
		d -= (int(weekday) + 6) % 7 // since Monday
	case Month:
		d = 1
	case Year:
		m, d = time.January, 1
	}
	return time.Date(y, m, d, 0, 0, 0, 0, w.zone).UnixMilli()
}

// closes returns the watermark at which the window that begins at start takes nothing more.
func (w *Windows) closes(start operators.Time) operators.Time {
	return operators.Later(w.end(start), w.grace)
}

// floor is the largest multiple of m that is not above t.
func floor(t, m int64) int64 {
	r := t % m
	if r < 0 {
		r += m
	}
	return t - r
}
