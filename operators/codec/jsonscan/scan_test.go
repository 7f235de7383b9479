// SPDX-License-Identifier: Apache-2.0

package jsonscan_test

import (
	"bytes"
	"encoding/json/v2"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/codec/jsonscan"
)

// thing has a member for every kind of value.
type thing struct {
	ID    int64   `json:"id"`
	Count uint64  `json:"count"`
	Price float64 `json:"price"`
	Sold  bool    `json:"sold"`
	Name  string  `json:"name"`
}

func decodeThing(src []byte) (thing, error) {
	var v thing
	o := jsonscan.Scan(src)
	for o.Next() {
		switch string(o.Name()) {
		case "id":
			v.ID = o.Int64()
		case "count":
			v.Count = o.Uint64()
		case "price":
			v.Price = o.Float64()
		case "sold":
			v.Sold = o.Bool()
		case "name":
			v.Name = o.String()
		}
	}
	if o.Err() != nil {
		return thing{}, o.Err()
	}
	return v, nil
}

// cases are inputs whose fate is easily got wrong.
var cases = []string{
	`{}`, ` { } `, `null`, ` null `, `nul`, `nullx`, ``, ` `, `{`, `}`, `[]`, `1`, `"x"`, `tru`, `{}{}`, `{} x`, "{}\x00", "\x00", `{"id":}`,
	`{"id":1}`, `{"id":-1}`, `{"id":0}`, `{"id":-0}`, `{"id":01}`, `{"id":-}`, `{"id":+1}`, `{"id":1.0}`, `{"id":1e2}`, `{"id":"1"}`, `{"id":null}`,
	`{"id":9223372036854775807}`, `{"id":9223372036854775808}`, `{"id":-9223372036854775808}`, `{"id":-9223372036854775809}`,
	`{"id":99999999999999999999999}`, `{"id":1,}`, `{,"id":1}`, `{"id" 1}`, `{"id":1 "name":"x"}`, `{"id":true}`, `{"id":12abc}`, `{"id":nul}`,
	`{"count":18446744073709551615}`, `{"count":18446744073709551616}`, `{"count":-0}`, `{"count":-1}`, `{"count":null}`, `{"count":1.5}`,
	`{"price":1}`, `{"price":-1.5e3}`, `{"price":1.}`, `{"price":.5}`, `{"price":1e}`, `{"price":1e+}`, `{"price":1E-2}`, `{"price":1e400}`, `{"price":00}`,
	`{"price":"1"}`, `{"price":null}`, `{"price":-}`, `{"sold":true}`, `{"sold":false}`, `{"sold":null}`, `{"sold":tru}`, `{"sold":1}`, `{"sold":truefalse}`,
	`{"name":"x"}`, `{"name":""}`, `{"name":null}`, `{"name":1}`, `{"name":"a\nb"}`, `{"name":"a\u00e9\ud83d\ude00"}`, `{"name":"\ud83d"}`, `{"name":"\q"}`,
	`{"name":"grün ✓ 12345678901234567890"}`, "{\"name\":\"\xff\"}", "{\"name\":\"a\nb\"}", `{"name":"x`, `{"name":"x\`, `{"name":"x\"`, `{"name":"\u12"}`,
	`{"n\u0061me":"x"}`, `{"n\u0061me":"x","name":"y"}`, `{"Name":"x"}`, `{"\ud83d":1}`, "{\"\xff\":1}", `{"other\n":1,"id":2}`,
	`{"id":1,"id":2}`, `{"x":1,"x":2}`, `{"x":1,"y":2,"x":3}`, `{"aaaaaaaaa":1,"aaaaaaaaa":2}`, `{"":1,"":2}`, `{"":1}`,
	`{"x":{"a":[1,{"b":"}]"}]},"id":3}`, `{"x":{"a":1,"a":2}}`, `{"x":[1,2}`, `{"x":{"a":}}`, `{"x":["\ud800"]}`, `{"x":[],"y":{},"id":4}`, `{"x":[1`, `{"x":"\ud800"}`,
	`{"x":"\"","id":1}`, `{"x":-1.5e+10,"id":1}`, `{"x":01}`, `{"x":true,"y":false,"z":null,"id":1}`, "\t{\r\n\"id\" :\t1\n,\"name\":\"x\" }\n",
	`{"id":[1]}`, `{"name":{"a":1}}`, `{"x":[1],"id":"no"}`, `{"a1":1,"b1":1,"c1":1,"d1":1,"e1":1,"f1":1,"g1":1,"h1":1,"i1":1,"j1":1,"k1":1,"l1":1,"m1":1,"n1":1,"o1":1,"p1":1,"q1":1,"id":7}`,
	`{"a1":1,"b1":1,"c1":1,"d1":1,"e1":1,"f1":1,"g1":1,"h1":1,"i1":1,"j1":1,"k1":1,"l1":1,"m1":1,"n1":1,"o1":1,"p1":1,"q1":1,"q1":1,"id":7}`,
	`{"abcdefgh-1-abcdefgh":1,"abcdefgh-2-abcdefgh":2,"id":5}`, // one tag, two names
}

// agree holds that a scan and encoding/json/v2 make the same of an input.
func agree(t *testing.T, src []byte) {
	t.Helper()
	kept := bytes.Clone(src)
	got, gotErr := decodeThing(src)
	var want thing
	wantErr := json.Unmarshal(src, &want)
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("%q: a scan says %v, encoding/json/v2 says %v", src, gotErr, wantErr)
	}
	if wantErr == nil && got != want {
		t.Fatalf("%q (-json +scan):\n%s", src, cmp.Diff(want, got))
	}
	if !bytes.Equal(kept, src) {
		t.Fatalf("%q: the input was changed", kept)
	}
}

