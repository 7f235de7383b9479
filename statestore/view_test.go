// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"
)

// view compares a part of what a view shows with what is confirmed.
func (m *machine) view(t *rapid.T) {
	r := m.drawRange(t)
	want := []string{}
	for key, value := range m.confirmed {
		id, user, sub, err := SplitKey([]byte(key))
		m.ok(err)
		at, windowed := EntryTime([]byte(key))
		switch {
		case id != r.Store, windowed && r.Times != nil && (at < r.Times.From || at > r.Times.To), key <= string(r.After) && r.After != nil:
		case r.Key == nil && !bytes.HasPrefix(user, r.Prefix), r.Key != nil && !bytes.Equal(user, r.Key):
		case r.Key != nil && r.Sub != nil && !bytes.Equal(sub, r.Sub), bytes.Compare(sub, r.SubFrom) < 0:
		case bytes.Compare(user, r.From) < 0, r.To != nil && bytes.Compare(user, r.To) >= 0:
		default:
			want = append(want, fmt.Sprintf("%x %x", key, value))
		}
	}
	slices.Sort(want)
	got := []string{}
	m.ok(m.db.View(func(v *View) error {
		if pos, ok := v.Position(); ok != (m.epoch > 0) || pos.Epoch != m.epoch {
			t.Fatalf("a view has epoch %d, %v; want %d", pos.Epoch, ok, m.epoch)
		}
		rows, ended := v.Select(r)
		for key, value := range rows {
			got = append(got, fmt.Sprintf("%x %x", key, value))
		}
		return ended()
	}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("a view of %+v (-want +got):\n%s", r, diff)
	}
}

// drawRange takes its bounds from what is confirmed, so that they are met.
func (m *machine) drawRange(t *rapid.T) Range {
	r := Range{Store: StoreID(rapid.IntRange(int(numsID), int(dueID)).Draw(t, "store"))}
	var entries []string
	for key := range m.confirmed {
		if id, _, _, err := SplitKey([]byte(key)); err == nil && id == r.Store {
			entries = append(entries, key)
		}
	}
	slices.Sort(entries)
	draw := func(what string) (key, user, sub []byte) {
		if len(entries) == 0 {
			return nil, []byte("k1"), nil
		}
		key = []byte(rapid.SampledFrom(entries).Draw(t, what))
		_, user, sub, err := SplitKey(key)
		m.ok(err)
		return key, bytes.Clone(user), bytes.Clone(sub)
	}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		_, r.Key, r.Sub = draw("key and sub")
	case 1:
		_, r.Key, _ = draw("key")
		if r.Store == subsID {
			_, _, r.SubFrom = draw("sub from")
		}
	case 2:
		_, r.From, _ = draw("from")
		_, r.To, _ = draw("to")
	case 3:
		_, r.Prefix, _ = draw("prefix")
		r.Prefix = r.Prefix[:rapid.IntRange(0, len(r.Prefix)).Draw(t, "prefix length")]
	}
	if rapid.Bool().Draw(t, "timed") {
		r.Times = &TimeRange{rapid.Int64Range(-2, 20).Draw(t, "since"), rapid.SampledFrom([]int64{0, 10, math.MaxInt64}).Draw(t, "until")}
	}
	if rapid.Bool().Draw(t, "paged") {
		r.After, _, _ = draw("after")
	}
	return r
}

// TestViewsAreWholeWhileCommitsCutsAndCloseGoOn has readers compare: in each epoch all
// entries get the number of that epoch, in a store that wraps its entries, and one
// that drops all windows before.
func TestViewsAreWholeWhileCommitsCutsAndCloseGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := Open(Options{Dir: filepath.Join(dir, "task"), Identity: testTask, Resources: testResources(t)})
	if err != nil {
		t.Fatal(err)
	}
	values, wins := NewValue(db, 1, numbers{}), NewWindow(db, 2, numbers{})
	var group errgroup.Group
	for range 4 {
		group.Go(func() error { return readUntilClosed(db) })
	}
	var cut *Cut
	for epoch := uint64(1); epoch <= 300; epoch++ {
		for key := range 20 {
			mustPut(t, values, fmt.Sprint(key), epoch)
		}
		mustPutAt(t, wins, int64(epoch), "w", epoch)
		if err := wins.DropBefore(int64(epoch)); err != nil {
			t.Fatal(err)
		}
		testCommit(t, db, epoch)
		if epoch%30 == 0 {
			if cut != nil {
				if err := <-cut.Done(); err != nil {
					t.Fatal(err)
				}
			}
			if cut, err = db.Cut(t.Context(), filepath.Join(dir, fmt.Sprint("cut-", epoch)), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// readUntilClosed checks view after view.
func readUntilClosed(db *DB) error {
	last := uint64(0)
	for {
		changed := db.Changed()
		err := db.View(func(v *View) error {
			pos, _ := v.Position()
			if pos.Epoch < last {
				return fmt.Errorf("after epoch %d a view is of epoch %d", last, pos.Epoch)
			}
			last = pos.Epoch
			want := []uint64{20, 1}
			if last == 0 {
				want = []uint64{0, 0}
			}
			for i, id := range []StoreID{1, 2} {
				n := uint64(0)
				rows, ended := v.Select(Range{Store: id})
				for key, raw := range rows {
					if got, err := (numbers{}).Decode(raw); err != nil || got != last {
						return fmt.Errorf("%x is of epoch %d in a view of epoch %d: %v", key, got, last, err)
					}
					n++
				}
				if err := ended(); err != nil {
					return err
				}
				if n != want[i] {
					return fmt.Errorf("store %d has %d entries in epoch %d", id, n, last)
				}
			}
			return nil
		})
		if errors.Is(err, ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		<-changed
	}
}

func TestCloseEndsAViewAndWaitsForIt(t *testing.T) {
	t.Parallel()
	res := testResources(t)
	db, err := Open(Options{Dir: "state", FS: vfs.NewMem(), Identity: testTask, Resources: res})
	if err != nil {
		t.Fatal(err)
	}
	s := NewValue(db, 1, numbers{})
	for key := range 10 {
		mustPut(t, s, fmt.Sprint(key), 1)
	}
	testCommit(t, db, 1)
	changed, closed := db.Changed(), make(chan error)
	rows := 0
	err = db.View(func(v *View) error {
		all, ended := v.Select(Range{Store: 1})
		for range all {
			if rows++; rows == 3 {
				go func() { closed <- db.Close() }()
				<-changed // Close has begun
				select {
				case err := <-closed:
					return fmt.Errorf("close did not wait: %v", err)
				default:
				}
			}
		}
		return ended()
	})
	if !errors.Is(err, ErrClosed) || rows != 3 {
		t.Errorf("the view ended after %d entries with %v, want ErrClosed after 3", rows, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := db.View(func(*View) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("a view of a closed DB: %v, want ErrClosed", err)
	}
	<-db.Changed() // does not wait for what will not come
}
