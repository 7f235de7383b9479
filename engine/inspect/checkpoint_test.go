// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

const asText, asInt = "string", "int64"

func TestWindowsAreShownWithTheirTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "w", Kind: topology.WindowStore, KeyCodec: asText, SubKeyCodec: asText, ValueCodec: asText, Plain: true})
	r.commit(task(0), func(d *db) error {
		var errs []error
		for _, e := range []struct {
			at              int64
			key, sub, value string
		}{{0, "to", "a", "1"}, {0, "be", "a", "2"}, {60_000, "to", "a", "3"}, {60_000, "to", "b", "4"}, {60_000, "too", "a", "5"}} {
			errs = append(errs, d.windows["w"].Put(e.at, []byte(e.key), []byte(e.sub), []byte(e.value)))
		}
		return errors.Join(errs...)
	})
	r.publish(1)
	c := r.open(1, nil)
	s := r.store(c, "w")
	want := []string{
		`{"task":"0_0","partition":0,"key":"to","subKey":"a","time":"1970-01-01T00:00:00Z","value":"1"}`,
		`{"task":"0_0","partition":0,"key":"to","subKey":"a","time":"1970-01-01T00:01:00Z","value":"3"}`,
		`{"task":"0_0","partition":0,"key":"to","subKey":"b","time":"1970-01-01T00:01:00Z","value":"4"}`,
		`{"task":"0_0","partition":0,"key":"too","subKey":"a","time":"1970-01-01T00:01:00Z","value":"5"}`,
	}
	if diff := cmp.Diff(want, r.lines(c, inspect.Walk{Stores: []*inspect.Store{s}, Prefix: []byte("to")})); diff != "" {
		t.Errorf("entries with a prefix (-want +got):\n%s", diff)
	}
	for sub, want := range map[string][]string{"": want[:3], "a": want[:2], "none": nil} {
		l := inspect.Lookup{Store: s, Key: []byte("to")}
		if sub != "" {
			l.SubKey = []byte(sub)
		}
		if diff := cmp.Diff(want, r.lookUp(c, l)); diff != "" {
			t.Errorf("entries of sub-key %q (-want +got):\n%s", sub, diff)
		}
	}
}

