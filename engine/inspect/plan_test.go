// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// even is a codec of even numbers.
var even = codec.New("even", codec.Int64.Append, func(src []byte) (int64, error) {
	n, err := codec.Int64.Decode(src)
	if err == nil && n%2 != 0 {
		err = errors.New("odd")
	}
	return n, err
})

func TestTrialReadsTheSmallestTasksAndNamesWhatDoesNotDecode(t *testing.T) {
	t.Parallel()
	r := newRig(t, topology.Store{Name: "n", Kind: topology.ValueStore, KeyCodec: asText, ValueCodec: "even"})
	for n, entries := range []int{300, 10, 40} {
		r.commit(task(int32(n)), func(d *db) error {
			var errs []error
			for i := range entries {
				value := encoded(t, codec.Stored(even), int64(2*i+n%2)) // odd in task 0_1
				errs = append(errs, d.values["n"].Put(fmt.Appendf(nil, "secret-%04d", i), value))
			}
			return errors.Join(errs...)
		})
	}
	r.publish(1)
	c := r.open(1, r.topology(codec.Views(even)))
	all, err := c.Try(t.Context(), inspect.TrialOptions{Stores: []string{"n", "elsewhere"}, Samples: 60, MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	// A third of the samples are for the first task, which has fewer; the others share the rest.
	if s := all.Stores[0]; len(all.Stores) != 1 || s.Tried != 60 || s.Failed != 10 || len(s.Failures) != 3 || s.Failures[0].Task != task(1) {
		t.Errorf("tried %+v", all.Stores)
	}
	if text := fmt.Sprintf("%+v", all); strings.Contains(text, "secret") {
		t.Errorf("keys are shown: %s", text)
	}
	again, err := c.Try(t.Context(), inspect.TrialOptions{Stores: []string{"n"}, Samples: 60, MaxBytes: 1 << 30})
	if err != nil || again.Stores[0].Failures[2].KeyHash != all.Stores[0].Failures[2].KeyHash {
		t.Errorf("other samples were chosen: %+v, %v", again, err)
	}
	few, err := c.Try(t.Context(), inspect.TrialOptions{Stores: []string{"n"}, Samples: 60, MaxBytes: all.Read[0].Bytes})
	if err != nil || len(few.Read) != 1 || few.Read[0].Task != task(1) || len(few.Left) != 2 || few.Stores[0].Tried != 10 {
		t.Errorf("with a limit: %+v, %v", few, err)
	}
}

func TestPlanKnowsWhatLaterReleasesOfTheLifeHaveStored(t *testing.T) {
	t.Parallel()
	value := func(name string, codecs ...string) topology.Store {
		last := len(codecs) - 1
		return topology.Store{Name: name, Kind: topology.ValueStore, KeyCodec: asText, FormerValueCodecs: codecs[:last], ValueCodec: codecs[last]}
	}
	r := newRig(t, value("old", "a"))
	recorded := slices.Clone(r.stores)
	r.stores = nil
	for i, st := range []topology.Store{value("old", "a", "b"), value("later", "c"), value("gone", "d"), value("other", "e"), value("let-go", "f")} {
		st.ID = uint16(256 + i)
		r.stores = append(r.stores, st)
	}
	r.commit(task(0), func(d *db) error { return nil })
	r.publish(1)
	own := func(dropped string, stores ...topology.Store) *topology.Topology {
		return &topology.Topology{Version: 1, App: "app", Dropped: []string{dropped}, SubTopologies: []topology.SubTopology{{Stores: stores}}}
	}
	c := r.open(1, own("let-go", value("old", "a"), value("later", "c", "x"), value("other", "y")))
	changes, err := c.Plan()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ch := range changes {
		if ch.Part == topology.PartStore {
			got = append(got, ch.Name+" "+string(ch.Verdict))
		}
	}
	want := []string{"gone refused", "later migrated", "let-go dropped", "old refused", "other refused"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	none, err := inspect.Open(t.Context(), r.repo, r.app, checkpoint.Round{}, own("", recorded...))
	if err != nil {
		t.Fatal(err)
	}
	if changes, err = none.Plan(); err != nil || slices.ContainsFunc(changes, func(ch topology.Change) bool { return ch.Verdict != topology.Kept }) {
		t.Errorf("by the record alone: %+v, %v", changes, err)
	}
}
