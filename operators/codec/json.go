// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"reflect"
)

// JSON is the codec of T by encoding/json/v2, with its rules: unknown members are ignored, names match
// by case, duplicates and invalid UTF-8 are refused. Maps are written in key order, so that a value has one
// encoding. The id is "json:" and the name of T without its package: a type may move, a renamed one
// is another codec.
func JSON[T any]() Codec[T] {
	t := reflect.TypeFor[T]()
	for t.Kind() == reflect.Pointer {
		t = t.Elem() // A pointer encodes as what it points to.
	}
	name := t.Name()
	if name == "" {
		name = t.String()
	}
	return jsonCodec[T]{id: "json:" + name}
}

type jsonCodec[T any] struct{ id string }

func (c jsonCodec[T]) ID() string { return c.id }

func (c jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	w := bytes.NewBuffer(dst)
	if err := json.MarshalWrite(w, &v, json.Deterministic(true)); err != nil {
		return dst, describe(err)
	}
	return w.Bytes(), nil
}

func (c jsonCodec[T]) Decode(src []byte) (T, error) {
	var v T
	if err := json.Unmarshal(src, &v); err != nil {
		var zero T
		return zero, describe(err)
	}
	return v, nil
}

// describe says where and of what kind the trouble is. The library's own text quotes member names and
// numbers, which are user data.
func describe(err error) error {
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("json at byte %d: %s does not fit %v", e.ByteOffset, kindName(e.JSONKind), e.GoType)
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		switch {
		case errors.Is(e, jsontext.ErrDuplicateName):
			return fmt.Errorf("json at byte %d: duplicate member name", e.ByteOffset)
		default:
			return fmt.Errorf("json at byte %d: syntax error", e.ByteOffset)
		}
	}
	return errors.New("json: value refused by its own marshaler")
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{', '}':
		return "an object"
	case '[', ']':
		return "an array"
	default:
		return "a value"
	}
}
