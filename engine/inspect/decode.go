// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// decoder turns what a codec has written into a value.
type decoder struct {
	kind   Type
	known  bool
	decode func(src []byte) (any, error)
}

// views are those of a pipeline's codecs.
type views struct {
	known map[string]codec.View // by id; nil in a binary that has no pipeline
	trial *trial                // not nil: values are not shown, but decoded by the pipeline's own code
}

// widths are the lengths of values of codecs that have one.
var widths = map[string]int{
	codec.Int64.ID():   codec.Width(codec.Int64),
	codec.Int32.ID():   codec.Width(codec.Int32),
	codec.Uint64.ID():  codec.Width(codec.Uint64),
	codec.Float64.ID(): codec.Width(codec.Float64),
	codec.Bool.ID():    codec.Width(codec.Bool),
	codec.Time.ID():    codec.Width(codec.Time),
	"uuid":             codec.Width(codec.UUID[[16]byte]()),
}

// basic returns the decoder of a built-in codec that knows its values as they are.
func basic(id string) (decoder, bool) {
	switch id {
	case "", codec.Bytes.ID():
		return decoder{Bytes, true, func(src []byte) (any, error) { return slices.Clone(src), nil }}, true
	case codec.String.ID():
		return decoder{String, true, decodeText}, true
	case codec.Int64.ID():
		return decoderOf(Int, codec.Int64, func(v int64) any { return v }), true
	case codec.Int32.ID():
		return decoderOf(Int, codec.Int32, func(v int32) any { return int64(v) }), true
	case codec.Uint64.ID():
		return decoderOf(Uint, codec.Uint64, func(v uint64) any { return v }), true
	case codec.Float64.ID():
		return decoderOf(Float, codec.Float64, func(v float64) any { return v }), true
	case codec.Bool.ID():
		return decoderOf(Bool, codec.Bool, func(v bool) any { return v }), true
	case codec.Time.ID():
		return decoderOf(Time, codec.Time, func(v time.Time) any { return v }), true
	case "uuid":
		return decoderOf(String, codec.UUID[[16]byte](), func(v [16]byte) any { return uuidText(v) }), true
	}
	return decoder{}, false
}

func decoderOf[T any](kind Type, c codec.Codec[T], value func(T) any) decoder {
	return decoder{kind, true, func(src []byte) (any, error) {
		v, err := c.Decode(src)
		if err != nil {
			return nil, err
		}
		return value(v), nil
	}}
}

// decodeText refuses a text that is none, though its codec does not: what is made of it could not hold it.
func decodeText(src []byte) (any, error) {
	if !utf8.Valid(src) {
		return nil, errors.New("not UTF-8")
	}
	return string(src), nil
}

