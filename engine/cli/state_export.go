// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/inspect"
)

// exportOptions are the flags of state export.
type exportOptions struct {
	from, prefix, to, format string
}

const (
	formatJSONL   = "jsonl"
	formatParquet = "parquet"
	toStandard    = "-"
)

func (p *program) stateExportCommand() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export [STORE...]",
		Short: "Write stores to files for other tools",
		Long: "Writes the entries of the stores, or of all, as JSON lines or as Parquet. A line is an object with store, task,\n" +
			"partition, key, subKey and time where the store has them, and value. Parquet has typed columns where the codec is\n" +
			"one of texts, numbers, truth values or times, JSON text where it is composite, and is a file per store: with several\n" +
			"stores --to is a folder. A file appears when it is whole, in place of an older one.",
		Example: p.example("state export clicks-per-page --to clicks.parquet", "state export --from 12 --to state.jsonl",
			"state export --format parquet --to folder", "state export clicks-per-page | jq .value"),
		RunE: func(cmd *cobra.Command, names []string) error {
			format, err := o.resolve()
			if err != nil {
				return err
			}
			c, err := p.checkpoint(cmd, o.from)
			if err != nil {
				return err
			}
			stores, err := c.Stores(names...)
			if err != nil {
				return err
			}
			prefix, err := inspect.ParseBytes(o.prefix)
			if err != nil {
				return err
			}
			e := &export{to: o.to, format: format, out: cmd.OutOrStdout(), stores: stores}
			note(cmd, stores...)
			w := inspect.Walk{Stores: stores, Prefix: prefix, Progress: progress(cmd, progressInterval)}
			if err := e.run(cmd, c, w); err != nil {
				return err
			}
			return e.tell(cmd, c.Number())
		},
	}
	addFrom(cmd, &o.from)
	addPrefix(cmd, &o.prefix)
	cmd.Flags().StringVar(&o.to, "to", toStandard, "`file` to write, or folder; -: standard output")
	cmd.Flags().StringVar(&o.format, "format", "", "`format`: jsonl or parquet; default: as the file's name ends, else jsonl")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 24*time.Hour), false)
}

// resolve chooses the format.
func (o exportOptions) resolve() (string, error) {
	formats := []string{formatJSONL, formatParquet}
	switch {
	case slices.Contains(formats, o.format):
		return o.format, nil
	case o.format != "":
		return "", failf(exitUsage, "export format %q is not one of %s%s", o.format, strings.Join(formats, ", "), didYouMean(o.format, formats))
	case filepath.Ext(o.to) == ".parquet":
		return formatParquet, nil
	}
	return formatJSONL, nil
}

// exported is a file of an export in the output.
type exported struct {
	Store string `json:"store"`
	Rows  int64  `json:"rows"`
	File  string `json:"file"`
}

// export writes rows to a file, or one per store.
type export struct {
	to, format string
	out        io.Writer // the standard output
	stores     []*inspect.Store
	files      []*newFile
	writers    map[string]inspect.Writer // by store
	rows       map[string]int64
	paths      map[string]string
	refused    refusals
}

// run writes everything; files get their names at the end.
func (e *export) run(cmd *cobra.Command, c *inspect.Checkpoint, w inspect.Walk) (err error) {
	e.writers, e.rows, e.paths = map[string]inspect.Writer{}, map[string]int64{}, map[string]string{}
	defer func() {
		for _, f := range e.files {
			err = errors.Join(err, f.discard())
		}
	}()
	if err := e.open(); err != nil {
		return err
	}
	err = c.Walk(cmd.Context(), w, func(r inspect.Row) error {
		e.rows[r.Store]++
		e.refused.see(r)
		return e.writers[r.Store].Write(r)
	})
	if err != nil {
		return err
	}
	closed := map[inspect.Writer]bool{}
	for _, s := range e.stores {
		if writer := e.writers[s.Name]; !closed[writer] {
			closed[writer] = true
			if err := writer.Close(); err != nil {
				return err
			}
		}
	}
	for _, f := range e.files {
		if err := f.install(); err != nil {
			return err
		}
	}
	return nil
}

// open opens what is written to: one file for all stores, or a folder with one for each.
func (e *export) open() error {
	info, err := os.Stat(e.to)
	folder := err == nil && info.IsDir()
	if e.format == formatParquet && len(e.stores) != 1 || folder {
		if e.to == toStandard {
			return failf(exitUsage, "Parquet takes a file per store, and there are %d stores: name one, or a folder by --to", len(e.stores))
		}
		if err := os.MkdirAll(e.to, 0o777); err != nil {
			return fmt.Errorf("make the folder of the export: %w", err)
		}
		for _, s := range e.stores {
			if err := e.openFile(filepath.Join(e.to, s.Name+"."+e.format), s); err != nil {
				return err
			}
		}
		return nil
	}
	if e.to != toStandard {
		return e.openFile(e.to, e.stores...)
	}
	e.write(e.out, toStandard, e.stores...)
	return nil
}

func (e *export) openFile(path string, stores ...*inspect.Store) error {
	f, err := createFile(path, 0o644)
	if err != nil {
		return err
	}
	e.files = append(e.files, f)
	e.write(f.File, path, stores...)
	return nil
}

// write makes one writer for the stores.
func (e *export) write(w io.Writer, path string, stores ...*inspect.Store) {
	var to inspect.Writer
	if e.format == formatParquet {
		to = inspect.NewParquet(w, stores[0])
	} else {
		to = inspect.NewJSONL(w)
	}
	for _, s := range stores {
		e.writers[s.Name], e.paths[s.Name] = to, path
	}
}

// tell prints what was written, unless the output is what was written.
func (e *export) tell(cmd *cobra.Command, checkpoint int64) error {
	e.refused.tell(cmd)
	files := []exported{}
	t := newTable("STORE", "ROWS", "FILE")
	var all int64
	for _, s := range e.stores {
		x := exported{s.Name, e.rows[s.Name], e.paths[s.Name]}
		files = append(files, x)
		t.row(x.Store, x.Rows, x.File)
		all += x.Rows
	}
	say(cmd, "exported %d entries of checkpoint %d", all, checkpoint)
	if e.to == toStandard {
		return nil
	}
	return printOut(cmd, files, t)
}

// newFile is a file that gets its name when it is whole.
type newFile struct {
	*os.File
	path string
	mode os.FileMode
}

func createFile(path string, mode os.FileMode) (*newFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("create file %s: %w", path, err)
	}
	return &newFile{f, path, mode}, nil
}

// install makes the file durable and gives it its name.
func (f *newFile) install() error {
	err := errors.Join(f.Chmod(f.mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write file %s: %w", f.path, err)
	}
	f.File = nil
	return nil
}

// discard removes a file that was not installed.
func (f *newFile) discard() error {
	if f.File == nil {
		return nil
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
