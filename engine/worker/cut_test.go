// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
)

// mixing counts per key, and sends every count on to one of seven keys that are counted in turn: every task of the
// second stage hears from every task of the first.
func mixing(app string) *stream.Pipeline {
	p := stream.NewPipeline(app)
	stream.From(p, "in", codec.Uint64, codec.Uint64).
		Group().Count("first").Stream().
		MapWithKey(func(k uint64, _ int64) uint64 { return k }).
		KeyBy("mix", func(k uint64) uint64 { return k % 7 }, codec.Uint64).
		Group().Count("second").Stream().To("out")
	return p
}

// fewer is a number of rounds, or of a third where tests are to be short.
func fewer(n int) int {
	if testing.Short() {
		return max(2, n/3)
	}
	return n
}

func keepAll(o *worker.Options) { o.Config.CheckpointsKept = 100 }

// cuts runs two workers of a pipeline under load until so many rounds are complete, and then to the end of what was fed.
// It returns the rounds, and how many records were fed.
func (r *rig) cuts(build func(string) *stream.Pipeline, rounds int) ([]checkpoint.Cut, int) {
	r.t.Helper()
	repo := checkpoint.NewRepository(r.store(), "app")
	workers := []*background{r.start(build("app"), 0, keepAll), r.start(build("app"), 1, keepAll)}
	fed, more := 0, 300
	if testing.Short() {
		more = 50
	}
	r.until("rounds are complete", func() bool {
		r.feed("in", fed, more)
		fed += more
		numbers := r.complete(repo)
		return len(numbers) >= rounds && (testing.Short() || r.hadInFlight(repo, numbers))
	})
	for _, w := range workers {
		if err := w.stop(); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.run(build("app"), 0, keepAll); err != nil {
		r.t.Fatal(err)
	}
	var cuts []checkpoint.Cut
	for _, n := range r.complete(repo) {
		cut, err := repo.LoadCut(context.Background(), 1, n)
		if err != nil {
			r.t.Fatal(err)
		}
		cuts = append(cuts, cut)
	}
	return cuts, fed
}

// hadInFlight says whether records were in flight at the cut of any of the rounds.
func (r *rig) hadInFlight(repo *checkpoint.Repository, numbers []int64) bool {
	for _, n := range numbers {
		cut, err := repo.LoadCut(context.Background(), 1, n)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(cut.Channels) > 0 {
			return true
		}
	}
	return false
}

func (r *rig) complete(repo *checkpoint.Repository) (numbers []int64) {
	for round, err := range repo.Rounds(context.Background(), 1) {
		if err != nil {
			r.t.Fatal(err)
		}
		if round.Complete {
			numbers = append(numbers, round.Number)
		}
	}
	return numbers
}

// begin begins a life from a cut.
func (r *rig) begin(p *stream.Pipeline, life worker.Life) (worker.Beginning, error) {
	r.t.Helper()
	t, err := p.Build()
	if err != nil {
		r.t.Fatal(err)
	}
	return worker.Begin(context.Background(), worker.Options{Config: r.config(p.Name(), 0), Topology: t}, life, false)
}

func originOf(c checkpoint.Cut) checkpoint.Origin {
	return checkpoint.Origin{App: c.App, Incarnation: c.Incarnation, Round: c.Round}
}

// goesOn says whether the values of each key go up by one at a time to where the whole ends, from wherever.
func goesOn(whole, part map[uint64][]uint64) error {
	for k, all := range whole {
		got, end := part[k], all[len(all)-1]
		for i, v := range got {
			if want := end - uint64(len(got)-1-i); v != want {
				return fmt.Errorf("key %d: value %d of %d is %d, expected %d so as to end with %d", k, i, len(got), v, want, end)
			}
		}
	}
	return nil
}

func TestEveryCompleteRoundIsACutOfTheWholePipeline(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	cuts, fed := r.cuts(mixing, fewer(6))
	whole := r.read("out")
	total := 0
	for k, values := range whole {
		total += len(values)
		for i, v := range values {
			if v != uint64(i+1) {
				t.Fatalf("key %d: count %d is %d", k, i+1, v)
			}
		}
	}
	if total != fed {
		t.Fatalf("%d counts of %d records", total, fed)
	}
	inFlight := int64(0)
	for _, cut := range cuts {
		app := fmt.Sprint("fork-", cut.Round)
		life := worker.Life{From: originOf(cut), Outputs: checkpoint.Outputs{Prefix: app + "."}}
		b, err := r.begin(mixing(app), life)
		if err != nil {
			t.Fatal(err)
		}
		inFlight += b.InFlight
		if err := r.run(mixing(app), 0, nil); err != nil {
			t.Fatal(err)
		}
		fork := r.read(app + ".out")
		if err := goesOn(whole, fork); err != nil {
			t.Errorf("from %v, with %d records in flight: %v", cut, b.InFlight, err)
		}
		produced := 0
		for _, values := range fork {
			produced += len(values)
		}
		t.Logf("from %v: %d records in flight, %d counts", cut, b.InFlight, produced)
	}
	if inFlight == 0 && !testing.Short() {
		t.Error("no round had anything in flight: the test shows less than it should")
	}
}

func TestARolledBackApplicationGoesOnFromTheCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	cuts, fed := r.cuts(mixing, 4)
	before := len(r.records("out"))
	cut := cuts[1]
	for range 2 { // the second time from its own first checkpoint of the second life, or from the first again
		if _, err := r.begin(mixing("app"), worker.Life{From: originOf(cut), Rollback: true}); err != nil {
			t.Fatal(err)
		}
		if err := r.run(mixing("app"), 0, keepAll); err != nil {
			t.Fatal(err)
		}
		r.feed("in", fed, 300)
		fed += 300
		if err := r.run(mixing("app"), 1, keepAll); err != nil {
			t.Fatal(err)
		}
		last := map[uint64]uint64{}
		for k, values := range r.read("out") {
			last[k] = values[len(values)-1]
		}
		want := map[uint64]uint64{}
		for i := range fed {
			want[uint64(i%10)%7]++
		}
		if diff := cmp.Diff(want, last); diff != "" {
			t.Fatal(diff)
		}
		rec, err := checkpoint.NewRepository(r.store(), "app").LoadApplication(t.Context())
		if err != nil || rec.Incarnation < 2 {
			t.Fatalf("the application has life %d, %v", rec.Incarnation, err)
		}
		cut.Incarnation = rec.Incarnation
	}
	if after := len(r.records("out")); after <= before {
		t.Errorf("%d records before, %d after: nothing was emitted again", before, after)
	}
}

