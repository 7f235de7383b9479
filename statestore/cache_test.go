// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

func TestUpdateOfACachedKeyDoesNotAllocate(t *testing.T) {
	db := testOpen(t, vfs.NewMem())
	s, m, w := NewValue(db, 1, numbers{}), NewMap(db, 2, numbers{}), NewWindow(db, 3, numbers{})
	keys := [][]byte{[]byte("12345678"), []byte("short"), []byte(strings.Repeat("long", 20))}
	bump := func() {
		for _, k := range keys {
			p, _, err := s.Update(k)
			if err != nil {
				t.Fatal(err)
			}
			*p++
			if p, _, err = m.Update(k, []byte("sub")); err != nil {
				t.Fatal(err)
			}
			*p++
			if p, _, err = w.Update(1000, k, nil); err != nil {
				t.Fatal(err)
			}
			*p++
		}
	}
	bump()
	if n := testing.AllocsPerRun(100, bump); n != 0 {
		t.Errorf("nine updates allocate %v times", n)
	}
	if v, _, _ := s.Get(keys[0]); v != 102 {
		t.Errorf("the count is %d, want 102", v)
	}
}

func TestCachesStayWithinTheBudgetTheyShare(t *testing.T) {
	t.Parallel()
	res := testResources(t)
	res.shares.Decoded = 4 << 20
	var dbs []*DB
	var nums []*Value[uint64]
	var strs []*Value[string]
	for n := range 4 {
		db := testOpenWith(t, Options{Dir: fmt.Sprint(n), FS: vfs.NewMem(), Resources: res})
		dbs = append(dbs, db)
		nums = append(nums, NewValue(db, 1, numbers{}))
		strs = append(strs, NewValue(db, 2, texts{}))
	}
	// The first DB fills the budget and goes idle; the others must still get
	// their part.
	epoch := uint64(0)
	for n := range dbs {
		for round := range 30 {
			for k := range 2000 {
				id := fmt.Sprintf("%d-%d", round, k)
				mustPut(t, nums[n], id, uint64(k))
				mustPut(t, strs[n], "a key that is longer than sixteen bytes "+id, strings.Repeat("v", 50))
			}
			epoch++
			testCommit(t, dbs[n], epoch)
		}
		if used := res.decoded.Load(); used > res.shares.Decoded*3/2+(1<<20) {
			t.Errorf("after DB %d the caches hold %d bytes, the budget is %d", n, used, res.shares.Decoded)
		}
		if own := nums[n].own + strs[n].own; own < res.fairShare()/2 {
			t.Errorf("DB %d could cache %d bytes only, its fair share is %d", n, own, 2*res.fairShare())
		}
	}
	wantValue(t, nums[0], "3-77", 77)
	wantValue(t, strs[3], "a key that is longer than sixteen bytes 29-1999", strings.Repeat("v", 50))
}

func TestHugeEpochGivesItsMemoryBack(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	db.res.shares.Decoded = 1 << 20
	s := NewValue(db, 1, numbers{})
	for k := range 200_000 {
		mustPut(t, s, fmt.Sprint(k), uint64(k))
	}
	peak := db.res.decoded.Load()
	for e := uint64(1); e < 50; e++ {
		testCommit(t, db, e)
	}
	// The index keeps its size; chunks of entries go back.
	if now := db.res.decoded.Load(); now > peak/2 {
		t.Errorf("the cache holds %d bytes long after an epoch that needed %d, the budget is 1 MiB", now, peak)
	}
	for k := range 200_000 {
		wantValue(t, s, fmt.Sprint(k), uint64(k))
	}
}

func TestDirtyListsEachChangedKeyOnce(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, numbers{})
	mustPut(t, s, "old", 1)
	testCommit(t, db, 1)
	mustPut(t, s, "b", 1)
	mustPut(t, s, "a", 2)
	mustPut(t, s, "b", 3)
	if err := s.Delete([]byte("old")); err != nil {
		t.Fatal(err)
	}
	list := func() (got []string) {
		if err := s.Dirty(func(key []byte, p *uint64) error {
			if p == nil {
				got = append(got, string(key)+" gone")
			} else {
				got = append(got, fmt.Sprint(string(key), "=", *p))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if diff := cmp.Diff([]string{"b=3", "a=2", "old gone"}, list()); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
	testCommit(t, db, 2)
	if got := list(); got != nil {
		t.Errorf("changed keys after a commit: %v", got)
	}
	stop := errors.New("stop")
	mustPut(t, s, "a", 1)
	if err := s.Dirty(func([]byte, *uint64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the callback's error became %v", err)
	}
}

func TestTouchNeedsARef(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, numbers{})
	if _, found, err := s.Ref([]byte("none")); found || err != nil {
		t.Fatal(found, err)
	}
	if err := s.Touch(); err == nil {
		t.Error("touch after a Ref that found nothing was taken")
	}
}

func TestStoreIDsAreCheckedWhenDeclared(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	NewValue(db, 1, numbers{})
	for _, declare := range []func(){
		func() { NewValue(db, 0, numbers{}) },
		func() { NewValue(db, MaxStoreID+1, numbers{}) },
		func() { NewMap(db, 1, numbers{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("an invalid or taken store id was accepted")
				}
			}()
			declare()
		}()
	}
}

func TestScansAreInKeyOrderAcrossCacheAndPebble(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, numbers{})
	m := NewMap(db, 2, numbers{})
	sub := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for n := range uint64(500) {
		mustPut(t, s, string(sub(n*2)), n*2)
		if err := m.Put([]byte("u"), sub(n*2), n*2); err != nil {
			t.Fatal(err)
		}
		if err := m.Put([]byte("other"), sub(n), 0); err != nil {
			t.Fatal(err)
		}
	}
	testCommit(t, db, 1)
	for n := range uint64(500) {
		mustPut(t, s, string(sub(n*2+1)), n*2+1)
		if err := m.Put([]byte("u"), sub(n*2+1), n*2+1); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	for _, v := range s.Scan(nil) {
		got = append(got, v)
	}
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("the scan gave %d values, sorted: %v", len(got), slices.IsSorted(got))
	}
	got = got[:0]
	for _, v := range m.Range([]byte("u")) {
		if got = append(got, v); len(got) == 700 {
			break
		}
	}
	if len(got) != 700 || !slices.IsSorted(got) || got[699] != 699 {
		t.Errorf("the range gave %d values, sorted: %v", len(got), slices.IsSorted(got))
	}
}

func TestCacheCountersReachTheListener(t *testing.T) {
	t.Parallel()
	var got []CacheStats
	db := testOpenWith(t, Options{FS: vfs.NewMem(), Resources: testResources(t), Listener: &Listener{
		Cache: func(s CacheStats) { got = append(got, s) },
	}})
	s := NewValue(db, 3, numbers{})
	for range 3 {
		if _, _, err := s.Update([]byte("abcdefgh")); err != nil {
			t.Fatal(err)
		}
	}
	testCommit(t, db, 1)
	testCommit(t, db, 2)
	want := []CacheStats{{Store: 3, Hits: 2, Misses: 1, Entries: 1, Bytes: s.own}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cache reports (-want +got):\n%s", diff)
	}
}
