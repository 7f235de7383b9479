// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/checkpoint/objstore/s3"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/test/s3/s3server"
)

func TestAPublishedCheckpointIsRestoredFromEveryStore(t *testing.T) {
	t.Parallel()
	stores := map[string]func(*testing.T) objstore.Store{
		"mem": func(*testing.T) objstore.Store { return objstore.NewMem() },
		"dir": func(t *testing.T) objstore.Store {
			s, err := dir.New(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		"s3": openS3,
	}
	files := map[string]string{"000001.sst": strings.Repeat("a", 1<<20), "MANIFEST-000001": "m", "empty": "", "same": "m"}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := NewRepository(objstore.NewRetry(open(t), objstore.Policy{}), testApp)
			m := publish(t, r, upload(t, taskID(0), 1, "g1", files))
			read, err := r.Manifest(t.Context(), 1, 1, taskID(0))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, read); diff != "" {
				t.Errorf("the manifest in the store differs (-returned +read):\n%s", diff)
			}
			expectRestored(t, r, read, files)
			if _, err := r.StartRound(t.Context(), 1, 1, GoOn); err != nil {
				t.Fatal(err)
			}
			if err := r.CompleteRound(t.Context(), completion(1, []partition.TaskID{taskID(0)})); err != nil {
				t.Fatal(err)
			}
			if err := checkUsable(t.Context(), r); err != nil {
				t.Error(err)
			}
			done := collect(t, r, 1)
			if diff := cmp.Diff(outcome{Floor: 1}, outcomeOf(done)); diff != "" || done.Young != (Tally{}) {
				t.Errorf("collection did %+v", done)
			}
		})
	}
}