// A worker that is killed leaves on its disk what was flushed: of a fork that is the checkpoint of the original, whose
// changelog is another.
func TestAForkGoesOnFromWhatAKilledWorkerLeaves(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	cuts, fed := r.cuts(mixing, 2)
	life := worker.Life{From: originOf(cuts[1]), Outputs: checkpoint.Outputs{Prefix: "fork."}}
	if _, err := r.begin(mixing("fork"), life); err != nil {
		t.Fatal(err)
	}
	noRounds := func(o *worker.Options) { o.Config.CheckpointInterval = time.Hour } // each flushes
	w := r.start(mixing("fork"), 2, noRounds)
	all := func() bool {
		last := uint64(0)
		for _, values := range r.read("fork.out") {
			last += values[len(values)-1]
		}
		return last == uint64(fed)
	}
	for range 2 {
		r.feed("in", fed, 300)
		fed += 300
		r.until("the fork has counted all", all)
	}
	if err := os.CopyFS(r.config("fork", 3).StateDir, os.DirFS(r.config("fork", 2).StateDir)); err != nil {
		t.Fatal(err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	r.feed("in", fed, 300)
	fed += 300
	if err := r.run(mixing("fork"), 3, noRounds); err != nil {
		t.Fatal(err)
	}
	if !all() {
		t.Errorf("of %d records the fork has counted other numbers: %v", fed, r.read("fork.out"))
	}
	for k, values := range r.read("fork.out") {
		for i, v := range values {
			if want := values[0] + uint64(i); v != want {
				t.Fatalf("key %d: value %d of the fork is %d, expected %d", k, i+1, v, want)
			}
		}
	}
}

func TestALifeIsRefusedWhereItWouldGoWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	cuts, _ := r.cuts(mixing, 2)
	from := originOf(cuts[0])
	elsewhere := from
	elsewhere.Round = 999
	muted := checkpoint.Outputs{Muted: true}
	for name, c := range map[string]struct {
		p    *stream.Pipeline
		life worker.Life
		want error
	}{
		"a fork to the original's topics":  {mixing("fork"), worker.Life{From: from}, worker.ErrOutputs},
		"a fork under the original's id":   {mixing("app"), worker.Life{From: from, Outputs: muted}, worker.ErrLifeTaken},
		"a round that there is not":        {mixing("fork"), worker.Life{From: elsewhere, Outputs: muted}, checkpoint.ErrMissing},
		"a pipeline that would lose state": {counting("fork"), worker.Life{From: from, Outputs: muted}, worker.ErrTopologyChanged},
		"a rollback of what there is not":  {mixing("fork"), worker.Life{From: from, Rollback: true}, checkpoint.ErrMissing},
	} {
		if _, err := r.begin(c.p, c.life); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, expected %v", name, err, c.want)
		}
	}
	w := r.start(mixing("app"), 0, keepAll)
	r.until("the worker is a member", func() bool {
		d, err := r.admin().DescribeGroups(context.Background(), "app")
		return err == nil && len(d["app"].Members) > 0
	})
	if _, err := r.begin(mixing("app"), worker.Life{From: from, Rollback: true}); !errors.Is(err, worker.ErrRunning) {
		t.Errorf("a rollback of a running application: got %v", err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	r.deleteAll("in")
	_, err := r.begin(mixing("fork"), worker.Life{From: from, Outputs: muted})
	refused(t, err, nil, "is no longer in the log", "offsets are gone")
	if _, err := filepath.Glob(filepath.Join(r.dir, "store", "fork", "*")); err != nil {
		t.Error(err)
	}
	if _, err := checkpoint.NewRepository(r.store(), "fork").LoadApplication(t.Context()); !errors.Is(err, checkpoint.ErrMissing) {
		t.Errorf("a refused fork has left something: %v", err)
	}
}

// An application of two stages whose second stage hears nothing: its tasks enter rounds nevertheless.
func TestTasksThatNeverGetDataTakePartInRounds(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	repo := checkpoint.NewRepository(r.store(), "app")
	w := r.start(mixing("app"), 0, func(o *worker.Options) { o.Config.CheckpointInterval = 500 * time.Millisecond })
	r.until("two rounds are complete", func() bool { return len(r.complete(repo)) >= 2 })
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestAHaltStopsTheApplicationAtACutAndResumeLetsItGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	repo := checkpoint.NewRepository(r.store(), "app")
	workers := []*background{r.start(mixing("app"), 0, keepAll), r.start(mixing("app"), 1, keepAll)}
	fed := 0
	feed := func() { r.feed("in", fed, 300); fed += 300 }
	r.until("a round is complete", func() bool { feed(); return len(r.complete(repo)) > 0 })
	halt := int64(0)
	for halt == 0 {
		latest, err := repo.LatestRound(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		// A task that still stores its part of one round may be unable to take part in the next.
		r.until("the round before is over", func() bool {
			over, err := repo.Over(t.Context(), 1, latest.Number)
			return err == nil && over
		})
		if created, err := repo.StartRound(t.Context(), 1, latest.Number+1, checkpoint.Halt); err != nil {
			t.Fatal(err)
		} else if created {
			halt = latest.Number + 1
		}
	}
	feed()
	for _, w := range workers {
		select {
		case err := <-w.ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("a worker did not end")
		}
	}
	cut, err := repo.LoadCut(t.Context(), 1, halt)
	if err != nil {
		t.Fatal(err)
	}
	offsets, err := r.admin().FetchOffsets(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range cut.Manifests[0].Position.Inputs["in"] {
		if at, ok := offsets.Lookup("in", p); !ok || at.At != want {
			t.Errorf("partition %d is committed at %d, its cut is at %d", p, at.At, want)
		}
	}
	w := r.start(mixing("app"), 2, keepAll)
	r.until("the worker waits", func() bool { return len(r.lines("the application is halted at a checkpoint; waiting for: resume")) > 0 })
	if err := repo.Resume(t.Context(), 1, halt); err != nil {
		t.Fatal(err)
	}
	r.until("everything is counted", func() bool { return len(r.records("out")) >= fed })
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	for k, values := range r.read("out") {
		for i, v := range values {
			if v != uint64(i+1) {
				t.Fatalf("key %d: count %d is %d", k, i+1, v)
			}
		}
	}
}

func TestARescaledPipelineGoesOnFromTheCutWithOtherNumbersOfTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	cuts, _ := r.cuts(mixing, fewer(5))
	whole := r.read("out")
	inFlight := int64(0)
	for i, cut := range cuts {
		for _, numbers := range []int32{8, 6} {
			app := fmt.Sprintf("rescaled-%d-%d", i, numbers)
			b, err := r.begin(mixing(app), worker.Life{From: originOf(cut), Outputs: checkpoint.Outputs{Prefix: app + "."}, Rescale: true, Partitions: numbers})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]worker.Rescaled{{SubTopology: 1, From: int32(len(cut.Manifests)) - partitions, To: numbers}}, b.Rescaled); diff != "" {
				t.Error(diff)
			}
			inFlight += b.InFlight
			// The fork is stopped after some rounds of its own, so that the second rescale begins from one of them.
			w := r.start(mixing(app), 0, keepAll)
			own := checkpoint.NewRepository(r.store(), app)
			r.until("the fork has a round of its own", func() bool { return len(r.complete(own)) > 1 })
			if err := w.stop(); err != nil {
				t.Fatal(err)
			}
			if err := r.run(mixing(app), 0, keepAll); err != nil {
				t.Fatal(err)
			}
			if err := goesOn(whole, r.read(app+".out")); err != nil {
				t.Errorf("%d tasks from %v, with %d records in flight: %v", numbers, cut, b.InFlight, err)
			}
			rounds := r.complete(own)
			if cut, err = own.LoadCut(t.Context(), 1, rounds[len(rounds)-1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if inFlight == 0 && !testing.Short() {
		t.Error("no cut had anything in flight: the test shows less than it should")
	}
}

// grown has an application count some records, with a round at the end, and then gives its source more partitions.
func (r *rig) grown(unread int) checkpoint.Origin {
	r.t.Helper()
	n := r.checkpointed(0, 3, keepAll)
	repo := checkpoint.NewRepository(r.store(), "app")
	w := r.start(counting("app"), 0, keepAll)
	before := len(r.complete(repo))
	r.until("rounds hold all that was read", func() bool { return len(r.complete(repo)) > before+2 })
	if err := w.stop(); err != nil {
		r.t.Fatal(err)
	}
	rounds := r.complete(repo)
	r.feed("in", n, unread)
	if _, err := r.admin().UpdatePartitions(r.t.Context(), 7, "in"); err != nil {
		r.t.Fatal(err)
	}
	return checkpoint.Origin{App: "app", Incarnation: 1, Round: rounds[len(rounds)-1]}
}

func TestASourceWithMorePartitionsIsNotTakenForTheFormerOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	from := r.grown(100)
	if _, err := r.begin(counting("app"), worker.Life{From: from, Rollback: true}); !errors.Is(err, worker.ErrPartitionsChanged) {
		t.Errorf("a rollback: got %v", err)
	}
	_, err := r.begin(counting("app"), worker.Life{From: from, Rollback: true, Rescale: true})
	refused(t, err, worker.ErrPartitionsChanged, "unread records")
	if err := r.run(counting("app"), 0, nil); !errors.Is(err, worker.ErrPartitionsChanged) {
		t.Errorf("a run: got %v", err)
	}
}

func TestASourceThatIsReadToItsEndMayGetMorePartitions(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	from := r.grown(0)
	if _, err := r.begin(counting("app"), worker.Life{From: from, Rollback: true, Rescale: true}); err != nil {
		t.Fatal(err)
	}
	var records []*kgo.Record
	for i := 300; i < 700; i++ {
		key := binary.BigEndian.AppendUint64(nil, uint64(i%10))
		records = append(records, &kgo.Record{Topic: "in", Partition: partition.ForKey(key, 7), Key: key, Value: key})
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner())) // the other knows four
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := r.run(counting("app"), 0, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(70), r.read("out")); diff != "" {
		t.Error(diff)
	}
}

// A release adds a stage and a source, and gives a step up: set back to a cut, the application goes on with what it keeps.
func TestAReleaseWithOtherStagesBeginsFromACut(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "more", "out", "added")
	cuts, fed := r.cuts(mixing, 3)
	next := func() *stream.Pipeline {
		p := stream.NewPipeline("app")
		in := stream.From(p, "in", codec.Uint64, codec.Uint64)
		both := in.Merge(stream.From(p, "more", codec.Uint64, codec.Uint64))
		firsts := both.Group().Count("first").Stream().MapWithKey(func(k uint64, _ int64) uint64 { return k })
		firsts.KeyBy("mix", func(k uint64) uint64 { return k % 7 }, codec.Uint64).
			Group().Count("second").Stream().To("out")
		firsts.KeyBy("again", func(k uint64) uint64 { return k % 3 }, codec.Uint64).
			Group().Count("third").Stream().To("added")
		return p
	}
	b, err := r.begin(next(), worker.Life{From: originOf(cuts[1]), Rollback: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]worker.Rescaled{{SubTopology: 0, From: 4, To: 4}, {SubTopology: 2, From: 0, To: 4}}, b.Rescaled); diff != "" {
		t.Error(diff)
	}
	r.feed("more", 0, 100)
	if err := r.run(next(), 0, nil); err != nil {
		t.Fatal(err)
	}
	last := map[uint64]uint64{}
	for k, values := range r.read("out") {
		last[k] = values[len(values)-1]
	}
	want := map[uint64]uint64{}
	for _, n := range []int{fed, 100} {
		for i := range n {
			want[uint64(i%10)%7]++
		}
	}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Error(diff)
	}
	for k, values := range r.read("added") {
		for i, v := range values {
			if v != uint64(i+1) {
				t.Fatalf("key %d of the new stage: count %d is %d", k, i+1, v)
			}
		}
	}
}
