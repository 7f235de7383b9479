// SPDX-License-Identifier: Apache-2.0

package model

import (
	"strconv"
	"time"

	"github.com/streamd/streamd/operators/codec/jsonscan"
)

// Writer appends a flat JSON object, member by member. Each method is given what stands before the value: the brace or
// comma, the name in quotes, and the colon.
type Writer struct {
	dst []byte
	err error // the first
}

// Write begins an object behind dst.
func Write(dst []byte) Writer { return Writer{dst: dst} }

// Int appends a whole number.
func (w *Writer) Int(before string, v int64) {
	w.dst = strconv.AppendInt(append(w.dst, before...), v, 10)
}

// Thousandths appends v/1000 as a decimal with three places.
func (w *Writer) Thousandths(before string, v int64) {
	w.dst = append(w.dst, before...)
	if v < 0 {
		w.dst = append(w.dst, '-')
		v = -v
	}
	w.dst = strconv.AppendInt(w.dst, v/1000, 10)
	v %= 1000
	w.dst = append(w.dst, '.', '0'+byte(v/100), '0'+byte(v/10%10), '0'+byte(v%10))
}

// Text appends a string.
func (w *Writer) Text(before, v string) {
	var err error
	if w.dst, err = jsonscan.AppendString(append(w.dst, before...), v); err != nil && w.err == nil {
		w.err = err
	}
}

// End closes the object and returns the grown slice with the first error.
func (w *Writer) End() ([]byte, error) { return append(w.dst, '}'), w.err }

// Time appends a time, given in Unix milliseconds, as a string of a layout without characters that JSON escapes. It is
// UTC.
func (w *Writer) Time(before string, millis int64, layout string) {
	w.dst = append(append(w.dst, before...), '"')
	w.dst = append(time.UnixMilli(millis).UTC().AppendFormat(w.dst, layout), '"')
}