func openS3(t *testing.T) objstore.Store {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	s, err := s3.New(s3.Config{
		Bucket: s3server.Bucket, Endpoint: s3server.Start(t), Region: s3server.Region,
		AccessKey: s3server.AccessKey, SecretKey: s3server.SecretKey, Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKnownFilesAreNeitherReadNorSent(t *testing.T) {
	t.Parallel()
	r := NewRepository(objstore.NewMem(), testApp)
	files := map[string]string{"1.sst": "one", "2.sst": "two", "CURRENT": "x"}
	first := publish(t, r, upload(t, taskID(0), 1, "g1", files))
	files["3.sst"], files["CURRENT"] = "three", "y"
	u := upload(t, taskID(0), 2, "g2", files)
	u.Known, u.KnownRound = first.Known(), 1
	delete(u.Known, "CURRENT")
	// A known file is not even opened: the content on disk proves it.
	if err := os.WriteFile(filepath.Join(u.Dir, "1.sst"), []byte("eno"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, stats, err := r.Publish(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	stats.Duration = 0
	if diff := cmp.Diff(Stats{Files: 2, Bytes: 6, ReusedFiles: 2, ReusedBytes: 6}, stats); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	expectRestored(t, r, m, files)
}

func TestInheritedFilesArePartOfTheCheckpoint(t *testing.T) {
	t.Parallel()
	r := NewRepository(objstore.NewMem(), testApp)
	first := publish(t, r, upload(t, taskID(0), 1, "g1", map[string]string{"1.sst": "one", "5.sst": "five", "MANIFEST": "x"}))
	u := upload(t, taskID(0), 2, "g1", map[string]string{"3.sst": "three", "MANIFEST": "y"})
	files := first.Known()
	u.Inherited, u.KnownRound = []File{files["5.sst"], files["1.sst"]}, 1
	m, stats, err := r.Publish(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	stats.Duration = 0
	if diff := cmp.Diff(Stats{Files: 2, Bytes: 6, ReusedFiles: 2, ReusedBytes: 7}, stats); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	expectRestored(t, r, m, map[string]string{"1.sst": "one", "3.sst": "three", "5.sst": "five", "MANIFEST": "y"})
}

func TestInheritedFilesThatNoManifestConfirmsAreMissing(t *testing.T) {
	t.Parallel()
	r := NewRepository(objstore.NewMem(), testApp)
	first := publish(t, r, upload(t, taskID(0), 1, "g1", map[string]string{"1.sst": "one"}))
	for name, change := range map[string]func(*Upload){
		"no round is given": func(u *Upload) { u.KnownRound = 0 },
		"the round is gone": func(u *Upload) { u.KnownRound = 9 },
		"it says other":     func(u *Upload) { u.Inherited[0].Size++ },
	} {
		u := upload(t, taskID(0), 2, "g1", map[string]string{"3.sst": "three"})
		u.Inherited, u.KnownRound = slices.Clone(first.Files), 1
		change(&u)
		if _, _, err := r.Publish(t.Context(), u); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: error is %v, want ErrMissing", name, err)
		}
		if _, err := r.Manifest(t.Context(), 1, 2, taskID(0)); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: reading the manifest gives %v, want that there is none", name, err)
		}
	}
}

func TestKnownFilesThatNoManifestConfirmsAreSentAnew(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	r := NewRepository(mem, testApp)
	files := map[string]string{"1.sst": "one"}
	first := publish(t, r, upload(t, taskID(0), 1, "g1", files))
	u := upload(t, taskID(0), 2, "g1", files)
	folder := u.Dir
	for name, change := range map[string]func(){
		"no round is given": func() { u.Known, u.KnownRound = first.Known(), 0 },
		"the round is gone": func() { u.Known, u.KnownRound = first.Known(), 9 },
		"it says other": func() {
			u.Known, u.KnownRound = first.Known(), 1
			f := u.Known["1.sst"]
			f.Object = "x"
			u.Known["1.sst"] = f
		},
		"the size has grown": func() {
			u.Known, u.KnownRound = first.Known(), 1
			u.Dir = writeFiles(t, map[string]string{"1.sst": "longer"})
		},
	} {
		u.Dir = folder
		change()
		u.Manifest.Round++
		m, stats, err := r.Publish(t.Context(), u)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if stats.Files != 1 || m.Files[0].Object == first.Files[0].Object {
			t.Errorf("%s: the file was not sent: %+v", name, stats)
		}
	}
}

func TestOfManyOwnersThatPublishARoundExactlyOneWins(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		mem := objstore.NewMem()
		const owners = 4
		errs := make([]error, owners)
		manifests := make([]Manifest, owners)
		var wg sync.WaitGroup
		for owner := range owners {
			u := upload(t, taskID(0), 1, fmt.Sprint("g", owner), map[string]string{"f": fmt.Sprint("of ", owner)})
			wg.Go(func() {
				manifests[owner], _, errs[owner] = NewRepository(mem, testApp).Publish(t.Context(), u)
			})
		}
		wg.Wait()
		winner := -1
		for owner, err := range errs {
			if err == nil {
				if winner >= 0 {
					t.Fatalf("try %d: owners %d and %d both won", i, winner, owner)
				}
				winner = owner
				continue
			}
			expectErr(t, err, ErrSuperseded)
		}
		expectRestored(t, NewRepository(mem, testApp), manifests[winner], map[string]string{"f": fmt.Sprint("of ", winner)})
	}
}

func TestARepeatedPublishReturnsTheManifestThatStands(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	faulty := fault.New(mem, nil)
	r := NewRepository(faulty, testApp)
	u := upload(t, taskID(0), 1, "g1", map[string]string{"f": "x"})
	// The reply to the manifest is lost, and so is the connection: no retry could tell.
	faulty.SetHook(func(op fault.Op) fault.Fault {
		if op.Kind == fault.Create {
			return fault.Fault{After: errors.New("connection is gone")}
		}
		return fault.Fault{}
	})
	if _, _, err := r.Publish(t.Context(), u); err == nil {
		t.Fatal("no error")
	}
	m, stats, err := r.Publish(t.Context(), u)
	if err != nil || stats.Files != 0 {
		t.Fatalf("repeat: %v, %+v", err, stats)
	}
	expectRestored(t, r, m, map[string]string{"f": "x"})
	// Another owner is told at once, before it sends anything.
	calls := len(objectNames(t, mem))
	_, _, err = r.Publish(t.Context(), upload(t, taskID(0), 1, "g2", map[string]string{"f": "y"}))
	expectErr(t, err, ErrSuperseded)
	if len(objectNames(t, mem)) != calls {
		t.Error("a superseded owner has sent objects")
	}
}

func TestAManifestExistsOnlyAfterAllItsObjects(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}
	for failAt := int64(1); ; failAt++ {
		mem := objstore.NewMem()
		faulty := fault.New(mem, func(op fault.Op) fault.Fault {
			if op.N == failAt {
				return fault.Fault{Before: errors.New("injected")}
			}
			return fault.Fault{}
		})
		_, _, err := NewRepository(faulty, testApp).Publish(t.Context(), upload(t, taskID(0), 1, "g", files))
		if err == nil {
			if faulty.Calls() >= failAt {
				t.Fatalf("the failure of call %d went unseen", failAt)
			}
			return
		}
		_, err = NewRepository(mem, testApp).Manifest(t.Context(), 1, 1, taskID(0))
		expectErr(t, err, ErrMissing)
	}
}

func TestAnUploadSlowerThanHalfTheGraceTimePublishesNothing(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]fault.Kind{"files": fault.Put, "manifest": fault.Create} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := upload(t, taskID(0), 1, "g", map[string]string{"f": "x"})
			synctest.Test(t, func(t *testing.T) {
				mem := objstore.NewMem()
				slow := fault.New(mem, func(op fault.Op) fault.Fault {
					if op.Kind == kind {
						return fault.Fault{Delay: 31 * time.Minute}
					}
					return fault.Fault{}
				})
				_, _, err := NewRepository(slow, testApp, WithGrace(time.Hour)).Publish(t.Context(), u)
				if !errors.Is(err, ErrTooSlow) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v", err)
				}
				_, err = NewRepository(mem, testApp).Manifest(t.Context(), 1, 1, taskID(0))
				expectErr(t, err, ErrMissing)
			})
		})
	}
}

func TestWhatCannotBeStoredIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	good := upload(t, taskID(0), 1, "g", map[string]string{"f": "x"})
	if err := os.Symlink("/etc/hostname", filepath.Join(good.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(good.Dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Upload){
		"other application": func(u *Upload) { u.Manifest.App = "other" },
		"no generation":     func(u *Upload) { u.Manifest.Generation = "" },
		"round zero":        func(u *Upload) { u.Manifest.Round = 0 },
		"incarnation zero":  func(u *Upload) { u.Manifest.Incarnation = 0 },
		"climbing file":     func(u *Upload) { u.Files = []string{"../x"} },
		"a link":            func(u *Upload) { u.Files = []string{"link"} },
		"a folder":          func(u *Upload) { u.Files = []string{"folder"} },
	} {
		mem := objstore.NewMem()
		u := good
		change(&u)
		_, _, err := NewRepository(mem, testApp).Publish(t.Context(), u)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error is %v, want ErrInvalid", name, err)
		}
		if n := len(maps.Collect(mem.List(t.Context(), ""))); n > 0 {
			t.Errorf("%s: %d objects were written", name, n)
		}
	}
	_, _, err := NewRepository(objstore.NewMem(), "../app").Publish(t.Context(), good)
	expectErr(t, err, ErrInvalid)
}
