// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testApp = "shop"

func taskID(p int) partition.TaskID { return partition.TaskID{SubTopology: 0, Partition: int32(p)} }

// writeFiles makes a folder of files.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func readFiles(t testing.TB, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(content)
	}
	return files
}

func keys(files map[string]string) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	return names
}

func upload(t testing.TB, task partition.TaskID, round int64, generation string, files map[string]string) Upload {
	t.Helper()
	return Upload{Manifest: testManifest(task, round, generation), Dir: writeFiles(t, files), Files: keys(files)}
}

func testManifest(task partition.TaskID, round int64, generation string) Manifest {
	return Manifest{
		App: testApp, Incarnation: 1, Round: round, Task: task, Generation: generation,
		Position: Position{Epoch: uint64(round), ChangelogOffset: round * 10},
	}
}

func publish(t testing.TB, r *Repository, u Upload) Manifest {
	t.Helper()
	m, _, err := r.Publish(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func expectRestored(t testing.TB, r *Repository, m Manifest, want map[string]string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "task")
	if _, err := r.Restore(t.Context(), m, folder); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, readFiles(t, folder)); diff != "" {
		t.Errorf("restored files (-want +got):\n%s", diff)
	}
}

func expectErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func allRounds(t testing.TB, r *Repository) []Round {
	t.Helper()
	var rounds []Round
	for round, err := range r.Rounds(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		rounds = append(rounds, round)
	}
	return rounds
}

// checkUsable is the promise of the package: whatever is listed as complete verifies, and every manifest
// that exists names objects that are there and whole.
func checkUsable(ctx context.Context, r *Repository) error { return checkLife(ctx, r, 1) }

func checkLife(ctx context.Context, r *Repository, incarnation int) error {
	for round, err := range r.Rounds(ctx, incarnation) {
		if err != nil {
			return err
		}
		report, err := r.Verify(ctx, incarnation, round.Number)
		if errors.Is(err, ErrMissing) && !round.Complete {
			continue // dropped since it was listed
		}
		if err != nil {
			return err
		}
		for _, problem := range report.Channels.Problems {
			return fmt.Errorf("round %d, in flight: %w", round.Number, problem)
		}
		for _, t := range report.Tasks {
			for _, problem := range t.Problems {
				if _, gone := r.Manifest(ctx, incarnation, round.Number, t.Task); errors.Is(gone, ErrMissing) && !report.Complete {
					continue
				}
				return fmt.Errorf("round %d (complete: %v), task %s: %w", round.Number, report.Complete, t.Task, problem)
			}
		}
	}
	return nil
}

// completion is of a round without anything in flight.
func completion(n int64, tasks []partition.TaskID) Completion {
	return Completion{Incarnation: 1, Round: n, Tasks: tasks, Generation: "g"}
}

// withChannel adds to a completion what was in flight in one partition.
func withChannel(c Completion, path string) Completion {
	c.Channels = func(context.Context, []Manifest) ([]ChannelFile, error) {
		return []ChannelFile{{Topic: "by-word", Partition: 3, Records: 1, Path: path}}, nil
	}
	return c
}

// objectNames lists state objects.
func objectNames(t testing.TB, s objstore.Store) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for info, err := range s.List(t.Context(), life{testApp, 1}.objects()) {
		if err != nil {
			t.Fatal(err)
		}
		names[info.Name] = true
	}
	return names
}
