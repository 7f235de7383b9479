// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"cmp"
	"encoding/json/jsontext"
	"math"
	"strconv"
	"time"
)

// part takes JSON apart, with whole numbers as such; other values are parts already.
func part(v any) any {
	text, ok := v.(jsontext.Value)
	if !ok {
		return v
	}
	taken, err := takeApart(jsontext.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		return nil // cannot be, since the value was valid
	}
	return taken
}

func takeApart(d *jsontext.Decoder) (any, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		return t.Bool(), nil
	case jsontext.KindString:
		return t.String(), nil
	case jsontext.KindNumber:
		return number(t.String()), nil
	case jsontext.KindBeginArray:
		list := []any{}
		for d.PeekKind() != jsontext.KindEndArray {
			v, err := takeApart(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.ReadToken()
		return list, err
	case jsontext.KindBeginObject:
		object := map[string]any{}
		for d.PeekKind() != jsontext.KindEndObject {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String()
			if object[key], err = takeApart(d); err != nil {
				return nil, err
			}
		}
		_, err := d.ReadToken()
		return object, err
	}
	return nil, nil
}

// number reads a number: whole if it is written so and fits, else with 53 bits of precision.
func number(digits string) any {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(digits, 64) // out of range is infinite
	return f
}

func asFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// The classes of values; those of different ones do not compare. Their order is that of ORDER BY.
const (
	nothing = iota
	truth
	numeric
	moment
	textual
	composite
)

func classOf(v any) int {
	switch v.(type) {
	case nil:
		return nothing
	case bool:
		return truth
	case int64, uint64, float64:
		return numeric
	case time.Time:
		return moment
	case string, []byte:
		return textual
	}
	return composite
}

// compare orders two values; not ok if they do not compare. A time and a text compare if the text is a time.
func compare(a, b any) (order int, ok bool) {
	x, y := classOf(a), classOf(b)
	if x == moment && y == textual {
		if t, err := time.Parse(time.RFC3339Nano, Text(b)); err == nil {
			return a.(time.Time).Compare(t), true
		}
		return 0, false
	}
	if x == textual && y == moment {
		order, ok = compare(b, a)
		return -order, ok
	}
	if x != y || x == nothing {
		return 0, false
	}
	return sameClass(a, b), true
}

// sorted orders any two values, as ORDER BY, min and max do.
func sorted(a, b any) int {
	if x, y := classOf(a), classOf(b); x != y {
		return cmp.Compare(x, y)
	}
	return sameClass(a, b)
}

func sameClass(a, b any) int {
	switch x := a.(type) {
	case nil:
		return 0
	case bool:
		y := b.(bool)
		switch {
		case x == y:
			return 0
		case x:
			return 1
		}
		return -1
	case time.Time:
		return x.Compare(b.(time.Time))
	case int64, uint64, float64:
		return compareNumbers(a, b)
	case string, []byte:
		return cmp.Compare(plainText(a), plainText(b))
	}
	return bytes.Compare(appendJSON(nil, a), appendJSON(nil, b))
}

// plainText is the text that a text or bytes compare by.
func plainText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return bytesText(v.([]byte))
}

// compareNumbers loses no precision between whole numbers.
func compareNumbers(a, b any) int {
	switch x := a.(type) {
	case int64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, y)
		case uint64:
			if x < 0 {
				return -1
			}
			return cmp.Compare(uint64(x), y)
		}
	case uint64:
		switch y := b.(type) {
		case uint64:
			return cmp.Compare(x, y)
		case int64:
			return -compareNumbers(b, a)
		}
	}
	x, _ := asFloat(a)
	y, _ := asFloat(b)
	return cmp.Compare(x, y)
}

// appendIdentity appends what tells values apart in groups. Numbers of one value are the same, however they are kept.
func appendIdentity(dst []byte, v any) []byte {
	if f, ok := v.(float64); ok && f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		v = int64(f)
	}
	if n, ok := v.(uint64); ok && n <= math.MaxInt64 {
		v = int64(n)
	}
	text := appendJSON(nil, v)
	dst = append(dst, byte(classOf(v)))
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	return append(append(dst, ':'), text...)
}

// sizeOf estimates the memory that a value takes.
func sizeOf(v any) int {
	const word = 16
	switch v := v.(type) {
	case string:
		return word + len(v)
	case []byte:
		return word + len(v)
	case jsontext.Value:
		return word + len(v)
	case []any:
		n := word
		for _, x := range v {
			n += word + sizeOf(x)
		}
		return n
	case map[string]any:
		n := 3 * word
		for k, x := range v {
			n += 2*word + len(k) + sizeOf(x)
		}
		return n
	}
	return word
}
