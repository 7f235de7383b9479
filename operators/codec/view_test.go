// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"math"
	"testing"

	"github.com/streamd/streamd/operators/codec"
)

type viewed struct {
	Name string `json:"name"`
	N    int64  `json:"n"`
}

func TestViewsShowValuesAsJSONAndEncodeThemAgain(t *testing.T) {
	t.Parallel()
	c := codec.New("viewed/1",
		func(dst []byte, v viewed) ([]byte, error) { return append(append(dst, byte(v.N)), v.Name...), nil },
		func(src []byte) (viewed, error) { return viewed{string(src[1:]), int64(src[0])}, nil })
	now := codec.Migrate(codec.Int64, c, func(n int64) viewed { return viewed{"migrated", n} })
	views := codec.Views(now)
	if len(views) != 2 {
		t.Fatalf("%d views, expected one per codec", len(views))
	}
	text, err := views["viewed/1"].JSON([]byte("\x07name"))
	if err != nil || string(text) != `{"name":"name","n":7}` {
		t.Errorf("shown as %s, %v", text, err)
	}
	bytes, err := views["viewed/1"].Encode(text)
	if err != nil || string(bytes) != "\x07name" {
		t.Errorf("encoded as %q, %v", bytes, err)
	}
	old, err := codec.Int64.Append(nil, 5)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = views["int64"].JSON(old); err != nil || string(text) != `{"name":"migrated","n":5}` {
		t.Errorf("a former value is shown as %s, %v", text, err)
	}
}

func TestViewsCheckValuesWithoutShowingThem(t *testing.T) {
	t.Parallel()
	now := codec.Migrate(codec.Int64, codec.Float64, func(n int64) float64 { return float64(n) })
	old, err := codec.Stored(codec.Int64).Append(nil, 5)
	if err != nil {
		t.Fatal(err)
	}
	nan, err := codec.Stored(now).Append(nil, math.NaN())
	if err != nil {
		t.Fatal(err)
	}
	for id, view := range codec.Views(now) {
		for what, err := range map[string]error{"former": view.CheckStored(old), "present": view.CheckStored(nan), "bare": view.Check(nan[1:])} {
			if err != nil {
				t.Errorf("%s refuses a %s value: %v", id, what, err)
			}
		}
		for _, broken := range [][]byte{old[:3], append([]byte{9}, old[1:]...), nil} {
			if view.CheckStored(broken) == nil || view.Check([]byte("short")) == nil {
				t.Errorf("%s takes %x", id, broken)
			}
		}
	}
}

func TestViewOfWhatJSONCannotHoldIsAnError(t *testing.T) {
	t.Parallel()
	nan, err := codec.Float64.Append(nil, math.NaN())
	if err != nil {
		t.Fatal(err)
	}
	view := codec.Views(codec.Float64)["float64"]
	if text, err := view.JSON(nan); err == nil {
		t.Errorf("not a number is shown as %s", text)
	}
	if text, err := view.JSON([]byte("short")); err == nil {
		t.Errorf("five bytes are shown as %s", text)
	}
	if b, err := view.Encode([]byte(`"text"`)); err == nil {
		t.Errorf("a text is encoded as %x", b)
	}
}
