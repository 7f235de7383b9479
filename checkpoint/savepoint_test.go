// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"iter"
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// twoPages is a store whose listing of savepoints comes in two pages, with something that happens in between, once.
type twoPages struct {
	objstore.Store
	prefix, until string // the first page goes until here
	between       func()
}

func (s *twoPages) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	if prefix != s.prefix || s.between == nil {
		return s.Store.List(ctx, prefix)
	}
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range s.Store.List(ctx, prefix) {
			if (err != nil || info.Name <= s.until) && !yield(info, err) {
				return
			}
		}
		between := s.between
		s.between = nil
		between()
		for info, err := range s.Store.List(ctx, prefix) {
			if (err != nil || info.Name > s.until) && !yield(info, err) {
				return
			}
		}
	}
}

func TestARoundThatASavepointTakesOverFromAnotherIsKept(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r, l := NewRepository(mem, testApp), life{testApp, 1}
	tasks := []partition.TaskID{taskID(0)}
	finishRound(t, r, 1, tasks)
	if err := r.CreateSavepoint(t.Context(), 1, Savepoint{Name: "z", Round: 1}); err != nil {
		t.Fatal(err)
	}
	for n := int64(2); n <= 3; n++ {
		finishRound(t, r, n, tasks)
	}
	collect(t, r, 1) // round 1 is below the floor
	paged := &twoPages{Store: mem, prefix: l.savepoints(), until: l.savepoint("m")}
	collector, err := NewRepository(paged, testApp).Claim(t.Context(), "test", Retention{Kept: 1})
	if err != nil {
		t.Fatal(err)
	}
	lists := 0
	paged.between = func() { // that of the rounds' visibility; the next is that of collection
		lists++
		paged.between = func() {
			lists++
			if err := r.CreateSavepoint(t.Context(), 1, Savepoint{Name: "a", Round: 1}); err != nil {
				t.Error(err)
			}
			if err := r.DeleteSavepoint(t.Context(), 1, "z"); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := collector.Collect(t.Context()); err != nil || lists != 2 {
		t.Fatalf("%d listings, %v", lists, err)
	}
	if report, err := r.Verify(t.Context(), 1, 1); err != nil || !report.Complete || report.Damaged() {
		t.Errorf("the saved round is %+v, %v", report, err)
	}
}

// A repeat must not withdraw a savepoint that has kept its round since long before the floor rose.
func TestARepeatedSavepointIsNotWithdrawn(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r, tasks := NewRepository(mem, testApp), []partition.TaskID{taskID(0)}
	finishRound(t, r, 1, tasks)
	for n := int64(2); n <= 3; n++ {
		if err := r.CreateSavepoint(t.Context(), 1, Savepoint{Name: "s", Round: 1}); err != nil {
			t.Fatal(err)
		}
		finishRound(t, r, n, tasks)
		collect(t, r, 1)
	}
	if saved, err := r.Savepoints(t.Context(), 1); err != nil || len(saved) != 1 {
		t.Errorf("savepoints are %+v, %v", saved, err)
	}
}
