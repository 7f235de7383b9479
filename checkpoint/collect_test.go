// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/partition"
)

const testGrace = time.Hour

// inTime runs a test in virtual time on a store in memory.
func inTime(t *testing.T, run func(t *testing.T, mem *objstore.Mem, r *Repository)) {
	synctest.Test(t, func(t *testing.T) {
		mem := objstore.NewMem()
		run(t, mem, NewRepository(mem, testApp, WithGrace(testGrace)))
	})
}

func pass(d time.Duration) { <-time.After(d) }

// collect collects all, and returns what became of the first life.
func collect(t testing.TB, r *Repository, keep int) CollectedLife {
	t.Helper()
	done, err := claimAndCollect(context.Background(), r, keep)
	if err != nil {
		t.Fatal(err)
	}
	return done.Lives[len(done.Lives)-1]
}

// outcome is what a collection did with objects of a few bytes each.
type outcome struct {
	Floor                         int64
	Manifests, Condemned, Deleted int
}

func outcomeOf(done CollectedLife) outcome {
	return outcome{done.Floor, done.Manifests, done.Condemned.Objects, done.Deleted.Objects}
}

// claimAndCollect is what a process does that takes over.
func claimAndCollect(ctx context.Context, r *Repository, keep int) (Collected, error) {
	c, err := r.Claim(ctx, "test", Retention{Kept: keep})
	if err != nil {
		return Collected{}, err
	}
	return c.Collect(ctx)
}

func TestSupersededRoundsGoAndTheirObjectsFollowAfterTheGraceTime(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0), taskID(1)}
		for n := int64(1); n <= 5; n++ {
			finishRound(t, r, n, tasks)
		}
		if diff := cmp.Diff(outcome{Floor: 4, Manifests: 6}, outcomeOf(collect(t, r, 2))); diff != "" {
			t.Errorf("first (-want +got):\n%s", diff)
		}
		pass(testGrace + time.Second)
		if diff := cmp.Diff(outcome{Floor: 4, Condemned: 6}, outcomeOf(collect(t, r, 2))); diff != "" {
			t.Errorf("second (-want +got):\n%s", diff)
		}
		pass(testGrace)
		if done := collect(t, r, 2); done.Deleted.Objects+done.Condemned.Objects != 0 {
			t.Errorf("the grace time is not over: %+v", done)
		}
		if n := len(objectNames(t, mem)); n != 10 {
			t.Errorf("%d objects, want all 10", n)
		}
		pass(2 * time.Second)
		if diff := cmp.Diff(outcome{Floor: 4, Deleted: 6}, outcomeOf(collect(t, r, 2))); diff != "" {
			t.Errorf("third (-want +got):\n%s", diff)
		}
		if n := len(objectNames(t, mem)); n != 4 {
			t.Errorf("%d objects are left, want 4", n)
		}
		for range 20 {
			if diff := cmp.Diff(outcome{Floor: 4}, outcomeOf(collect(t, r, 2))); diff != "" {
				t.Fatalf("nothing is left to do (-want +got):\n%s", diff)
			}
		}
		if err := checkUsable(t.Context(), r); err != nil {
			t.Error(err)
		}
		if rounds := allRounds(t, r); len(rounds) != 2 || !rounds[0].Complete || !rounds[1].Complete {
			t.Errorf("rounds are %+v", rounds)
		}
	})
}

func TestWithTooFewCompleteRoundsNothingGoes(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		finishRound(t, r, 1, []partition.TaskID{taskID(0), taskID(1)})
		for n := int64(2); n <= 9; n++ { // task 1 is stuck: none of these is complete
			publish(t, r, upload(t, taskID(0), n, "g", map[string]string{"f": fmt.Sprint(n)}))
		}
		for range 3 {
			pass(testGrace + time.Second)
			if diff := cmp.Diff(outcome{}, outcomeOf(collect(t, r, 2))); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	})
}

func TestATaskThatLagsKeepsItsNewestCheckpoints(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		finishRound(t, r, 1, []partition.TaskID{taskID(0), taskID(1)})
		finishRound(t, r, 2, []partition.TaskID{taskID(0), taskID(1)})
		for n := int64(3); n <= 6; n++ { // the topology has lost task 1
			finishRound(t, r, n, []partition.TaskID{taskID(0)})
		}
		for range 3 {
			collect(t, r, 2)
			pass(testGrace + time.Second)
		}
		for n := int64(1); n <= 2; n++ {
			m, err := r.Manifest(t.Context(), 1, n, taskID(1))
			if err != nil {
				t.Fatal(err)
			}
			expectRestored(t, r, m, map[string]string{"f": fmt.Sprint(n, taskID(1))})
		}
	})
}

func TestASavepointKeepsItsRoundUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0)}
		for n := int64(1); n <= 3; n++ {
			finishRound(t, r, n, tasks)
		}
		saved := Savepoint{Name: "before-migration", Round: 2}
		for range 2 { // a repeat is fine
			if err := r.CreateSavepoint(t.Context(), 1, saved); err != nil {
				t.Fatal(err)
			}
		}
		expectErr(t, r.CreateSavepoint(t.Context(), 1, Savepoint{Name: saved.Name, Round: 3}), objstore.ErrExists)
		expectErr(t, r.CreateSavepoint(t.Context(), 1, Savepoint{Name: "future", Round: 9}), ErrIncomplete)
		for n := int64(4); n <= 6; n++ {
			finishRound(t, r, n, tasks)
		}
		for range 3 {
			collect(t, r, 1)
			pass(testGrace + time.Second)
		}
		report, err := r.Verify(t.Context(), 1, 2)
		if err != nil || report.Damaged() || !report.Complete {
			t.Fatalf("the saved round: %+v, %v", report, err)
		}
		expectErr(t, r.CreateSavepoint(t.Context(), 1, Savepoint{Name: "late", Round: 3}), ErrIncomplete)
		expectLatest(t, mem, 6)
		if err := r.DeleteSavepoint(t.Context(), 1, saved.Name); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			collect(t, r, 1)
			pass(testGrace + time.Second)
		}
		if n := len(objectNames(t, mem)); n != 1 {
			t.Errorf("%d objects are left, want 1", n)
		}
	})
}

func TestAManifestThatCannotBeReadStopsTheRemovalOfObjects(t *testing.T) {
	t.Parallel()
	for _, content := range []string{`{"format":9}`, `{`} {
		inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
			tasks := []partition.TaskID{taskID(0)}
			for n := int64(1); n <= 3; n++ {
				finishRound(t, r, n, tasks)
			}
			name := life{testApp, 1}.manifest(3, taskID(0))
			if err := mem.Put(t.Context(), name, strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				pass(testGrace + time.Second)
				_, err := claimAndCollect(t.Context(), r, 1)
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("error is %v", err)
				}
			}
			if n := len(objectNames(t, mem)); n != 3 {
				t.Errorf("%d objects are left, want all 3", n)
			}
			for n := int64(4); n <= 6; n++ { // the damaged one comes of age, and goes
				finishRound(t, r, n, tasks)
			}
			for range 3 {
				collect(t, r, 1)
				pass(testGrace + time.Second)
			}
			if n := len(objectNames(t, mem)); n != 1 {
				t.Errorf("%d objects are left, want 1", n)
			}
		})
	}
}

