// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/operators/codec"
)

type customerID string

type basketKey struct {
	Customer customerID
	Basket   int32
}

// baskets is the codec of a struct that is a composite key.
var baskets = codec.Convert(codec.PairOf(codec.String, codec.Int32),
	func(k basketKey) codec.Pair[string, int32] {
		return codec.Pair[string, int32]{First: string(k.Customer), Second: k.Basket}
	},
	func(p codec.Pair[string, int32]) (basketKey, error) {
		if p.First == "" {
			return basketKey{}, errors.New("a basket belongs to a customer")
		}
		return basketKey{Customer: customerID(p.First), Basket: p.Second}, nil
	})

func TestStructIsACompositeKeyByConvert(t *testing.T) {
	t.Parallel()
	roundTrip(t, baskets, basketKey{Customer: "ann\x00", Basket: -7})
	if got := baskets.ID(); got != "pair(string,int32)" {
		t.Fatalf("id %q", got)
	}
	nobody, err := codec.PairOf(codec.String, codec.Int32).Append(nil, codec.Pair[string, int32]{Second: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := baskets.Decode(nobody); err == nil {
		t.Fatal("the bytes of what no key stands for were decoded")
	}
}

func TestFixedFirstPartAddsNoBytesToAPair(t *testing.T) {
	t.Parallel()
	c := codec.PairOf(codec.PairOf(codec.Int64, codec.Bool), codec.String)
	type inner = codec.Pair[int64, bool]
	got := roundTrip(t, c, codec.Pair[inner, string]{First: inner{First: 0, Second: true}, Second: "x"})
	if len(got) != 8+1+1 {
		t.Fatalf("%d bytes, % x", len(got), got)
	}
}

func TestWidthIsTheLengthThatAllValuesHave(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ got, want int }{
		"number":               {codec.Width(codec.Int32), 4},
		"converted":            {codec.Width(codec.Int), 8},
		"text":                 {codec.Width(codec.String), 0},
		"pair":                 {codec.Width(codec.PairOf(codec.Time, codec.Bool)), 12 + 1},
		"pair with a text":     {codec.Width(codec.PairOf(codec.Int64, codec.String)), 0},
		"text before a number": {codec.Width(baskets), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, expected %d", name, c.got, c.want)
		}
	}
}

func FuzzPairsOrderAsTheirBytes(f *testing.F) {
	f.Add("a", int64(1), "a\x00", int64(-1))
	f.Add("", int64(0), "\x00", int64(0))
	f.Add("a\x00\xff", int64(0), "a\x00", int64(0))
	textFirst, numberFirst := codec.PairOf(codec.String, codec.Int64), codec.PairOf(codec.Int64, codec.String)
	f.Fuzz(func(t *testing.T, s1 string, n1 int64, s2 string, n2 int64) {
		a := roundTrip(t, textFirst, codec.Pair[string, int64]{First: s1, Second: n1})
		b := roundTrip(t, textFirst, codec.Pair[string, int64]{First: s2, Second: n2})
		if got, want := bytes.Compare(a, b), cmp.Or(strings.Compare(s1, s2), cmp.Compare(n1, n2)); got != want {
			t.Fatalf("(%q,%d) and (%q,%d) compare as %d: % x, % x", s1, n1, s2, n2, got, a, b)
		}
		a = roundTrip(t, numberFirst, codec.Pair[int64, string]{First: n1, Second: s1})
		b = roundTrip(t, numberFirst, codec.Pair[int64, string]{First: n2, Second: s2})
		if got, want := bytes.Compare(a, b), cmp.Or(cmp.Compare(n1, n2), strings.Compare(s1, s2)); got != want {
			t.Fatalf("(%d,%q) and (%d,%q) compare as %d: % x, % x", n1, s1, n2, s2, got, a, b)
		}
	})
}

// FuzzForeignPairs holds that a pair's bytes are its only ones: what decodes is encoded as it was.
func FuzzForeignPairs(f *testing.F) {
	f.Add([]byte("a\x00\x01b"))
	f.Add([]byte("a\x00\xff\x00\x01"))
	f.Add([]byte("\x00"))
	c := codec.PairOf(codec.String, codec.PairOf(codec.String, codec.String))
	f.Fuzz(func(t *testing.T, src []byte) {
		v, err := c.Decode(src)
		if err != nil {
			return
		}
		if got := roundTrip(t, c, v); !bytes.Equal(got, src) {
			t.Fatalf("% x became % x", src, got)
		}
	})
}

func FuzzFloatsAndTimesOrderAsTheirBytes(f *testing.F) {
	f.Add(1.5, -1.5, int64(1), int64(-1))
	f.Add(math.Inf(1), math.NaN(), int64(math.MaxInt64), int64(math.MinInt64))
	f.Add(0.0, math.Copysign(0, -1), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, x, y float64, m, n int64) {
		if math.IsNaN(x) || math.IsNaN(y) {
			return // cmp.Compare has NaN first, this codec last.
		}
		if got, want := bytes.Compare(roundTrip(t, codec.Float64, x), roundTrip(t, codec.Float64, y)), cmp.Compare(x, y); got != want {
			t.Fatalf("bytes of %g and %g compare as %d", x, y, got)
		}
		a, b := time.Unix(m/1000, m%1000).UTC(), time.Unix(n/1000, n%1000).UTC()
		if got, want := bytes.Compare(roundTrip(t, codec.Time, a), roundTrip(t, codec.Time, b)), a.Compare(b); got != want {
			t.Fatalf("bytes of %v and %v compare as %d", a, b, got)
		}
		i, j := int32(m), int32(n)
		if got, want := bytes.Compare(roundTrip(t, codec.Int32, i), roundTrip(t, codec.Int32, j)), cmp.Compare(i, j); got != want {
			t.Fatalf("bytes of %d and %d compare as %d", i, j, got)
		}
	})
}

func TestEveryNaNIsOneKey(t *testing.T) {
	t.Parallel()
	var first []byte
	for _, bits := range []uint64{0x7ff8000000000001, 0xfff8000000000000, 0x7ff0000000000001} {
		b, err := codec.Float64.Append(nil, math.Float64frombits(bits))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := codec.Float64.Decode(b); err != nil || !math.IsNaN(v) {
			t.Fatalf("NaN became %g, %v", v, err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Fatalf("% x and % x", first, b)
		}
	}
}

func TestBasicCodecsRefuseForeignBytes(t *testing.T) {
	t.Parallel()
	if _, err := codec.Bool.Decode([]byte{2}); err == nil {
		t.Error("2 is a bool")
	}
	if _, err := codec.Time.Decode(bytes.Repeat([]byte{0xff}, 12)); err == nil {
		t.Error("4294967295 nanoseconds are a time")
	}
	if _, err := codec.UUID[[16]byte]().Decode(make([]byte, 15)); err == nil {
		t.Error("15 bytes are a UUID")
	}
	if _, err := codec.Int32.Decode(make([]byte, 8)); err == nil {
		t.Error("8 bytes are an int32")
	}
	roundTrip(t, codec.UUID[[16]byte](), [16]byte{1, 15: 16})
	roundTrip(t, codec.Int, -42)
}
