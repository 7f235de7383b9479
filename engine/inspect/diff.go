// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// ChangeKind says what became of an entry between two checkpoints.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is an entry that differs. Before is nil if it was added, After if it was removed.
type Change struct {
	Kind          ChangeKind
	Before, After *Row
}

// Row is the entry where it is newest.
func (c Change) Row() Row {
	if c.After != nil {
		return *c.After
	}
	return *c.Before
}

// StoreDiff is how a store differs: numbers of entries, and the first changes of the first tasks.
type StoreDiff struct {
	Store                   string
	Added, Removed, Changed int64
	Samples                 []Change
}

// DiffOptions say what to compare.
type DiffOptions struct {
	Stores  []string // all if empty
	Samples int      // changes to keep of each store
	// Progress is called as that of a Walk. Rows counts the entries that were compared.
	Progress func(Progress)
}

// Diff is how two checkpoints differ.
type Diff struct {
	Stores []StoreDiff // in order of their names; those without a change too
	// Same is how many tasks were not read, since both checkpoints are of the same commit or have the same files.
	Same int
}

// Compare says how the state of a differs from that of b, entry by entry as they are stored: an entry whose time alone
// has moved has changed. Both must be of one application; of two lives with a rescale in between they are ErrRescaled.
// Files that both have are downloaded once.
func Compare(ctx context.Context, a, b *Checkpoint, o DiffOptions) (*Diff, error) {
	if a.life != b.life && !slices.Equal(a.round.Tasks, b.round.Tasks) {
		return nil, fmt.Errorf("compare checkpoint %d of life %d with %d of life %d: %w: choose two of one life", a.Number(), a.life, b.Number(), b.life, ErrRescaled)
	}
	d := &differ{ctx: ctx, a: a, b: b, o: o, stores: map[string]*sides{}}
	names := o.Stores
	if len(names) == 0 {
		names = slices.Compact(slices.Sorted(slices.Values(append(a.Names(), b.Names()...))))
	}
	for _, name := range names {
		if err := d.open(name); err != nil {
			return nil, err
		}
	}
	if err := d.tasks(); err != nil {
		return nil, err
	}
	result := &Diff{Same: d.same}
	for _, name := range slices.Sorted(maps.Keys(d.stores)) {
		result.Stores = append(result.Stores, d.stores[name].diff)
	}
	return result, nil
}

// sides are a store in both checkpoints; nil where it is not.
type sides struct {
	before, after *Store
	only          *partition.TaskID // the one task to look at, where all have the same
	diff          StoreDiff
}

type differ struct {
	ctx    context.Context
	a, b   *Checkpoint
	o      DiffOptions
	stores map[string]*sides
	same   int
	at     Progress
}

func (d *differ) open(name string) error {
	s := &sides{diff: StoreDiff{Store: name}}
	var err error
	if s.before, err = d.a.Store(name); err != nil && !errors.Is(err, ErrNoStore) {
		return err
	}
	if s.after, err = d.b.Store(name); err != nil && (s.before == nil || !errors.Is(err, ErrNoStore)) {
		return err
	}
	d.stores[name] = s
	for _, side := range []struct {
		c *Checkpoint
		s *Store
	}{{d.b, s.after}, {d.a, s.before}} {
		if side.s != nil && side.s.Kind == topology.BroadcastStore {
			s.only = &side.c.partsOf(side.s)[0].Task
		}
	}
	return nil
}

func (d *differ) report() {
	if d.o.Progress != nil {
		d.o.Progress(d.at)
	}
}

// task is one task's part in both checkpoints; nil where there is none.
type task struct {
	id            partition.TaskID
	before, after *checkpoint.Manifest
}

func (d *differ) tasks() error {
	tasks := map[partition.TaskID]*task{}
	at := func(id partition.TaskID) *task {
		if tasks[id] == nil {
			tasks[id] = &task{id: id}
		}
		return tasks[id]
	}
	for i := range d.a.manifests {
		at(d.a.manifests[i].Task).before = &d.a.manifests[i]
	}
	for i := range d.b.manifests {
		at(d.b.manifests[i].Task).after = &d.b.manifests[i]
	}
	ids := slices.SortedFunc(maps.Keys(tasks), partition.TaskID.Compare)
	ids = slices.DeleteFunc(ids, func(id partition.TaskID) bool { return len(d.storesOf(*tasks[id])) == 0 })
	d.at.Parts = len(ids)
	for i, id := range ids {
		t := *tasks[id]
		d.at.Task, d.at.Part, d.at.Bytes = id, i+1, 0
		for _, m := range []*checkpoint.Manifest{t.before, t.after} {
			if m != nil {
				d.at.Bytes += m.Bytes()
			}
		}
		d.report()
		if t.isSame() {
			d.same++
			continue
		}
		if err := d.task(t); err != nil {
			return fmt.Errorf("compare task %s: %w", id, err)
		}
	}
	return nil
}

// isSame says whether it is plain that both have the same state. A commit happens once in a life, and files have the hash
// of their content.
func (t task) isSame() bool {
	if t.before == nil || t.after == nil {
		return false
	}
	p, q := t.before.Position, t.after.Position
	sameCommit := t.before.App == t.after.App && t.before.Incarnation == t.after.Incarnation &&
		p.Epoch == q.Epoch && p.ChangelogOffset == q.ChangelogOffset
	return sameCommit || slices.EqualFunc(t.before.Files, t.after.Files, func(a, b checkpoint.File) bool {
		return a.Name == b.Name && a.SHA256 == b.SHA256
	})
}

