// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/hex"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/operators/codec"
)

// ErrKey says that a text does not stand for a key of the codec.
var ErrKey = errors.New("not a key of this store")

// EncodeKey returns the key that a text stands for: a number, true or false, a time as RFC 3339, a UUID, a text as it is,
// other keys as JSON, bytes as text or 0x…. An error wraps ErrKey.
func (s *Store) EncodeKey(text string) ([]byte, error) {
	return s.views.encode(s.KeyCodec, text)
}

// EncodeSubKey is EncodeKey for sub-keys. It is ErrKey for a store that has none.
func (s *Store) EncodeSubKey(text string) ([]byte, error) {
	if !s.HasSubKey() {
		return nil, fmt.Errorf("store %s is not a map, it has no sub-keys: %w", s.Name, ErrKey)
	}
	return s.views.encode(s.SubKeyCodec, text)
}

func (v views) encode(id, text string) ([]byte, error) {
	b, what, err := v.parse(id, text)
	if err != nil {
		return nil, fmt.Errorf("%q is not %s, which keys of codec %s are: %w", text, what, id, ErrKey)
	}
	return b, nil
}

// parse also says what is expected.
func (v views) parse(id, text string) (b []byte, what string, err error) {
	switch id {
	case codec.String.ID():
		return []byte(text), "", nil
	case codec.Int64.ID():
		return parsed(codec.Int64, "a whole number", func() (int64, error) { return strconv.ParseInt(text, 10, 64) })
	case codec.Int32.ID():
		return parsed(codec.Int32, "a whole number of 32 bits", func() (int32, error) {
			n, err := strconv.ParseInt(text, 10, 32)
			return int32(n), err
		})
	case codec.Uint64.ID():
		return parsed(codec.Uint64, "a whole number without a sign", func() (uint64, error) { return strconv.ParseUint(text, 10, 64) })
	case codec.Float64.ID():
		return parsed(codec.Float64, "a number", func() (float64, error) { return strconv.ParseFloat(text, 64) })
	case codec.Bool.ID():
		return parsed(codec.Bool, "true or false", func() (bool, error) { return strconv.ParseBool(text) })
	case codec.Time.ID():
		return parsed(codec.Time, "a time such as 2026-01-31T12:00:00Z", func() (time.Time, error) { return time.Parse(time.RFC3339Nano, text) })
	case "uuid":
		b, err = hex.DecodeString(strings.ReplaceAll(text, "-", ""))
		if err == nil && len(b) != widths[id] {
			err = ErrKey
		}
		return b, "a UUID", err
	}
	if view, ok := v.known[id]; ok && id != codec.Bytes.ID() {
		b, err = view.Encode([]byte(text))
		return b, "the JSON", err
	}
	if strings.HasPrefix(id, "json:") {
		compact := jsontext.Value(text)
		err = compact.Compact()
		return compact, "JSON (a string needs quotes of its own)", err
	}
	b, err = ParseBytes(text)
	return b, "text or 0x…", err
}

func parsed[T any](c codec.Codec[T], what string, parse func() (T, error)) ([]byte, string, error) {
	v, err := parse()
	if err != nil {
		return nil, what, err
	}
	b, err := c.Append(nil, v)
	return b, what, err
}

// ParseBytes returns the bytes that a text stands for: those of the text, or after 0x those given in hexadecimal. An error
// wraps ErrKey.
func ParseBytes(text string) ([]byte, error) {
	digits, isHex := strings.CutPrefix(text, hexPrefix)
	if !isHex {
		return []byte(text), nil
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%q is not hexadecimal: %w: %w", text, ErrKey, err)
	}
	return b, nil
}
