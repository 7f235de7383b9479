// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/partition"
)

// The tests of this file are about objects that are condemned while somebody is about to name them.

// collectDuring collects when a client is about to create a document.
func collectDuring(t *testing.T, mem *objstore.Mem, r *Repository, document string) *Repository {
	t.Helper()
	return NewRepository(fault.New(mem, func(op fault.Op) fault.Fault {
		if op.Kind == fault.Create && op.Name == document {
			if done := collect(t, r, 1); done.Condemned.Objects == 0 {
				t.Errorf("nothing was condemned: %+v", done)
			}
		}
		return fault.Fault{}
	}), testApp, WithGrace(testGrace), WithParallel(1))
}

// publishCondemned publishes a checkpoint as round 4, of one table which is condemned: when its upload began, it was not.
func publishCondemned(t *testing.T, mem *objstore.Mem, r *Repository) Manifest {
	t.Helper()
	tasks, files := []partition.TaskID{taskID(0)}, map[string]string{"1.sst": "table"}
	base := publish(t, r, upload(t, taskID(0), 1, "g", files))
	finishRound(t, r, 2, tasks)
	finishRound(t, r, 3, tasks)
	pass(testGrace + time.Second)
	slow := collectDuring(t, mem, r, life{testApp, 1}.manifest(4, taskID(0)))
	u := upload(t, taskID(0), 4, "g", files)
	u.Known, u.KnownRound = base.Known(), 1
	m, stats, err := slow.Publish(t.Context(), u)
	if err != nil || stats.ReusedFiles != 1 {
		t.Fatalf("%+v, %v", stats, err)
	}
	return m
}

// The checkpoint that names what is condemned may be dropped, and then nothing would keep it.
func TestALifeDoesNotBeginFromWhatIsCondemned(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		publishCondemned(t, mem, r)
		if err := r.CompleteRound(t.Context(), completion(4, []partition.TaskID{taskID(0)})); err != nil {
			t.Fatal(err)
		}
		cut, err := r.LoadCut(t.Context(), 1, 4)
		if err != nil {
			t.Fatal(err)
		}
		m := cut.Manifests[0]
		m.App = "child"
		err = NewRepository(mem, "child", WithGrace(testGrace)).Adopt(t.Context(), cut, []Manifest{m})
		if expectErr(t, err, ErrMissing); !strings.Contains(err.Error(), "about to be collected") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestAnUploadSendsAnewWhatIsCondemned(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		files := map[string]string{"1.sst": "table"}
		base := publishCondemned(t, mem, r)
		u := upload(t, taskID(0), 5, "g", files)
		u.Known, u.KnownRound = base.Known(), 4
		m, stats, err := r.Publish(t.Context(), u)
		if err != nil || stats.ReusedFiles != 0 || m.Files[0].Object == base.Files[0].Object {
			t.Fatalf("condemned objects were used: %+v, %v", stats, err)
		}
		// So it does not matter that the manifest which named it is dropped.
		for n := int64(6); n <= 7; n++ {
			finishRound(t, r, n, []partition.TaskID{taskID(1)})
		}
		if err := mem.Delete(t.Context(), life{testApp, 1}.manifest(4, taskID(0))); err != nil {
			t.Fatal(err)
		}
		pass(testGrace + time.Second)
		if done := collect(t, r, 1); done.Deleted.Objects == 0 {
			t.Fatalf("did %+v", done)
		}
		expectRestored(t, r, m, files)
	})
}

func TestALifeThatBeginsFromWhatIsDroppedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		finishRound(t, r, 1, []partition.TaskID{taskID(0)})
		cut, err := r.LoadCut(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		// Its objects are still there, and on no list.
		if err := mem.Delete(t.Context(), life{testApp, 1}.manifest(1, taskID(0))); err != nil {
			t.Fatal(err)
		}
		_, _, err = adoptCut(t, mem, cut, "child")
		if expectErr(t, err, ErrMissing); !strings.Contains(err.Error(), "dropped meanwhile") {
			t.Errorf("error is %v", err)
		}
		if names := maps.Collect(mem.List(t.Context(), "child/1/rounds/")); len(names) != 1 {
			t.Errorf("more than the start of the round is there: %v", names)
		}
	})
}

// A process that is suspended between the look at its deadline and the write itself creates its document too late, and takes
// it back.
func TestADocumentThatIsCreatedTooLateIsWithdrawn(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		l := life{testApp, 1}
		slow := NewRepository(suspending{mem, testGrace/2 + time.Second}, testApp, WithGrace(testGrace))
		_, _, err := slow.Publish(t.Context(), upload(t, taskID(0), 1, "g", map[string]string{"f": "x"}))
		expectErr(t, err, ErrTooSlow)
		expectGone(t, mem, l.manifest(1, taskID(0)))

		publish(t, r, upload(t, taskID(0), 1, "g", map[string]string{"f": "x"}))
		inFlight := filepath.Join(writeFiles(t, map[string]string{"c": "in flight"}), "c")
		done := withChannel(completion(1, []partition.TaskID{taskID(0)}), inFlight)
		expectErr(t, slow.CompleteRound(t.Context(), done), ErrTooSlow)
		expectGone(t, mem, l.complete(1))

		if err := r.CompleteRound(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		cut, err := r.LoadCut(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		m := cut.Manifests[0]
		m.App = "child"
		slow = NewRepository(suspending{mem, testGrace/2 + time.Second}, "child", WithGrace(testGrace))
		expectErr(t, slow.Adopt(t.Context(), cut, []Manifest{m}), ErrTooSlow)
		expectGone(t, mem, life{"child", 1}.manifest(1, taskID(0)))
	})
}

func expectGone(t *testing.T, s objstore.Store, name string) {
	t.Helper()
	if _, err := s.Stat(t.Context(), name); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("%s is there: %v", name, err)
	}
}

// suspending stops in each Create, when the context has been looked at for the last time.
type suspending struct {
	objstore.Store
	by time.Duration
}

func (s suspending) Create(ctx context.Context, name string, body objstore.Body) error {
	if strings.Contains(name, "/rounds/") && !strings.HasSuffix(name, "/started") {
		pass(s.by)
	}
	return s.Store.Create(context.WithoutCancel(ctx), name, body)
}

// Some stores give an object the time at which it began to be written, however long ago that was.
func TestTheGraceTimeCountsFromWhenAListWasSeen(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, mem *objstore.Mem, r *Repository) {
		publish(t, r, upload(t, taskID(0), 1, "g", map[string]string{"f": "x"}))
		object := slices.Collect(maps.Keys(objectNames(t, mem)))[0]
		if err := mem.Delete(t.Context(), life{testApp, 1}.manifest(1, taskID(0))); err != nil {
			t.Fatal(err)
		}
		if err := r.createDocument(t.Context(), life{testApp, 1}.condemnation("old"), kindCondemned, condemnation{[]string{object}}); err != nil {
			t.Fatal(err)
		}
		pass(2 * testGrace)
		if done := collect(t, r, 1); done.Deleted.Objects != 0 || done.Waiting.Objects != 1 {
			t.Errorf("the list was not seen before: %+v", done)
		}
		pass(testGrace + time.Second)
		if done := collect(t, r, 1); done.Deleted != (Tally{1, 1}) {
			t.Errorf("the list was seen a grace time ago: %+v", done)
		}
	})
}
