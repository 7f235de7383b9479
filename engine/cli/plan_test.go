// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
)

// size is a value whose codec changes from release to release.
type size struct{ letters int64 }

func sizes(id string, decode func(letters int64) (size, error)) codec.Codec[size] {
	return codec.New(id, func(dst []byte, s size) ([]byte, error) { return codec.Int64.Append(dst, s.letters) },
		func(src []byte) (size, error) {
			n, err := codec.Int64.Decode(src)
			if err != nil {
				return size{}, err
			}
			return decode(n)
		})
}

func anySize(letters int64) (size, error) { return size{letters}, nil }

// release is the counter with one more store, of values of the codec.
func release(c codec.Codec[size], more ...func(stream.Stream[string, string])) *stream.Pipeline {
	p := stream.NewPipeline("counter")
	words := stream.From(p, "words", codec.String, codec.String)
	words.Group().Count("per-word").Stream().To("counts")
	words.Group().Aggregate("size", func() size { return size{} }, func(s size, _ string) size { return size{s.letters + 1} }, c)
	for _, add := range more {
		add(words)
	}
	return p
}

func firstRelease() *stream.Pipeline { return release(sizes("size/1", anySize)) }

// verdictsOf are the changes of a plan, in a form to be compared.
func verdictsOf(pl plan) []string {
	var lines []string
	for _, ch := range pl.Changes {
		lines = append(lines, string(ch.Part)+" "+ch.Name+" "+string(ch.Verdict))
	}
	return lines
}

func TestPlanTellsWhatAReleaseDoesToTheApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.execute(firstRelease(), "plan").want(t, exitNotFound, "no application counter")
	w.feed(t, "to be or not to be confidential confidential")
	w.execute(splitter(), "run", "--until", "end").want(t, 0)
	w.execute(firstRelease(), "run", "--until", "end").want(t, 0)
	w.work(t, firstRelease, "a checkpoint is complete", func() bool { return w.newest(t, firstRelease) > 0 })

	t.Run("the same release", func(t *testing.T) { w.plansTheSame(t) })
	t.Run("a migration", func(t *testing.T) { w.plansMigrations(t) })
	t.Run("a step less", func(t *testing.T) { w.plansLess(t) })
	t.Run("a step more", func(t *testing.T) { w.plansMore(t) })
}

func (w *world) plansTheSame(t *testing.T) {
	t.Helper()
	pl := decode[plan](t, w.execute(firstRelease(), "plan", "-o", "json").want(t, 0, "deploy it worker by worker", "2 of 2 tasks"))
	want := []string{"sub-topology 0 kept", "source topic words kept", "store per-word kept", "store size kept"}
	if diff := cmp.Diff(want, verdictsOf(pl)); diff != "" || len(pl.Create) != 0 || pl.Way != wayRolling {
		t.Errorf("%s, %+v", diff, pl)
	}
	if n := pl.Changes[3].Tried; n != 5 {
		t.Errorf("%d entries were tried, there are 5", n)
	}
	w.execute(firstRelease(), "plan", "--max-download", "1B", "--fail-on", "drop,new,migrate").want(t, 0, "0 of 2 tasks", "were left out")
	w.execute(firstRelease(), "plan", "--samples", "0", "--offline", "--from", "99999").want(t, exitNotFound)
	w.execute(firstRelease(), "plan", "--fail-on", "dropped").want(t, exitUsage, "drop, refused")
	w.execute(firstRelease(), "plan", "--max-download", "much").want(t, exitUsage, "--max-download")
}

func (w *world) plansMigrations(t *testing.T) {
	t.Helper()
	next := func(upgrade func(size) size) *stream.Pipeline {
		return release(codec.Migrate(sizes("size/1", anySize), sizes("size/2", anySize), upgrade))
	}
	good := next(func(s size) size { return s })
	w.execute(good, "plan").want(t, 0, "migrated", `values of "size/1" are upgraded to "size/2"`, "worker by worker")
	w.execute(good, "plan", "--fail-on", "migrate").want(t, exitInvalid, "1 of 4 parts migrated")

	bad := next(func(s size) size {
		if s.letters > 1 {
			panic("confidential")
		}
		return s
	})
	r := w.execute(bad, "plan").want(t, exitInvalid, "3 of 5 samples do not decode", "store size, task 0_", "key with hash", "migration panics", "cannot go on")
	if strings.Contains(r.out+r.err, "confidential") {
		t.Errorf("the user's data is shown: %s%s", r.out, r.err)
	}
	odd := release(sizes("size/1", func(n int64) (size, error) {
		if n == 1 {
			return size{}, errors.New("odd")
		}
		return size{n}, nil
	}))
	pl := decode[plan](t, w.execute(odd, "plan", "-o", "json").want(t, exitInvalid))
	i := slices.IndexFunc(pl.Changes, func(ch planned) bool { return ch.Name == "size" })
	if ch := pl.Changes[i]; ch.Verdict != topology.Refused || ch.Failed != 2 || len(ch.Failures) != 2 || len(ch.Failures[0].KeyHash) != 8 || ch.Failures[0].Error != "odd" {
		t.Errorf("got %+v", ch)
	}
	w.execute(release(sizes("size/9", anySize)), "plan", "--offline").want(t, exitInvalid, "refused", "codec.Migrate")
}

func (w *world) plansLess(t *testing.T) {
	t.Helper()
	w.execute(counter(), "plan").want(t, exitInvalid, "refused", `Drop("size")`)
	less := counter()
	less.Drop("size")
	w.execute(less, "plan").want(t, 0, "dropped", "worker by worker")
	w.execute(less, "plan", "--fail-on", "new,drop").want(t, exitInvalid, "1 of 4 parts dropped")
}

func (w *world) plansMore(t *testing.T) {
	t.Helper()
	first := sizes("size/1", anySize)
	store := release(first, func(s stream.Stream[string, string]) { s.Group().Count("again") })
	w.execute(store, "plan").want(t, 0, "again", "new", "worker by worker")
	w.execute(store, "plan", "--fail-on", "new").want(t, exitInvalid, "1 of 5 parts new")

	stage := release(first, func(s stream.Stream[string, string]) {
		s.KeyBy("by-length", func(v string) string { return v }, codec.String).Group().Count("lengths")
	})
	pl := decode[plan](t, w.execute(stage, "plan", "-o", "json").want(t, 0, "savepoint create NAME --stop", "rollback --to NAME"))
	want := []worker.InternalTopic{
		{Name: "counter-2-0-changelog", Partitions: 2}, {Name: "counter-2-by-length-repartition", Partitions: 2}, {Name: "counter-2-1-changelog", Partitions: 2},
	}
	if diff := cmp.Diff(want, pl.Create); diff != "" || pl.Way != wayRollback {
		t.Errorf("%s, way %s", diff, pl.Way)
	}
	w.execute(stage, "plan", "--offline").want(t, 0, "counter-2-by-length-repartition", "not known")
}
