// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
)

func TestAnApplicationIsLookedIntoReplayedAndReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.checkpointed(t, "to be or not to be", "be quick")
	w.lookInto(t, strconv.FormatInt(n, 10))
	w.replays(t, strconv.FormatInt(n, 10))
	w.resets(t)
}

func (w *world) lookInto(t *testing.T, round string) {
	t.Helper()
	st := decode[applicationStatus](t, w.execute(counter(), "status", "-o", "json").want(t, 0))
	if len(st.Inputs) != 2 || st.Inputs[0].Incarnation != 1 || st.Inputs[0].Problem != "" || len(st.Transactions) != 0 {
		t.Errorf("status is %+v", st)
	}
	w.execute(counter(), "status").want(t, 0, "application counter: Empty, 0 workers", "TOPIC", "words")

	tasks := decode[[]taskInfo](t, w.execute(counter(), "checkpoints", "show", round, "-o", "json").want(t, 0))
	if len(tasks) != 2 || tasks[0].Bytes == 0 || !slices.Equal(tasks[0].Stores["per-word"], []string{"string", "", "int64"}) {
		t.Errorf("checkpoint is %+v", tasks)
	}
	w.execute(counter(), "checkpoints", "list").want(t, 0, "NUMBER", "true")
	w.execute(counter(), "checkpoints", "verify", round).want(t, 0, "ok")
	w.execute(nil, "checkpoints", "show", "latest", "--app-id", "counter").want(t, 0, "0_1")

	w.looksAtState(t, round)
	w.execute(counter(), "checkpoints", "show", "99999").want(t, exitNotFound, "no checkpoint 99999")
	w.execute(counter(), "checkpoints", "show", "0").want(t, exitUsage)
	w.execute(counter(), "checkpoints", "show", "lates").want(t, exitNotFound, "nor a savepoint", "did you mean latest?")
	w.execute(counter(), "checkpoints", "list", "--app-id", "nobody").want(t, exitNotFound, "no application nobody")
	w.execute(counter(), "status", "--app-id", "nobody").want(t, exitNotFound, "no application nobody")
	w.execute(counter(), "doctor").want(t, 0, "transaction.version", "create-if-absent", "all there: counts, words")
	w.execute(nil, "doctor").want(t, 0, "skipped")
}

func (w *world) replays(t *testing.T, round string) {
	t.Helper()
	w.feed(t, "be late") // after the checkpoint: what the replay processes
	w.execute(splitter(), "run", "--until", "end").want(t, 0)

	dry := w.execute(counter(), "replay", "--from", round, "--as", "again", "--mute", "--dry-run", "-o", "json").want(t, 0, "nothing was done")
	var behind int64
	for _, task := range decode[worker.Beginning](t, dry).Tasks {
		behind += task.Behind
	}
	if behind < 2 {
		t.Errorf("the plan is %d records behind, expected at least 2", behind)
	}
	w.execute(counter(), "status", "--app-id", "again").want(t, exitNotFound)

	adm := w.admin(t)
	counts, err := adm.Follow(w.ctx, "counts")
	if err != nil {
		t.Fatal(err)
	}
	defer counts.Close()
	w.execute(counter(), "replay", "--from", round, "--as", "again", "--prefix", "again.", "--until", "end").want(t, 0, "reset --app-id again")
	if err := counts.CatchUp(w.ctx, func(m kafka.Message) { t.Errorf("the replay wrote to the original's topic: %s", m.Key) }); err != nil {
		t.Fatal(err)
	}
	ends, err := adm.EndOffsets(w.ctx, "again.counts")
	if err != nil {
		t.Fatal(err)
	}
	var written int64
	for _, end := range ends {
		written += end
	}
	if written == 0 {
		t.Error("the replay wrote nothing")
	}
	w.execute(counter(), "replay", "--from", "latest", "--as", "silent", "--mute", "--until", "end").want(t, 0)

	w.execute(counter(), "replay", "--from", round, "--as", "counter", "--mute").want(t, exitUsage, "an id of its own")
	w.execute(counter(), "replay", "--from", round, "--as", "x").want(t, exitUsage, "say where outputs go")
	w.execute(counter(), "replay", "--as", "x", "--mute").want(t, exitUsage, "--from is missing")
	w.execute(counter(), "replay", "--from", "99999", "--as", "x", "--mute").want(t, exitNotFound)
	w.execute(counter(), "replay", "--from", round, "--as", "x", "--mute", "--until", "nonsense", "--dry-run").want(t, exitUsage, "the only bound is end")
	w.execute(counter(), "replay", "--from", round, "--as", "x", "--mute", "--until", "nonsense").want(t, exitUsage, "the only bound is end")
	w.execute(counter(), "status", "--app-id", "x").want(t, exitNotFound)
	w.execute(counter(), "replay", "--from", round, "--as", "splitter", "--mute", "--dry-run").want(t, exitPrecondition, "in use")
}