func uuidText(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// decoder returns what reads the values of a codec. The pipeline's own view of a composite value comes before the general
// one, since it has the names of the user's types.
func (v views) decoder(id string) decoder {
	view, own := v.known[id]
	if own && v.trial != nil {
		return v.trial.decoder(view.Check)
	}
	if d, ok := basic(id); ok {
		return d
	}
	switch id {
	case "none":
		return decoder{Bytes, true, func([]byte) (any, error) { return nil, nil }}
	case "uvarint":
		return decoder{Uint, true, decodeUvarint}
	case "timer", "processing-timer":
		return decoder{Time, true, decodeTimer}
	case "version-time":
		return decoder{Time, true, decodeVersionTime}
	}
	if strings.HasPrefix(id, "json:") {
		return decoder{JSON, true, decodeJSON}
	}
	if d, ok := v.ofJoin(id); ok {
		return d
	}
	if own {
		return decoder{JSON, true, func(src []byte) (any, error) {
			text, err := view.JSON(src)
			return jsontext.Value(text), err
		}}
	}
	if first, second, ok := pairParts(id); ok {
		return v.pairDecoder(first, second)
	}
	return decoder{kind: Bytes, decode: func(src []byte) (any, error) { return slices.Clone(src), nil }}
}

func decodeUvarint(src []byte) (any, error) {
	n, width := binary.Uvarint(src)
	if width <= 0 || width != len(src) {
		return nil, errors.New("not a number of variable length")
	}
	return n, nil
}

// decodeTimer reads the time that a timer is set to, which leads what is kept of it.
func decodeTimer(src []byte) (any, error) {
	at, width := binary.Varint(src)
	if width <= 0 {
		return nil, errors.New("not a timer")
	}
	return time.UnixMilli(at).UTC(), nil
}

func decodeVersionTime(src []byte) (any, error) {
	at, err := topology.VersionTime(src)
	return time.UnixMilli(at).UTC(), err
}

func decodeJSON(src []byte) (any, error) {
	text := slices.Clone(jsontext.Value(src))
	if err := text.Compact(); err != nil {
		return nil, errors.New("not JSON")
	}
	return text, nil
}

// ofJoin returns the decoder of what joins keep beside rows.
func (v views) ofJoin(id string) (decoder, bool) {
	if id == "reference" {
		return decoder{JSON, true, decodeReference}, true
	}
	if inner, ok := strings.CutPrefix(id, "joined:"); ok {
		d := v.decoder(inner)
		return decoder{JSON, d.known, func(src []byte) (any, error) { return decodeJoined(d, src) }}, true
	}
	if inner, ok := strings.CutPrefix(id, "subscription:"); ok {
		d := v.decoder(inner)
		return decoder{JSON, d.known, func(src []byte) (any, error) { return decodeSubscription(d, src) }}, true
	}
	return decoder{}, false
}

// decodeReference reads which row of the other table a row refers to: a version as a uvarint, a byte that says whether
// there is one, and its key.
func decodeReference(src []byte) (any, error) {
	version, width := binary.Uvarint(src)
	if width <= 0 || len(src) == width {
		return nil, errors.New("not a reference")
	}
	var to any
	if src[width] == 1 {
		to = src[width+1:]
	}
	text := appendJSON([]byte(`{"version":`), version)
	return jsontext.Value(append(appendJSON(append(text, `,"to":`...), to), '}')), nil
}

// decodeJoined reads the records of one key and time: for each the length of its value, doubled, plus one if it has met
// another, as a uvarint, then the value.
func decodeJoined(d decoder, src []byte) (any, error) {
	list := []byte{'['}
	for len(src) > 0 {
		head, width := binary.Uvarint(src)
		if width <= 0 || head>>1 > uint64(len(src)-width) {
			return nil, errors.New("not the records of a join")
		}
		end := width + int(head>>1)
		v, err := d.decode(src[width:end])
		if err != nil {
			return nil, err
		}
		if len(list) > 1 {
			list = append(list, ',')
		}
		list = appendJSON(append(list, `{"met":`...), head&1 == 1)
		list, src = append(appendJSON(append(list, `,"value":`...), v), '}'), src[end:]
	}
	return jsontext.Value(append(list, ']')), nil
}

// decodeSubscription reads a row that refers to one of the other table: a version as a uvarint, 8 bytes of time, the
// value.
func decodeSubscription(d decoder, src []byte) (any, error) {
	version, width := binary.Uvarint(src)
	if width <= 0 || len(src) < width+timeBytes {
		return nil, errors.New("not a subscription")
	}
	v, err := d.decode(src[width+timeBytes:])
	if err != nil {
		return nil, err
	}
	text := appendJSON([]byte(`{"version":`), version)
	text = appendJSON(append(text, `,"time":`...), timeOf(src[width:]))
	return jsontext.Value(append(appendJSON(append(text, `,"value":`...), v), '}')), nil
}

// pairParts takes the id of a pair's codec apart.
func pairParts(id string) (first, second string, ok bool) {
	inner, ok := strings.CutPrefix(id, "pair(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return "", "", false
	}
	inner = inner[:len(inner)-1]
	depth := 0
	for i, c := range inner {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ',':
			if depth == 0 {
				return inner[:i], inner[i+1:], true
			}
		}
	}
	return "", "", false
}

// widthOf returns the length of all values of a codec, 0 if there is none.
func widthOf(id string) int {
	first, second, ok := pairParts(id)
	if !ok {
		return widths[id]
	}
	if a, b := widthOf(first), widthOf(second); a > 0 && b > 0 {
		return a + b
	}
	return 0
}

// textPair splits pairs whose first part has no fixed length.
var textPair = codec.PairOf(codec.Bytes, codec.Bytes)

func (v views) pairDecoder(first, second string) decoder {
	a, b, width := v.decoder(first), v.decoder(second), widthOf(first)
	return decoder{JSON, a.known && b.known, func(src []byte) (any, error) {
		var parts codec.Pair[[]byte, []byte]
		switch {
		case width == 0:
			var err error
			if parts, err = textPair.Decode(src); err != nil {
				return nil, err
			}
		case len(src) < width:
			return nil, fmt.Errorf("the first part of the pair takes %d bytes, found %d", width, len(src))
		default:
			parts.First, parts.Second = src[:width], src[width:]
		}
		one, err := a.decode(parts.First)
		if err != nil {
			return nil, err
		}
		two, err := b.decode(parts.Second)
		if err != nil {
			return nil, err
		}
		text := appendJSON([]byte(`{"first":`), one)
		text = appendJSON(append(text, `,"second":`...), two)
		return jsontext.Value(append(text, '}')), nil
	}}
}