// storesOf returns what is to be compared of a task, by name.
func (d *differ) storesOf(t task) []*sides {
	var found []*sides
	for _, name := range slices.Sorted(maps.Keys(d.stores)) {
		s := d.stores[name]
		if (hasStore(t.before, name) || hasStore(t.after, name)) && (s.only == nil || *s.only == t.id) {
			found = append(found, s)
		}
	}
	return found
}

func hasStore(m *checkpoint.Manifest, name string) bool {
	if m == nil {
		return false
	}
	_, ok := m.Stores[name]
	return ok
}

// task compares one task that may differ.
func (d *differ) task(t task) (err error) {
	temp, err := os.MkdirTemp("", "streamd-diff-*")
	if err != nil {
		return fmt.Errorf("make a folder for the checkpoints: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	first, second := filepath.Join(temp, "before"), filepath.Join(temp, "after")
	return d.a.readPart(d.ctx, t.before, first, func(before *statestore.Reader) error {
		if t.before != nil && t.after != nil {
			if err := share(*t.before, first, *t.after, second); err != nil {
				return err
			}
		}
		return d.b.readPart(d.ctx, t.after, second, func(after *statestore.Reader) error {
			for _, s := range d.storesOf(t) {
				if err := d.store(t, s, before, after); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// readPart is readIn, with no reader where there is no state.
func (c *Checkpoint) readPart(ctx context.Context, m *checkpoint.Manifest, dir string, look func(*statestore.Reader) error) error {
	if m == nil || len(m.Files) == 0 {
		return look(nil)
	}
	return c.readIn(ctx, *m, dir, look)
}

// share gives the second folder the files of the first that it will have too, where a restore looks for what an earlier
// attempt has left whole. It checks their hashes, so nothing depends on what is linked here.
func share(before checkpoint.Manifest, first string, after checkpoint.Manifest, second string) error {
	known := before.Known()
	waiting := second + ".restoring"
	if err := os.MkdirAll(waiting, 0o700); err != nil {
		return fmt.Errorf("make a folder for the checkpoints: %w", err)
	}
	for _, f := range after.Files {
		if had, ok := known[f.Name]; ok && had.SHA256 == f.SHA256 {
			// Where there are no links, the file is fetched again.
			_ = os.Link(filepath.Join(first, f.Name), filepath.Join(waiting, f.Name))
		}
	}
	return nil
}

// stored is an entry as it is stored.
type stored struct{ key, value []byte }

// cursor walks the entries of a store.
type cursor struct {
	next  func() ([]byte, []byte, bool)
	stop  func()
	ended func() error
	at    stored
	more  bool
}

func newCursor(r *statestore.Reader, s *Store) *cursor {
	if r == nil || s == nil {
		return &cursor{stop: func() {}, ended: func() error { return nil }}
	}
	rows, ended := r.Select(statestore.Range{Store: statestore.StoreID(s.ID)})
	c := &cursor{ended: ended}
	c.next, c.stop = iter.Pull2(rows)
	c.advance()
	return c
}

func (c *cursor) advance() { c.at.key, c.at.value, c.more = c.next() }

// store walks both sides of a store at once; entries are in the order of their keys.
func (d *differ) store(t task, s *sides, before, after *statestore.Reader) error {
	a, b := newCursor(before, s.before), newCursor(after, s.after)
	defer a.stop()
	defer b.stop()
	for a.more || b.more {
		if err := context.Cause(d.ctx); err != nil {
			return err
		}
		order := 0
		switch {
		case !b.more:
			order = -1
		case !a.more:
			order = 1
		default:
			order = bytes.Compare(a.at.key, b.at.key)
		}
		if err := d.entry(t, s, a.at, b.at, order); err != nil {
			return err
		}
		if d.at.Rows++; d.at.Rows%progressRows == 0 {
			d.report()
		}
		if order <= 0 {
			a.advance()
		}
		if order >= 0 {
			b.advance()
		}
	}
	return damage(errors.Join(a.ended(), b.ended()))
}

// entry counts an entry of the first side (order < 0), of the second, or of both.
func (d *differ) entry(t task, s *sides, a, b stored, order int) error {
	kind, count := Changed, &s.diff.Changed
	switch {
	case order < 0:
		kind, count = Removed, &s.diff.Removed
	case order > 0:
		kind, count = Added, &s.diff.Added
	case bytes.Equal(a.value, b.value):
		return nil
	}
	*count++
	if len(s.diff.Samples) >= d.o.Samples {
		return nil
	}
	c := Change{Kind: kind}
	if order <= 0 {
		row, err := s.before.row(t.id, a.key, a.value)
		if err != nil {
			return err
		}
		c.Before = &row
	}
	if order >= 0 {
		row, err := s.after.row(t.id, b.key, b.value)
		if err != nil {
			return err
		}
		c.After = &row
	}
	s.diff.Samples = append(s.diff.Samples, c)
	return nil
}
