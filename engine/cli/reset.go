// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
)

// leftovers is what an application has left behind, and what reset deletes, in the order in which it does.
type leftovers struct {
	Group  string   `json:"group"`  // with its committed offsets; empty: none
	Topics []string `json:"topics"` // internal ones
	// Objects ends with the records of the application's lives, the first last: as long as it is there, a worker that
	// starts meanwhile refuses to begin from empty.
	Objects []string `json:"objects"`
	Folders []string `json:"folders"` // local state on this machine
}

func (p *program) resetCommand() *cobra.Command {
	var yes string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Delete everything that an application has stored, so that it begins anew",
		Long: "Deletes the committed offsets, the internal topics, the checkpoints and the local state on this machine. The next\n" +
			"start begins at the start of the source topics. Source and output topics are left alone: what was written stays\n" +
			"written, and will be written again. Stop all workers first.\n\n" +
			"This cannot be undone, so the application's id has to be typed: --yes <id>.",
		Example: p.example("reset --app-id flights --dry-run", "reset --app-id flights --yes flights"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.application(cmd)
			if err != nil {
				return err
			}
			if !dryRun && yes != cfg.AppID {
				return failf(exitPrecondition, "reset deletes the state of application %s: say --yes %s, or look first with --dry-run", cfg.AppID, cfg.AppID)
			}
			return reset(cmd, cfg, dryRun)
		},
	}
	cmd.Flags().StringVar(&yes, "yes", "", "the application's `id`, typed to confirm")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would be deleted")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 5*time.Minute), false)
}

func reset(cmd *cobra.Command, cfg *config.Config, dryRun bool) error {
	ctx := cmd.Context()
	adm, err := kafka.NewAdmin(ctx, cfg)
	if err != nil {
		return err
	}
	defer adm.Close()
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	left, err := findLeftovers(ctx, cfg, adm, store)
	if err != nil {
		return err
	}
	t := newTable("KIND", "NAME")
	if left.Group != "" {
		t.row("group", left.Group)
	}
	for _, kind := range []struct {
		name  string
		items []string
	}{{"topic", left.Topics}, {"object", left.Objects}, {"folder", left.Folders}} {
		for _, item := range kind.items {
			t.row(kind.name, item)
		}
	}
	if err := printOut(cmd, left, t); err != nil {
		return err
	}
	if dryRun {
		say(cmd, "nothing was deleted (--dry-run)")
		return nil
	}
	if err := left.delete(ctx, adm, store); err != nil {
		return fmt.Errorf("%w; run reset again to delete the rest", err)
	}
	say(cmd, "application %s is reset", cfg.AppID)
	return nil
}

// openStore returns nil where no object store is configured.
func openStore(ctx context.Context, cfg *config.Config) (objstore.Store, error) {
	if cfg.StoreURL == "" {
		return nil, nil
	}
	return open.Open(ctx, cfg.StoreURL, open.Options{EncryptionKeys: cfg.StoreKeysFile})
}

func findLeftovers(ctx context.Context, cfg *config.Config, adm *kafka.Admin, store objstore.Store) (*leftovers, error) {
	left := &leftovers{Topics: []string{}, Objects: []string{}, Folders: []string{}}
	group, err := adm.GroupOf(ctx, cfg.AppID)
	if err != nil {
		return nil, err
	}
	if len(group.Members) > 0 {
		return nil, fmt.Errorf("application %s has %d workers: %w", cfg.AppID, len(group.Members), kafka.ErrGroupBusy)
	}
	if group.State != "Dead" || len(group.Committed) > 0 {
		left.Group = cfg.AppID
	}
	if left.Topics, err = adm.InternalTopics(ctx, cfg.AppID); err != nil {
		return nil, err
	}
	if store != nil {
		for info, err := range store.List(ctx, cfg.AppID+"/") {
			if err != nil {
				return nil, fmt.Errorf("list the checkpoints of %s: %w", cfg.AppID, err)
			}
			left.Objects = append(left.Objects, info.Name)
		}
		if err := checkBorrowers(ctx, cfg.AppID, store, left.Objects); err != nil {
			return nil, err
		}
		slices.SortStableFunc(left.Objects, func(a, b string) int {
			return cmp.Or(cmp.Compare(lifeOf(b), lifeOf(a)), strings.Compare(a, b))
		})
	}
	left.Folders, err = stateFolders(cfg)
	return left, err
}

// checkBorrowers refuses a reset that would take objects away which another application, begun from a checkpoint of
// this one, may still need. Whoever borrows has left a mark, <app>/<incarnation>/borrowers/<borrower>, which stays.
func checkBorrowers(ctx context.Context, app string, store objstore.Store, objects []string) error {
	for _, name := range objects {
		parts := strings.Split(name, "/")
		if len(parts) != 4 || parts[2] != "borrowers" {
			continue
		}
		_, err := checkpoint.NewRepository(store, parts[3]).LoadApplication(ctx)
		if err == nil {
			return failf(exitPrecondition, "application %s began from a checkpoint of %s and may need its objects: reset %s first", parts[3], app, parts[3])
		}
		if !errors.Is(err, checkpoint.ErrMissing) {
			return err
		}
	}
	return nil
}

// lifeOf returns the number of the life that an object is the record of; above all if it is none.
func lifeOf(name string) int {
	if rest, ok := strings.CutSuffix(name, "/application.json"); ok {
		if n, err := strconv.Atoi(rest[strings.LastIndex(rest, "/")+1:]); err == nil {
			return n
		}
	}
	return math.MaxInt
}

// stateFolders returns the folders of all lives of the application: "<app>-<incarnation>".
func stateFolders(cfg *config.Config) ([]string, error) {
	entries, err := os.ReadDir(cfg.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for local state: %w", err)
	}
	var found []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), cfg.AppID+"-")
		if _, err := strconv.Atoi(rest); ok && err == nil && e.IsDir() {
			found = append(found, filepath.Join(cfg.StateDir, e.Name()))
		}
	}
	return found, nil
}

func (l *leftovers) delete(ctx context.Context, adm *kafka.Admin, store objstore.Store) error {
	if l.Group != "" {
		if err := adm.DeleteGroup(ctx, l.Group); err != nil {
			return err
		}
	}
	if err := adm.DeleteTopics(ctx, l.Topics...); err != nil {
		return err
	}
	for _, dir := range l.Folders {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("delete local state: %w", err)
		}
	}
	for _, name := range l.Objects {
		if err := store.Delete(ctx, name); err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return fmt.Errorf("delete object %s: %w", name, err)
		}
	}
	return nil
}
