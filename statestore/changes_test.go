// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// changed prepares an epoch and writes what it changes as text.
func changed(t *testing.T, db *DB, limit int) (lines []string, left int) {
	t.Helper()
	if _, err := db.Prepare(1 << 20); err != nil {
		t.Fatal(err)
	}
	changes, left, err := db.Changes(limit)
	if err != nil {
		t.Fatal(err)
	}
	number := func(raw []byte) string {
		if raw == nil {
			return "-"
		}
		n, err := numbers{}.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(n)
	}
	for _, ch := range changes {
		id, key, _, err := SplitKey(ch.Key)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%d %s %s->%s", id, key, number(ch.Before), number(ch.After))
		if at, ok := EntryTime(ch.Key); ok {
			line += fmt.Sprintf(" at %d", at)
		}
		lines = append(lines, line)
	}
	return lines, left
}

func TestChangesAreWhatThePreparedEpochMakesOfTheConfirmedState(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s, w := NewValue(db, 1, numbers{}), NewWindow(db, 2, numbers{})
	mustPut(t, s, "a", 1)
	mustPut(t, s, "gone", 2)
	mustPut(t, s, "same", 3)
	for at := range int64(3) {
		mustPutAt(t, w, at, "k", uint64(at)+10)
	}
	if _, _, err := db.Changes(100); err == nil {
		t.Error("changes of an epoch that is not prepared")
	}
	testCommit(t, db, 1)

	mustPut(t, s, "a", 5)
	mustPut(t, s, "new", 6)
	mustPut(t, s, "same", 3)
	if err := s.Delete([]byte("gone")); err != nil {
		t.Fatal(err)
	}
	if err := w.DropBefore(2); err != nil {
		t.Fatal(err)
	}
	got, left := changed(t, db, 100)
	want := map[string]bool{"1 a 1->5": true, "1 gone 2->-": true, "1 new -->6": true, "2 k 10->- at 0": true, "2 k 11->- at 1": true}
	have := map[string]bool{}
	for _, line := range got {
		have[line] = true
	}
	if diff := cmp.Diff(want, have); diff != "" || left != 0 || len(got) != len(want) {
		t.Errorf("%d left out, (-want +got):\n%s", left, diff)
	}
	if err := db.Confirm(Position{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "a", 5)
}

func TestChangesOfARangeAreCountedBeyondTheLimit(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	w := NewWindow(db, 1, numbers{})
	for at := range int64(50) {
		mustPutAt(t, w, at, "k", uint64(at))
	}
	testCommit(t, db, 1)
	if err := w.DropBefore(40); err != nil {
		t.Fatal(err)
	}
	got, left := changed(t, db, 2)
	if diff := cmp.Diff([]string{"1 k 0->- at 0", "1 k 1->- at 1"}, got); diff != "" || left != 38 {
		t.Errorf("%d left out, expected 38; %s", left, diff)
	}
}

func TestChangesBesideACutAreOfWhatItHoldsBack(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, numbers{})
	mustPut(t, s, "a", 1)
	testCommit(t, db, 1)
	c := openCutByHand(db)
	mustPut(t, s, "a", 2)
	testCommit(t, db, 2)
	mustPut(t, s, "a", 3)
	mustPut(t, s, "b", 4)
	c.cancel()
	got, left := changed(t, db, 1)
	if diff := cmp.Diff([]string{"1 a 2->3"}, got); diff != "" || left != 1 {
		t.Errorf("%d left out, %s", left, diff)
	}
	if err := db.Confirm(Position{Epoch: 3}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "a", 3)
	wantValue(t, s, "b", 4)
}