func (w *world) admin(t *testing.T) *kafka.Admin {
	t.Helper()
	adm, err := kafka.NewAdmin(w.ctx, w.config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adm.Close)
	return adm
}

func (w *world) resets(t *testing.T) {
	t.Helper()
	w.execute(counter(), "reset").want(t, exitPrecondition, "--yes counter")
	w.execute(counter(), "reset", "--yes", "splitter").want(t, exitPrecondition, "--yes counter")
	w.execute(counter(), "reset", "--yes", "counter").want(t, exitPrecondition, "began from a checkpoint of counter")
	for _, id := range []string{"again", "silent"} {
		w.execute(counter(), "reset", "--app-id", id, "--yes", id).want(t, 0, "is reset")
	}
	w.execute(counter(), "reset", "--dry-run").want(t, 0, "counter-1-0-changelog", "nothing was deleted")
	w.execute(counter(), "reset", "--yes", "counter").want(t, 0, "counter-1-0-changelog", "application.json")
	w.execute(counter(), "status").want(t, exitNotFound)
	left := decode[leftovers](t, w.execute(counter(), "reset", "--dry-run", "-o", "json").want(t, 0))
	if diff := cmp.Diff(leftovers{Topics: []string{}, Objects: []string{}, Folders: []string{}}, left); diff != "" {
		t.Error(diff)
	}
	w.execute(counter(), "run", "--until", "end").want(t, 0) // it begins anew
}

func TestResetIsRefusedWhileWorkersRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan result, 1)
	go func() { ended <- execute(ctx, counter(), w.settings, "run") }()
	w.until(t, "the worker has joined", func() bool {
		r := w.execute(counter(), "status", "-o", "json")
		return r.code == 0 && len(decode[applicationStatus](t, r).Workers) == 1
	})
	w.execute(counter(), "reset", "--yes", "counter").want(t, exitPrecondition, "stop its workers first")
	stop()
	(<-ended).want(t, 0)
}

func TestStatusShowsWhoStandsBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed(t, "a", "b", "a")
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan result, 2)
	for n := range 2 {
		go func() {
			ended <- execute(ctx, counter(), w.settings, "run", "--standby-replicas", "1", "--warmups", "1",
				"--worker-zone", fmt.Sprint("zone-", n), "--state-dir", t.TempDir())
		}()
	}
	w.until(t, "each runs a task and stands by for the other's", func() bool {
		r := w.execute(counter(), "status", "-o", "json")
		if r.code != 0 {
			return false
		}
		st := decode[applicationStatus](t, r)
		return len(st.Workers) == 2 && len(st.Moves) == 0 && !slices.ContainsFunc(st.Workers, func(w workerStatus) bool {
			return len(w.Tasks) != 1 || len(w.Standbys) != 1 || w.Tasks[0] == w.Standbys[0]
		})
	})
	w.execute(counter(), "status").want(t, 0, "STANDBYS", "zone-0")
	stop()
	(<-ended).want(t, 0)
	(<-ended).want(t, 0)
}

