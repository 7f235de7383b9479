// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"encoding/json/v2"
)

// View shows the values of a codec to people and tools that do not know their type: as JSON. Its functions are safe for
// concurrent use.
type View struct {
	// JSON returns what an encoded value means.
	JSON func(src []byte) ([]byte, error)
	// Encode returns the bytes that the codec writes for a value that is given as JSON.
	Encode func(text []byte) ([]byte, error)
	// Check says whether the codec reads an encoded value, and for a former codec whether it can be upgraded.
	Check func(src []byte) error
	// CheckStored is Check for a value that a pipeline keeps, as Stored wrote it.
	CheckStored func(src []byte) error
}

// jsonForm is a codec whose values have a JSON form of their own.
type jsonForm[T any] interface {
	AppendJSON(dst []byte, v T) ([]byte, error)
	DecodeJSON(src []byte) (T, error)
}

// Views returns the views of a codec by id: that of c, and those of the former codecs that Migrate put before it, which
// show values as upgraded. The JSON is that of encoding/json/v2 for T, unless the codec has the methods
// AppendJSON(dst []byte, v T) ([]byte, error) and DecodeJSON(src []byte) (T, error). Keys and values that JSON cannot
// hold give an error when they are viewed. It is meant for build time.
func Views[T any](c Codec[T]) map[string]View {
	kept := Stored(c)
	view := func(decode func([]byte) (T, error)) View {
		return View{
			JSON: func(src []byte) ([]byte, error) {
				v, err := decode(src)
				return toJSON(c, v, err)
			},
			Encode: func(text []byte) ([]byte, error) {
				v, err := fromJSON(c, text)
				if err != nil {
					return nil, err
				}
				return c.Append(nil, v)
			},
			Check: func(src []byte) error {
				_, err := decode(src)
				return err
			},
			CheckStored: func(src []byte) error {
				_, err := kept.Decode(src)
				return err
			},
		}
	}
	views := map[string]View{c.ID(): view(c.Decode)}
	for version, id := range Former(c) {
		if _, taken := views[id]; !taken {
			views[id] = view(func(src []byte) (T, error) { return decodeVersion(c, version, src) })
		}
	}
	return views
}

// formOf finds the JSON form of a codec, also of one that others wrap.
func formOf[T any](c Codec[T]) (jsonForm[T], bool) {
	if m, ok := c.(migrated[T]); ok {
		c = m.Codec
	}
	form, ok := c.(jsonForm[T])
	return form, ok
}

func toJSON[T any](c Codec[T], v T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if form, ok := formOf(c); ok {
		return form.AppendJSON(nil, v)
	}
	text, err := json.Marshal(&v, json.Deterministic(true))
	if err != nil {
		return nil, describe(err)
	}
	return text, nil
}

func fromJSON[T any](c Codec[T], text []byte) (T, error) {
	if form, ok := formOf(c); ok {
		return form.DecodeJSON(text)
	}
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		var zero T
		return zero, describe(err)
	}
	return v, nil
}
