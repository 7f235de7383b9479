// SPDX-License-Identifier: Apache-2.0

package jsonscan

import (
	"encoding/json/jsontext"
	"io"
	"strconv"
	"unsafe"
)

// Int64 reads the member's value, a number without fraction and exponent.
func (o *Object) Int64() int64 {
	c, start, negative := o.begin(), o.pos, false
	switch {
	case c == '-':
		negative = true
		o.pos++
	case c-'0' > 9:
		o.nullOr("an integer")
		return 0
	}
	n, ok := o.digits()
	limit := uint64(1) << 63 // the magnitude of the least number
	if !negative {
		limit--
	}
	if !ok || n > limit {
		o.fail(start, "a number does not fit int64")
		return 0
	}
	if negative {
		return -int64(n)
	}
	return int64(n)
}

// Uint64 reads the member's value, a number without sign, fraction and exponent.
func (o *Object) Uint64() uint64 {
	if c := o.begin(); c-'0' > 9 {
		o.nullOr("an unsigned integer")
		return 0
	}
	start := o.pos
	n, ok := o.digits()
	if !ok {
		o.fail(start, "a number does not fit uint64")
		return 0
	}
	return n
}

// digits reads an integer without its sign. It is false for one that has a fraction, an exponent or leading zeros, or
// that is larger than an uint64.
func (o *Object) digits() (n uint64, ok bool) {
	src, start, i := o.src, o.pos, o.pos
	for ; i < len(src); i++ {
		d := uint64(src[i] - '0')
		if d > 9 {
			break
		}
		if n > (1<<64-1)/10 || n == (1<<64-1)/10 && d > 5 {
			return 0, false
		}
		n = n*10 + d
	}
	o.pos = i
	o.at = afterValue
	switch {
	case i == start, src[start] == '0' && i > start+1:
		return 0, false
	case i < len(src) && (src[i] == '.' || src[i]|0x20 == 'e'):
		return 0, false
	}
	return n, true
}

// Float64 reads the member's value, a number.
func (o *Object) Float64() float64 {
	if c := o.begin(); c != '-' && c-'0' > 9 {
		o.nullOr("a number")
		return 0
	}
	start := o.pos
	o.number()
	if o.err != nil {
		return 0
	}
	f, err := strconv.ParseFloat(view(o.src[start:o.pos]), 64)
	if err != nil {
		o.fail(start, "a number does not fit float64")
		return 0
	}
	return f
}

// Bool reads the member's value, true or false.
func (o *Object) Bool() bool {
	switch c := o.begin(); {
	case c == 't' && o.word("true"):
		return true
	case c == 'f' && o.word("false"):
	case c == 't' || c == 'f':
		o.syntax()
	default:
		o.nullOr("a boolean")
	}
	return false
}

// String reads the member's value, a string, without its escapes. It shares no memory with the input.
func (o *Object) String() string {
	if c := o.begin(); c != '"' {
		o.nullOr("a string")
		return ""
	}
	start := o.pos
	raw, escaped := o.text()
	o.at = afterValue
	if escaped {
		raw = o.unescape(nil, start)
	}
	if o.err != nil {
		return ""
	}
	if escaped {
		return view(raw) // nobody else has it
	}
	return string(raw)
}

// Raw returns the bytes of the member's value as they are in the input, of which they are a part. Whatever is made of
// them, they were checked to be valid JSON.
func (o *Object) Raw() []byte {
	o.begin()
	start := o.pos
	o.Skip()
	if o.err != nil {
		return nil
	}
	return o.src[start:o.pos:o.pos]
}

// Skip jumps over the member's value. Next does so by itself.
func (o *Object) Skip() {
	switch c := o.begin(); c {
	case '"':
		start := o.pos
		if _, escaped := o.text(); escaped {
			var room [256]byte
			o.unescape(room[:0], start) // for its checks
		}
	case '{', '[':
		o.check()
		o.nested()
	case 't':
		_ = o.word("true") || o.syntax()
	case 'f':
		_ = o.word("false") || o.syntax()
	case 'n':
		_ = o.word("null") || o.syntax()
	default:
		o.number()
	}
	o.at = afterValue
}

// begin jumps to the first byte of the member's value, which must not have been read yet.
func (o *Object) begin() byte {
	if o.err != nil {
		return 0
	}
	if o.at != beforeValue {
		o.fail(o.pos, "a value is read twice, or before Next")
		return 0
	}
	return o.peek()
}

// nullOr reads null, and refuses anything else because it is not of the kind that was asked for.
func (o *Object) nullOr(kind string) {
	switch {
	case o.err != nil:
	case o.peek() != 'n':
		o.mismatch(kind)
	case !o.word("null"):
		o.syntax()
	default:
		o.at = afterValue
	}
}

// mismatch reports a value of another kind than the one that was asked for.
func (o *Object) mismatch(kind string) {
	switch c := o.peek(); {
	case c == '"' || c == '{' || c == '[' || c == 't' || c == 'f' || c == '-' || c-'0' <= 9:
		o.fail(o.pos, "the value is not "+kind)
	default:
		o.syntax()
	}
}

// word reads a literal.
func (o *Object) word(w string) bool {
	if len(o.src)-o.pos < len(w) || string(o.src[o.pos:o.pos+len(w)]) != w {
		return false
	}
	o.pos += len(w)
	o.at = afterValue
	return true
}

// number jumps over a number of any form.
func (o *Object) number() {
	src, i := o.src, o.pos
	digits := func() bool {
		from := i
		for i < len(src) && src[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if i < len(src) && src[i] == '-' {
		i++
	}
	whole := i
	valid := digits() && (src[whole] != '0' || i == whole+1)
	if valid && i < len(src) && src[i] == '.' {
		i++
		valid = digits()
	}
	if valid && i < len(src) && src[i]|0x20 == 'e' {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		valid = digits()
	}
	o.pos = i
	o.at = afterValue
	if !valid {
		o.syntax()
	}
}

// nested jumps over an array or object of an input that was checked.
func (o *Object) nested() {
	depth := 0
	for o.err == nil {
		switch o.src[o.pos] {
		case '"':
			o.text()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		o.pos++
		if depth == 0 {
			return
		}
	}
}

// unescape returns the string whose opening quote is at start and which ends before pos, appended to dst.
func (o *Object) unescape(dst []byte, start int) []byte {
	if o.err != nil {
		return nil
	}
	dst, err := jsontext.AppendUnquote(dst, o.src[start:o.pos])
	if err != nil {
		o.fail(start, "a string has an escape that is not valid")
	}
	return dst
}

// view is b as a string without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// memory reads bytes. It is smaller than bytes.Reader, and known to jsontext for nothing but reading.
type memory struct{ rest []byte }

func (m *memory) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}
