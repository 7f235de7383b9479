// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"cmp"
	"errors"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
)

type order struct {
	Customer string         `json:"customer"`
	Cents    int64          `json:"cents"`
	Tags     []string       `json:"tags,omitempty"`
	Extra    map[string]int `json:"extra,omitempty"`
}

// roundTrip holds invariant I1 for one value, behind bytes that are already in the buffer, and I3.
func roundTrip[T any](t *testing.T, c codec.Codec[T], v T) []byte {
	t.Helper()
	buf, err := c.Append([]byte("before"), v)
	if err != nil {
		t.Fatalf("append: %s", err)
	}
	encoded, ok := bytes.CutPrefix(buf, []byte("before"))
	if !ok {
		t.Fatal("append changed the bytes before its own")
	}
	want := bytes.Clone(encoded)
	got, err := c.Decode(encoded)
	if err != nil {
		t.Fatalf("decode: %s", err)
	}
	clear(encoded)
	if diff := gocmp.Diff(v, got); diff != "" {
		t.Fatalf("round trip (-want +got):\n%s", diff)
	}
	return want
}

func FuzzBasicCodecsRoundTrip(f *testing.F) {
	f.Add("", []byte{}, int64(0), uint64(0))
	f.Add("key", []byte{0, 255}, int64(-1), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, s string, b []byte, i int64, u uint64) {
		roundTrip(t, codec.String, s)
		roundTrip(t, codec.Int64, i)
		roundTrip(t, codec.Uint64, u)
		if b != nil {
			roundTrip(t, codec.Bytes, b)
		}
	})
}

func FuzzJSONRoundTrip(f *testing.F) {
	c := codec.JSON[order]()
	f.Add("ann", int64(12), "new")
	f.Fuzz(func(t *testing.T, customer string, cents int64, tag string) {
		v := order{Customer: customer, Cents: cents, Tags: []string{tag}, Extra: map[string]int{tag: 1, "b": 2}}
		buf, err := c.Append(nil, v)
		if err != nil {
			return // Invalid UTF-8 is refused, not replaced.
		}
		again, err := c.Append(nil, v)
		if err != nil || !bytes.Equal(buf, again) {
			t.Fatalf("two encodings of one value, second error %v", err)
		}
		roundTrip(t, c, v)
	})
}

func FuzzDecodeOfForeignBytesNeverPanics(f *testing.F) {
	c := codec.JSON[order]()
	f.Add([]byte(`{"customer":"secret","cents":"secret"}`))
	f.Add([]byte(`{"customer":`))
	f.Fuzz(func(t *testing.T, src []byte) {
		kept := bytes.Clone(src)
		_, _ = codec.Int64.Decode(src)
		_, _ = codec.Uint64.Decode(src)
		if _, err := c.Decode(src); err != nil && bytes.Contains(src, []byte("secret")) &&
			strings.Contains(err.Error(), "secret") {
			t.Fatalf("error quotes user data: %s", err)
		}
		if !bytes.Equal(kept, src) {
			t.Fatal("decode changed its source")
		}
	})
}

func FuzzIntegersOrderAsTheirBytes(f *testing.F) {
	f.Add(int64(-1), int64(1))
	f.Fuzz(func(t *testing.T, a, b int64) {
		if got, want := bytes.Compare(roundTrip(t, codec.Int64, a), roundTrip(t, codec.Int64, b)), cmp.Compare(a, b); got != want {
			t.Fatalf("bytes of %d and %d compare as %d", a, b, got)
		}
		ua, ub := uint64(a), uint64(b)
		if got, want := bytes.Compare(roundTrip(t, codec.Uint64, ua), roundTrip(t, codec.Uint64, ub)), cmp.Compare(ua, ub); got != want {
			t.Fatalf("bytes of %d and %d compare as %d", ua, ub, got)
		}
	})
}

func TestOnlyBasicTypesHaveACodecUnasked(t *testing.T) {
	t.Parallel()
	if c, ok := codec.For[string](); !ok || c.ID() != "string" {
		t.Fatal("string has no codec")
	}
	if c, ok := codec.For[[]byte](); !ok || c.ID() != "bytes" {
		t.Fatal("[]byte has no codec")
	}
	if c, ok := codec.For[int64](); !ok || c.ID() != "int64" {
		t.Fatal("int64 has no codec")
	}
	if c, ok := codec.For[uint64](); !ok || c.ID() != "uint64" {
		t.Fatal("uint64 has no codec")
	}
	if _, ok := codec.For[order](); ok {
		t.Fatal("a struct has a codec that nobody gave it")
	}
}

func TestCodecIDsAreStable(t *testing.T) {
	t.Parallel()
	got := []string{
		codec.String.ID(), codec.Bytes.ID(), codec.Int64.ID(), codec.Uint64.ID(),
		codec.Int.ID(), codec.Int32.ID(), codec.Float64.ID(), codec.Bool.ID(), codec.Time.ID(), codec.UUID[[16]byte]().ID(),
		codec.PairOf(codec.String, codec.Int64).ID(),
		codec.JSON[order]().ID(), codec.JSON[*order]().ID(), codec.JSON[map[string]int]().ID(),
	}
	want := []string{"string", "bytes", "int64", "uint64", "int64", "int32", "float64", "bool", "time", "uuid", "pair(string,int64)", "json:order", "json:order", "json:map[string]int"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("ids (-want +got):\n%s", diff)
	}
}

func TestBytesKeepsNullApartFromEmpty(t *testing.T) {
	t.Parallel()
	if v, err := codec.Bytes.Decode(nil); err != nil || v != nil {
		t.Fatalf("null became %v, %v", v, err)
	}
	if v, err := codec.Bytes.Decode([]byte{}); err != nil || v == nil {
		t.Fatalf("empty became null, %v", err)
	}
}

func TestCustomCodecUsesItsFunctions(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	c := codec.New("flag",
		func(dst []byte, v bool) ([]byte, error) {
			if v {
				return append(dst, 1), nil
			}
			return append(dst, 0), nil
		},
		func(src []byte) (bool, error) {
			if len(src) != 1 {
				return false, broken
			}
			return src[0] == 1, nil
		})
	roundTrip(t, c, true)
	if _, err := c.Decode(nil); !errors.Is(err, broken) || c.ID() != "flag" {
		t.Fatalf("id %q, error %v", c.ID(), err)
	}
}