func TestAScanReadsWhatJSONReads(t *testing.T) {
	t.Parallel()
	for _, src := range cases {
		agree(t, []byte(src))
	}
}

func FuzzAScanReadsWhatJSONReads(f *testing.F) {
	for _, src := range cases {
		f.Add([]byte(src))
	}
	f.Fuzz(agree)
}

func FuzzAppendStringWritesWhatJSONWrites(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b", "back\\slash", "tab\t", "grün", "\xff", "long enough for words\x00of eight", "\x7f", "<&>", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, gotErr := jsonscan.AppendString([]byte("before"), s)
		want, wantErr := json.Marshal(s)
		if (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("%q: error %v, encoding/json/v2 says %v", s, gotErr, wantErr)
		}
		if gotErr != nil {
			if string(got) != "before" {
				t.Fatalf("%q: %q is left behind by an error", s, got)
			}
			return
		}
		if string(got) != "before"+string(want) {
			t.Fatalf("%q: got %s, want %s", s, got, want)
		}
	})
}

func TestErrorsSayWhereAndQuoteNothing(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		`{"id":"secret"}`:                "json at byte 6: the value is not an integer",
		`{"count":-1}`:                   "json at byte 9: the value is not an unsigned integer",
		`{"sold":"secret"}`:              "json at byte 8: the value is not a boolean",
		`{"name":12}`:                    "json at byte 8: the value is not a string",
		`{"price":[]}`:                   "json at byte 9: the value is not a number",
		`["secret"]`:                     "json at byte 0: the value is not an object",
		`{"id":99999999999999999999}`:    "json at byte 6: a number does not fit int64",
		`{"id":1.5}`:                     "json at byte 6: a number does not fit int64",
		`{"id":1 secret`:                 "json at byte 8: syntax error",
		`{"secret":1,"secret":2}`:        "json at byte 12: duplicate member name",
		`{"x":{"secret":1,"secret":2}}`:  "json at byte 17: duplicate member name",
		"{\"name\":\"secret\xff\"}":      "json at byte 9: a string is not valid UTF-8",
		`{"name":"secret\ud800"}`:        "json at byte 8: a string has an escape that is not valid",
		`{"price":1e999}`:                "json at byte 9: a number does not fit float64",
		`{"count":18446744073709551616}`: "json at byte 9: a number does not fit uint64",
		`{"name":"secret`:                "json at byte 15: syntax error",
		`{"name":"secret"} secret`:       "json at byte 18: syntax error",
	} {
		_, err := decodeThing([]byte(src))
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", src, err, want)
		}
	}
}

