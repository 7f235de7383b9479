// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

func TestStateOfWindowsIsShownWithTheirTimes(t *testing.T) {
	t.Parallel()
	v := storeView{store: topology.Store{ID: 300, Name: "per-minute", Kind: topology.WindowStore,
		KeyCodec: codec.String.ID(), SubKeyCodec: codec.String.ID(), ValueCodec: codec.String.ID()}}
	r := windowsOnDisk(t, statestore.StoreID(v.store.ID))
	const first, second = "1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"

	var got [][]string
	see := func(e entry) error {
		got = append(got, v.columns(e.text))
		return nil
	}
	if err := v.each(t.Context(), r, []byte("to"), see); err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"to", "a", first, "1"}, {"to", "a", second, "3"}, {"to", "b", second, "4"}, {"too", "a", second, "5"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries with a prefix (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		sub  []string
		want [][]string
	}{
		{nil, want[:3]},
		{[]string{"a"}, want[:2]},
		{[]string{"none"}, nil},
	} {
		found, err := v.lookUp(r, []byte("to"), c.sub)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, e := range found {
			_ = see(e) // which never fails
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("entries of sub-key %q (-want +got):\n%s", c.sub, diff)
		}
	}
}

// windowsOnDisk makes a state directory with two windows of one minute.
func windowsOnDisk(t *testing.T, id statestore.StoreID) *statestore.Reader {
	t.Helper()
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	db, err := statestore.Open(statestore.Options{Dir: dir, Identity: statestore.Identity{App: "windows", Incarnation: 1}, Resources: res})
	if err != nil {
		t.Fatal(err)
	}
	w := statestore.NewWindow(db, id, codec.String)
	for _, e := range []struct {
		at              int64
		key, sub, value string
	}{{0, "to", "a", "1"}, {0, "be", "a", "2"}, {60_000, "to", "a", "3"}, {60_000, "to", "b", "4"}, {60_000, "too", "a", "5"}} {
		if err := w.Put(e.at, []byte(e.key), []byte(e.sub), e.value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Prepare(1 << 20); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { return db.Confirm(statestore.Position{Epoch: 1}) },
		db.Close,
		res.Close,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := statestore.OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}