func (r *rig) lookUp(c *inspect.Checkpoint, l inspect.Lookup) []string {
	r.t.Helper()
	var got []string
	err := c.Lookup(r.t.Context(), l, func(row inspect.Row) error {
		got = append(got, string(row.AppendJSON(nil, false)))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func TestVersionsAreShownWithTheirTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t,
		topology.Store{Name: "newest", Kind: topology.VersionedTableStore, KeyCodec: asText, ValueCodec: asText},
		topology.Store{Name: "older", Kind: topology.VersionStore, KeyCodec: asText, ValueCodec: asText},
		topology.Store{Name: "retired", Kind: topology.WindowStore, KeyCodec: asText, SubKeyCodec: "version-time", ValueCodec: "none", Plain: true})
	r.commit(task(0), func(d *db) error {
		version := func(second int64) []byte { return topology.AppendVersionTime(nil, second*1000) }
		return errors.Join(
			d.values["newest"].Put([]byte("a"), at(t, 60, 0, 'x')),
			d.values["newest"].Put([]byte("b"), at(t, 60)),
			d.maps["older"].Put([]byte("a"), version(1), []byte("\x00y")),
			d.maps["older"].Put([]byte("a"), version(2), []byte{}),
			d.windows["retired"].Put(9000, []byte("a"), version(2), []byte{}),
		)
	})
	r.publish(1)
	c := r.open(1, nil)
	for name, want := range map[string][]string{
		"newest": {
			`{"task":"0_0","partition":0,"key":"a","time":"1970-01-01T00:01:00Z","value":"x"}`,
			`{"task":"0_0","partition":0,"key":"b","time":"1970-01-01T00:01:00Z","value":null}`,
		},
		"older": {
			`{"task":"0_0","partition":0,"key":"a","time":"1970-01-01T00:00:02Z","value":null}`,
			`{"task":"0_0","partition":0,"key":"a","time":"1970-01-01T00:00:01Z","value":"y"}`,
		},
		"retired": {`{"task":"0_0","partition":0,"key":"a","subKey":"1970-01-01T00:00:02Z","time":"1970-01-01T00:00:09Z","value":null}`},
	} {
		s := r.store(c, name)
		if diff := cmp.Diff(want, r.lines(c, inspect.Walk{Stores: []*inspect.Store{s}})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestValuesThatAreKeptTogetherAreLists(t *testing.T) {
	t.Parallel()
	r := newRig(t,
		topology.Store{Name: "sessions", Kind: topology.SessionStore, KeyCodec: asText, ValueCodec: "sessions:json:Visit", FormerValueCodecs: []string{asInt}, Plain: true},
		topology.Store{Name: "top", Kind: topology.TopStore, KeyCodec: asText, ValueCodec: "top:" + asInt, Plain: true})
	session := func(first, last int64, value ...byte) []byte {
		b := append(at(t, first), at(t, last)...)
		return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
	}
	r.commit(task(0), func(d *db) error {
		two := append(append([]byte{1}, at(t, 9)...), 2)
		two = append(two, session(1, 2, append([]byte{0}, encoded(t, codec.Int64, 7)...)...)...)
		two = append(two, session(5, 6, []byte("\x01{\"pages\":3}")...)...)
		ranked := at(t, 4)
		for _, n := range []int64{30, 20} {
			ranked = append(binary.BigEndian.AppendUint32(ranked, 8), encoded(t, codec.Int64, n)...)
		}
		return errors.Join(d.values["sessions"].Put([]byte("k"), two), d.values["top"].Put([]byte("k"), ranked))
	})
	r.publish(1)
	c := r.open(1, nil)
	got := r.lines(c, inspect.Walk{Stores: []*inspect.Store{r.store(c, "sessions"), r.store(c, "top")}})
	want := []string{
		`{"task":"0_0","partition":0,"key":"k","value":[{"start":"1970-01-01T00:00:01Z","end":"1970-01-01T00:00:02Z","value":7},{"start":"1970-01-01T00:00:05Z","end":"1970-01-01T00:00:06Z","value":{"pages":3}}]}`,
		`{"task":"0_0","partition":0,"key":"k","time":"1970-01-01T00:00:04Z","value":[30,20]}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatJoinsAndCallsKeepIsShown(t *testing.T) {
	t.Parallel()
	r := newRig(t,
		topology.Store{Name: "calls", Kind: topology.WindowStore, KeyCodec: asText, FormerValueCodecs: []string{"call:" + asInt}, ValueCodec: "call:" + asText},
		topology.Store{Name: "joined", Kind: topology.WindowStore, KeyCodec: asText, ValueCodec: "joined:json:X", Plain: true},
		topology.Store{Name: "references", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: "reference", Plain: true},
		topology.Store{Name: "subscriptions", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: "subscription:" + asText, Plain: true})
	r.commit(task(0), func(d *db) error {
		waits := binary.AppendVarint(binary.AppendVarint(nil, 2000), 7)
		waits = append(append(binary.AppendUvarint(waits, 2), "id"...), 0, 1, 'v')
		return errors.Join(
			d.windows["calls"].Put(1000, []byte("k"), nil, waits),
			d.windows["joined"].Put(1000, []byte("k"), nil, []byte{}),
			d.windows["joined"].Put(2000, []byte("k"), nil, append(append(binary.AppendUvarint(nil, 2<<1|1), "[]"...), append(binary.AppendUvarint(nil, 1<<1), '5')...)),
			d.values["references"].Put([]byte("k"), []byte("\x05\x01to")),
			d.values["references"].Put([]byte("l"), []byte("\x06\x00")),
			d.values["subscriptions"].Put([]byte("k"), append([]byte{7}, at(t, 3, 'v')...)),
		)
	})
	r.publish(1)
	c := r.open(1, nil)
	for name, want := range map[string][]string{
		"calls":         {`{"id":"id","value":"v"} at 2`},
		"joined":        {`[]`, `[{"met":true,"value":[]},{"met":false,"value":5}]`},
		"references":    {`{"version":5,"to":"to"}`, `{"version":6,"to":null}`},
		"subscriptions": {`{"version":7,"time":"1970-01-01T00:00:03Z","value":"v"}`},
	} {
		var got []string
		err := c.Walk(t.Context(), inspect.Walk{Stores: []*inspect.Store{r.store(c, name)}}, func(row inspect.Row) error {
			text := inspect.Text(row.Value)
			if name == "calls" {
				text += fmt.Sprint(" at ", row.Time.Unix())
			}
			got = append(got, text)
			return nil
		})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestEveryBuiltInCodecIsReadAndItsKeysAreTyped(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0", 32)
	for _, tc := range []struct{ codec, text, json string }{
		{"string", "größe", `"größe"`},
		{"int64", "-5", "-5"},
		{"int32", "-6", "-6"},
		{"uint64", "18446744073709551615", "18446744073709551615"},
		{"float64", "-0.25", "-0.25"},
		{"bool", "true", "true"},
		{"time", "2026-01-31T12:00:00.5Z", `"2026-01-31T12:00:00.5Z"`},
		{"uuid", long, `"00000000-0000-0000-0000-000000000000"`},
		{"json:Order", `{"id": 1}`, `{"id":1}`},
		{"bytes", "0x00ff", `"0x00ff"`},
		{"bytes", "plain", `"plain"`},
		{"elsewhere", "0x00ff", `"0x00ff"`},
	} {
		r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: tc.codec, ValueCodec: asText})
		r.commit(task(0), func(*db) error { return nil })
		r.publish(1)
		key, err := r.store(r.open(1, nil), "s").EncodeKey(tc.text)
		if err != nil {
			t.Fatalf("%s %s: %v", tc.codec, tc.text, err)
		}
		r.commit(task(0), func(d *db) error { return d.values["s"].Put(key, []byte("\x00v")) })
		r.publish(2)
		c := r.open(2, nil)
		s := r.store(c, "s")
		want := []string{`{"task":"0_0","partition":0,"key":` + tc.json + `,"value":"v"}`}
		if diff := cmp.Diff(want, r.lookUp(c, inspect.Lookup{Store: s, Key: key})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.codec, diff)
		}
		if unknown := s.Unread() != ""; unknown != (tc.codec == "elsewhere") {
			t.Errorf("%s: %q", tc.codec, s.Unread())
		}
	}
}

func TestTextThatIsNoKeyIsRefused(t *testing.T) {
	t.Parallel()
	for codecID, text := range map[string]string{
		"int64": "many", "int32": "5000000000", "uint64": "-1", "float64": "x", "bool": "maybe", "time": "noon", "uuid": "0x", "json:Order": "{", "bytes": "0xzz",
	} {
		r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: codecID, ValueCodec: asText})
		r.commit(task(0), func(*db) error { return nil })
		r.publish(1)
		s := r.store(r.open(1, nil), "s")
		if b, err := s.EncodeKey(text); !errors.Is(err, inspect.ErrKey) {
			t.Errorf("%s: %s became %x, %v", codecID, text, b, err)
		}
		if _, err := s.EncodeSubKey(text); !errors.Is(err, inspect.ErrKey) || !strings.Contains(err.Error(), "not a map") {
			t.Errorf("a sub-key: %v", err)
		}
	}
}

type place struct {
	City string `json:"city"`
	Zip  int64  `json:"zip"`
}

func TestPairsAreTakenApart(t *testing.T) {
	t.Parallel()
	first := codec.PairOf(codec.String, codec.Int64)
	c := codec.PairOf(first, codec.Bool)
	id := partition.TaskID{}
	r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: c.ID(), ValueCodec: first.ID()})
	r.commit(id, func(d *db) error {
		pair := codec.Pair[string, int64]{First: "a\x00b", Second: 7}
		return d.values["s"].Put(encoded(t, c, codec.Pair[codec.Pair[string, int64], bool]{First: pair, Second: true}),
			encoded(t, codec.Stored(first), pair))
	})
	r.publish(1)
	plain := r.open(1, nil)
	got := r.lines(plain, inspect.Walk{Stores: []*inspect.Store{r.store(plain, "s")}})
	want := []string{`{"task":"0_0","partition":0,"key":{"first":{"first":"a\u0000b","second":7},"second":true},"value":{"first":"a\u0000b","second":7}}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	named := codec.Convert(first, func(p place) codec.Pair[string, int64] {
		return codec.Pair[string, int64]{First: p.City, Second: p.Zip}
	},
		func(p codec.Pair[string, int64]) (place, error) { return place{p.First, p.Second}, nil })
	own := r.open(1, r.topology(codec.Views(named)))
	got = r.lines(own, inspect.Walk{Stores: []*inspect.Store{r.store(own, "s")}})
	if len(got) != 1 || !strings.HasSuffix(got[0], `"value":{"city":"a\u0000b","zip":7}}`) {
		t.Errorf("by the pipeline's own codec: %s", got)
	}
}

func TestValuesOfFormerCodecsAndRefusedOnesAreShown(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: asInt, FormerValueCodecs: []string{asInt}, ValueCodec: asText, TTL: topology.EventTimeTTL})
	r.commit(task(0), func(d *db) error {
		return errors.Join(
			d.values["s"].Put(encoded(t, codec.Int64, 1), at(t, 1, append([]byte{0}, encoded(t, codec.Int64, 9)...)...)),
			d.values["s"].Put(encoded(t, codec.Int64, 2), at(t, 2, 1, 'x')),
			d.values["s"].Put([]byte("odd"), at(t, 3, 0, 'x')),
		)
	})
	r.publish(1)
	c := r.open(1, nil)
	s := r.store(c, "s")
	if s.ValueType() != inspect.JSON || s.KeyType() != inspect.Int {
		t.Errorf("types %v and %v", s.KeyType(), s.ValueType())
	}
	refused := 0
	var got []string
	err := c.Walk(t.Context(), inspect.Walk{Stores: []*inspect.Store{s}}, func(row inspect.Row) error {
		if row.Refused {
			refused++
		}
		got = append(got, inspect.Text(row.Key)+" "+inspect.Text(row.Value)+" "+row.Time.Format(time.TimeOnly))
		return nil
	})
	want := []string{"odd x 00:00:03", "1 9 00:00:01", "2 x 00:00:02"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || refused != 1 {
		t.Errorf("%d refused, %v (-want +got):\n%s", refused, err, diff)
	}
}

func TestBrokenEntriesAreDamage(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "table", Kind: topology.TableStore, KeyCodec: asText, ValueCodec: asText},
		topology.Store{Name: "newer", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: asText})
	r.commit(task(0), func(d *db) error {
		return errors.Join(d.values["table"].Put([]byte("k"), []byte("short")), d.values["newer"].Put([]byte("k"), []byte("\x07v")))
	})
	r.publish(1)
	c := r.open(1, nil)
	for _, name := range []string{"table", "newer"} {
		err := c.Walk(t.Context(), inspect.Walk{Stores: []*inspect.Store{r.store(c, name)}}, func(inspect.Row) error { return nil })
		if !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStoresAreFoundByNameAndFitThePipeline(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "orders", Kind: topology.BroadcastStore, KeyCodec: asText, ValueCodec: "avro:order:1"})
	for n := range int32(2) {
		r.commit(task(n), func(d *db) error { return d.values["orders"].Put([]byte("k"), []byte("\x00\xff")) })
	}
	r.publish(1)
	c := r.open(1, nil)
	if _, err := c.Store("order"); !errors.Is(err, inspect.ErrNoStore) || !strings.Contains(err.Error(), "did you mean orders?") {
		t.Errorf("a misspelt store: %v", err)
	}
	s := r.store(c, "orders")
	if got := r.lines(c, inspect.Walk{Stores: []*inspect.Store{s}}); len(got) != 1 || !strings.Contains(got[0], `"0xff"`) {
		t.Errorf("a broadcast is in one task only: %s", got)
	}
	if !strings.Contains(s.Unread(), "avro:order:1") {
		t.Errorf("the note is %q", s.Unread())
	}
	other := r.topology(nil)
	other.SubTopologies[0].Stores = []topology.Store{{Name: "orders", ID: 9, Kind: topology.ValueStore}, {Name: "new", ID: 10}}
	if _, err := r.open(1, other).Store("orders"); !errors.Is(err, inspect.ErrForeign) {
		t.Errorf("of another pipeline: %v", err)
	}
	if _, err := r.open(1, other).Store("new"); !errors.Is(err, inspect.ErrNoStore) || !strings.Contains(err.Error(), "later checkpoint") {
		t.Errorf("of a later release: %v", err)
	}
	r.app.Topology = ""
	unknown := r.store(r.open(1, nil), "orders")
	if !strings.Contains(unknown.Unread(), "pipeline's own binary") || unknown.ValueType() != inspect.Bytes {
		t.Errorf("the note is %q", unknown.Unread())
	}
}

func TestLookupFetchesOneTaskAndNeedsAll(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: asText})
	for n := range int32(4) {
		r.commit(task(n), func(d *db) error {
			var errs []error
			for _, key := range []string{"a", "ab", "b", "c", "d"} {
				if partition.ForKey([]byte(key), 4) == n {
					errs = append(errs, d.values["s"].Put([]byte(key), append([]byte{0}, key...)))
				}
			}
			return errors.Join(errs...)
		})
	}
	r.publish(1)
	c := r.open(1, nil)
	for _, key := range []string{"a", "ab", "b", "c", "d"} {
		got := r.lookUp(c, inspect.Lookup{Store: r.store(c, "s"), Key: []byte(key)})
		if len(got) != 1 || !strings.Contains(got[0], `"value":"`+key+`"`) {
			t.Errorf("%s: %s", key, got)
		}
	}
	if got := r.lookUp(c, inspect.Lookup{Store: r.store(c, "s"), Key: []byte("none")}); got != nil {
		t.Errorf("got %s", got)
	}
	kept := r.dbs[task(1)]
	delete(r.dbs, task(1))
	r.publish(2)
	r.dbs[task(1)] = kept
	part := r.open(2, nil)
	err := part.Lookup(t.Context(), inspect.Lookup{Store: r.store(part, "s"), Key: []byte("a")}, func(inspect.Row) error { return nil })
	if !errors.Is(err, checkpoint.ErrIncomplete) {
		t.Errorf("without a task: %v", err)
	}
}

func TestWalkTellsHowFarItIsAndStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: asText})
	for n := range int32(2) {
		r.commit(task(n), func(d *db) error {
			return errors.Join(d.values["s"].Put([]byte("a"), []byte("\x00v")), d.values["s"].Put([]byte("b"), []byte("\x00v")))
		})
	}
	r.publish(1)
	c := r.open(1, nil)
	var seen []inspect.Progress
	w := inspect.Walk{Stores: []*inspect.Store{r.store(c, "s")}, Progress: func(p inspect.Progress) { seen = append(seen, p) }}
	r.lines(c, w)
	if len(seen) != 2 || seen[1].Task != task(1) || seen[1].Part != 2 || seen[1].Parts != 2 || seen[1].Rows != 2 || seen[1].Bytes == 0 {
		t.Errorf("progress %+v", seen)
	}
	rows := 0
	err := c.Walk(t.Context(), w, func(inspect.Row) error {
		rows++
		return inspect.ErrStop
	})
	if err != nil || rows != 1 {
		t.Errorf("stopped after %d rows, %v", rows, err)
	}
}
