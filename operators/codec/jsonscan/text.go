// SPDX-License-Identifier: Apache-2.0

package jsonscan

import (
	"encoding/binary"
	"encoding/json/jsontext"
	"errors"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

const (
	eachByte = 0x0101010101010101
	highBits = 0x8080808080808080
)

// special returns the first index from i on of a byte that does not stand for itself in a string, or may not: a quote,
// a backslash, a control character, or a byte that is not ASCII. It looks at eight bytes at a time, as numbers.
func special(s []byte, i int) int {
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		quote, backslash := w^('"'*eachByte), w^('\\'*eachByte)
		// A byte of a difference is 0 where it matches; subtracting one from it sets its high bit. A borrow spoils only
		// the bytes behind a match.
		found := ((quote-eachByte)&^quote | (backslash-eachByte)&^backslash | (w - ' '*eachByte) | w) & highBits
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			return i
		}
	}
	return i
}

// text reads the string whose opening quote is at pos. It returns what is between the quotes, and whether that has
// escapes, which are not checked.
func (o *Object) text() (raw []byte, escaped bool) {
	src, start := o.src, o.pos+1
	i := special(src, start)
	ascii := true
	for i < len(src) {
		switch c := src[i]; {
		case c == '"':
			raw = src[start:i:i]
			o.pos = i + 1
			if !ascii && !utf8.Valid(raw) {
				o.fail(start, "a string is not valid UTF-8")
			}
			return raw, escaped
		case c == '\\':
			escaped = true
			i += 2
		case c < ' ':
			o.pos = i
			o.syntax()
			return nil, false
		default:
			ascii = false
			i++
		}
		i = special(src, min(i, len(src)))
	}
	o.pos = len(src)
	o.syntax()
	return nil, false
}

var errNotUTF8 = errors.New("json: a string is not valid UTF-8")

// AppendString appends s as a JSON string. Invalid UTF-8 is an error, as for codec.JSON.
func AppendString(dst []byte, s string) ([]byte, error) {
	if special(unsafe.Slice(unsafe.StringData(s), len(s)), 0) == len(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"'), nil
	}
	out, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		return dst, errNotUTF8
	}
	return out, nil
}
