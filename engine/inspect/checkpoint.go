// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

var (
	// ErrNoStore says that the checkpoint has no store of a name.
	ErrNoStore = errors.New("no such store")
	// ErrForeign says that the pipeline is not the one that wrote the checkpoint.
	ErrForeign = errors.New("the pipeline does not fit the checkpoint")
	// ErrRescaled says that keys are in other tasks in the one checkpoint than in the other.
	ErrRescaled = errors.New("the checkpoints have other numbers of tasks")
	// ErrStop, returned by what a walk visits, ends the walk without an error.
	ErrStop = errors.New("enough")
)

// Checkpoint is one round of an application, or what there is of it.
type Checkpoint struct {
	repo      *checkpoint.Repository
	life      int // of the application
	round     checkpoint.Round
	manifests []checkpoint.Manifest // in order of their tasks
	own       *topology.Topology    // of the pipeline whose binary this is; may be nil
	recorded  *topology.Topology    // with which the application began; may be nil
}

// Open reads the manifests of a round. own is the topology of the pipeline, nil in a binary that has none; the one that
// the application began with then tells how stores are laid out. A damaged manifest is an error.
func Open(ctx context.Context, repo *checkpoint.Repository, app checkpoint.Application, round checkpoint.Round, own *topology.Topology) (*Checkpoint, error) {
	c := &Checkpoint{repo: repo, life: app.Incarnation, round: round, own: own}
	for _, task := range round.Tasks {
		m, err := repo.Manifest(ctx, app.Incarnation, round.Number, task)
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d: %w", round.Number, err)
		}
		c.manifests = append(c.manifests, m)
	}
	if app.Topology != "" {
		var err error
		if c.recorded, err = topology.Decode([]byte(app.Topology)); err != nil {
			return nil, fmt.Errorf("application %s: %w", app.App, err)
		}
	}
	return c, nil
}

// Number is the number of the round.
func (c *Checkpoint) Number() int64 { return c.round.Number }

