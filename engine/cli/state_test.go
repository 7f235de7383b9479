// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json/v2"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/inspect"
)

// entry is a row of a store as commands print it.
type entry struct {
	Store     string     `json:"store"`
	Task      string     `json:"task"`
	Partition int32      `json:"partition"`
	Key       string     `json:"key"`
	Time      *time.Time `json:"time"`
	Value     int64      `json:"value"`
}

// entries reads one JSON object per line.
func entries(t *testing.T, text string) []entry {
	t.Helper()
	var all []entry
	for line := range strings.Lines(text) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// looksAtState uses the state commands on a checkpoint with the words of two lines.
func (w *world) looksAtState(t *testing.T, round string) {
	t.Helper()
	w.execute(counter(), "state", "get", "per-word", "be").want(t, 0, "be", "3")
	got := decode[[]entry](t, w.execute(counter(), "state", "get", "per-word", "to", "--from", round, "-o", "json").want(t, 0))
	if len(got) != 1 || got[0].Key != "to" || got[0].Value != 2 || got[0].Time == nil || !strings.HasPrefix(got[0].Task, "0_") {
		t.Errorf("state is %+v", got)
	}
	counts := map[string]int64{}
	for _, e := range entries(t, w.execute(counter(), "state", "scan", "per-word", "-o", "json").want(t, 0).out) {
		counts[e.Key] = e.Value
	}
	if diff := cmp.Diff(map[string]int64{"to": 2, "be": 3, "or": 1, "not": 1, "quick": 1}, counts); diff != "" {
		t.Error(diff)
	}
	scan := w.execute(counter(), "state", "scan", "per-word", "--limit", "1").want(t, 0, "stopped after 1 entries")
	if lines := strings.Count(scan.out, "\n"); lines != 2 {
		t.Errorf("%d lines: %s", lines, scan.out)
	}
	if r := w.execute(counter(), "state", "scan", "per-word", "--prefix", "qu").want(t, 0, "quick"); strings.Contains(r.out, "not") {
		t.Error(r.out)
	}
	w.execute(nil, "state", "get", "per-word", "be", "--app-id", "counter").want(t, 0, "be", "3")

	w.execute(counter(), "state", "get", "per-word", "nowhere").want(t, exitNotFound, "has no key nowhere")
	w.execute(counter(), "state", "get", "perword", "to").want(t, exitNotFound, "did you mean per-word?")
	w.execute(counter(), "state", "get", "per-word", "to", "sub").want(t, exitUsage, "not a map")
	w.execute(counter(), "state", "scan", "per-word", "--prefix", "0xzz").want(t, exitUsage, "not hexadecimal")
	w.keepsSavepoint(t, round)
	w.queries(t)
	w.exports(t)
}

// keepsSavepoint names a checkpoint by a savepoint.
func (w *world) keepsSavepoint(t *testing.T, round string) {
	t.Helper()
	cfg := w.config(t)
	cfg.AppID = "counter"
	a, err := openArchive(w.ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.round(w.ctx, round)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.repo.CreateSavepoint(w.ctx, a.app.Incarnation, checkpoint.Savepoint{Name: "kept", Round: r.Number}); err != nil {
		t.Fatal(err)
	}
	w.execute(counter(), "state", "get", "per-word", "be", "--from", "kept").want(t, 0, "be", "3")
	w.execute(counter(), "state", "get", "per-word", "be", "--from", "kpt").want(t, exitNotFound, "no savepoint", "did you mean kept?")
	w.execute(counter(), "checkpoints", "show", "kept").want(t, 0, "0_0")
	w.execute(counter(), "checkpoints", "diff", "kept", round).want(t, 0, "2 tasks have the same state", "per-word")
}

func (w *world) queries(t *testing.T) {
	t.Helper()
	r := w.execute(counter(), "state", "query", "SELECT key, value FROM per-word WHERE value > 1 ORDER BY value DESC").want(t, 0)
	if diff := cmp.Diff("key  value\nbe   3\nto   2\n", r.out); diff != "" {
		t.Error(diff)
	}
	r = w.execute(nil, "state", "query", "SELECT count(*), sum(value) AS words FROM per-word", "--app-id", "counter", "-o", "json").want(t, 0)
	if want := `{"count(*)":5,"words":8}` + "\n"; r.out != want {
		t.Errorf("got %s", r.out)
	}
	w.execute(counter(), "state", "query", "SELECT key FROM per-wrod").want(t, exitNotFound, "did you mean per-word?")
	w.execute(counter(), "state", "query", "SELECT kye FROM per-word").want(t, exitUsage, "column 8", "did you mean key?")
	w.execute(counter(), "state", "query", "SELECT subkey FROM per-word").want(t, exitUsage, "has no subkey")
}

func (w *world) exports(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "counts.parquet")
	info := decode[[]exported](t, w.execute(counter(), "state", "export", "per-word", "--to", file, "-o", "json").want(t, 0, "exported 5 entries"))
	if len(info) != 1 || info[0] != (exported{"per-word", 5, file}) {
		t.Errorf("exported %+v", info)
	}
	type row struct {
		Key       string    `parquet:"key"`
		Value     *int64    `parquet:"value"`
		Task      string    `parquet:"task"`
		Partition int32     `parquet:"partition"`
		Time      time.Time `parquet:"time,timestamp(microsecond)"`
	}
	rows, err := parquet.ReadFile[row](file)
	if err != nil || len(rows) != 5 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		if r.Key == "be" && (*r.Value != 3 || r.Time.Year() < 2000) {
			t.Errorf("row %+v", r)
		}
	}
	lines := w.execute(nil, "state", "export", "--app-id", "counter").want(t, 0, "exported 5 entries")
	if all := entries(t, lines.out); len(all) != 5 || all[0].Store != "per-word" || all[0].Task == "" {
		t.Errorf("lines %s", lines.out)
	}
	w.execute(counter(), "state", "export", "--to", dir).want(t, 0, "STORE", "per-word.jsonl")
	w.execute(counter(), "state", "export", "--format", "parkuet").want(t, exitUsage, "did you mean parquet?")
	w.execute(counter(), "state", "export", "perword").want(t, exitNotFound, "did you mean per-word?")
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 2 {
		t.Errorf("files %v, %v", names, err)
	}
}

func TestFileOfAnExportAppearsWhenItIsWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, whole := range []bool{false, true} {
		f, err := createFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("newer"); err != nil {
			t.Fatal(err)
		}
		want := "older"
		if whole {
			want, err = "newer", f.install()
		}
		if err := errors.Join(err, f.discard()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("whole %v: %s, %v", whole, got, err)
		}
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("files %v, %v", names, err)
	}
}

func TestLongWorkTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	var talk bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetErr(&talk)
	progress(cmd, time.Hour)(inspect.Progress{})
	progress(cmd, 0)(inspect.Progress{Part: 2, Parts: 3, Bytes: 2048, Rows: 5})
	if want := "task 0_0, 2 of 3, 2 KiB: 5 entries so far\n"; talk.String() != want {
		t.Errorf("told %q, expected %q", talk.String(), want)
	}
}

func TestLongTablesAreWrittenAsTheyGrow(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	t1 := newTable("N")
	for n := range tablePage + 1 {
		t1.row(n)
		if err := t1.page(&b); err != nil {
			t.Fatal(err)
		}
	}
	if len(t1.rows) != 1 || strings.Count(b.String(), "\n") != tablePage+1 {
		t.Errorf("%d rows are held, %d lines written", len(t1.rows), strings.Count(b.String(), "\n"))
	}
}