func TestStringsShareNoMemoryWithTheInput(t *testing.T) {
	t.Parallel()
	src := []byte(`{"name":"abc","x":"\t"}`)
	v, err := decodeThing(src)
	clear(src)
	if err != nil || v.Name != "abc" {
		t.Fatalf("got %q, %v", v.Name, err)
	}
}

func TestRawIsTheMemberAsItStands(t *testing.T) {
	t.Parallel()
	const src = `{"a": [1, {"b":"]\""}] ,"c":-1.50,"d":"x\u0061","e":null}`
	var got []string
	o := jsonscan.Scan([]byte(src))
	for o.Next() {
		got = append(got, fmt.Sprintf("%s=%s", o.Name(), o.Raw()))
	}
	want := []string{`a=[1, {"b":"]\""}]`, `c=-1.50`, `d="x\u0061"`, `e=null`}
	if diff := cmp.Diff(want, got); diff != "" || o.Err() != nil {
		t.Fatalf("error %v, members (-want +got):\n%s", o.Err(), diff)
	}
}

func TestAValueIsReadOnce(t *testing.T) {
	t.Parallel()
	o := jsonscan.Scan([]byte(`{"id":1,"count":2}`))
	if o.Int64() != 0 || o.Err() == nil {
		t.Error("a value could be read before Next")
	}
	o = jsonscan.Scan([]byte(`{"id":1,"count":2}`))
	if !o.Next() || o.Int64() != 1 || o.Int64() != 0 || o.Err() == nil || o.Next() {
		t.Error("a value could be read twice")
	}
}

// bid is an input like those that the package is made for.
var bid = []byte(`{"auction":1000,"bidder":1023,"price":1234567,"channel":"channel-4711","url":"https://www.nexmark.com/abc/defg/hij/item.htm?query=1&channel_id=1234567","dateTime":1767311940123,"extra":"` +
	strings.Repeat("abcdefghij", 6) + `"}`)

type bidRow struct {
	Auction  int64  `json:"auction"`
	Bidder   int64  `json:"bidder"`
	Price    int64  `json:"price"`
	Channel  string `json:"channel"`
	URL      string `json:"url"`
	DateTime int64  `json:"dateTime"`
	Extra    string `json:"extra"`
}

func decodeBid(src []byte) (bidRow, error) {
	var v bidRow
	o := jsonscan.Scan(src)
	for o.Next() {
		switch string(o.Name()) {
		case "auction":
			v.Auction = o.Int64()
		case "bidder":
			v.Bidder = o.Int64()
		case "price":
			v.Price = o.Int64()
		case "channel":
			v.Channel = o.String()
		case "url":
			v.URL = o.String()
		case "dateTime":
			v.DateTime = o.Int64()
		case "extra":
			v.Extra = o.String()
		}
	}
	return v, o.Err()
}

func TestAScanAllocatesOnlyTheStringsAskedFor(t *testing.T) {
	if got := testing.AllocsPerRun(100, func() {
		o := jsonscan.Scan(bid)
		for o.Next() {
			if string(o.Name()) == "price" {
				o.Int64()
			}
		}
		if o.Err() != nil {
			t.Error(o.Err())
		}
	}); got != 0 {
		t.Errorf("%v allocations for a number, want 0", got)
	}
	if got := testing.AllocsPerRun(100, func() { _, _ = decodeBid(bid) }); got != 3 {
		t.Errorf("%v allocations for three strings, want 3", got)
	}
}

func BenchmarkBid(b *testing.B) {
	decoders := []struct {
		name   string
		decode func([]byte) (bidRow, error)
	}{
		{"json", codec.JSON[bidRow]().Decode},
		{"scan", decodeBid},
		{"scan-two-numbers", func(src []byte) (v bidRow, err error) {
			o := jsonscan.Scan(src)
			for o.Next() {
				switch string(o.Name()) {
				case "auction":
					v.Auction = o.Int64()
				case "price":
					v.Price = o.Int64()
				}
			}
			return v, o.Err()
		}},
	}
	for _, d := range decoders {
		b.Run(d.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bid)))
			for b.Loop() {
				if _, err := d.decode(bid); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