func TestListsOfCondemnedObjectsCannotDeleteAnythingElse(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		finishRound(t, r, 1, []partition.TaskID{taskID(0)})
		l := life{testApp, 1}
		precious := []string{l.manifest(1, taskID(0)), l.started(1), (life{"other", 1}).application()}
		if err := mem.Put(t.Context(), (life{"other", 1}).application(), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		for name := range objectNames(t, mem) {
			precious = append(precious, name)
		}
		document, _, err := encode(kindCondemned, condemnation{Objects: append(precious, "../x", "")})
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"hostile": string(document), "broken": "{"} {
			if err := mem.Put(t.Context(), l.condemned()+name+".json", strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 { // seen, executed, and nothing is left
			collect(t, r, 1)
			pass(testGrace + time.Second)
		}
		if left := maps.Collect(mem.List(t.Context(), l.condemned())); len(left) > 0 {
			t.Errorf("lists are left: %v", left)
		}
		for _, name := range precious {
			if _, err := mem.Stat(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
	})
}

// adopt begins another application from a round, and returns its repository and the manifest of the one task.
func adopt(t *testing.T, mem *objstore.Mem, from *Repository, app string) (*Repository, Manifest) {
	t.Helper()
	cut, err := from.LoadCut(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	target, m, err := adoptCut(t, mem, cut, app)
	if err != nil {
		t.Fatal(err)
	}
	return target, m
}

func adoptCut(t *testing.T, mem *objstore.Mem, cut Cut, app string) (*Repository, Manifest, error) {
	t.Helper()
	m := cut.Manifests[0]
	m.App = app
	target := NewRepository(mem, app, WithGrace(testGrace))
	for range 2 {
		if err := target.Adopt(t.Context(), cut, []Manifest{m}); err != nil {
			return nil, m, err
		}
	}
	m, err := target.Manifest(t.Context(), 1, 1, taskID(0))
	return target, m, err
}

func TestObjectsThatAForkNamesSurviveTheOriginsCollection(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0)}
		if _, err := r.StartRound(t.Context(), 1, 1, GoOn); err != nil {
			t.Fatal(err)
		}
		publish(t, r, upload(t, taskID(0), 1, "g", map[string]string{"f": "state"}))
		inFlight := filepath.Join(writeFiles(t, map[string]string{"c": "in flight"}), "c")
		if err := r.CompleteRound(t.Context(), withChannel(completion(1, tasks), inFlight)); err != nil {
			t.Fatal(err)
		}
		child, _ := adopt(t, mem, r, "child")
		grandchild, m := adopt(t, mem, child, "grandchild")
		for _, name := range []string{life{"child", 1}.manifest(1, taskID(0)), life{"child", 1}.complete(1)} {
			if err := mem.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		for n := int64(2); n <= 4; n++ {
			finishRound(t, r, n, tasks)
		}
		for range 4 {
			pass(testGrace + time.Second)
			collect(t, r, 1)
			collect(t, grandchild, 1)
		}
		expectRestored(t, grandchild, m, map[string]string{"f": "state"})
		cut, err := grandchild.LoadCut(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		fetched := filepath.Join(t.TempDir(), "fetched")
		if err := grandchild.FetchChannel(t.Context(), cut.Channels[0], fetched); err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(fetched); err != nil || string(content) != "in flight" {
			t.Errorf("in flight was %q, %v", content, err)
		}
		if n := len(objectNames(t, mem)); n != 3 {
			t.Errorf("%d objects are left, want 3", n)
		}
	})
}

func TestAForkOfWhatIsBeingCollectedIsRefused(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0)}
		finishRound(t, r, 1, tasks)
		cut, err := r.LoadCut(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		finishRound(t, r, 2, tasks)
		for range 3 { // dropped, condemned, deleted
			collect(t, r, 1)
			pass(testGrace + time.Second)
			if collect(t, r, 1).Condemned.Objects > 0 {
				_, _, err := adoptCut(t, mem, cut, "child")
				expectErr(t, err, ErrMissing)
			}
		}
		_, _, err = adoptCut(t, mem, cut, "child")
		expectErr(t, err, ErrMissing)
	})
}

// expectLatest asks readers that have last looked at each earlier round, or never.
func expectLatest(t *testing.T, s objstore.Store, want int64) {
	t.Helper()
	for seen := range want + 1 {
		reader := NewRepository(s, testApp)
		reader.mu.latest[1] = seen
		if latest, err := reader.LatestRound(t.Context(), 1); err != nil || latest.Number != want {
			t.Fatalf("a reader that has seen round %d takes %+v for the latest, %v; want %d", seen, latest, err, want)
		}
	}
}

// Killed after every single call, and repeated: it always comes to the same end, and nothing that counts is
// ever lost.
func TestCollectionMayBeKilledAnywhereAndRepeated(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		tasks := []partition.TaskID{taskID(0), taskID(1)}
		for n := int64(1); n <= 4; n++ {
			finishRound(t, r, n, tasks)
		}
		killed := errors.New("killed")
		for at, idle := int64(1), 0; idle < 3; at++ {
			faulty := fault.New(mem, func(op fault.Op) fault.Fault {
				switch {
				case op.N == at:
					return fault.Fault{After: killed}
				case op.N > at:
					return fault.Fault{Before: killed}
				}
				return fault.Fault{}
			})
			_, err := claimAndCollect(t.Context(), NewRepository(faulty, testApp, WithGrace(testGrace), WithParallel(1)), 1)
			if err := checkUsable(t.Context(), r); err != nil {
				t.Fatalf("killed at call %d: %v", at, err)
			}
			expectLatest(t, mem, 4)
			if err == nil {
				at, idle = 0, idle+1
				pass(testGrace + time.Second)
			}
		}
		if n := len(objectNames(t, mem)); n != 2 {
			t.Errorf("%d objects are left, want 2", n)
		}
		if left := maps.Collect(mem.List(t.Context(), life{testApp, 1}.condemned())); len(left) > 0 {
			t.Errorf("lists are left: %v", left)
		}
	})
}
