// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

func mustPutAt(tb testing.TB, w *Window[uint64], at int64, key string, v uint64) {
	tb.Helper()
	if err := w.Put(at, []byte(key), nil, v); err != nil {
		tb.Fatal(err)
	}
}

// wantFirst checks the first time; math.MaxInt64 means that there is none.
func wantFirst(tb testing.TB, w *Window[uint64], want int64) {
	tb.Helper()
	got, ok, err := w.First()
	if err != nil || ok != (want != math.MaxInt64) || ok && got != want {
		tb.Fatalf("first is %d, %v, %v; want %d", got, ok, err, want)
	}
}

// listBetween lists the entries as "time/key/sub=value".
func listBetween(tb testing.TB, w *Window[uint64], from, to int64) (got []string) {
	tb.Helper()
	for k, v := range w.Between(from, to) {
		got = append(got, fmt.Sprintf("%d/%s/%s=%d", k.Time, k.Key, k.Sub, v))
	}
	if err := w.db.Err(); err != nil {
		tb.Fatal(err)
	}
	return got
}

func TestFirstFollowsTheFrontOfTime(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wantFirst(t, w, math.MaxInt64)
	mustPutAt(t, w, 20, "a", 1)
	mustPutAt(t, w, 30, "a", 1)
	wantFirst(t, w, 20)
	mustPutAt(t, w, 10, "a", 1)
	wantFirst(t, w, 10)
	testCommit(t, db, 1)

	do(w.Delete(10, []byte("a"), nil))
	wantFirst(t, w, 20)
	do(w.Drop(20))
	wantFirst(t, w, 30)
	mustPutAt(t, w, 20, "b", 1)
	wantFirst(t, w, 20)
	db.Abort()
	wantFirst(t, w, 10)

	do(w.DropBefore(30))
	wantFirst(t, w, 30)
	do(w.DropBefore(math.MaxInt64))
	wantFirst(t, w, math.MaxInt64)
	testCommit(t, db, 2)
	wantFirst(t, w, math.MaxInt64)

	replay := deltaWriter{max: 1 << 10}
	key := appendWindowTail(nil, WindowKey{15, []byte("a"), nil})
	replay.put(opSet, 1|windowLayout, key, []byte("12345678"))
	replay.seal()
	do(db.Apply(replay.records, Position{Epoch: 3}))
	wantFirst(t, w, 15)
}