// Names returns the names of all stores, sorted.
func (c *Checkpoint) Names() []string {
	var names []string
	for _, m := range c.manifests {
		for name := range m.Stores {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Store finds a store by its name. An unknown name is ErrNoStore; one that the pipeline has with other bytes than the
// checkpoint is ErrForeign.
func (c *Checkpoint) Store(name string) (*Store, error) {
	st, known := c.described(name)
	found := false
	var codecs []string
	for _, m := range c.manifests {
		id, ok := m.Stores[name]
		if !ok {
			continue
		}
		if known && st.ID != id {
			return nil, fmt.Errorf("store %s has id %d in checkpoint %d and %d in the topology: %w: use the binary that wrote it", name, id, m.Round, st.ID, ErrForeign)
		}
		list := m.Codecs[name]
		if !extends(codecs, list) && !extends(list, codecs) {
			return nil, fmt.Errorf("store %s: %w: task %s has codecs %q, another one %q", name, checkpoint.ErrCorrupt, m.Task, list, codecs)
		}
		if len(list) > len(codecs) {
			codecs = list
		}
		found, st.ID = true, id
	}
	if !found {
		return nil, c.noStore(name, known)
	}
	st.Name = name
	var v views
	if c.own != nil {
		v.known = c.own.Views
	}
	return newStore(st, known, codecs, v), nil
}

func (c *Checkpoint) noStore(name string, known bool) error {
	if known {
		return fmt.Errorf("checkpoint %d has no part of store %s, which the pipeline has: %w: choose a later checkpoint", c.round.Number, name, ErrNoStore)
	}
	hint := "it has none"
	if names := c.Names(); len(names) > 0 {
		hint = fmt.Sprintf("it has %d, which checkpoints show -o json lists", len(names))
		if near := config.Nearest(name, names); near != "" {
			hint = "did you mean " + near + "?"
		}
	}
	return fmt.Errorf("checkpoint %d, store %q: %w: %s", c.round.Number, name, ErrNoStore, hint)
}

// extends says whether long begins with short.
func extends(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

// described finds what a topology says of a store.
func (c *Checkpoint) described(name string) (topology.Store, bool) {
	for _, t := range []*topology.Topology{c.own, c.recorded} {
		if t == nil {
			continue
		}
		if st, sub := t.Store(name); sub != nil {
			return st, true
		}
	}
	return topology.Store{}, false
}

// Stores finds the stores of the names, or all if there are none.
func (c *Checkpoint) Stores(names ...string) ([]*Store, error) {
	if len(names) == 0 {
		names = c.Names()
	}
	stores := make([]*Store, len(names))
	for i, name := range names {
		var err error
		if stores[i], err = c.Store(name); err != nil {
			return nil, err
		}
	}
	return stores, nil
}

// partsOf returns the manifests that hold rows of the store. All tasks have the same of a broadcast's store.
func (c *Checkpoint) partsOf(s *Store) []checkpoint.Manifest {
	var parts []checkpoint.Manifest
	for _, m := range c.manifests {
		if _, ok := m.Stores[s.Name]; ok {
			parts = append(parts, m)
		}
	}
	if s.Kind == topology.BroadcastStore {
		return parts[:1]
	}
	return parts
}

// Progress says how far a walk is. It is handed on before a task's files are fetched, and now and then between rows.
type Progress struct {
	Task  partition.TaskID
	Part  int   // from 1
	Parts int   //
	Bytes int64 // of the task's files
	Rows  int64 // of all stores so far
}

// Walk is what to walk through.
type Walk struct {
	Stores []*Store
	// Prefix is what the encoded keys begin with.
	Prefix []byte
	// Progress is called now and then; it may be nil.
	Progress func(Progress)
}

// progressRows is how many rows pass between two calls of Progress.
const progressRows = 1 << 14

// Walk hands the rows of stores to visit: task by task, store by store in the order given, and within each in the order of
// encoded keys, of windows in the order of time. It ends early with the error of visit, and without one at ErrStop.
func (c *Checkpoint) Walk(ctx context.Context, w Walk, visit func(Row) error) error {
	stores := map[partition.TaskID][]*Store{}
	for _, s := range w.Stores {
		for _, m := range c.partsOf(s) {
			stores[m.Task] = append(stores[m.Task], s)
		}
	}
	parts := slices.Clone(c.manifests)
	parts = slices.DeleteFunc(parts, func(m checkpoint.Manifest) bool { return len(stores[m.Task]) == 0 })
	report := w.Progress
	if report == nil {
		report = func(Progress) {}
	}
	at := Progress{Parts: len(parts)}
	for i, m := range parts {
		at.Task, at.Part, at.Bytes = m.Task, i+1, m.Bytes()
		report(at)
		err := c.read(ctx, m, func(r *statestore.Reader) error {
			for _, s := range stores[m.Task] {
				err := s.each(ctx, r, m.Task, w.Prefix, func(row Row) error {
					if at.Rows++; at.Rows%progressRows == 0 {
						report(at)
					}
					return visit(row)
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if errors.Is(err, ErrStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// each hands on the store's rows of one task.
func (s *Store) each(ctx context.Context, r *statestore.Reader, task partition.TaskID, prefix []byte, visit func(Row) error) error {
	rows, ended := r.Select(statestore.Range{Store: statestore.StoreID(s.ID), Prefix: prefix})
	for key, value := range rows {
		row, err := s.row(task, key, value)
		if err == nil {
			err = visit(row)
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	return damage(ended())
}

// damage makes a store's finding of corrupt files one of the checkpoint's.
func damage(err error) error {
	if errors.Is(err, statestore.ErrCorrupt) {
		return fmt.Errorf("%w: %w", checkpoint.ErrCorrupt, err)
	}
	return err
}

// read restores one task's checkpoint into a temporary folder and hands its reader to look.
func (c *Checkpoint) read(ctx context.Context, m checkpoint.Manifest, look func(*statestore.Reader) error) (err error) {
	if len(m.Files) == 0 {
		return nil // the task had no state yet
	}
	temp, err := os.MkdirTemp("", "streamd-state-*")
	if err != nil {
		return fmt.Errorf("make a folder for the checkpoint: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	return c.readIn(ctx, m, filepath.Join(temp, m.Task.String()), look)
}

func (c *Checkpoint) readIn(ctx context.Context, m checkpoint.Manifest, dir string, look func(*statestore.Reader) error) (err error) {
	if _, err := c.repo.Restore(ctx, m, dir); err != nil {
		return err
	}
	r, err := statestore.OpenReadOnly(dir)
	if err != nil {
		return damage(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return look(r)
}

// Lookup is what to look up: an encoded key, and if SubKey is not nil one of its sub-keys.
type Lookup struct {
	Store       *Store
	Key, SubKey []byte
}

// Lookup hands all rows of a key to visit: of a map one per sub-key, of windows one per window, of versions one per
// version, the newest first. Only the checkpoint of the task that holds the key is fetched, so all tasks must have
// stored theirs: else the error wraps checkpoint.ErrIncomplete.
func (c *Checkpoint) Lookup(ctx context.Context, l Lookup, visit func(Row) error) error {
	parts := c.partsOf(l.Store)
	if n := int(parts[len(parts)-1].Task.Partition) + 1; n != len(parts) && l.Store.Kind != topology.BroadcastStore {
		return fmt.Errorf("checkpoint %d lacks the parts of some tasks, so the one that holds the key cannot be told: %w: choose a complete one", c.round.Number, checkpoint.ErrIncomplete)
	}
	m := parts[partition.ForKey(l.Key, int32(len(parts)))]
	err := c.read(ctx, m, func(r *statestore.Reader) error { return l.in(ctx, r, m.Task, visit) })
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

func (l Lookup) in(ctx context.Context, r *statestore.Reader, task partition.TaskID, visit func(Row) error) error {
	rows, ended := r.Select(statestore.Range{Store: statestore.StoreID(l.Store.ID), Key: l.Key, Sub: l.SubKey})
	for whole, value := range rows {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		row, err := l.Store.row(task, whole, value)
		if err == nil {
			err = visit(row)
		}
		if err != nil {
			return err
		}
	}
	return damage(ended())
}
