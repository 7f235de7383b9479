// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// entry is one file of an archive.
type entry struct{ name, content string }

// exported is a savepoint's archive, as its entries.
func exported(t testing.TB, mem *objstore.Mem) []entry {
	t.Helper()
	var archive bytes.Buffer
	if err := NewRepository(mem, testApp).Export(t.Context(), 2, "kept", &archive, nil); err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for tr := tar.NewReader(&archive); ; {
		header, err := tr.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{header.Name, string(content)})
	}
}

func archiveOf(t testing.TB, entries []entry) []byte {
	t.Helper()
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	for _, e := range entries {
		if err := tw.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// withDocument changes an archive's document, whose checksum is right again afterwards.
func withDocument(t testing.TB, entries []entry, change func(*archived)) []entry {
	t.Helper()
	var a archived
	if _, err := decode(kindArchive, []byte(entries[0].content), &a); err != nil {
		t.Fatal(err)
	}
	change(&a)
	document, _, err := encode(kindArchive, a)
	if err != nil {
		t.Fatal(err)
	}
	changed := slices.Clone(entries)
	changed[0].content = string(document)
	return changed
}

func TestAnArchiveOfAnythingElseIsRefused(t *testing.T) {
	t.Parallel()
	whole := exported(t, library(t))
	content := func(i int, change func(string) string) []entry {
		changed := slices.Clone(whole)
		changed[i].content = change(changed[i].content)
		return changed
	}
	document := func(change func(*archived)) []entry { return withDocument(t, whole, change) }
	for name, entries := range map[string][]entry{
		"nothing":                      {},
		"only the document":            whole[:1],
		"an object less":               whole[:len(whole)-1],
		"an object twice":              append(slices.Clone(whole), whole[1]),
		"an object more":               append(slices.Clone(whole), entry{archiveObjects + sha('a'), "x"}),
		"a path that climbs":           append(slices.Clone(whole), entry{archiveObjects + "../../etc/passwd", "x"}),
		"an absolute path":             append(slices.Clone(whole), entry{"/etc/passwd", "x"}),
		"the document last":            append(slices.Clone(whole[1:]), whole[0]),
		"an object flipped":            content(1, func(s string) string { return string(s[0]^1) + s[1:] }),
		"an object cut":                content(1, func(s string) string { return s[1:] }),
		"an object longer":             content(1, func(s string) string { return s + "x" }),
		"a document flipped":           content(0, func(s string) string { return strings.Replace(s, `"shop"`, `"shoq"`, 1) }),
		"a document of another kind":   content(0, func(s string) string { return strings.Replace(s, `"kind":"archive"`, `"kind":"round"`, 1) }),
		"no manifest":                  document(func(a *archived) { a.Manifests = nil }),
		"a manifest twice":             document(func(a *archived) { a.Manifests = append(a.Manifests, a.Manifests[0]) }),
		"a manifest of another round":  document(func(a *archived) { a.Manifests[1].Round++ }),
		"a manifest of another life":   document(func(a *archived) { a.Manifests[1].Incarnation++ }),
		"a manifest whose file climbs": document(func(a *archived) { a.Manifests[0].Files[0].Name = "../x" }),
		"an object of two sizes": document(func(a *archived) {
			a.Channels[0].File = File{"c", a.Manifests[0].Files[0].Object, 99, a.Manifests[0].Files[0].SHA256}
		}),
		"a channel twice":               document(func(a *archived) { a.Channels = append(a.Channels, a.Channels[0]) }),
		"a savepoint whose name climbs": document(func(a *archived) { a.Savepoint.Name = "../../x" }),
		"a savepoint without round":     document(func(a *archived) { a.Savepoint.Round = 0 }),
		"a life of a huge number":       document(func(a *archived) { a.Application.Incarnation = 1 << 40 }),
		"a life without number":         document(func(a *archived) { a.Application.Incarnation = 0 }),
		"an application that climbs":    document(func(a *archived) { a.Application.App = "../x" }),
	} {
		mem := objstore.NewMem()
		r := NewRepository(mem, "target")
		_, err := r.Import(t.Context(), bytes.NewReader(archiveOf(t, entries)))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error is %v", name, err)
		}
		expectNothingUsable(t, mem, name)
	}
	future := content(0, func(s string) string { return strings.Replace(s, `"format":1`, `"format":2`, 1) })
	_, err := NewRepository(objstore.NewMem(), "target").Import(t.Context(), bytes.NewReader(archiveOf(t, future)))
	expectErr(t, err, ErrFutureFormat)
}

// expectNothingUsable makes sure that a refused import has left no round, and nothing outside its application.
func expectNothingUsable(t *testing.T, mem *objstore.Mem, what string) {
	t.Helper()
	for info := range mem.List(t.Context(), "") {
		if !strings.HasPrefix(info.Name, "target/") || strings.Contains(info.Name, "/rounds/") {
			t.Errorf("%s: %s was written", what, info.Name)
		}
	}
}

func TestAnArchiveThatWasCutAnywhereIsRefused(t *testing.T) {
	t.Parallel()
	whole := archiveOf(t, exported(t, library(t)))
	end := len(bytes.TrimRight(whole, "\x00"))
	for at := 0; at < end; at += 97 {
		mem := objstore.NewMem()
		_, err := NewRepository(mem, "target").Import(t.Context(), bytes.NewReader(whole[:at]))
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut after %d of %d bytes: error is %v", at, end, err)
		}
		expectNothingUsable(t, mem, "cut")
	}
}

