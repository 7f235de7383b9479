// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

func TestStateOfWindowsIsShownWithTheirTimes(t *testing.T) {
	t.Parallel()
	v := storeView{store: topology.Store{ID: 300, Name: "per-minute", Kind: topology.WindowStore,
		KeyCodec: codec.String.ID(), SubKeyCodec: codec.String.ID(), ValueCodec: codec.String.ID(), Plain: true}}
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

func TestVersionsAreShownWithTheirTimes(t *testing.T) {
	t.Parallel()
	const name, older = 300, 301
	r := onDisk(t, func(db *statestore.DB) error {
		newest := statestore.NewValue(db, name, codec.Bytes)
		versions := statestore.NewMap(db, older, codec.Bytes)
		at := func(second int64) []byte { return topology.AppendVersionTime(nil, second*1000) }
		entry := func(time int64, value string) []byte {
			b, _ := codec.Int64.Append(nil, time*1000) // which never fails
			return append(b, value...)
		}
		return errors.Join(
			newest.Put([]byte("a"), entry(60, "\x00x")),
			newest.Put([]byte("b"), entry(60, "")),
			versions.Put([]byte("a"), at(1), []byte("\x00y")),
			versions.Put([]byte("a"), at(2), []byte{}),
		)
	})
	for _, c := range []struct {
		store topology.Store
		want  [][]string
	}{
		{topology.Store{ID: name, Kind: topology.VersionedTableStore},
			[][]string{{"a", "1970-01-01T00:01:00Z", "x"}, {"b", "1970-01-01T00:01:00Z", "(deleted)"}}},
		{topology.Store{ID: older, Kind: topology.VersionStore},
			[][]string{{"a", "1970-01-01T00:00:02Z", "(deleted)"}, {"a", "1970-01-01T00:00:01Z", "y"}}},
	} {
		c.store.KeyCodec, c.store.ValueCodec = codec.String.ID(), codec.String.ID()
		v := storeView{store: c.store}
		var got [][]string
		see := func(e entry) error {
			got = append(got, v.columns(e.text))
			return nil
		}
		if err := v.each(t.Context(), r, nil, see); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.store.Kind, diff)
		}
		found, err := v.lookUp(r, []byte("a"), nil)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, e := range found {
			_ = see(e) // which never fails
		}
		if diff := cmp.Diff(c.want[:len(found)], got); diff != "" || len(found) == 0 {
			t.Errorf("%s of one key (-want +got):\n%s", c.store.Kind, diff)
		}
	}
}

// windowsOnDisk makes a state directory with two windows of one minute.
func windowsOnDisk(t *testing.T, id statestore.StoreID) *statestore.Reader {
	t.Helper()
	return onDisk(t, func(db *statestore.DB) error {
		w := statestore.NewWindow(db, id, codec.String)
		for _, e := range []struct {
			at              int64
			key, sub, value string
		}{{0, "to", "a", "1"}, {0, "be", "a", "2"}, {60_000, "to", "a", "3"}, {60_000, "to", "b", "4"}, {60_000, "too", "a", "5"}} {
			if err := w.Put(e.at, []byte(e.key), []byte(e.sub), e.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// onDisk makes a state directory of what fill writes.
func onDisk(t *testing.T, fill func(*statestore.DB) error) *statestore.Reader {
	t.Helper()
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	db, err := statestore.Open(statestore.Options{Dir: dir, Identity: statestore.Identity{App: "shown", Incarnation: 1}, Resources: res})
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(db); err != nil {
		t.Fatal(err)
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
