// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

func (p *program) stateCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:   "state",
		Short: "Look into the state that a checkpoint holds",
		Long: "Reads state as it was in a checkpoint, so it never disturbs a worker. The parts of the checkpoint that are needed\n" +
			"are downloaded into a temporary folder first.",
		Example: p.example("state get clicks-per-page /index.html", "state scan clicks-per-page --limit 20"),
	}, p.stateGetCommand(), p.stateScanCommand())
}

// storeView is one store of the pipeline in one checkpoint.
type storeView struct {
	archive *archive
	store   topology.Store
	parts   []checkpoint.Manifest // of the tasks that have the store, by partition
	round   int64
}

// openStoreView finds a store by its name, and its parts in the round.
func (p *program) openStoreView(cmd *cobra.Command, name, round string) (*storeView, error) {
	t, err := p.topology()
	if err != nil {
		return nil, err
	}
	store, sub, err := findStore(t, name)
	if err != nil {
		return nil, err
	}
	_, a, err := p.openArchive(cmd)
	if err != nil {
		return nil, err
	}
	r, err := a.round(cmd.Context(), round)
	if err != nil {
		return nil, err
	}
	v := &storeView{archive: a, store: store, round: r.Number}
	for _, task := range r.Tasks {
		if task.SubTopology != sub {
			continue
		}
		m, err := a.repo.Manifest(cmd.Context(), a.app.Incarnation, r.Number, task)
		if err != nil {
			return nil, err
		}
		if id, ok := m.Stores[name]; ok && id != store.ID {
			return nil, failf(exitInvalid, "store %s has id %d in checkpoint %d and %d in this pipeline: use the binary that wrote it", name, id, r.Number, store.ID)
		}
		v.parts = append(v.parts, m)
	}
	if store.Kind == topology.BroadcastStore && len(v.parts) > 1 {
		v.parts = v.parts[:1] // all have the same
	}
	if len(v.parts) == 0 {
		return nil, failf(exitNotFound, "checkpoint %d has no part of store %s", r.Number, name)
	}
	return v, nil
}

func findStore(t *topology.Topology, name string) (topology.Store, int32, error) {
	var names []string
	for _, s := range t.SubTopologies {
		for _, st := range s.Stores {
			if st.Name == name {
				return st, s.ID, nil
			}
			names = append(names, st.Name)
		}
	}
	return topology.Store{}, 0, failf(exitNotFound, "the pipeline has no store %q%s (describe lists them)", name, didYouMean(name, names))
}

// part returns the manifest of the task that holds a key.
func (v *storeView) part(key []byte) (checkpoint.Manifest, error) {
	last := v.parts[len(v.parts)-1].Task
	n := int(last.Partition) + 1
	if n != len(v.parts) {
		return checkpoint.Manifest{}, failf(exitPrecondition, "checkpoint %d lacks the parts of some tasks, so the one that holds the key cannot be told: choose a complete one", v.round)
	}
	return v.parts[partition.ForKey(key, int32(n))], nil
}

// entry is one row of a store in the output.
type entry struct {
	Key    jsontext.Value `json:"key"`
	SubKey jsontext.Value `json:"subKey,omitempty"`
	Time   *time.Time     `json:"time,omitempty"` // of the last use of a table's row or of a value with a TTL; of a version; of a window's start
	Value  jsontext.Value `json:"value"`
	text   [4]string      // the same, for the table
}

func (v *storeView) entry(key, sub, value []byte) (entry, error) {
	st := v.store
	e := entry{Key: jsonOf(st.KeyCodec, key)}
	e.text[0], e.text[1], e.text[2] = textOf(st.KeyCodec, key), "-", "-"
	if st.SubKeyCodec != "" {
		e.SubKey, e.text[1] = jsonOf(st.SubKeyCodec, sub), textOf(st.SubKeyCodec, sub)
	}
	ms, timed, value, err := st.Split(value)
	if err != nil {
		return e, fmt.Errorf("store %s, key %s: %w: %w", st.Name, e.text[0], checkpoint.ErrCorrupt, err)
	}
	if st.Kind == topology.VersionStore {
		if ms, err = topology.VersionTime(sub); err != nil {
			return e, fmt.Errorf("store %s, key %s: %w: %w", st.Name, e.text[0], checkpoint.ErrCorrupt, err)
		}
		timed = true
	}
	if timed {
		e.setTime(ms)
	}
	if st.Kind.Versioned() && len(value) == 0 {
		e.Value, e.text[3] = jsontext.Value("null"), "(deleted)"
		return e, nil
	}
	if st.Plain {
		e.Value, e.text[3] = jsonOf(st.ValueCodec, value), textOf(st.ValueCodec, value)
		return e, nil
	}
	version, value, err := codec.SplitStored(value)
	if err != nil || version > len(st.FormerValueCodecs) {
		return e, fmt.Errorf("store %s, key %s: %w: none of its codecs wrote the value", st.Name, e.text[0], checkpoint.ErrCorrupt)
	}
	id := st.ValueCodecs()[version]
	e.Value, e.text[3] = jsonOf(id, value), textOf(id, value)
	return e, nil
}

