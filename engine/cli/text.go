// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/hex"
	"encoding/json/jsontext"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/streamd/streamd/operators/codec"
)

// Keys and values are bytes; what they mean is known by the id of their codec. Only the built-in codecs are
// known here, which is all that a command line has: others are shown as text if they are text, else as 0x….

const hexPrefix = "0x"

// parseText encodes what a user typed as the codec would.
func parseText(codecID, s string) ([]byte, error) {
	switch kind, _, _ := strings.Cut(codecID, ":"); kind {
	case codec.String.ID():
		return []byte(s), nil
	case codec.Int64.ID():
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, failf(exitUsage, "%q is not a whole number, which the key of codec %s is", s, codecID)
		}
		return codec.Int64.Append(nil, n)
	case codec.Uint64.ID():
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, failf(exitUsage, "%q is not a whole number without a sign, which the key of codec %s is", s, codecID)
		}
		return codec.Uint64.Append(nil, n)
	case "json":
		v := jsontext.Value(s)
		if err := v.Compact(); err != nil {
			return nil, failf(exitUsage, "%q is not JSON, which the key of codec %s is: a string needs quotes of its own", s, codecID)
		}
		return v, nil
	}
	digits, isHex := strings.CutPrefix(s, hexPrefix)
	if !isHex {
		return []byte(s), nil
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, failf(exitUsage, "%q is not hexadecimal: %w", s, err)
	}
	return b, nil
}

// textOf writes bytes for people, as the codec means them.
func textOf(codecID string, b []byte) string {
	switch codecID {
	case codec.Int64.ID():
		if n, err := codec.Int64.Decode(b); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case codec.Uint64.ID():
		if n, err := codec.Uint64.Decode(b); err == nil {
			return strconv.FormatUint(n, 10)
		}
	}
	if isText(b) {
		return string(b)
	}
	return hexPrefix + hex.EncodeToString(b)
}

// jsonOf writes bytes as a JSON value, as the codec means them.
func jsonOf(codecID string, b []byte) jsontext.Value {
	text := textOf(codecID, b)
	switch kind, _, _ := strings.Cut(codecID, ":"); kind {
	case "json":
		if v := jsontext.Value(b); v.IsValid() {
			return v
		}
	case codec.Int64.ID(), codec.Uint64.ID():
		if v := jsontext.Value(text); v.IsValid() {
			return v
		}
	}
	quoted, err := jsontext.AppendQuote(nil, text)
	if err != nil { // only for text that is not UTF-8, which textOf never returns
		panic(fmt.Sprintf("cli: quote %q: %v", text, err))
	}
	return quoted
}

// guess writes bytes of an unknown codec: text as text, and eight bytes that are no text as the number that they
// are in streamd's own encoding of numbers.
func guess(b []byte) string {
	if isText(b) {
		return string(b)
	}
	if len(b) == 8 && b[0]&0x80 != 0 {
		return textOf(codec.Int64.ID(), b)
	}
	return textOf(codec.Uint64.ID(), b)
}

func isText(b []byte) bool {
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