func TestDropIsOneRangeDeleteAndEmptiesTheCache(t *testing.T) {
	t.Parallel()
	for _, confirmed := range []bool{false, true} {
		db := testOpen(t, vfs.NewMem())
		w := NewWindow(db, 1, numbers{})
		for n := range uint64(2000) {
			mustPutAt(t, w, int64(n%4)*10, fmt.Sprint("key", n), n)
		}
		if confirmed {
			testCommit(t, db, 1)
		}
		if err := w.Drop(0); err != nil {
			t.Fatal(err)
		}
		if err := w.DropBefore(30); err != nil {
			t.Fatal(err)
		}
		if n := w.index.used; n != 500 {
			t.Errorf("%d entries are cached after three of four windows were dropped, want 500", n)
		}
		ops := map[byte]int{}
		for _, r := range testCommit(t, db, 2).Records {
			if err := decodeDelta(r, func(op deltaOp) error { ops[op.kind]++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		want := map[byte]int{opDeleteRange: 2, opSet: 500}
		if confirmed {
			delete(want, opSet)
		}
		if diff := cmp.Diff(want, ops); diff != "" {
			t.Errorf("ops of the delta (-want +got):\n%s", diff)
		}
		if got := len(listBetween(t, w, math.MinInt64, math.MaxInt64)); got != 500 {
			t.Errorf("%d entries are left, want 500", got)
		}
	}
}

func TestDropOfNothingWritesNothing(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	mustPutAt(t, w, 20, "a", 1)
	testCommit(t, db, 1)
	wantFirst(t, w, 20)
	if err := w.Drop(19); err != nil {
		t.Fatal(err)
	}
	if err := w.DropBefore(20); err != nil {
		t.Fatal(err)
	}
	if d := testCommit(t, db, 2); !d.Empty() {
		t.Errorf("the delta has %d records, want none", len(d.Records))
	}
}

func TestAbortDuringACutBringsBackDroppedWindows(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	mustPutAt(t, w, 10, "stored", 1)
	mustPutAt(t, w, 10, "both", 2)
	testCommit(t, db, 1)
	c := openCutByHand(db)
	mustPutAt(t, w, 10, "both", 3)
	mustPutAt(t, w, 10, "held", 4)
	testCommit(t, db, 2)
	want := []string{"10/both/=3", "10/held/=4", "10/stored/=1"}
	check := func() {
		t.Helper()
		if diff := cmp.Diff(want, listBetween(t, w, 0, 100)); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
		for _, s := range []string{"both", "held", "stored"} {
			if _, ok, err := w.Get(10, []byte(s), nil); ok != (want != nil) || err != nil {
				t.Errorf("get %q: %v, %v", s, ok, err)
			}
		}
	}
	if err := w.Drop(10); err != nil {
		t.Fatal(err)
	}
	db.Abort()
	wantFirst(t, w, 10)
	check()
	if err := w.Drop(10); err != nil {
		t.Fatal(err)
	}
	testCommit(t, db, 3)
	want = nil
	check()
	c.cancel()
	testCommit(t, db, 4)
	check()
}

// setBehind changes Pebble without the store's knowledge.
func setBehind(tb testing.TB, w *Window[uint64], at int64, key string, v uint64) {
	tb.Helper()
	entry := appendWindowTail(appendStoreID(nil, w.id), WindowKey{at, []byte(key), nil})
	if err := firstError(w.db.closeIterators(), w.db.pebble.Set(entry, binary.BigEndian.AppendUint64(nil, v), pebble.NoSync)); err != nil {
		tb.Fatal(err)
	}
}

func TestNewEntriesAheadOfPebbleAreMadeWithoutReading(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	n := uint64(0)
	// reads says whether the next new key of the time is looked for in Pebble.
	reads := func(at int64) bool {
		n++
		key := fmt.Sprint("new", n)
		setBehind(t, w, at, key, 7)
		_, found, err := w.Update(at, []byte(key), nil)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if _, _, err := w.Update(10, []byte("a"), nil); err != nil {
		t.Fatal(err)
	}
	if reads(10) {
		t.Error("a new key of the first window is read")
	}
	testCommit(t, db, 1)
	if reads(10) || reads(20) {
		t.Error("a new key of a window that is whole in the cache is read")
	}
	if got := listBetween(t, w, 20, 21); len(got) != 1 {
		t.Errorf("the last window is %q, want the entry that was put", got)
	}
	testCommit(t, db, 2)
	if err := w.Drop(20); err != nil {
		t.Fatal(err)
	}
	db.Abort()
	if !reads(10) || !reads(20) {
		t.Error("after the abort of a drop the keys that it dropped are not read")
	}
	if reads(30) {
		t.Error("a new key ahead of what was aborted is read")
	}
	testCommit(t, db, 3)
	for range 3 {
		w.sweep(1 << 20) // evicts all
	}
	if !reads(30) {
		t.Error("a key that may have been evicted is not read")
	}
	if reads(40) {
		t.Error("a new key ahead of what was evicted is read")
	}
}

func TestEntriesEvictedWhileRangingAreSeen(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	var want []string
	for n := range uint64(100) {
		mustPutAt(t, w, 10, fmt.Sprintf("%03d", n), n)
		want = append(want, fmt.Sprintf("%03d=%d", n, n))
	}
	testCommit(t, db, 1)
	var got []string
	for k, v := range w.All(10) {
		got = append(got, fmt.Sprintf("%s=%d", k.Key, v))
		for range 3 {
			w.sweep(1 << 20)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestEntriesPutFurtherOnWhileRangingAreSeen(t *testing.T) {
	t.Parallel()
	for _, evicted := range []bool{false, true} {
		db := testOpen(t, vfs.NewMem())
		w := NewWindow(db, 1, numbers{})
		mustPutAt(t, w, 10, "a", 0)
		mustPutAt(t, w, 10, "x", 0)
		testCommit(t, db, 1)
		if evicted {
			w.sweep(1 << 20) // spares once what was used
			w.sweep(1 << 20)
		}
		var got string
		for k := range w.All(10) {
			got += string(k.Key)
			if k.Key[0] < 'f' {
				mustPutAt(t, w, 10, string(k.Key[0]+1), 0)
			}
		}
		if got != "abcdefx" {
			t.Errorf("ranging, evicted %v, gave %q, want %q", evicted, got, "abcdefx")
		}
	}
}

func TestEntriesOfATimeComeInTheOrderOfCompareKeys(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	for _, n := range []int{0, 1, 2, 127, 128, 129, 255, 256, 300} {
		for _, c := range []string{"a", "z"} {
			mustPutAt(t, w, 10, strings.Repeat(c, n), 0)
		}
	}
	for _, stored := range []bool{false, true} {
		var before []byte
		n := 0
		for k := range w.All(10) {
			if n > 0 && CompareKeys(before, k.Key) >= 0 {
				t.Errorf("stored %v: a key of %d bytes comes before one of %d, and CompareKeys has it the other way", stored, len(before), len(k.Key))
			}
			before = append(before[:0], k.Key...)
			n++
		}
		if n != 17 {
			t.Errorf("stored %v: there are %d keys, want 17", stored, n)
		}
		testCommit(t, db, 1)
		w.sweep(1 << 20)
		w.sweep(1 << 20)
	}
}

func TestMemoryOfDroppedWindowsIsUsedAgain(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	var after []int64
	for at := range int64(50) {
		for n := range uint64(1000) {
			mustPutAt(t, w, at, fmt.Sprint("key that is longer than an entry ", n), n)
		}
		if err := w.DropBefore(at); err != nil {
			t.Fatal(err)
		}
		testCommit(t, db, uint64(2*at+1))
		if err := w.Drop(at); err != nil { // changed in this epoch
			t.Fatal(err)
		}
		mustPutAt(t, w, at, "last", 1)
		if err := w.Drop(at); err != nil {
			t.Fatal(err)
		}
		testCommit(t, db, uint64(2*at+2))
		after = append(after, w.own)
	}
	if after[49] > after[2] {
		t.Errorf("the cache has %d bytes after 50 windows and had %d after 3", after[49], after[2])
	}
	if n := len(w.free); n != w.live<<w.shift {
		t.Errorf("%d of %d entries are free, with none in use", n, w.live<<w.shift)
	}
}

func TestDueIndexTakesBlindWritesAndGivesWhatIsDue(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	due := NewWindow(db, 1, nothing{})
	set := func(at int64, key string) {
		if err := due.Put(at, []byte(key), nil, struct{}{}); err != nil {
			t.Fatal(err)
		}
	}
	fire := func(now int64) (got []string) {
		for k := range due.Between(math.MinInt64, now) {
			got = append(got, fmt.Sprintf("%d %s", k.Time, k.Key))
			if err := due.Delete(k.Time, k.Key, nil); err != nil {
				t.Fatal(err)
			}
			if string(k.Key) == "again" {
				set(k.Time+5, "again") // a timer that sets itself
			}
		}
		if err := db.Err(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	set(30, "c")
	set(-10, "a")
	set(20, "again")
	set(20, "b")
	testCommit(t, db, 1)
	if err := due.Delete(20, []byte("b"), nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"-10 a", "20 again", "25 again", "30 c", "30 again"}
	if diff := cmp.Diff(want, fire(31)); diff != "" {
		t.Errorf("fired (-want +got):\n%s", diff)
	}
	if at, ok, err := due.First(); at != 35 || !ok || err != nil {
		t.Errorf("next due at %d, %v, %v; want 35", at, ok, err)
	}
	testCommit(t, db, 2)
	if stats := due.cacheStats(); stats.Misses != 0 {
		t.Errorf("blind writes missed the cache %d times", stats.Misses)
	}
}

func TestReaderScansWindowsInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMem()
	db := testOpen(t, fsys)
	w := NewWindow(db, 1, numbers{})
	mustPut(t, NewValue(db, 2, numbers{}), "other", 1)
	mustPutAt(t, w, 20, "a", 3)
	mustPutAt(t, w, math.MaxInt64, "a", 4)
	mustPutAt(t, w, -5, "b", 1)
	if err := w.Put(20, nil, []byte("sub"), 2); err != nil {
		t.Fatal(err)
	}
	testCommit(t, db, 1)
	c, err := db.Cut(context.Background(), "cut", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-c.Done(); err != nil {
		t.Fatal(err)
	}
	r, err := openReadOnly(fsys, "cut")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	rows, ended := r.Select(Range{Store: 1})
	for whole, v := range rows {
		_, key, sub, err := SplitKey(whole)
		at, windowed := EntryTime(whole)
		if err != nil || !windowed {
			t.Fatalf("entry key %x: %v", whole, err)
		}
		got = append(got, fmt.Sprintf("%d/%s/%s=%x", at, key, sub, v[7:]))
	}
	if err := firstError(ended(), r.Close()); err != nil {
		t.Fatal(err)
	}
	want := []string{"-5/b/=01", "20//sub=02", "20/a/=03", fmt.Sprint(int64(math.MaxInt64), "/a/=04")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestRangeKeepsToItsTimeAndKey(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	long := strings.Repeat("\xff", 200)
	for n, key := range []string{"", "\xff", "\xff\xff", long} {
		for _, at := range []int64{math.MinInt64, 7, math.MaxInt64} {
			for _, sub := range []string{"", "\x00", "\xff\xff"} {
				if err := w.Put(at, []byte(key), []byte(sub), uint64(n)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for n, key := range []string{"", "\xff", "\xff\xff", long} {
		for _, at := range []int64{math.MinInt64, 7, math.MaxInt64} {
			var got []string
			for s, v := range w.Range(at, []byte(key)) {
				if v != uint64(n) {
					t.Errorf("range of key %d at %d has a value of key %d", n, at, v)
				}
				got = append(got, string(s))
			}
			if diff := cmp.Diff([]string{"", "\x00", "\xff\xff"}, got); diff != "" {
				t.Errorf("sub-keys of key %d at %d (-want +got):\n%s", n, at, diff)
			}
		}
	}
}

func TestEntriesOfAStoreAreThoseOfItsLayoutAndPrefix(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMem()
	db := testOpen(t, fsys)
	value, mapped, window := NewValue(db, 1, numbers{}), NewMap(db, 2, numbers{}), NewWindow(db, 3, numbers{})
	for n, key := range []string{"a", "ab", "b"} {
		err := errors.Join(value.Put([]byte(key), uint64(n)), mapped.Put([]byte(key), []byte("sub"), uint64(n)), window.Put(int64(n), []byte(key), nil, uint64(n)))
		if err != nil {
			t.Fatal(err)
		}
	}
	testCommit(t, db, 1)
	c, err := db.Cut(context.Background(), "cut", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-c.Done(); err != nil {
		t.Fatal(err)
	}
	r, err := openReadOnly(fsys, "cut")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id     StoreID
		prefix string
		want   []string
	}{
		{1, "", []string{"a", "ab", "b"}}, {1, "a", []string{"a", "ab"}}, {1, "c", nil},
		{2, "a", []string{"a", "ab"}}, {3, "a", []string{"a", "ab"}}, {3, "b", []string{"b"}}, {4, "", nil},
	} {
		var got []string
		rows, ended := r.Select(Range{Store: c.id, Prefix: []byte(c.prefix)})
		for whole := range rows {
			id, key, _, err := SplitKey(whole)
			if _, windowed := EntryTime(whole); err != nil || id != c.id || windowed != (id == 3) {
				t.Errorf("entry key %x: %v", whole, err)
			}
			got = append(got, string(key))
		}
		if diff := cmp.Diff(c.want, got); diff != "" || ended() != nil {
			t.Errorf("store %d, prefix %q (-want +got), %v:\n%s", c.id, c.prefix, ended(), diff)
		}
	}
	for id := range StoreID(4) {
		var got []string
		rows, ended := r.Select(Range{Store: id, Key: []byte("a")})
		for whole := range rows {
			_, key, _, err := SplitKey(whole)
			if err != nil {
				t.Error(err)
			}
			got = append(got, string(key))
		}
		if want := min(int(id), 1); len(got) != want || want > 0 && got[0] != "a" || ended() != nil {
			t.Errorf("store %d has of one key %q, %v", id, got, ended())
		}
	}
	rows, ended := r.Select(Range{Store: 2})
	for range rows {
		break
	}
	if err := firstError(ended(), r.Close()); err != nil {
		t.Fatal(err)
	}
}
