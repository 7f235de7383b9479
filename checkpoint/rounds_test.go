// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/partition"
)

func TestTheFirstApplicationRecordStandsForAll(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	_, err := r.LoadApplication(t.Context())
	expectErr(t, err, ErrMissing)
	created := make([]bool, 8)
	winners := make([]Application, len(created))
	var wg sync.WaitGroup
	for i := range created {
		wg.Go(func() {
			a := Application{App: testApp, Incarnation: 1, Fingerprint: fmt.Sprint("of ", i), TopicIDs: map[string]string{"in": "id"}}
			var err error
			if winners[i], created[i], err = NewRepository(mem, testApp).CreateApplication(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	winner := slices.Index(created, true)
	if winner < 0 || slices.Index(created[winner+1:], true) >= 0 {
		t.Fatalf("created by %v", created)
	}
	for i, w := range winners {
		if w.Fingerprint != fmt.Sprint("of ", winner) {
			t.Errorf("worker %d was told of the record %q", i, w.Fingerprint)
		}
	}
}

func TestAForeignOrDamagedApplicationRecordIsRefused(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	_, _, err := r.CreateApplication(t.Context(), Application{App: "other", Incarnation: 1})
	expectErr(t, err, ErrInvalid)
	document, _, err := encode(kindApplication, Application{App: "other", Incarnation: 1})
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]error{
		string(document): ErrCorrupt, "{": ErrCorrupt, "": ErrCorrupt, `{"format":5}`: ErrFutureFormat,
	} {
		if err := mem.Put(t.Context(), (life{testApp, 1}).application(), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		_, err := r.LoadApplication(t.Context())
		expectErr(t, err, want)
	}
}

func TestInitializedIsToldAfterItWasMarked(t *testing.T) {
	t.Parallel()
	r := NewRepository(objstore.NewMem(), testApp)
	for _, want := range []bool{false, true, true} {
		if got, err := r.Initialized(t.Context(), 1); err != nil || got != want {
			t.Fatalf("initialized is %v, %v; want %v", got, err, want)
		}
		if err := r.MarkInitialized(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Initialized(t.Context(), 2); err != nil || got {
		t.Errorf("another incarnation is initialized: %v, %v", got, err)
	}
}

func TestTheLatestRoundIsFoundWhateverWasSeenBefore(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	writer, sleeper := NewRepository(mem, testApp), NewRepository(mem, testApp)
	expect := func(r *Repository, want int64) {
		t.Helper()
		got, err := r.LatestRound(t.Context(), 1)
		if err != nil || got.Number != want || (want > 0) == got.Started.IsZero() {
			t.Fatalf("latest is %+v, %v; want %d", got, err, want)
		}
	}
	expect(writer, 0)
	for n := int64(1); n <= 12; n++ {
		if created, err := writer.StartRound(t.Context(), 1, n, GoOn); err != nil || !created {
			t.Fatalf("round %d: created %v, %v", n, created, err)
		}
		expect(writer, n)
		if n == 3 {
			expect(sleeper, 3)
		}
		publish(t, writer, upload(t, taskID(0), n, "g", map[string]string{"f": "x"}))
		if err := writer.CompleteRound(t.Context(), completion(n, []partition.TaskID{taskID(0)})); err != nil {
			t.Fatal(err)
		}
	}
	if created, err := writer.StartRound(t.Context(), 1, 12, GoOn); err != nil || created {
		t.Errorf("a second start of a round: created %v, %v", created, err)
	}
	if _, err := claimAndCollect(t.Context(), writer, 2); err != nil {
		t.Fatal(err)
	}
	expect(sleeper, 12)
	expect(NewRepository(mem, testApp), 12)
	_, err := sleeper.StartRound(t.Context(), 1, 4, GoOn)
	expectErr(t, err, ErrSuperseded)
}

func TestLookingForTheLatestRoundCostsTwoRequests(t *testing.T) {
	t.Parallel()
	counted := fault.New(objstore.NewMem(), nil)
	r := NewRepository(counted, testApp)
	if _, err := r.StartRound(t.Context(), 1, 1, GoOn); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		before := counted.Calls()
		if _, err := r.LatestRound(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if n := counted.Calls() - before; i > 0 && n != 2 {
			t.Errorf("%d requests", n)
		}
	}
}

func TestARoundIsCompleteOnlyWhenEveryManifestIsThereAndWhole(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	tasks := []partition.TaskID{taskID(0), taskID(1), taskID(2)}
	if _, err := r.StartRound(t.Context(), 1, 1, GoOn); err != nil {
		t.Fatal(err)
	}
	for i, task := range tasks {
		err := r.CompleteRound(t.Context(), completion(1, tasks))
		expectErr(t, err, ErrIncomplete)
		if !strings.Contains(err.Error(), fmt.Sprintf("%d of 3 tasks", 3-i)) || !strings.Contains(err.Error(), task.String()) {
			t.Errorf("error is %v", err)
		}
		publish(t, r, upload(t, task, 1, "g", map[string]string{"f": "x"}))
	}
	name := life{testApp, 1}.manifest(1, taskID(1))
	whole, err := objstore.ReadAll(t.Context(), mem, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := mem.Put(t.Context(), name, strings.NewReader(string(whole[:len(whole)/2]))); err != nil {
		t.Fatal(err)
	}
	expectErr(t, r.CompleteRound(t.Context(), completion(1, tasks)), ErrCorrupt)
	if rounds := allRounds(t, r); len(rounds) != 1 || rounds[0].Complete {
		t.Fatalf("rounds are %+v", rounds)
	}
	if err := mem.Put(t.Context(), name, strings.NewReader(string(whole))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.CompleteRound(t.Context(), completion(1, tasks)); err != nil {
			t.Fatal(err)
		}
	}
	rounds := allRounds(t, r)
	if len(rounds) != 1 || !rounds[0].Complete || rounds[0].Completed.IsZero() {
		t.Fatalf("rounds are %+v", rounds)
	}
	if diff := cmp.Diff(tasks, rounds[0].Tasks); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

func TestARoundCompletedWhileItIsDroppedIsNotListedAsComplete(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	tasks := []partition.TaskID{taskID(0)}
	r := NewRepository(mem, testApp)
	finishRound(t, r, 1, tasks)
	if err := mem.Delete(t.Context(), life{testApp, 1}.complete(1)); err != nil {
		t.Fatal(err)
	}
	// The slow worker has read the manifests and the floor; before its last step the round is dropped.
	slow := NewRepository(fault.New(mem, func(op fault.Op) fault.Fault {
		if op.Kind == fault.Create {
			for n := int64(2); n <= 4; n++ {
				finishRound(t, r, n, tasks)
			}
			if done, err := claimAndCollect(context.Background(), r, 2); err != nil || done.Lives[0].Manifests == 0 {
				t.Errorf("collection did %+v, %v", done, err)
			}
		}
		return fault.Fault{}
	}), testApp)
	if err := slow.CompleteRound(t.Context(), completion(1, tasks)); err != nil {
		t.Fatal(err)
	}
	if err := checkUsable(t.Context(), r); err != nil {
		t.Error(err)
	}
	for _, round := range allRounds(t, r) {
		if round.Complete != (round.Number >= 3) {
			t.Errorf("round %d: complete is %v", round.Number, round.Complete)
		}
	}
	expectErr(t, r.CompleteRound(t.Context(), completion(1, tasks)), ErrSuperseded)
}

// finishRound does all of a round.
func finishRound(t testing.TB, r *Repository, n int64, tasks []partition.TaskID) {
	t.Helper()
	if _, err := r.StartRound(context.Background(), 1, n, GoOn); err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		u := upload(t, task, n, "g", map[string]string{"f": fmt.Sprint(n, task)})
		if _, _, err := r.Publish(context.Background(), u); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.CompleteRound(context.Background(), completion(n, tasks)); err != nil {
		t.Fatal(err)
	}
}

func TestTheStoresTimeGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewRepository(objstore.NewMem(), testApp)
		first, err := r.StoreTime(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		second, err := r.StoreTime(t.Context())
		if err != nil || second.Sub(first) != time.Minute {
			t.Errorf("times are %s and %s, %v", first, second, err)
		}
	})
}
