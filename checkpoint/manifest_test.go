// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/json/v2"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/streamd/streamd/partition"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

const goldenManifest = "testdata/manifest-format-1.json"

func sha(c byte) string { return strings.Repeat(string(c), 64) }

func sampleManifest() Manifest {
	return Manifest{
		Format: 1, App: "orders", Incarnation: 2, Round: 17, Task: partition.TaskID{SubTopology: 1, Partition: 3},
		Generation: "worker-7.4", Fingerprint: "f00d",
		Codecs: map[string][]string{"totals": {"string", "", "int64"}, "names": {"string", "", "bytes", "string"}}, Stores: map[string]uint16{"totals": 1, "names": 2},
		Position: Position{
			Epoch: 991, ChangelogOffset: 12345,
			Inputs:    map[string]map[int32]int64{"orders": {3: 700}, "by-customer": {3: 41}},
			Produced:  map[string]map[int32]int64{"by-region": {0: 5, 1: 9}},
			Watermark: 1_700_000_000_000,
			Detail:    []byte{0, 1, 255},
		},
		Files: []File{
			{Name: "000012.sst", Object: "orders/2/objects/worker-7.4.16.abc/" + sha('a'), Size: 1 << 20, SHA256: sha('a')},
			{Name: "MANIFEST-000001", Object: "origin/1/objects/w.17.def/" + sha('b'), Size: 0, SHA256: sha('b')},
		},
		Created: time.Date(2026, 10, 3, 12, 0, 0, 123456789, time.UTC),
	}
}

func TestAManifestIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	m := sampleManifest()
	document, checksum, err := encodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeManifest(document)
	if err != nil {
		t.Fatal(err)
	}
	m.Checksum = checksum
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The committed file is what format 1 looks like, for ever: later versions must go on reading it.
func TestTheGoldenManifestOfFormat1IsStillReadAndWritten(t *testing.T) {
	t.Parallel()
	document, _, err := encodeManifest(sampleManifest())
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(goldenManifest, document, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(goldenManifest)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), string(document)); diff != "" {
		t.Errorf("what is written has changed (-golden +now):\n%s", diff)
	}
	got, err := DecodeManifest(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleManifest()
	want.Checksum = got.Checksum
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoFlippedBitOfAManifestGoesUnseen(t *testing.T) {
	t.Parallel()
	document, _, err := encodeManifest(sampleManifest())
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(document) - 1 { // the last byte is a line end
		for bit := range 8 {
			damaged := []byte(string(document))
			damaged[i] ^= 1 << bit
			if _, err := DecodeManifest(damaged); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFutureFormat) {
				t.Fatalf("bit %d of byte %d (%q): error is %v", bit, i, document[i], err)
			}
		}
	}
	for i := range len(document) - 1 {
		if _, err := DecodeManifest(document[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut after %d bytes: error is %v", i, err)
		}
	}
}

func TestAManifestFromTheFutureIsRefusedNotGuessed(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`{"format":2}`,
		`{"format":2,"kind":"manifest","checksum":"other rules","body":{"app":"x"}}`,
		`{"format":999999,"compressed":"zstd","blob":[1,2,{"a":null}]}`,
	} {
		_, err := DecodeManifest([]byte(document))
		if !errors.Is(err, ErrFutureFormat) || errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error is %v, want ErrFutureFormat", document, err)
		}
	}
}

func TestADocumentOfAnotherKindIsNotAManifest(t *testing.T) {
	t.Parallel()
	document, _, err := encode(kindApplication, sampleManifest())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeManifest(document); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error is %v, want ErrCorrupt", err)
	}
}

