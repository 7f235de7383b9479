// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// rollBack begins the second life of the application from a round of the first, and finishes if it is told to.
func rollBack(t *testing.T, r *Repository, round int64, finish bool) {
	t.Helper()
	origin := Origin{testApp, 1, round}
	if _, _, err := r.CreateApplication(t.Context(), Application{App: testApp, Incarnation: 2, Origin: &origin}); err != nil {
		t.Fatal(err)
	}
	if !finish {
		return
	}
	cut, err := r.LoadCut(t.Context(), 1, round)
	if err != nil {
		t.Fatal(err)
	}
	m := cut.Manifests[0]
	m.Incarnation = 2
	if err := r.Adopt(t.Context(), cut, []Manifest{m}); err != nil {
		t.Fatal(err)
	}
	if err := r.MarkInitialized(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
}

func lives(t *testing.T, r *Repository, keep Retention) []CollectedLife {
	t.Helper()
	c, err := r.Claim(t.Context(), "test", keep)
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done.Lives
}

func keptRounds(l CollectedLife) string {
	var texts []string
	for _, k := range l.Kept {
		texts = append(texts, fmt.Sprintf("%d: %s", k.Round, strings.Join(k.Why, ", ")))
	}
	return strings.Join(texts, "; ")
}

func TestALifeBeforeARollbackGoesWhenItsGraceIsOver(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0)}
		if _, _, err := r.CreateApplication(t.Context(), Application{App: testApp, Incarnation: 1}); err != nil {
			t.Fatal(err)
		}
		for n := int64(1); n <= 6; n++ {
			finishRound(t, r, n, tasks)
		}
		if err := r.CreateSavepoint(t.Context(), 1, Savepoint{Name: "precious", Round: 2}); err != nil {
			t.Fatal(err)
		}
		rollBack(t, r, 3, false)
		// Nobody has finished what was begun: its origin stays.
		got := lives(t, r, Retention{Kept: 1})
		want := "2: savepoint precious; 3: origin of life 2 of application shop, which has not begun yet; " +
			"4: newer than a round that is kept; 5: newer than a round that is kept; 6: newest 1"
		if diff := cmp.Diff(want, keptRounds(got[1])); diff != "" || got[0].Incarnation != 2 {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		rollBack(t, r, 3, true)
		for range 3 {
			pass(testGrace + time.Second)
			got = lives(t, r, Retention{Kept: 1})
		}
		if diff := cmp.Diff("2: savepoint precious; 6: newest 1", keptRounds(got[1])); diff != "" {
			t.Errorf("kept in the grace (-want +got):\n%s", diff)
		}
		pass(EarlierLifeGrace)
		for range 3 {
			pass(testGrace + time.Second)
			got = lives(t, r, Retention{Kept: 1})
		}
		if diff := cmp.Diff("2: savepoint precious", keptRounds(got[1])); diff != "" {
			t.Errorf("kept after the grace (-want +got):\n%s", diff)
		}
		// The saved round has one object, the round that life 2 began from another.
		if n := len(objectNames(t, mem)); n != 2 {
			t.Errorf("%d objects are left, want 2", n)
		}
		if a, err := r.LoadApplication(t.Context()); err != nil || a.Incarnation != 2 {
			t.Errorf("the newest life is %+v, %v", a, err)
		}
		for n := 1; n <= 2; n++ {
			if err := checkLife(t.Context(), r, n); err != nil {
				t.Error(err)
			}
		}
		// A zombie of the first life can do nothing that would count.
		_, err := r.StartRound(t.Context(), 1, 5, GoOn)
		expectErr(t, err, ErrSuperseded)
	})
}

func TestYoungRoundsStayBeyondTheCount(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, _ *objstore.Mem, r *Repository) {
		for n := int64(1); n <= 10; n++ {
			finishRound(t, r, n, []partition.TaskID{taskID(0)})
			pass(time.Minute)
		}
		got := lives(t, r, Retention{Kept: 1, KeptFor: 3*time.Minute + time.Second})
		want := "8: younger than 3m1s; 9: younger than 3m1s; 10: newest 1, younger than 3m1s"
		if diff := cmp.Diff(want, keptRounds(got[0])); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int64{1, 2, 3, 4, 5, 6, 7}, got[0].Dropped); diff != "" {
			t.Errorf("dropped (-want +got):\n%s", diff)
		}
		pass(time.Hour)
		if got := lives(t, r, Retention{Kept: 1, KeptFor: 3 * time.Minute}); keptRounds(got[0]) != "10: newest 1" {
			t.Errorf("kept %s", keptRounds(got[0]))
		}
	})
}

// What is kept for a fork is told, in bytes, and so is what a preview would do.
func TestWhatAForkNeedsIsTold(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0)}
		finishRound(t, r, 1, tasks)
		adopt(t, mem, r, "child")
		finishRound(t, r, 2, tasks)
		collect(t, r, 1)
		pass(testGrace + time.Second)
		preview, err := r.Preview(t.Context(), Retention{Kept: 1})
		if err != nil {
			t.Fatal(err)
		}
		done := collect(t, r, 1)
		if diff := cmp.Diff([]CollectedLife{done}, preview.Lives); diff != "" {
			t.Errorf("preview and deed differ (-deed +preview):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]Tally{"child": {1, int64(len("1 0_0"))}}, done.Borrowed); diff != "" {
			t.Errorf("borrowed (-want +got):\n%s", diff)
		}
	})
}

// A preview says what Collect then does, and changes nothing, whatever state collection is in.
func TestAPreviewTellsWhatCollectThenDoes(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0), taskID(1)}
		for n := int64(1); n <= 12; n++ {
			finishRound(t, r, n, tasks)
			pass(testGrace / 3)
			before := everything(t, mem)
			preview, err := r.Preview(t.Context(), Retention{Kept: 2})
			if err != nil {
				t.Fatal(err)
			}
			if after := everything(t, mem); !slices.Equal(before, after) {
				t.Fatal("a preview has written")
			}
			if diff := cmp.Diff([]CollectedLife{collect(t, r, 2)}, preview.Lives); diff != "" {
				t.Fatalf("after round %d, preview and deed differ (-deed +preview):\n%s", n, diff)
			}
		}
	})
}

// everything lists a store.
func everything(t *testing.T, s objstore.Store) (all []objstore.Info) {
	t.Helper()
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info)
	}
	return all
}
