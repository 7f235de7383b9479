// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json/v2"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
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
	w.execute(counter(), "savepoint", "create", "kept", "--of", round).want(t, 0)
	w.execute(counter(), "state", "get", "per-word", "be", "--from", "kept").want(t, 0, "be", "3")
	w.execute(counter(), "state", "get", "per-word", "be", "--from", "kpt").want(t, exitNotFound, "nor a savepoint", "did you mean kept?")
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

// seen is a value whose codec is a user's own.
type seen struct {
	Times int    `json:"times"`
	Last  string `json:"last"`
}

func seenCodec() codec.Codec[seen] {
	return codec.New("seen/1",
		func(dst []byte, v seen) ([]byte, error) { return append(append(dst, byte(v.Times)), v.Last...), nil },
		func(src []byte) (seen, error) { return seen{int(src[0]), string(src[1:])}, nil })
}

// keeper keeps state in many ways.
func keeper() *stream.Pipeline {
	p := stream.NewPipeline("keeper")
	words := stream.From(p, "lines", codec.Bytes, codec.String).
		Map(func(line string) string { return strings.ToUpper(line) }).
		KeyBy("by-line", func(line string) string { return strings.ToLower(line) }, codec.String)
	words.Group().Window(stream.Session(time.Hour)).Count("visits")
	stream.TopN(words.Group(), "best", 2, func(a, b string) bool { return a > b })
	words.JoinStream("joined", words, stream.Within(time.Hour), func(a, b string) string { return a + b }).Filter(func(string) bool { return false })
	words.Process("state", func(s *stream.Setup) stream.Handler[string, string, string] {
		last := s.Value("last", seenCodec(), stream.TTL(time.Hour))
		letters := s.Map("letters", codec.String, codec.Int64)
		later := s.Timer("later", func(*stream.Context[string], string, int64) error { return nil })
		return func(ctx *stream.Context[string], key, value string) error {
			v, _, err := last.Get()
			return errors.Join(err, last.Put(seen{v.Times + 1, value}), letters.Put(value[:1], int64(len(value))), later.SetAfter(time.Hour))
		}
	})
	return p
}

// keeps runs the keeper until a checkpoint holds so many sightings of each word, in their order. It returns its number.
func (w *world) keeps(t *testing.T, times string) string {
	t.Helper()
	want := "value.times\n" + times
	w.work(t, keeper, "a checkpoint holds all records", func() bool {
		return w.execute(keeper(), "state", "query", "SELECT value.times FROM state.last ORDER BY 1").out == want
	})
	return strconv.FormatInt(w.newest(t, keeper), 10)
}

func TestStateOfEveryKindIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed(t, "be", "be", "to")
	first := w.keeps(t, "1\n2\n")
	w.execute(keeper(), "savepoint", "create", "first", "--of", first).want(t, 0) // not to be collected meanwhile
	for store, text := range map[string]string{
		"visits": `"value":2}]`, "best": `"value":["BE","BE"]`, "state.last": `"value":{"times":2,"last":"BE"}`, "state.letters": `"subKey":"B","value":2`,
		"state.later": `"value":"20`, "state.later.due": `"value":null`,
		"joined.left": `"value":[{"met":`,
	} {
		w.execute(keeper(), "state", "get", store, "be", "-o", "json").want(t, 0)
		r := w.execute(keeper(), "state", "scan", store, "--prefix", "be", "-o", "json").want(t, 0, text)
		if r.err != "" {
			t.Errorf("%s: %s", store, r.err)
		}
		plain := w.execute(nil, "state", "scan", store, "--app-id", "keeper", "--prefix", "be", "-o", "json").want(t, 0)
		if isOwn := store == "state.last"; isOwn != strings.Contains(plain.err, "seen/1") || isOwn == (plain.out == r.out) {
			t.Errorf("%s without the pipeline: %s%s", store, plain.out, plain.err)
		}
	}
	w.execute(keeper(), "state", "query", "SELECT value.last FROM state.last WHERE value.times = 2").want(t, 0, "BE")
	w.execute(keeper(), "state", "query", "SELECT subkey, value FROM state.letters ORDER BY value").want(t, 0, "T")

	dir := t.TempDir()
	w.execute(keeper(), "state", "export", "--format", "parquet").want(t, exitUsage, "a file per store")
	w.execute(keeper(), "state", "export", "--format", "parquet", "--to", dir).want(t, 0)
	names := []string{"best", "state.last", "state.later", "state.letters", "visits"}
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(dir, name+".parquet")); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}

	w.feed(t, "or", "be")
	second := w.keeps(t, "1\n1\n3\n")
	w.execute(keeper(), "checkpoints", "diff", first, second).want(t, 0, "ADDED", "added", "changed", "BEFORE")
	d := decode[difference](t, w.execute(keeper(), "checkpoints", "diff", first, second, "--store", "state.last", "-o", "json").want(t, 0))
	if len(d.Stores) != 1 || d.Stores[0].Added != 1 || d.Stores[0].Changed != 1 || len(d.Stores[0].Changes) != 2 {
		t.Errorf("the difference is %+v", d)
	}
	w.execute(keeper(), "checkpoints", "diff", first, second, "--store", "state.lst").want(t, exitNotFound, "did you mean state.last?")
	w.execute(keeper(), "checkpoints", "diff", first).want(t, exitUsage, "arg(s)")
}

func TestFileOfAnExportAppearsWhenItIsWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, whole := range []bool{false, true} {
		f, err := createFile(path, 0o640)
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
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
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

func TestStateIsAskedOfWorkersThatTheGroupKnows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settings = append(slices.DeleteFunc(w.settings, func(s string) bool { return strings.HasPrefix(s, "STREAMD_HTTP_ADDRESS") }), "STREAMD_HTTP_ADDRESS=127.0.0.1:0")
	w.execute(counter(), "state", "get", "per-word", "be", "--live").want(t, exitNotFound, "0 workers")
	w.feed(t, "to be or not to be", "be quick")
	w.execute(splitter(), "run", "--until", "end").want(t, 0)
	w.work(t, counter, "the workers know all words", func() bool {
		r := w.execute(counter(), "state", "get", "per-word", "be", "--live")
		return r.code == 0 && strings.Contains(r.out, "3")
	}, func() {
		got := decode[struct {
			Key   string `json:"key"`
			Value int64  `json:"value"`
			Role  string `json:"role"`
			Token string `json:"token"`
		}](t, w.execute(nil, "state", "get", "per-word", "to", "--live", "--app-id", "counter", "-o", "json").want(t, 0))
		if got.Key != "to" || got.Value != 2 || got.Role != "owner" || got.Token == "" {
			t.Errorf("got %+v", got)
		}
		scan := w.execute(counter(), "state", "scan", "per-word", "--live", "-o", "json").want(t, 0)
		if n := len(entries(t, scan.out)); n != 5 {
			t.Errorf("%d entries: %s", n, scan.out)
		}
		w.execute(counter(), "state", "scan", "per-word", "--live", "--limit", "1").want(t, 0, "stopped after 1 entries")
		w.execute(counter(), "state", "get", "per-word", "nowhere", "--live").want(t, exitNotFound, "no such key")
		w.execute(counter(), "state", "get", "perword", "to", "--live").want(t, exitNotFound, "did you mean per-word?")
		w.execute(counter(), "state", "get", "per-word", "to", "sub", "--live").want(t, exitUsage, "no sub-keys")
		w.execute(counter(), "state", "get", "per-word", "to", "--live", "--endpoint", "ftp://x").want(t, exitUsage, "ftp://x")
	})
}