func TestSavepointsAreMadeForkedFromRolledBackToAndCarriedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed(t, "a", "b", "a")
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	ended := make(chan result, 1)
	go func() { ended <- execute(ctx, regrouper(), w.settings, "run") }()
	w.until(t, "the worker has joined", func() bool {
		r := w.execute(regrouper(), "status", "-o", "json")
		return r.code == 0 && len(decode[applicationStatus](t, r).Workers) == 1
	})
	w.execute(regrouper(), "savepoint", "create", "first", "--note", "before more", "--by", "ann").want(t, 0, "has begun", "first", "ann", "before more")
	w.execute(regrouper(), "savepoint", "create", "first").want(t, exitPrecondition, "exists already")
	w.execute(regrouper(), "savepoint", "create", "a b").want(t, exitUsage)
	w.execute(regrouper(), "rollback", "--to", "first", "--yes", "regrouper").want(t, exitPrecondition, "stop its workers")
	w.feed(t, "c")
	w.execute(regrouper(), "savepoint", "create", "second", "--stop").want(t, 0, "is halted at savepoint second")
	(<-ended).want(t, 0)

	w.execute(regrouper(), "savepoint", "list").want(t, 0, "first", "second")
	w.execute(regrouper(), "savepoint", "show", "secnd").want(t, exitNotFound, "did you mean second?")
	if d := decode[savepointDetail](t, w.execute(regrouper(), "savepoint", "show", "second", "-o", "json").want(t, 0)); d.Tasks != 4 || d.Inputs["lines"] == nil {
		t.Errorf("the savepoint is %+v", d)
	}
	w.execute(regrouper(), "resume").want(t, 0, "may go on")
	w.execute(regrouper(), "resume").want(t, exitPrecondition, "not halted")
	w.execute(regrouper(), "run", "--until", "end").want(t, 0)

	w.execute(regrouper(), "fork", "--from", "second", "--as", "twin", "--prefix", "twin.", "--dry-run").want(t, 0, "can begin")
	w.execute(regrouper(), "fork", "--from", "second", "--as", "twin", "--prefix", "twin.").want(t, 0, "run --app-id twin")
	w.execute(regrouper(), "fork", "--from", "second", "--as", "twin", "--prefix", "twin.").want(t, 0, "had begun already")
	w.execute(regrouper(), "run", "--app-id", "twin", "--until", "end").want(t, 0)

	w.execute(regrouper(), "rollback", "--to", "first").want(t, exitPrecondition, "--yes regrouper")
	w.execute(regrouper(), "rollback", "--to", "first", "--yes", "regrouper").want(t, 0, "life 2")
	w.execute(regrouper(), "run", "--until", "end").want(t, 0)
	w.execute(regrouper(), "state", "query", "SELECT count(*) FROM per-line", "--from", "1/second").want(t, 0, "count(*)")
	w.execute(regrouper(), "checkpoints", "diff", "1/first", "1/second").want(t, 0, "per-line")
	w.execute(regrouper(), "checkpoints", "show", "3/1").want(t, exitUsage, "lives 1 to 2")
	w.execute(regrouper(), "rollback", "--to", "1/second", "--dry-run").want(t, 0, "life 3")
	w.execute(regrouper(), "savepoint", "create", "kept", "--of", "latest").want(t, 0, "kept")

	w.execute(regrouper(), "rescale", "--from", "kept", "--partitions", "3").want(t, exitPrecondition, "--yes regrouper")
	w.execute(regrouper(), "rescale", "--from", "kept", "--partitions", "3", "--dry-run").want(t, 0, "2 tasks become 3", "nothing was done")
	w.execute(regrouper(), "rescale", "--from", "kept", "--partitions", "3", "--yes", "regrouper").want(t, 0, "life 3")
	w.execute(regrouper(), "run", "--until", "end").want(t, 0)
	w.execute(regrouper(), "rescale", "--from", "1/second", "--partitions", "1", "--as", "small", "--mute").want(t, 0, "2 tasks become 1")
	w.execute(regrouper(), "run", "--app-id", "small", "--until", "end").want(t, 0)

	file := filepath.Join(t.TempDir(), "second.tar")
	w.execute(regrouper(), "savepoint", "export", "second", "--to", file).want(t, 0, "is in")
	w.execute(regrouper(), "savepoint", "export", "second", "--to", file).want(t, exitPrecondition, "exists already")
	elsewhere := []string{"--app-id", "imported", "--store-url", "file://" + t.TempDir()}
	w.execute(regrouper(), append([]string{"savepoint", "import", file}, elsewhere...)...).want(t, 0, "is stored")
	w.execute(regrouper(), append([]string{"savepoint", "import", file}, elsewhere...)...).want(t, 0, "is stored")
	w.execute(regrouper(), append([]string{"checkpoints", "verify", "latest"}, elsewhere...)...).want(t, 0, "ok")
	w.execute(regrouper(), append([]string{"fork", "--from", "second", "--as", "offspring", "--mute"}, elsewhere[2:]...)...).want(t, exitNotFound)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content[:len(content)-2000], 0o600); err != nil {
		t.Fatal(err)
	}
	w.execute(regrouper(), "savepoint", "import", file, "--app-id", "broken", "--store-url", "file://"+t.TempDir()).want(t, exitFailure, "corrupt")

	w.execute(regrouper(), "savepoint", "delete", "second").want(t, 0, "is deleted")
	w.execute(regrouper(), "savepoint", "delete", "second").want(t, exitNotFound)
}

func TestDamagedCheckpointIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.checkpointed(t, "one two three four")
	err := filepath.WalkDir(w.store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(path, "/objects/") {
			err = os.Truncate(path, 1)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r := w.execute(counter(), "checkpoints", "verify", "-o", "json").want(t, exitFailure, "is damaged")
	if v := decode[verification](t, r); !v.Damaged || len(v.Tasks) != 2 {
		t.Errorf("got %+v", v)
	}
	w.execute(counter(), "state", "scan", "per-word").want(t, exitFailure)
}

func TestDoctorNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settings = append(w.settings, "STREAMD_GUARANTEE=at-least-once")
	r := w.execute(regrouper(), "doctor", "--store-url", "").want(t, 0, "none is set")
	if !strings.Contains(r.out, "at-least-once, as set") {
		t.Error(r.out)
	}
	broken := execute(w.ctx, counter(), append(w.settings, "STREAMD_STORE_URL=file:///proc/nowhere", "STREAMD_STATE_DIR=/proc/nowhere"), "doctor", "-o", "json")
	results := map[string]string{}
	for _, f := range decode[[]finding](t, broken.want(t, exitFailure)) {
		results[f.Check] = f.Result
	}
	if results["object store"] != resultFailed || results["state folder"] != resultFailed || results["brokers"] != resultOK {
		t.Errorf("got %v", results)
	}
}
