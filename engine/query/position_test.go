// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"
	"testing"

	"github.com/streamd/streamd/partition"
)

func TestAMinimumIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	a, b := partition.TaskID{Partition: 1}, partition.TaskID{SubTopology: 2, Partition: 3}
	var m Minimum
	for _, text := range []string{token(3, map[partition.TaskID]uint64{a: 5, b: 9}), token(3, map[partition.TaskID]uint64{a: 7}), "orders/3@1042"} {
		if err := m.Require(text); err != nil {
			t.Fatal(err)
		}
	}
	if m.incarnation != 3 || m.epochs[a] != 7 || m.epochs[b] != 9 || !slices.Equal(m.records, []Input{{"orders", 3, 1042}}) {
		t.Errorf("read %+v", m)
	}
	if err := m.Require(token(4, nil)); err == nil {
		t.Error("tokens of two lives go together")
	}
}

// FuzzRequire reads what callers hand in: it must not fail but with an error, and what it takes it must write as it was.
func FuzzRequire(f *testing.F) {
	f.Add("orders/3@1042")
	f.Add(token(1, map[partition.TaskID]uint64{{Partition: 1}: 5}))
	f.Fuzz(func(t *testing.T, text string) {
		var m, again Minimum
		if m.Require(text) != nil {
			return
		}
		for _, text := range m.texts() {
			if err := again.Require(text); err != nil {
				t.Fatalf("%q was taken, and what it was written as, %q, is not: %v", text, m.texts(), err)
			}
		}
		if !slices.Equal(m.texts(), again.texts()) {
			t.Errorf("%q became %q, then %q", text, m.texts(), again.texts())
		}
	})
}