// FuzzImport: whatever the bytes, an import is refused by ErrCorrupt, ErrFutureFormat or ErrInvalid and leaves nothing that can be
// used, or what it has made verifies.
func FuzzImport(f *testing.F) {
	mem, entries := fuzzLibrary(f), []entry(nil)
	var archive bytes.Buffer
	if err := NewRepository(mem, testApp).Export(f.Context(), 1, "kept", &archive, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(archive.Bytes())
	f.Add(archive.Bytes()[:1000])
	f.Add(archiveOf(f, append(entries, entry{archiveDocument, "{}"})))
	f.Add(archiveOf(f, append(entries, entry{"../x", "x"})))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		mem := objstore.NewMem()
		r := NewRepository(mem, "target")
		s, err := r.Import(t.Context(), bytes.NewReader(content))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFutureFormat) && !errors.Is(err, ErrInvalid) {
				t.Errorf("error without a sentinel: %v", err)
			}
			return
		}
		a, err := r.LoadApplication(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if report, err := r.Verify(t.Context(), a.Incarnation, s.Round); err != nil || report.Damaged() || !report.Complete {
			t.Errorf("what was imported is %+v, %v", report, err)
		}
	})
}

// fuzzLibrary holds one savepoint, written without the help of a test.
func fuzzLibrary(f *testing.F) *objstore.Mem {
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	if _, _, err := r.CreateApplication(f.Context(), Application{App: testApp, Incarnation: 1}); err != nil {
		f.Fatal(err)
	}
	finishRound(f, r, 1, []partition.TaskID{taskID(0), taskID(1)})
	if err := r.CreateSavepoint(f.Context(), 1, Savepoint{Name: "kept", Round: 1}); err != nil {
		f.Fatal(err)
	}
	return mem
}

// FuzzDocuments: whatever the bytes, a document is refused by its sentinel, or comes back the same when it is written again.
func FuzzDocuments(f *testing.F) {
	mem := fuzzLibrary(f)
	for _, name := range []string{life{testApp, 1}.application(), life{testApp, 1}.complete(1), life{testApp, 1}.savepoint("kept")} {
		document, err := objstore.ReadAll(f.Context(), mem, name, 1<<20)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	f.Add([]byte(`{"format":1,"kind":"round","checksum":"","body":{"round":1,"manifests":{"0_0":"x"},"channels":[{}]}}`))
	f.Add([]byte(`{"format":1,"kind":"application","checksum":"","body":{"app":"a","incarnation":1,"origin":{"app":"..","incarnation":1,"round":1}}}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		for kind, fresh := range map[string]func() any{
			kindRound: func() any { return &roundRecord{} }, kindApplication: func() any { return &Application{} },
			kindSavepoint: func() any { return &Savepoint{} }, kindRun: func() any { return &Run{} }, kindClaim: func() any { return &claim{} },
		} {
			checkRewritten(t, kind, document, fresh)
			if framed, ok := reframed(kind, document); ok {
				checkRewritten(t, kind, framed, fresh)
			}
		}
	})
}

func checkRewritten(t *testing.T, kind string, document []byte, fresh func() any) {
	t.Helper()
	first := fresh()
	if _, err := decode(kind, document, first); err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFutureFormat) {
			t.Errorf("error without a sentinel: %v", err)
		}
		return
	}
	again, _, err := encode(kind, first)
	if err != nil {
		t.Fatalf("accepted but cannot be written: %v", err)
	}
	second := fresh()
	if _, err := decode(kind, again, second); err != nil {
		t.Fatalf("written again but not read: %v", err)
	}
	third, _, err := encode(kind, second)
	if err != nil || !bytes.Equal(again, third) {
		t.Errorf("content changed, %v (-first +second):\n%s", err, cmp.Diff(string(again), string(third)))
	}
}

func TestAnImportedSavepointIsWhatWasExported(t *testing.T) {
	t.Parallel()
	mem := library(t)
	archive := archiveOf(t, exported(t, mem))
	elsewhere := objstore.NewMem()
	r := NewRepository(elsewhere, "target")
	for range 2 { // repeated, it changes nothing
		s, err := r.Import(t.Context(), bytes.NewReader(archive))
		if err != nil || s.Name != "kept" || s.Round != 2 {
			t.Fatalf("imported %+v, %v", s, err)
		}
	}
	cut, err := r.LoadCut(t.Context(), 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range cut.Manifests {
		expectRestored(t, r, m, storedFiles(t, mem, mustManifest(t, mem, taskID(i))))
	}
	_, err = NewRepository(mem, "other").Import(t.Context(), bytes.NewReader(archive))
	expectErr(t, err, ErrInvalid)
}

func mustManifest(t *testing.T, s objstore.Store, task partition.TaskID) Manifest {
	t.Helper()
	m, err := NewRepository(s, testApp).Manifest(t.Context(), 2, 2, task)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