func (e *entry) setTime(milli int64) {
	at := time.UnixMilli(milli).UTC()
	e.Time, e.text[2] = &at, at.Format(time.RFC3339Nano)
}

// windowEntry is entry for window stores.
func (v *storeView) windowEntry(k statestore.WindowKey, value []byte) (entry, error) {
	e, err := v.entry(k.Key, k.Sub, value)
	e.setTime(k.Time)
	return e, err
}

// read restores one task's part into a temporary folder and hands its reader to look.
func (v *storeView) read(ctx context.Context, m checkpoint.Manifest, look func(*statestore.Reader) error) (err error) {
	if len(m.Files) == 0 {
		return nil // the task had no state yet
	}
	temp, err := os.MkdirTemp("", "streamd-state-*")
	if err != nil {
		return fmt.Errorf("make a folder for the checkpoint: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	dir := filepath.Join(temp, m.Task.String())
	if _, err := v.archive.repo.Restore(ctx, m, dir); err != nil {
		return err
	}
	r, err := statestore.OpenReadOnly(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return look(r)
}

func (p *program) stateGetCommand() *cobra.Command {
	var round string
	cmd := &cobra.Command{
		Use:   "get STORE KEY [SUBKEY]",
		Short: "Print the value of a key",
		Long: "Prints the value that a key has in a checkpoint. Numbers are typed as numbers, JSON keys as JSON, other bytes as\n" +
			"text or as 0x…. SUBKEY is for stores that have sub-keys; without it all of the key's entries are printed. Of a\n" +
			"store of windows that is an entry per window, of a store of versions one per version, the newest first.",
		Example: p.example("state get clicks-per-page /index.html", "state get clicks-per-page /index.html --checkpoint 12 -o json"),
		Args:    args(cobra.RangeArgs(2, 3)),
		RunE: func(cmd *cobra.Command, got []string) error {
			v, err := p.openStoreView(cmd, got[0], round)
			if err != nil {
				return err
			}
			key, err := parseText(v.store.KeyCodec, got[1])
			if err != nil {
				return err
			}
			m, err := v.part(key)
			if err != nil {
				return err
			}
			var found []entry
			err = v.read(cmd.Context(), m, func(r *statestore.Reader) (err error) {
				found, err = v.lookUp(r, key, got[2:])
				return err
			})
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return failf(exitNotFound, "store %s has no key %s in checkpoint %d", got[0], got[1], v.round)
			}
			return v.print(cmd, found)
		},
	}
	addCheckpoint(cmd, &round)
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 10*time.Minute), false)
}

func addCheckpoint(cmd *cobra.Command, round *string) {
	cmd.Flags().StringVar(round, "checkpoint", "latest", "`number` of the checkpoint, or latest")
}

