// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// The tests of this file damage each document of a store in each way, and ask everything that reads it. The answer must be
// an error that names the object and says what to do by its sentinel: never a wrong state, never a guess.

// library is a store with one of everything, twice: of two applications with the same rounds and tasks.
func library(t *testing.T) *objstore.Mem {
	t.Helper()
	mem := objstore.NewMem()
	for _, app := range []string{testApp, "other"} {
		r := NewRepository(mem, app, WithGrace(testGrace))
		for n := 1; n <= 2; n++ {
			a := Application{App: app, Incarnation: n, Fingerprint: "of " + app, InitialOffsets: map[string]map[int32]int64{"in": {0: 7}}}
			if n > 1 {
				a.Origin = &Origin{app, 1, 1}
			}
			if _, _, err := r.CreateApplication(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			fillLife(t, r, life{app, n})
		}
		if _, err := r.Claim(t.Context(), "somebody", Retention{Kept: 2}); err != nil {
			t.Fatal(err)
		}
	}
	return mem
}

// fillLife makes two rounds of two tasks with something in flight, a savepoint, and a bounded run.
func fillLife(t *testing.T, r *Repository, l life) {
	t.Helper()
	tasks := []partition.TaskID{taskID(0), taskID(1)}
	for n := int64(1); n <= 2; n++ {
		how := GoOn
		if n == 2 {
			how = Halt
		}
		if _, err := r.StartRound(t.Context(), l.incarnation, n, how); err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			u := upload(t, task, n, "g", map[string]string{"1.sst": fmt.Sprint(l, n, task), "CURRENT": "x"})
			u.Manifest.App, u.Manifest.Incarnation = l.app, l.incarnation
			publish(t, r, u)
		}
		c := withChannel(completion(n, tasks), filepath.Join(writeFiles(t, map[string]string{"c": fmt.Sprint("in flight", l, n)}), "c"))
		c.Incarnation = l.incarnation
		if err := r.CompleteRound(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.CreateSavepoint(t.Context(), l.incarnation, Savepoint{Name: "kept", Round: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.BeginRun(t.Context(), l.incarnation, Run{Number: 1, Ends: map[string]map[int32]int64{"in": {0: 70}}}); err != nil {
		t.Fatal(err)
	}
}

// reader asks for what a document holds.
type reader func(t *testing.T, r *Repository) error

var (
	shop = life{testApp, 2}

	loadApplication reader = func(t *testing.T, r *Repository) error {
		_, err := r.LoadApplication(t.Context())
		return err
	}
	loadCut reader = func(t *testing.T, r *Repository) error {
		_, err := r.LoadCut(t.Context(), 2, 2)
		return err
	}
	verify reader = func(t *testing.T, r *Repository) error {
		report, err := r.Verify(t.Context(), 2, 2)
		for _, task := range report.Tasks {
			err = errors.Join(append(task.Problems, err)...)
		}
		return errors.Join(append(report.Channels.Problems, err)...)
	}
	collectAll reader = func(t *testing.T, r *Repository) error {
		_, err := claimAndCollect(t.Context(), r, 5)
		return err
	}
	readers = map[string]map[string]reader{
		shop.application(): {"load application": loadApplication, "load life": func(t *testing.T, r *Repository) error {
			_, err := r.LoadLife(t.Context(), 2)
			return err
		}, "create": func(t *testing.T, r *Repository) error {
			_, _, err := r.CreateApplication(t.Context(), Application{App: testApp, Incarnation: 2})
			return err
		}, "collect": collectAll},
		shop.manifest(2, taskID(1)): {"load cut": loadCut, "verify": verify, "collect": collectAll, "manifest": func(t *testing.T, r *Repository) error {
			_, err := r.Manifest(t.Context(), 2, 2, taskID(1))
			return err
		}, "fall back": fallBack},
		shop.complete(2): {"load cut": loadCut, "verify": verify, "collect": collectAll},
		shop.savepoint("kept"): {"list": func(t *testing.T, r *Repository) error {
			_, err := r.Savepoints(t.Context(), 2)
			return err
		}, "create again": func(t *testing.T, r *Repository) error {
			return r.CreateSavepoint(t.Context(), 2, Savepoint{Name: "kept", Round: 2})
		}, "export": func(t *testing.T, r *Repository) error {
			return r.Export(t.Context(), 2, "kept", &bytes.Buffer{}, nil)
		}, "collect": collectAll},
		shop.run(1): {"current run": func(t *testing.T, r *Repository) error {
			_, _, err := r.CurrentRun(t.Context(), 2)
			return err
		}, "begin again": func(t *testing.T, r *Repository) error {
			_, err := r.BeginRun(t.Context(), 2, Run{Number: 1})
			return err
		}},
		shop.started(2): {"halted": func(t *testing.T, r *Repository) error {
			_, err := r.Halted(t.Context(), 2, 2)
			return err
		}},
		claimName(testApp, 1): {"retention": func(t *testing.T, r *Repository) error {
			_, _, err := r.Retention(t.Context())
			return err
		}},
	}
)

// fallBack is how a task recovers: from the checkpoint before, with the damage told.
func fallBack(t *testing.T, r *Repository) error {
	manifests, damaged, err := r.Manifests(t.Context(), 2, taskID(1), 2)
	if err != nil {
		return err
	}
	if len(manifests) != 1 || manifests[0].Round != 1 || len(damaged) != 1 || damaged[0].Round != 2 {
		t.Errorf("found %d manifests, damaged are %v", len(manifests), damaged)
		return nil
	}
	return damaged[0].Err
}

// damages are what becomes of a document. Those of format and kind need the document to have a frame.
func damages(t *testing.T, mem *objstore.Mem, name string) map[string]struct {
	content string
	want    error
} {
	t.Helper()
	read := func(name string) string {
		content, err := objstore.ReadAll(t.Context(), mem, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	whole := read(name)
	flipped := []byte(whole)
	flipped[len(flipped)/2] ^= 0x10
	all := map[string]struct {
		content string
		want    error
	}{
		"empty": {"", ErrCorrupt}, "cut": {whole[:len(whole)/2], ErrCorrupt}, "cut by a little": {whole[:len(whole)-3], ErrCorrupt},
		"flipped": {string(flipped), ErrCorrupt}, "doubled": {whole + whole, ErrCorrupt}, "zeros": {strings.Repeat("\x00", len(whole)), ErrCorrupt},
	}
	if name == shop.started(2) {
		return all
	}
	all["from the future"] = struct {
		content string
		want    error
	}{strings.Replace(whole, `"format":1`, `"format":2`, 1), ErrFutureFormat}
	for what, other := range map[string]string{
		"a claim": claimName("other", 1), "an application": (life{"other", 2}).application(), "a savepoint": (life{"other", 2}).savepoint("kept"),
		"a manifest": (life{"other", 2}).manifest(2, taskID(1)), "a record": (life{"other", 2}).complete(2), "a run": (life{"other", 2}).run(1),
	} {
		if kindOf(t, read(other)) != kindOf(t, whole) {
			all[what] = struct {
				content string
				want    error
			}{read(other), ErrCorrupt}
		}
	}
	// The same document, from another place.
	for _, other := range slices.Concat(swaps[name]) {
		all["that of "+other] = struct {
			content string
			want    error
		}{read(other), ErrCorrupt}
	}
	return all
}

var swaps = map[string][]string{
	shop.application():          {life{testApp, 1}.application(), life{"other", 2}.application()},
	shop.manifest(2, taskID(1)): {shop.manifest(2, taskID(0)), shop.manifest(1, taskID(1)), life{testApp, 1}.manifest(2, taskID(1)), life{"other", 2}.manifest(2, taskID(1))},
}

func kindOf(t *testing.T, document string) string {
	t.Helper()
	_, rest, ok := strings.Cut(document, `"kind":"`)
	kind, _, more := strings.Cut(rest, `"`)
	if !ok || !more {
		t.Fatalf("no document: %s", document)
	}
	return kind
}

func TestADamagedDocumentIsRefusedAndNamed(t *testing.T) {
	t.Parallel()
	for name, ask := range readers {
		mem := library(t)
		for what, damage := range damages(t, mem, name) {
			if err := mem.Put(t.Context(), name, strings.NewReader(damage.content)); err != nil {
				t.Fatal(err)
			}
			for how, read := range ask {
				err := read(t, NewRepository(mem, testApp, WithGrace(testGrace)))
				if !errors.Is(err, damage.want) || !strings.Contains(err.Error(), name) {
					t.Errorf("%s, %s: %s: error is %v, want %v with the name", name, what, how, err, damage.want)
				}
			}
		}
	}
}

// A record of a round names the manifests that it was completed with, by their checksums.
func TestARecordOfAnotherRoundOrApplicationIsRefused(t *testing.T) {
	t.Parallel()
	for _, other := range []string{shop.complete(1), life{testApp, 1}.complete(2), life{"other", 2}.complete(2)} {
		mem := library(t)
		content, err := objstore.ReadAll(t.Context(), mem, other, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := mem.Put(t.Context(), shop.complete(2), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		for how, read := range map[string]reader{"load cut": loadCut, "verify": verify} {
			if err := read(t, NewRepository(mem, testApp)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %s: error is %v", other, how, err)
			}
		}
	}
}

func TestAMissingDocumentIsToldAndNamed(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]map[string]reader{
		shop.manifest(2, taskID(1)): {"load cut": loadCut, "verify": verify, "fall back": fallBack},
		shop.complete(2): {"load cut": func(t *testing.T, r *Repository) error {
			err := loadCut(t, r)
			if errors.Is(err, ErrIncomplete) { // that is what it is then
				err = fmt.Errorf("%w: %w: %s", ErrMissing, err, shop.complete(2))
			}
			return err
		}},
	} {
		mem := library(t)
		if err := mem.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		for how, read := range ask {
			if err := read(t, NewRepository(mem, testApp)); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %s: error is %v", name, how, err)
			}
		}
	}
}

// Were the record of the newest life lost, the one before would be taken for it, or the application for a new one.
func TestALostRecordOfALifeIsNotTakenForAnotherLife(t *testing.T) {
	t.Parallel()
	for incarnation := 1; incarnation <= 2; incarnation++ {
		mem := library(t)
		for n := incarnation; n <= 2; n++ {
			if err := mem.Delete(t.Context(), life{testApp, n}.application()); err != nil {
				t.Fatal(err)
			}
		}
		_, err := NewRepository(mem, testApp).LoadApplication(t.Context())
		if expectErr(t, err, ErrCorrupt); !strings.Contains(err.Error(), life{testApp, incarnation}.application()) {
			t.Errorf("error is %v", err)
		}
	}
}

// A round that needs no savepoint can be used although one is damaged, and the damaged one can be deleted.
func TestADamagedSavepointHarmsNoOtherRound(t *testing.T) {
	t.Parallel()
	mem := library(t)
	r := NewRepository(mem, testApp, WithGrace(testGrace))
	if err := mem.Put(t.Context(), shop.savepoint("kept"), strings.NewReader("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.LoadCut(t.Context(), 2, 2); err != nil {
		t.Error(err)
	}
	expectErr(t, collectAll(t, r), ErrCorrupt)
	if err := r.DeleteSavepoint(t.Context(), 2, "kept"); err != nil {
		t.Fatal(err)
	}
	if err := collectAll(t, r); err != nil {
		t.Error(err)
	}
}

// Whoever can write to a bucket can compute checksums.
func TestHostileDocumentsAreRefused(t *testing.T) {
	t.Parallel()
	object := func(app string) File {
		return File{Name: "c", Object: app + "/1/objects/w.1.x/" + sha('a'), Size: 1, SHA256: sha('a')}
	}
	manifests := map[partition.TaskID]string{taskID(0): sha('a')}
	channel := Channel{Topic: "t", Records: 1, File: object("shop")}
	with := func(change func(*Channel)) roundRecord {
		c := channel
		change(&c)
		return roundRecord{Round: 1, Manifests: manifests, Channels: []Channel{c}}
	}
	application := func(change func(*Application)) Application {
		a := Application{App: testApp, Incarnation: 2, Origin: &Origin{"other", 1, 1}, Created: time.Unix(1, 0).UTC()}
		change(&a)
		return a
	}
	for name, c := range map[string]struct {
		kind string
		body any
		into any
	}{
		"a record without manifests":        {kindRound, roundRecord{Round: 1}, &roundRecord{}},
		"a negative task":                   {kindRound, roundRecord{Round: 1, Manifests: map[partition.TaskID]string{{Partition: -1}: sha('a')}}, &roundRecord{}},
		"a checksum that is none":           {kindRound, roundRecord{Round: 1, Manifests: map[partition.TaskID]string{taskID(0): "../x"}}, &roundRecord{}},
		"too many tasks":                    {kindRound, roundRecord{Round: 1, Manifests: manyTasks(maxTasks + 1)}, &roundRecord{}},
		"a channel twice":                   {kindRound, roundRecord{Round: 1, Manifests: manifests, Channels: []Channel{channel, channel}}, &roundRecord{}},
		"too many channels":                 {kindRound, roundRecord{Round: 1, Manifests: manifests, Channels: make([]Channel, maxChannels+1)}, &roundRecord{}},
		"a channel of a negative partition": {kindRound, with(func(c *Channel) { c.Partition = -1 }), &roundRecord{}},
		"a channel without records":         {kindRound, with(func(c *Channel) { c.Records = 0 }), &roundRecord{}},
		"a channel of a huge size":          {kindRound, with(func(c *Channel) { c.File.Size = 1 << 60 }), &roundRecord{}},
		"a channel's topic climbs":          {kindRound, with(func(c *Channel) { c.Topic = "../../etc" }), &roundRecord{}},
		"a channel's file climbs":           {kindRound, with(func(c *Channel) { c.File.Name = "../c" }), &roundRecord{}},
		"a channel's file is absolute":      {kindRound, with(func(c *Channel) { c.File.Name = "/etc/passwd" }), &roundRecord{}},
		"a channel's object climbs":         {kindRound, with(func(c *Channel) { c.File.Object = "../" + c.File.Object }), &roundRecord{}},
		"a channel's object is absolute":    {kindRound, with(func(c *Channel) { c.File.Object = "/" + c.File.Object }), &roundRecord{}},
		"a channel's object of other hash":  {kindRound, with(func(c *Channel) { c.File.SHA256 = sha('b') }), &roundRecord{}},
		"an application's name climbs":      {kindApplication, application(func(a *Application) { a.App = ".." }), &Application{}},
		"a life without number":             {kindApplication, application(func(a *Application) { a.Incarnation = 0 }), &Application{}},
		"a life of a huge number":           {kindApplication, application(func(a *Application) { a.Incarnation = 1 << 40 }), &Application{}},
		"an origin that climbs":             {kindApplication, application(func(a *Application) { a.Origin.App = "../other" }), &Application{}},
		"an origin that is itself":          {kindApplication, application(func(a *Application) { *a.Origin = Origin{testApp, 2, 1} }), &Application{}},
		"an origin without round":           {kindApplication, application(func(a *Application) { a.Origin.Round = 0 }), &Application{}},
		"a prefix that climbs":              {kindApplication, application(func(a *Application) { a.Outputs.Prefix = "../" }), &Application{}},
		"an offset below zero":              {kindApplication, application(func(a *Application) { a.InitialOffsets = map[string]map[int32]int64{"t": {0: -1}} }), &Application{}},
		"a savepoint without round":         {kindSavepoint, Savepoint{Name: "x"}, &Savepoint{}},
		"a savepoint whose name climbs":     {kindSavepoint, Savepoint{Name: "../x", Round: 1}, &Savepoint{}},
		"a run that ends below zero":        {kindRun, Run{Number: 1, Ends: map[string]map[int32]int64{"t": {0: -5}}}, &Run{}},
		"a run of a negative partition":     {kindRun, Run{Number: 1, Ends: map[string]map[int32]int64{"t": {-1: 5}}}, &Run{}},
	} {
		document, _, err := encode(c.kind, c.body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := decode(c.kind, document, c.into); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func manyTasks(n int) map[partition.TaskID]string {
	tasks := map[partition.TaskID]string{}
	for p := range n {
		tasks[taskID(p)] = sha('a')
	}
	return tasks
}
