// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"bytes"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/topology"
)

func TestLinesOfJSONHaveTheStoresName(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := inspect.NewJSONL(&b)
	for _, r := range rows()[:2] {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"store":"orders","task":"0_0","partition":0,"key":"a1","time":"1970-01-01T00:00:01Z","value":{"country":"DE","amount":10,"items":["x","y"],"paid":true}}
{"store":"orders","task":"0_1","partition":1,"key":"a2","time":"1970-01-01T00:00:02Z","value":{"country":"FR","amount":2.5,"items":[],"paid":false}}
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// kept makes a store of the codecs.
func kept(t *testing.T, kind topology.StoreKind, key, sub, value string) *inspect.Store {
	t.Helper()
	r := newRig(t, topology.Store{Name: "s", Kind: kind, KeyCodec: key, SubKeyCodec: sub, ValueCodec: value})
	r.commit(task(0), func(*db) error { return nil })
	r.publish(1)
	return r.store(r.open(1, nil), "s")
}

// written writes rows as Parquet and reads the file back: its schema, and its rows as texts.
func written(t *testing.T, s *inspect.Store, rows ...inspect.Row) (schema string, got []string) {
	t.Helper()
	var b bytes.Buffer
	w := inspect.NewParquet(&b, s)
	for _, r := range rows {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := file.Lookup("streamd.store"); name != "s" {
		t.Errorf("the file names store %q", name)
	}
	r := parquet.NewReader(file)
	for {
		var batch [1]parquet.Row
		n, err := r.ReadRows(batch[:])
		if n == 1 {
			var cells []string
			for _, v := range batch[0] {
				cells = append(cells, v.String())
			}
			got = append(got, strings.Join(cells, " "))
		}
		if errors.Is(err, io.EOF) {
			return file.Schema().String(), got
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestParquetHasTypedColumns(t *testing.T) {
	t.Parallel()
	row := func(key, sub, value any) inspect.Row {
		return inspect.Row{Store: "s", Task: task(3), Key: key, SubKey: sub, Time: time.UnixMilli(5).UTC(), Timed: true, Value: value}
	}
	noon := time.Date(2026, 1, 31, 12, 0, 0, 1000, time.UTC)
	for _, tc := range []struct {
		kind            topology.StoreKind
		key, sub, value string
		rows            []inspect.Row
		columns, want   []string
	}{
		{topology.ValueStore, "string", "", "int64", []inspect.Row{row("k", nil, int64(-1)), row("l", nil, nil)},
			[]string{"binary key (STRING)", "int64 value (INT(64,true))", "int32 partition (INT(32,true))", "binary task (STRING)"},
			[]string{"k 3 0_3 -1", "l 3 0_3 <null>"}},
		{topology.MapStore, "uint64", "bool", "float64", []inspect.Row{row(uint64(1), true, 0.5)},
			[]string{"int64 key (INT(64,false))", "boolean subKey", "optional double value"}, []string{"1 3 true 0_3 0.5"}},
		{topology.TableStore, "bytes", "", "time", []inspect.Row{row([]byte("b"), nil, noon)},
			[]string{"binary key;", "int64 value (TIMESTAMP(isAdjustedToUTC=true,unit=MICROS))", "optional int64 time"},
			[]string{"b 3 0_3 5000 " + fmt.Sprint(noon.UnixMicro())}},
		{topology.ValueStore, "pair(string,int64)", "", "json:X", []inspect.Row{row(jsontext.Value(`{"first":"a","second":1}`), nil, jsontext.Value(`[1]`))},
			[]string{"binary key (JSON)", "binary value (JSON)"}, []string{`{"first":"a","second":1} 3 0_3 [1]`}},
		{topology.ValueStore, "int32", "", "unknown", []inspect.Row{row(int64(7), nil, []byte("raw"))},
			[]string{"int64 key", "binary value;"}, []string{"7 3 0_3 raw"}},
	} {
		schema, got := written(t, kept(t, tc.kind, tc.key, tc.sub, tc.value), tc.rows...)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s to %s (-want +got):\n%s", tc.key, tc.value, diff)
		}
		for _, c := range tc.columns {
			if !strings.Contains(schema, c) {
				t.Errorf("%s to %s: no column %s in %s", tc.key, tc.value, c, schema)
			}
		}
	}
}

func TestParquetRefusesWhatDoesNotFitItsColumn(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"int64", "json:X"} {
		w := inspect.NewParquet(io.Discard, kept(t, topology.ValueStore, "string", "", codec))
		err := w.Write(inspect.Row{Store: "s", Key: "k", Value: []byte("odd"), Refused: true})
		if !errors.Is(err, inspect.ErrUntyped) || !strings.Contains(err.Error(), "key k: value") {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

func TestParquetWritesRowGroupsAsItGoes(t *testing.T) {
	t.Parallel()
	s := kept(t, topology.ValueStore, "string", "", "string")
	var sizes []int
	var b bytes.Buffer
	w := inspect.NewParquet(&b, s)
	value := strings.Repeat("x", 1<<20)
	for n := range 40 {
		if err := w.Write(inspect.Row{Store: "s", Key: fmt.Sprint(n), Value: value}); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, b.Len())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if groups := len(file.RowGroups()); groups != 3 || file.NumRows() != 40 || sizes[39] <= sizes[0] {
		t.Errorf("%d rows in %d groups", file.NumRows(), groups)
	}
}
