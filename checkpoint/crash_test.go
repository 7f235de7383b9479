// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/partition"
)

// The test of this file looks for a point at which a kill loses a checkpoint: one worker's life, cut at each store operation,
// before and after its effect, and then repeated by a successor. The promise, checked by checkUsable with the faults taken
// away: what is listed as complete verifies, and every manifest that exists names objects that are there and whole.

var errKilled = errors.New("killed")

// workerLife is what a worker does over some rounds, as the engine would: it builds on what it published
// last, and gives up at the first error.
type workerLife struct {
	generation string
	folders    lifeFolders
	known      map[partition.TaskID]Manifest
}

// lifeFolders hold lifeFiles by round and partition. They are made once for all histories of a test.
type lifeFolders [][lifeTasks]string

func makeLifeFolders(t *testing.T, rounds int64) lifeFolders {
	t.Helper()
	folders := make(lifeFolders, rounds+1)
	for n := int64(1); n <= rounds; n++ {
		for p := range lifeTasks {
			folders[n][p] = writeFiles(t, lifeFiles(taskID(p), n))
		}
	}
	return folders
}

const lifeTasks = 2

func (w *workerLife) run(ctx context.Context, r *Repository, rounds int64) error {
	if _, _, err := r.CreateApplication(ctx, Application{App: testApp, Incarnation: 1}); err != nil {
		return err
	}
	for {
		latest, err := r.LatestRound(ctx, 1)
		if err != nil {
			return err
		}
		n := latest.Number + 1
		if n > rounds {
			return nil
		}
		if _, err := r.StartRound(ctx, 1, n, GoOn); err != nil {
			return err
		}
		if err := w.round(ctx, r, n); err != nil {
			return err
		}
		if _, err := claimAndCollect(ctx, r, 1); err != nil {
			return err
		}
		pass(testGrace/2 + time.Second)
	}
}

func (w *workerLife) round(ctx context.Context, r *Repository, n int64) error {
	var tasks []partition.TaskID
	for p := range lifeTasks {
		task := taskID(p)
		tasks = append(tasks, task)
		u := Upload{Manifest: testManifest(task, n, w.generation), Dir: w.folders[n][p], Files: keys(lifeFiles(task, n))}
		if base, ok := w.known[task]; ok {
			u.Known, u.KnownRound = base.Known(), base.Round
			delete(u.Known, "CURRENT")
		}
		m, _, err := r.Publish(ctx, u)
		if errors.Is(err, ErrSuperseded) {
			continue
		}
		if err != nil {
			return err
		}
		w.known[task] = m
	}
	err := r.CompleteRound(ctx, withChannel(completion(n, tasks), filepath.Join(w.folders[n][0], "CURRENT")))
	if errors.Is(err, ErrIncomplete) || errors.Is(err, ErrSuperseded) {
		return nil
	}
	return err
}

// lifeFiles is a task's state in a round: tables that stay for many rounds, one that stays for three, one that is new, and a
// file that is rewritten in place.
func lifeFiles(task partition.TaskID, n int64) map[string]string {
	files := map[string]string{
		fmt.Sprintf("base-%d.sst", n/3): fmt.Sprint("base ", task, n/3),
		fmt.Sprintf("%d.sst", n):        fmt.Sprint("delta ", task, n),
		"CURRENT":                       fmt.Sprint("current ", task, n),
	}
	for k := range int64(4) {
		age := (n + 10*k) / 40
		files[fmt.Sprintf("old-%d-%d.sst", k, age)] = fmt.Sprint("old ", task, k, age)
	}
	return files
}

const killRounds = 5

func TestKilledAtAnyCallACompleteRoundCanBeRestored(t *testing.T) {
	t.Parallel()
	for _, lateKill := range []bool{false, true} {
		t.Run(fmt.Sprintf("after the effect is %v", lateKill), func(t *testing.T) {
			t.Parallel()
			folders := makeLifeFolders(t, killRounds+3)
			synctest.Test(t, func(t *testing.T) {
				for at := int64(1); killAt(t, folders, at, lateKill); at++ {
				}
			})
		})
	}
}