func (v *storeView) lookUp(r *statestore.Reader, key []byte, sub []string) ([]entry, error) {
	id := statestore.StoreID(v.store.ID)
	if len(sub) > 0 && v.store.SubKeyCodec == "" {
		return nil, failf(exitUsage, "store %s is not a map: it has no sub-keys", v.store.Name)
	}
	var subKey []byte
	if len(sub) > 0 {
		var err error
		if subKey, err = parseText(v.store.SubKeyCodec, sub[0]); err != nil {
			return nil, err
		}
	}
	switch {
	case v.store.Kind.Windowed():
		return v.lookUpWindows(r, key, subKey, len(sub) > 0)
	case !v.store.Kind.Mapped():
		value, ok, err := r.Get(id, key)
		return v.found(key, nil, value, ok, err)
	case len(sub) > 0:
		value, ok, err := r.GetSub(id, key, subKey)
		return v.found(key, subKey, value, ok, err)
	}
	var all []entry
	rows, ended := r.ScanSub(id, key)
	for subKey, value := range rows {
		e, err := v.entry(key, subKey, value)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, ended()
}

// lookUpWindows looks through all windows; with one, for one sub-key only.
func (v *storeView) lookUpWindows(r *statestore.Reader, key, sub []byte, one bool) ([]entry, error) {
	var all []entry
	rows, ended := r.ScanWindow(statestore.StoreID(v.store.ID))
	for k, value := range rows {
		if !bytes.Equal(k.Key, key) || one && !bytes.Equal(k.Sub, sub) {
			continue
		}
		e, err := v.windowEntry(k, value)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, ended()
}

func (v *storeView) found(key, sub, value []byte, ok bool, err error) ([]entry, error) {
	if err != nil || !ok {
		return nil, err
	}
	e, err := v.entry(key, sub, value)
	return []entry{e}, err
}

// print writes entries at once.
func (v *storeView) print(cmd *cobra.Command, entries []entry) error {
	t := v.table()
	for _, e := range entries {
		v.addRow(t, e)
	}
	return printOut(cmd, entries, t)
}

func (v *storeView) table() *table {
	return newTable(v.columns([4]string{"KEY", "SUBKEY", "TIME", "VALUE"})...)
}

func (v *storeView) addRow(t *table, e entry) {
	var cells []any
	for _, c := range v.columns(e.text) {
		cells = append(cells, c)
	}
	t.row(cells...)
}

// columns leaves out what the store does not have.
func (v *storeView) columns(all [4]string) []string {
	list := all[:1:1]
	if v.store.SubKeyCodec != "" {
		list = append(list, all[1])
	}
	if v.store.Timed() {
		list = append(list, all[2])
	}
	return append(list, all[3])
}

// scanOptions are the flags of state scan.
type scanOptions struct {
	round, prefix string
	limit         int
}

func (p *program) stateScanCommand() *cobra.Command {
	var o scanOptions
	cmd := &cobra.Command{
		Use:   "scan STORE",
		Short: "Print the entries of a store",
		Long: "Prints entries task by task, in the order of their encoded keys within each, windows in the order of time. With -o json every entry is an object\n" +
			"on a line of its own, so that any number of them can be piped.",
		Example: p.example("state scan clicks-per-page", "state scan clicks-per-page --prefix /docs/ --limit 0 -o json | wc -l"),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, got []string) error {
			v, err := p.openStoreView(cmd, got[0], o.round)
			if err != nil {
				return err
			}
			return v.scan(cmd, o)
		},
	}
	addCheckpoint(cmd, &o.round)
	cmd.Flags().StringVar(&o.prefix, "prefix", "", "only keys whose `bytes` begin like this (text, or 0x…)")
	cmd.Flags().IntVar(&o.limit, "limit", 100, "stop after this `number` of entries; 0: never")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Hour), false)
}

// errLimit ends a scan.
var errLimit = errors.New("limit reached")

func (v *storeView) scan(cmd *cobra.Command, o scanOptions) error {
	prefix, err := parseText("", o.prefix)
	if err != nil {
		return err
	}
	t, asJSON, n := v.table(), outputFormat(cmd) == "json", 0
	for _, m := range v.parts {
		err := v.read(cmd.Context(), m, func(r *statestore.Reader) error {
			return v.each(cmd.Context(), r, prefix, func(e entry) error {
				if n++; o.limit > 0 && n > o.limit {
					return errLimit
				}
				if !asJSON {
					v.addRow(t, e)
					return nil
				}
				return writeLine(cmd, e)
			})
		})
		if errors.Is(err, errLimit) {
			say(cmd, "stopped after %d entries: --limit 0 prints all", o.limit)
			break
		}
		if err != nil {
			return err
		}
	}
	if asJSON {
		return nil
	}
	return t.write(cmd.OutOrStdout())
}

// writeLine writes v as JSON on one line.
func writeLine(cmd *cobra.Command, v any) error {
	line, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	_, err = cmd.OutOrStdout().Write(append(line, '\n'))
	return err
}

// each hands on the store's entries whose key begins with prefix, in the store's order.
func (v *storeView) each(ctx context.Context, r *statestore.Reader, prefix []byte, visit func(entry) error) error {
	take := func(e entry, err error) error {
		if err == nil {
			err = visit(e)
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		return err
	}
	switch v.store.Kind {
	case topology.MapStore, topology.VersionStore:
		return v.eachOfMap(r, prefix, take)
	case topology.WindowStore, topology.WindowTableStore:
		return v.eachOfWindows(r, prefix, take)
	}
	rows, ended := r.Scan(statestore.StoreID(v.store.ID), prefix)
	for key, value := range rows {
		if err := take(v.entry(key, nil, value)); err != nil {
			return err
		}
	}
	return ended()
}

// eachOfMap looks through all entries, because a map's keys are ordered by their lengths first.
func (v *storeView) eachOfMap(r *statestore.Reader, prefix []byte, take func(entry, error) error) error {
	rows, ended := r.Entries()
	for whole, value := range rows {
		id, key, sub, err := statestore.SplitKey(whole)
		if err != nil {
			return err
		}
		if id != statestore.StoreID(v.store.ID) || !bytes.HasPrefix(key, prefix) {
			continue
		}
		if err := take(v.entry(key, sub, value)); err != nil {
			return err
		}
	}
	return ended()
}

func (v *storeView) eachOfWindows(r *statestore.Reader, prefix []byte, take func(entry, error) error) error {
	rows, ended := r.ScanWindow(statestore.StoreID(v.store.ID))
	for k, value := range rows {
		if !bytes.HasPrefix(k.Key, prefix) {
			continue
		}
		if err := take(v.windowEntry(k, value)); err != nil {
			return err
		}
	}
	return ended()
}
