// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/hex"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A value is one of
//
//	nil               nothing: a deletion, an entry of keys only, a result that is not there
//	bool, int64, uint64, float64, string, time.Time
//	[]byte            bytes, or what no known codec reads
//	jsontext.Value    JSON, valid and without spaces
//	[]any, map[string]any   parts of JSON, as a Query takes them out of it

// Type says what the values of a column are. Each may also be nil or, where they do not decode, bytes.
type Type int

// The types of columns.
const (
	Bytes  Type = iota // []byte
	String             // string
	Int                // int64
	Uint               // uint64
	Float              // float64
	Bool               // bool
	Time               // time.Time in UTC
	JSON               // jsontext.Value
)

// hexPrefix begins bytes that are no text.
const hexPrefix = "0x"

// bytesText writes bytes as text if they are text that nobody takes for hexadecimal, else in hexadecimal.
func bytesText(b []byte) string {
	if IsText(b) && !strings.HasPrefix(string(b), hexPrefix) {
		return string(b)
	}
	return hexPrefix + hex.EncodeToString(b)
}

// IsText says whether bytes are printable UTF-8, lines and tabs included.
func IsText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && r != '\t' && r != '\n' {
			return false
		}
	}
	return true
}

// Text writes a value for people. Nothing is "-".
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return v
	case []byte:
		return bytesText(v)
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		return floatText(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case jsontext.Value:
		return string(v)
	}
	return string(appendJSON(nil, v))
}

func floatText(f float64) string {
	if abs := math.Abs(f); abs >= 1e15 || abs != 0 && abs < 1e-6 {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// appendJSON appends a value as JSON on one line. Numbers that JSON does not have are texts.
func appendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool, int64, uint64:
		return append(dst, Text(v)...)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return quote(dst, Text(v))
		}
		return append(dst, floatText(v)...)
	case jsontext.Value:
		return append(dst, v...)
	case []any, map[string]any:
		text, err := json.Marshal(v, json.Deterministic(true))
		if err != nil {
			return quote(dst, fmt.Sprint(v))
		}
		return append(dst, text...)
	}
	return quote(dst, Text(v))
}

func quote(dst []byte, s string) []byte {
	quoted, err := jsontext.AppendQuote(dst, s)
	if err != nil { // not UTF-8, as a text in a query may be
		quoted, _ = jsontext.AppendQuote(dst, strings.ToValidUTF8(s, "\ufffd")) // which cannot fail
	}
	return quoted
}

// JSONOf returns a value as JSON on one line.
func JSONOf(v any) jsontext.Value { return appendJSON(nil, v) }
