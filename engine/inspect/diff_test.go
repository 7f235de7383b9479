// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// described writes a diff as lines.
func described(d *inspect.Diff) []string {
	var lines []string
	for _, s := range d.Stores {
		lines = append(lines, fmt.Sprintf("%s: %d %d %d", s.Store, s.Added, s.Removed, s.Changed))
		for _, c := range s.Samples {
			line := fmt.Sprintf("%s %s %s", c.Kind, c.Row().Task, inspect.Text(c.Row().Key))
			for _, side := range []*inspect.Row{c.Before, c.After} {
				if side != nil {
					line += " " + inspect.Text(side.Value)
				}
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func TestDiffTellsWhatWasAddedRemovedAndChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t,
		topology.Store{Name: "map", Kind: topology.MapStore, KeyCodec: asText, SubKeyCodec: asText, ValueCodec: asText},
		topology.Store{Name: "rules", Kind: topology.BroadcastStore, KeyCodec: asText, ValueCodec: asText},
		topology.Store{Name: "table", Kind: topology.TableStore, KeyCodec: asText, ValueCodec: asText})
	put := func(d *db, key string, second int64, value string) error {
		return d.values["table"].Put([]byte(key), at(t, second, append([]byte{0}, value...)...))
	}
	for n := range int32(3) {
		r.commit(task(n), func(d *db) error {
			return errors.Join(put(d, "changed", 1, "old"), put(d, "removed", 1, "x"), put(d, "same", 1, "y"), put(d, "touched", 1, "z"),
				d.maps["map"].Put([]byte("k"), []byte("s"), []byte("\x001")))
		})
	}
	r.publish(1)
	for n := range int32(2) { // the third one commits nothing
		r.commit(task(n), func(d *db) error {
			return errors.Join(put(d, "changed", 2, "new"), d.values["table"].Delete([]byte("removed")), put(d, "added", 2, "w"), put(d, "touched", 2, "z"),
				d.maps["map"].Put([]byte("k"), []byte("t"), []byte("\x002")), d.values["rules"].Put([]byte("r"), []byte("\x00on")))
		})
	}
	r.publish(2)
	before, after := r.open(1, nil), r.open(2, nil)
	d, err := inspect.Compare(t.Context(), before, after, inspect.DiffOptions{Samples: 4})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"map: 2 0 0", "added 0_0 k 2", "added 0_1 k 2",
		"rules: 1 0 0", "added 0_0 r on",
		"table: 2 2 4", "added 0_0 added w", "changed 0_0 changed old new", "removed 0_0 removed x", "changed 0_0 touched z z",
	}
	if diff := cmp.Diff(want, described(d)); diff != "" || d.Same != 1 {
		t.Errorf("%d tasks are the same (-want +got):\n%s", d.Same, diff)
	}

	d, err = inspect.Compare(t.Context(), after, before, inspect.DiffOptions{Stores: []string{"map"}, Samples: 1})
	if diff := cmp.Diff([]string{"map: 0 2 0", "removed 0_0 k 2"}, described(d)); diff != "" || err != nil {
		t.Errorf("one store, the other way round, %v (-want +got):\n%s", err, diff)
	}
	d, err = inspect.Compare(t.Context(), after, after, inspect.DiffOptions{})
	if diff := cmp.Diff([]string{"map: 0 0 0", "rules: 0 0 0", "table: 0 0 0"}, described(d)); diff != "" || err != nil || d.Same != 3 {
		t.Errorf("with itself, %v (-want +got):\n%s", err, diff)
	}
	if _, err := inspect.Compare(t.Context(), before, after, inspect.DiffOptions{Stores: []string{"tabel"}}); !errors.Is(err, inspect.ErrNoStore) || !strings.Contains(err.Error(), "did you mean table?") {
		t.Errorf("a misspelt store: %v", err)
	}
}

func TestDiffTakesEntriesOfATaskThatOneSideLacks(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: asText})
	r.commit(task(0), func(d *db) error { return d.values["s"].Put([]byte("a"), []byte("\x00v")) })
	r.publish(1)
	r.commit(task(1), func(d *db) error { return d.values["s"].Put([]byte("b"), []byte("\x00v")) })
	r.publish(2)
	var seen []inspect.Progress
	o := inspect.DiffOptions{Samples: 1, Progress: func(p inspect.Progress) { seen = append(seen, p) }}
	d, err := inspect.Compare(t.Context(), r.open(1, nil), r.open(2, nil), o)
	if err != nil || d.Same != 1 || !slices.Equal(described(d), []string{"s: 1 0 0", "added 0_1 b v"}) {
		t.Errorf("%v, %v", described(d), err)
	}
	if len(seen) != 2 || seen[1].Part != 2 || seen[1].Parts != 2 || seen[1].Bytes == 0 {
		t.Errorf("progress %+v", seen)
	}
}

