// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
)

func TestABoundedRunHasTheSameEndsForAllUntilItHasEnded(t *testing.T) {
	t.Parallel()
	repo := checkpoint.NewRepository(objstore.NewMem(), "app")
	next, open, err := repo.CurrentRun(t.Context(), 1)
	if err != nil || open || next.Number != 1 {
		t.Fatalf("at first: run %v, open %v, %v", next, open, err)
	}
	first := checkpoint.Run{Number: 1, Ends: map[string]map[int32]int64{"in": {0: 5, 1: 0}}}
	late := checkpoint.Run{Number: 1, Ends: map[string]map[int32]int64{"in": {0: 9, 1: 9}}}
	for _, mine := range []checkpoint.Run{first, late} {
		got, err := repo.BeginRun(t.Context(), 1, mine)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Error(diff)
		}
	}
	for range 2 {
		if got, open, err := repo.CurrentRun(t.Context(), 1); err != nil || !open || !cmp.Equal(first, got) {
			t.Errorf("before its end: run %v, open %v, %v", got, open, err)
		}
	}
	for range 2 {
		if err := repo.EndRun(t.Context(), 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if next, open, err := repo.CurrentRun(t.Context(), 1); err != nil || open || next.Number != 2 {
		t.Errorf("after its end: run %v, open %v, %v", next, open, err)
	}
}
