// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// sampleDelta has every kind of op; the second record begins with a version of
// its own.
func sampleDelta() [][]byte {
	w := deltaWriter{max: 160}
	w.put(opDeleteRange, 5|mapLayout, appendMapTail(nil, []byte("user"), []byte{0}), append(appendStoreID(nil, 5|mapLayout), appendMapTail(nil, []byte("user"), []byte{9})...))
	w.put(opSet, 1, []byte("key"), []byte("value"))
	w.put(opSet, 1, nil, nil)
	w.put(opDelete, MaxStoreID, []byte{0xff}, nil)
	w.put(opDeleteRange, 6|windowLayout, appendTime(nil, 1000), appendTimeEnd(appendStoreID(nil, 6|windowLayout), 1000))
	w.put(opSet, 6|windowLayout, appendWindowTail(nil, WindowKey{-1, []byte("user"), []byte{7}}), []byte("value"))
	w.put(opSet, 2, bytes.Repeat([]byte("k"), 20), bytes.Repeat([]byte("v"), 130))
	w.seal()
	return w.records
}

func TestDeltaFormatDoesNotChange(t *testing.T) {
	t.Parallel()
	const file = "testdata/delta-1.golden"
	var got strings.Builder
	for _, r := range sampleDelta() {
		fmt.Fprintf(&got, "record %s\n", hex.EncodeToString(r))
		if err := decodeDelta(r, func(op deltaOp) error {
			fmt.Fprintf(&got, "  op %d key %x arg %x\n", op.kind, op.key, op.arg)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(&got, "position %x\n", appendPosition(nil, Position{Epoch: 7, Offset: -1, Detail: []byte("d")}))
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Fatalf("the encoding of a delta changed: old changelogs would not replay (-want +got):\n%s", diff)
	}
}

func TestDamagedDeltaIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	whole := sampleDelta()[0]
	db := testOpen(t, vfs.NewMem())
	for name, r := range map[string][]byte{
		"empty":            {},
		"older format":     {0},
		"unknown op":       {1, 9},
		"key missing":      {1, opSet},
		"key of one byte":  {1, opDelete, 1, 0},
		"meta key":         {1, opDelete, 3, 0, 0, 'p'},
		"map meta":         {1, opDelete, 2, 0x80, 0},
		"no layout":        {1, opDelete, 2, 0x40, 1},
		"time cut short":   {1, opDelete, 9, 0xc0, 1, 0, 0, 0, 0, 0, 0, 0},
		"value missing":    {1, opSet, 3, 0, 1, 'k'},
		"value cut short":  {1, opSet, 3, 0, 1, 'k', 5, 'v'},
		"range leaves":     {1, opDeleteRange, 2, 0, 1, 2, 0, 2},
		"endless length":   append([]byte{1, opSet}, bytes.Repeat([]byte{0xff}, 11)...),
		"second op broken": append(bytes.Clone(whole), 7),
	} {
		err := db.Apply([][]byte{whole, r}, Position{Epoch: 1})
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error is %v, want ErrCorrupt", name, err)
		}
	}
	if err := db.Apply([][]byte{{2, opSet}}, Position{Epoch: 1}); !errors.Is(err, ErrFutureFormat) {
		t.Errorf("format 2: error is %v, want ErrFutureFormat", err)
	}
	if _, ok := db.Position(); ok {
		t.Error("a refused delta moved the position")
	}
	wantAbsent(t, NewValue(db, 1, texts{}), "key")
	if err := db.Apply([][]byte{whole}, Position{Epoch: 1}); err != nil {
		t.Errorf("the DB does not take a whole delta after refusals: %v", err)
	}
}

// FuzzDelta: no bytes make the decoder panic or reach outside the record, and
// what decodes gives the same ops when written again.
func FuzzDelta(f *testing.F) {
	for _, r := range sampleDelta() {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		w := deltaWriter{max: 1 << 30}
		var ops []string
		err := decodeDelta(record, func(op deltaOp) error {
			ops = append(ops, fmt.Sprintf("%d %x %x", op.kind, op.key, op.arg))
			w.put(op.kind, StoreID(op.key[0])<<8|StoreID(op.key[1]), op.key[storeIDLen:], op.arg)
			_, _, _, _ = SplitKey(op.key)
			return nil
		})
		if err != nil {
			return
		}
		w.seal()
		var again []string
		for _, r := range w.records {
			if err := decodeDelta(r, func(op deltaOp) error {
				again = append(again, fmt.Sprintf("%d %x %x", op.kind, op.key, op.arg))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(ops, again); diff != "" {
			t.Fatalf("ops after a round trip (-want +got):\n%s", diff)
		}
	})
}

// FuzzPosition: the same for positions.
func FuzzPosition(f *testing.F) {
	f.Add(appendPosition(nil, Position{Epoch: 1, Offset: -1, Detail: []byte("d")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePosition(b)
		if err == nil && !bytes.Equal(appendPosition(nil, p), b) {
			t.Fatalf("position %x changed in a round trip", b)
		}
	})
}

func TestSplitKeyRecoversTheUserKey(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("k"), 300)
	for _, c := range []struct {
		entry   []byte
		id      StoreID
		key     []byte
		sub     []byte
		invalid bool
	}{
		{entry: append(appendStoreID(nil, 4), "user"...), id: 4, key: []byte("user")},
		{entry: appendMapTail(appendStoreID(nil, 4|mapLayout), long, []byte("sub")), id: 4, key: long, sub: []byte("sub")},
		{entry: appendMapTail(appendStoreID(nil, 4|mapLayout), nil, nil), id: 4, key: []byte{}, sub: []byte{}},
		{entry: appendWindowTail(appendStoreID(nil, 4|windowLayout), WindowKey{-5, long, []byte("sub")}), id: 4, key: long, sub: []byte("sub")},
		{entry: appendWindowTail(appendStoreID(nil, MaxStoreID|windowLayout), WindowKey{math.MaxInt64, nil, nil}), id: MaxStoreID, key: []byte{}, sub: []byte{}},
		{entry: []byte{0, 0, 'p'}, invalid: true},
		{entry: []byte{0x40, 4, 1, 'x'}, invalid: true},
		{entry: []byte{0xc0, 4, 0, 0, 0, 0, 0, 0, 0}, invalid: true},
		{entry: []byte{0xc0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1}, invalid: true},
		{entry: []byte{1}, invalid: true},
		{entry: []byte{0x80, 4, 9, 'x'}, invalid: true},
	} {
		id, key, sub, err := SplitKey(c.entry)
		if c.invalid != errors.Is(err, ErrCorrupt) || !c.invalid && (id != c.id || !bytes.Equal(key, c.key) || !bytes.Equal(sub, c.sub)) {
			t.Errorf("SplitKey(%x) = %d, %q, %q, %v", c.entry, id, key, sub, err)
		}
	}
}