func TestDiffOfTwoLivesNeedsEqualTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: asText})
	r.commit(task(0), func(d *db) error { return d.values["s"].Put([]byte("a"), []byte("\x00v")) })
	r.publish(1)
	former := r.open(1, nil)
	r.begin(2)
	r.publish(1)
	d, err := inspect.Compare(t.Context(), former, r.open(1, nil), inspect.DiffOptions{})
	if err != nil || !slices.Equal(described(d), []string{"s: 0 0 0"}) {
		t.Errorf("the same state in another life: %+v, %v", d, err)
	}
	r.commit(task(1), func(*db) error { return nil })
	r.publish(2)
	if d, err := inspect.Compare(t.Context(), former, r.open(2, nil), inspect.DiffOptions{}); !errors.Is(err, inspect.ErrRescaled) {
		t.Errorf("with another number of tasks: %+v, %v", d, err)
	}
}

func TestDiffFetchesNoFileTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "s", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: asText})
	r.commit(task(0), func(d *db) error { return d.values["s"].Put([]byte("a"), []byte("\x00v")) })
	r.publish(1)
	r.commit(task(0), func(d *db) error { return d.values["s"].Put([]byte("b"), []byte("\x00v")) })
	r.publish(2)
	before, after := r.open(1, nil), r.open(2, nil)
	var mu sync.Mutex
	files := 0
	r.bucket.SetHook(func(op fault.Op) fault.Fault {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind == fault.Get {
			files++
		}
		return fault.Fault{}
	})
	if _, err := inspect.Compare(t.Context(), before, after, inspect.DiffOptions{}); err != nil {
		t.Fatal(err)
	}
	r.bucket.SetHook(nil)
	hashes := map[string]bool{}
	all := 0
	for _, round := range []int64{1, 2} {
		m, err := r.repo.Manifest(t.Context(), 1, round, task(0))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range m.Files {
			hashes[f.Name+f.SHA256] = true
			all++
		}
	}
	if files != len(hashes) || len(hashes) == all {
		t.Errorf("fetched %d objects for %d files, of which %d differ", files, all, len(hashes))
	}
}

func TestRowsOfNoTimeAreNotTimed(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "s", Kind: topology.TableStore, KeyCodec: asText, ValueCodec: asText})
	r.commit(task(0), func(d *db) error {
		never := append(encoded(t, codec.Int64, math.MinInt64), 0, 'v')
		return errors.Join(d.values["s"].Put([]byte("k"), never), d.values["s"].Put([]byte("\xff"), at(t, 1, 0, 0xff)))
	})
	r.publish(1)
	c := r.open(1, nil)
	want := []string{
		`{"task":"0_0","partition":0,"key":"k","value":"v"}`,
		`{"task":"0_0","partition":0,"key":"0xff","time":"1970-01-01T00:00:01Z","value":"0xff"}`,
	}
	if diff := cmp.Diff(want, r.lines(c, inspect.Walk{Stores: []*inspect.Store{r.store(c, "s")}})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
