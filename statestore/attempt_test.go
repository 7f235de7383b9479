// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// lists encodes values that can be changed in place. It refuses to encode those
// that begin with -1.
type lists struct{}

var errMinusOne = errors.New("a list of -1")

func (lists) Append(dst []byte, v []int) ([]byte, error) {
	if len(v) > 0 && v[0] == -1 {
		return dst, errMinusOne
	}
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

func (lists) Decode(src []byte) (v []int, err error) { return v, json.Unmarshal(src, &v) }

func TestUndoGivesBackWhatWasChangedInPlace(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s, m := NewValue(db, 1, lists{}), NewMap(db, 2, lists{})
	sub := []byte("sub")
	mustPut(t, s, "put", []int{1})
	mustPut(t, s, "update", []int{1})
	if err := m.Put(sub, sub, []int{1}); err != nil {
		t.Fatal(err)
	}
	testCommit(t, db, 1)
	db.Attempt(true)
	v, _, err := s.Get([]byte("put"))
	if err != nil {
		t.Fatal(err)
	}
	v[0] = 2
	mustPut(t, s, "put", append(v, 3))
	mustPut(t, s, "new", []int{4})
	p, _, err := s.Update([]byte("update"))
	if err != nil {
		t.Fatal(err)
	}
	(*p)[0] = 5
	for _, v := range m.Range(sub) {
		v[0] = 6 // and never put
	}
	if err := db.Undo(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]int{"put": {1}, "update": {1}, "new": nil} {
		if got, _, err := s.Get([]byte(key)); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s is %v, %v; want %v", key, got, err, want)
		}
	}
	if got, _, err := m.Get(sub, sub); err != nil || cmp.Diff([]int{1}, got) != "" {
		t.Errorf("the value of the map is %v, %v", got, err)
	}
	if d := testCommit(t, db, 2); len(d.Records) > 0 {
		t.Errorf("the delta after an undo has %d records", len(d.Records))
	}
}

func TestAttemptRefusesWhatItCannotRemember(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, lists{})
	mustPut(t, s, "k", []int{-1})
	db.Attempt(false)
	if err := s.Put([]byte("k"), nil); !errors.Is(err, errMinusOne) {
		t.Errorf("a change of a value that cannot be encoded gives %v", err)
	}
	db.Abort()
	if v, found, err := s.Get([]byte("k")); found || err != nil {
		t.Errorf("after an abort there is %v, %v", v, err)
	}
}

func TestAttemptThatTheCommitWouldRefuseIsNotKept(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	s := NewValue(db, 1, lists{})
	mustPut(t, s, "k", []int{1})
	db.Attempt(false)
	mustPut(t, s, "other", []int{2})
	mustPut(t, s, "k", []int{-1})
	if err := db.Keep(); !errors.Is(err, errMinusOne) {
		t.Errorf("a value that cannot be encoded was kept: %v", err)
	}
	if err := db.Undo(); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Get([]byte("k")); err != nil || cmp.Diff([]int{1}, got) != "" {
		t.Errorf("after the undo there is %v, %v", got, err)
	}
	testCommit(t, db, 1)
}

func TestAttemptsDoNotNestAndNoEpochEndsWithinOne(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	db.Attempt(false)
	for what, do := range map[string]func(){
		"an attempt": func() { db.Attempt(false) },
		"a commit":   func() { _, _ = db.Prepare(1 << 20) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s within an attempt was taken", what)
				}
			}()
			do()
		}()
	}
	if err := db.Keep(); err != nil {
		t.Fatal(err)
	}
	testCommit(t, db, 1)
}