// killAt runs one life that is killed at a call, and a successor that is not. It returns false when the life
// ended by itself.
func killAt(t *testing.T, folders lifeFolders, at int64, lateKill bool) bool {
	mem := objstore.NewMem()
	faulty := fault.New(mem, func(op fault.Op) fault.Fault {
		switch {
		case op.N == at && lateKill:
			return fault.Fault{After: errKilled}
		case op.N >= at:
			return fault.Fault{Before: errKilled}
		}
		return fault.Fault{}
	})
	options := []RepositoryOption{WithGrace(testGrace), WithParallel(1)}
	clean := NewRepository(mem, testApp, options...)
	first := &workerLife{generation: "g1", folders: folders, known: map[partition.TaskID]Manifest{}}
	err := first.run(t.Context(), NewRepository(faulty, testApp, options...), killRounds)
	if err != nil && !errors.Is(err, errKilled) {
		t.Fatalf("call %d: %v", at, err)
	}
	if err := checkUsable(t.Context(), clean); err != nil {
		t.Fatalf("killed at call %d: %v", at, err)
	}
	// The successor restores what it finds and goes on.
	second := &workerLife{generation: "g2", folders: folders, known: map[partition.TaskID]Manifest{}}
	for p := range lifeTasks {
		if found, _, err := clean.Manifests(t.Context(), 1, taskID(p), 0); err != nil {
			t.Fatal(err)
		} else if len(found) > 0 {
			second.known[taskID(p)] = found[0]
		}
	}
	if err := second.run(t.Context(), clean, killRounds+3); err != nil {
		t.Fatalf("successor after a kill at call %d: %v", at, err)
	}
	checkEnd(t, clean, mem, at)
	return err != nil
}

// checkEnd demands the newest rounds, contents and all, and no garbage when the grace time has passed.
func checkEnd(t *testing.T, r *Repository, mem *objstore.Mem, seed int64) {
	t.Helper()
	for range 3 {
		pass(testGrace + time.Second)
		collect(t, r, 1)
	}
	if err := checkUsable(t.Context(), r); err != nil {
		t.Fatalf("history %d: %v", seed, err)
	}
	rounds := allRounds(t, r)
	newest := rounds[len(rounds)-1]
	if !newest.Complete {
		t.Fatalf("history %d: the newest round %+v is not complete", seed, newest)
	}
	named := map[string]bool{}
	for _, round := range rounds {
		if round.Complete {
			record, err := r.readRoundRecord(t.Context(), life{testApp, 1}, round.Number)
			if err != nil || len(record.Channels) != 1 {
				t.Fatalf("history %d: round %d has channels %+v, %v", seed, round.Number, record.Channels, err)
			}
			named[record.Channels[0].File.Object] = true
		}
		for _, task := range round.Tasks {
			m, err := r.Manifest(t.Context(), 1, round.Number, task)
			if err != nil {
				t.Fatalf("history %d: %v", seed, err)
			}
			for _, f := range m.Files {
				named[f.Object] = true
			}
			if round.Number != newest.Number {
				continue
			}
			if diff := cmp.Diff(lifeFiles(task, round.Number), storedFiles(t, mem, m)); diff != "" {
				t.Fatalf("history %d, task %s (-want +got):\n%s", seed, task, diff)
			}
		}
	}
	if diff := cmp.Diff(named, objectNames(t, mem)); diff != "" {
		t.Fatalf("history %d: objects that are named and that exist differ (-named +existing):\n%s", seed, diff)
	}
}

// storedFiles reads a checkpoint without the disk, whose syncs would take most of the time here.
func storedFiles(t *testing.T, s objstore.Store, m Manifest) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, f := range m.Files {
		content, err := objstore.ReadAll(t.Context(), s, f.Object, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(content)
	}
	return files
}