// Hostile manifests have a right checksum: whoever can write to the bucket can compute one.
func TestHostileManifestsAreRefused(t *testing.T) {
	t.Parallel()
	file := func(change func(*File)) func(*Manifest) {
		return func(m *Manifest) { change(&m.Files[0]) }
	}
	changes := map[string]func(*Manifest){
		"huge size":            file(func(f *File) { f.Size = 1 << 62 }),
		"negative size":        file(func(f *File) { f.Size = -1 }),
		"short hash":           file(func(f *File) { f.SHA256 = "aa"; f.Object = f.Object[:len(f.Object)-62] }),
		"upper-case hash":      file(func(f *File) { f.SHA256 = sha('A'); f.Object = "o/1/objects/w.1.x/" + sha('A') }),
		"hash is no hex":       file(func(f *File) { f.SHA256 = sha('z'); f.Object = "o/1/objects/w.1.x/" + sha('z') }),
		"object of other hash": file(func(f *File) { f.SHA256 = sha('c') }),
		"same name twice":      func(m *Manifest) { m.Files = append(m.Files, m.Files[0]) },
		"names differ in case": func(m *Manifest) { f := m.Files[0]; f.Name = "000012.SST"; m.Files = append(m.Files, f) },
		"total overflows": func(m *Manifest) {
			f := m.Files[0]
			m.Files = nil
			for i := range 65 {
				f.Name, f.Size = fmt.Sprint("f", i), MaxFileBytes
				m.Files = append(m.Files, f)
			}
		},
		"too many files": func(m *Manifest) {
			f := m.Files[0]
			m.Files = nil
			for i := range MaxFiles + 1 {
				f.Name = fmt.Sprint("f", i)
				m.Files = append(m.Files, f)
			}
		},
		"app climbs":         func(m *Manifest) { m.App = "../x" },
		"app is empty":       func(m *Manifest) { m.App = "" },
		"no incarnation":     func(m *Manifest) { m.Incarnation = 0 },
		"no round":           func(m *Manifest) { m.Round = 0 },
		"generation climbs":  func(m *Manifest) { m.Generation = "a/../../b" },
		"offset below -1":    func(m *Manifest) { m.Position.ChangelogOffset = -2 },
		"a negative task id": func(m *Manifest) { m.Task.Partition = -1 },
	}
	for _, name := range []string{
		"", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", `a\b`, `C:\x`, "C:", ".hidden", "a\x00b", "a\nb", "ü", "trailing.", "with space",
		strings.Repeat("x", 256), "a:b",
	} {
		changes["file name "+name] = file(func(f *File) { f.Name = name })
	}
	for _, object := range []string{
		"", "x", "../" + sha('a'), "/orders/2/objects/w.1.x/" + sha('a'), "orders/2/objects/../" + sha('a'), "orders/2/objects/.hid/" + sha('a'),
		"orders/0/objects/w/" + sha('a'), "orders/02/objects/w/" + sha('a'), "orders/2/rounds/w/" + sha('a'), "orders/2/objects/w/x/" + sha('a'),
		"orders/2/objects//" + sha('a'), "orders/2/objects/w\n/" + sha('a'), "../2/objects/w/" + sha('a'),
	} {
		changes["object "+object] = file(func(f *File) { f.Object = object })
	}
	for name, change := range changes {
		m := sampleManifest()
		change(&m)
		if _, _, err := encodeManifest(m); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: writing: error is %v, want ErrInvalid", name, err)
		}
		document, _, err := encode(kindManifest, m)
		if err != nil {
			continue // not even JSON
		}
		if _, err := DecodeManifest(document); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: reading: error is %v, want ErrCorrupt", name, err)
		}
	}
}

func TestUnknownAndDoubledMembersAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"app":"a","surprise":1}`, `{"app":"a","app":"b"}`, `{"task":"0_03"}`, `{"task":3}`, `[]`, `null`, `"x"`} {
		document := fmt.Sprintf(`{"format":1,"kind":"manifest","checksum":%q,"body":%s}`, checksumOf([]byte(body)), body)
		if _, err := DecodeManifest([]byte(document)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error is %v, want ErrCorrupt", body, err)
		}
	}
}

// FuzzDecodeManifest: whatever the bytes, decoding neither panics nor accepts what would not be written
// again with the same content.
func FuzzDecodeManifest(f *testing.F) {
	golden, err := os.ReadFile(goldenManifest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"kind":"manifest","checksum":"","body":{}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		if framed, ok := reframed(kindManifest, document); ok {
			checkDecoded(t, framed)
		}
		checkDecoded(t, document)
	})
}

// reframed gives a document the right kind and checksum, which gets the fuzzer past the frame.
func reframed(kind string, document []byte) ([]byte, bool) {
	var e envelope
	if json.Unmarshal(document, &e) != nil {
		return nil, false
	}
	e.Format, e.Kind, e.Checksum = 1, kind, checksumOf(e.Body)
	framed, err := json.Marshal(e)
	return framed, err == nil
}

func checkDecoded(t *testing.T, document []byte) {
	m, err := DecodeManifest(document)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFutureFormat) {
			t.Errorf("error without a sentinel: %v", err)
		}
		return
	}
	again, _, err := encodeManifest(m)
	if err != nil {
		t.Fatalf("accepted but cannot be written: %v", err)
	}
	second, err := DecodeManifest(again)
	if err != nil {
		t.Fatalf("written again but not read: %v", err)
	}
	m.Checksum, second.Checksum = "", ""
	if diff := cmp.Diff(m, second, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("content changed (-first +second):\n%s", diff)
	}
}
