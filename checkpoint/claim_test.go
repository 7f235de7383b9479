// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/partition"
)

// A collector is suspended in each of its calls in turn, while another process claims. It may end the call that it was in,
// and neither deletes anything nor raises a floor afterwards.
func TestACollectorThatAnotherHasReplacedDeletesNothing(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0), taskID(1)}
		next, refused := int64(1), 0
		for at := int64(1); ; at++ {
			for range 3 {
				finishRound(t, r, next, tasks)
				next++
			}
			deletions := 0
			suspended := fault.New(mem, nil)
			c, err := NewRepository(suspended, testApp, WithGrace(testGrace), WithParallel(1)).Claim(t.Context(), "zombie", Retention{Kept: 1})
			if err != nil {
				t.Fatal(err)
			}
			last := suspended.Calls() + at
			suspended.SetHook(func(op fault.Op) fault.Fault {
				if op.N == last {
					if _, err := r.Claim(t.Context(), "successor", Retention{Kept: 5}); err != nil {
						t.Error(err)
					}
					return fault.Fault{Delay: 2 * testGrace}
				}
				if op.N > last && (op.Kind == fault.Delete || op.Kind == fault.Create && strings.Contains(op.Name, "/gc/floor/")) {
					deletions++
				}
				return fault.Fault{}
			})
			_, err = c.Collect(t.Context())
			if suspended.Calls() < last {
				break
			}
			if err != nil && !errors.Is(err, ErrSuperseded) {
				t.Fatalf("suspended at call %d: %v", at, err)
			}
			if deletions > 0 {
				t.Errorf("suspended at call %d, it deleted %d objects afterwards, or raised the floor", at, deletions)
			}
			if err != nil {
				refused++
			}
		}
		if refused < 20 {
			t.Errorf("only %d were refused", refused)
		}
	})
}

func TestTheNewestClaimIsToldWhateverBecameOfTheOthers(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	if _, ok, err := r.Retention(t.Context()); ok || err != nil {
		t.Fatalf("nobody has claimed: %v, %v", ok, err)
	}
	want := Retention{Kept: 4, KeptFor: 36 * time.Hour}
	for i, keep := range []Retention{{Kept: 9}, {Kept: 1, KeptFor: time.Hour}, want} {
		c, err := r.Claim(t.Context(), "worker", keep)
		if err != nil || c.number != int64(i+1) {
			t.Fatalf("claim %+v, %v", c, err)
		}
		if got, ok, err := r.Retention(t.Context()); !ok || err != nil || got != keep {
			t.Fatalf("retention is %+v, %v, %v; want %+v", got, ok, err, keep)
		}
	}
	// One that was overtaken while it claimed comes too late, whatever it writes.
	for _, stale := range []string{claimName(testApp, 2), claimsName(testApp) + "x.json", claimsName(testApp) + "99"} {
		if err := mem.Put(t.Context(), stale, strings.NewReader("stale")); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok, err := r.Retention(t.Context()); !ok || err != nil || got != want {
		t.Errorf("retention is %+v, %v, %v", got, ok, err)
	}
	if err := mem.Put(t.Context(), claimName(testApp, 3), strings.NewReader("{")); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.Retention(t.Context())
	if expectErr(t, err, ErrCorrupt); !strings.Contains(err.Error(), claimName(testApp, 3)) {
		t.Errorf("error is %v", err)
	}
	// Whoever claims next is not stopped by that.
	if done, err := claimAndCollect(t.Context(), r, 1); err != nil || !done.Swept {
		t.Errorf("did %+v, %v", done, err)
	}
}

// Looking through all objects is paced; rounds are dropped each time.
func TestOneClaimLooksThroughObjectsNowAndThen(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, _ *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0)}
		finishRound(t, r, 1, tasks)
		c, err := r.Claim(t.Context(), "worker", Retention{Kept: 1})
		if err != nil {
			t.Fatal(err)
		}
		swept := 0
		for n := int64(2); n <= 33; n++ {
			finishRound(t, r, n, tasks)
			done, err := c.Collect(t.Context())
			if err != nil || len(done.Lives) != 1 || len(done.Lives[0].Dropped) != 1 {
				t.Fatalf("did %+v, %v", done, err)
			}
			if done.Swept {
				swept++
			}
			pass(testGrace / sweepsPerGrace / 4)
		}
		if swept != 8 {
			t.Errorf("objects were looked through %d times in 32 collections, want 8", swept)
		}
	})
}
