// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"encoding/json/jsontext"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/topology"
)

func (p *program) stateCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:   "state",
		Short: "Look into the state of an application",
		Long: "Reads state as it was in a checkpoint, so it never disturbs a worker. The parts of the checkpoint that are needed\n" +
			"are downloaded into a temporary folder first, one task at a time. get and scan can ask the workers instead: --live.",
		Example: p.example("state get clicks-per-page /index.html", "state scan clicks-per-page --limit 20",
			"state query 'SELECT count(*) FROM clicks-per-page'", "state export clicks-per-page --to clicks.parquet"),
	}, p.stateGetCommand(), p.stateScanCommand(), p.stateQueryCommand(), p.stateExportCommand())
}

// addFrom gives a command the flag that names a checkpoint.
func addFrom(cmd *cobra.Command, from *string) {
	cmd.Flags().StringVar(from, "from", "latest", cutHelp)
}

// checkpoint opens the checkpoint that --from names. A binary without a pipeline goes by what the application has recorded.
func (p *program) checkpoint(cmd *cobra.Command, from string) (*inspect.Checkpoint, error) {
	var own *topology.Topology
	if p.compile != nil {
		var err error
		if own, err = p.topology(); err != nil {
			return nil, err
		}
	}
	_, a, err := p.openArchive(cmd)
	if err != nil {
		return nil, err
	}
	life, round, err := a.round(cmd.Context(), from)
	if err != nil {
		return nil, err
	}
	return inspect.Open(cmd.Context(), a.repo, life, round, own)
}

// note tells what is shown as bytes, and why.
func note(cmd *cobra.Command, stores ...*inspect.Store) {
	for _, s := range stores {
		if text := s.Unread(); text != "" {
			say(cmd, "%s", text)
		}
	}
}

// refusals counts rows that have a part that their codec has refused.
type refusals int

func (n *refusals) see(r inspect.Row) {
	if r.Refused {
		*n++
	}
}

func (n refusals) tell(cmd *cobra.Command) {
	if n > 0 {
		say(cmd, "%d entries have a part that its codec does not read: it is shown as bytes", n)
	}
}

// progressInterval is how often long work tells how far it is.
const progressInterval = 5 * time.Second

// progress tells how far a walk is, from the first interval on.
func progress(cmd *cobra.Command, interval time.Duration) func(inspect.Progress) {
	last := time.Now()
	return func(at inspect.Progress) {
		if time.Since(last) < interval {
			return
		}
		last = time.Now()
		say(cmd, "task %s, %d of %d, %s: %d entries so far", at.Task, at.Part, at.Parts, sizeText(at.Bytes), at.Rows)
	}
}

func (p *program) stateGetCommand() *cobra.Command {
	var from string
	var live liveOptions
	cmd := &cobra.Command{
		Use:   "get STORE KEY [SUBKEY]",
		Short: "Print the value of a key",
		Long: "Prints the value that a key has in a checkpoint. Numbers are typed as numbers, times as 2026-01-31T12:00:00Z,\n" +
			"composite keys as JSON, other bytes as text or as 0x…. SUBKEY is for stores that have sub-keys; without it all of\n" +
			"the key's entries are printed. Of a store of windows that is an entry per window, of a store of versions one per\n" +
			"version, the newest first. With --live the workers are asked for the present value instead; -o json then tells\n" +
			"which worker has answered, and at which position.",
		Example: p.example("state get clicks-per-page /index.html", "state get clicks-per-page /index.html --from 12 -o json",
			"state get clicks-per-page /index.html --live"),
		Args: args(cobra.RangeArgs(2, 3)),
		RunE: func(cmd *cobra.Command, got []string) error {
			if live.on {
				return p.getLive(cmd, live, got)
			}
			c, err := p.checkpoint(cmd, from)
			if err != nil {
				return err
			}
			s, err := c.Store(got[0])
			if err != nil {
				return err
			}
			l := inspect.Lookup{Store: s}
			if l.Key, err = s.EncodeKey(got[1]); err != nil {
				return err
			}
			if len(got) > 2 {
				if l.SubKey, err = s.EncodeSubKey(got[2]); err != nil {
					return err
				}
			}
			note(cmd, s)
			found := []jsontext.Value{}
			t := newRowTable(s)
			err = c.Lookup(cmd.Context(), l, func(r inspect.Row) error {
				found = append(found, r.AppendJSON(nil, false))
				t.add(r)
				return nil
			})
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return failf(exitNotFound, "store %s has no key %s in checkpoint %d", got[0], got[1], c.Number())
			}
			return printOut(cmd, found, t.table)
		},
	}
	addFrom(cmd, &from)
	live.addTo(cmd)
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 10*time.Minute), false)
}

// rowTable shows rows of a store, without the columns that it does not have.
type rowTable struct {
	*table
	store *inspect.Store
}

func newRowTable(s *inspect.Store) rowTable {
	header := []string{"KEY"}
	if s.HasSubKey() {
		header = append(header, "SUBKEY")
	}
	if s.Timed() {
		header = append(header, "TIME")
	}
	return rowTable{newTable(append(header, "VALUE")...), s}
}

func (t rowTable) add(r inspect.Row) {
	cells := []any{inspect.Text(r.Key)}
	if t.store.HasSubKey() {
		cells = append(cells, inspect.Text(r.SubKey))
	}
	if t.store.Timed() {
		cells = append(cells, rowTime(r))
	}
	value := inspect.Text(r.Value)
	if r.Value == nil && t.store.Kind.Versioned() {
		value = "(deleted)"
	}
	t.row(append(cells, value)...)
}

func rowTime(r inspect.Row) string {
	if !r.Timed {
		return "-"
	}
	return inspect.Text(r.Time)
}

// scanOptions are the flags of state scan.
type scanOptions struct {
	from, prefix string
	limit        int
}

func (p *program) stateScanCommand() *cobra.Command {
	var o scanOptions
	var live liveOptions
	cmd := &cobra.Command{
		Use:   "scan STORE",
		Short: "Print the entries of a store",
		Long: "Prints entries task by task, in the order of their encoded keys within each, windows in the order of time. With\n" +
			"-o json every entry is an object on a line of its own, so that any number of them can be piped. With --live the\n" +
			"workers are asked for what there is now: each page of entries is of one position of a task.",
		Example: p.example("state scan clicks-per-page", "state scan clicks-per-page --live --prefix /docs/",
			"state scan clicks-per-page --prefix /docs/ --limit 0 -o json | wc -l"),
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, got []string) error {
			if live.on {
				return p.scanLive(cmd, live, o, got[0])
			}
			c, err := p.checkpoint(cmd, o.from)
			if err != nil {
				return err
			}
			s, err := c.Store(got[0])
			if err != nil {
				return err
			}
			note(cmd, s)
			return scan(cmd, c, s, o)
		},
	}
	addFrom(cmd, &o.from)
	addPrefix(cmd, &o.prefix)
	live.addTo(cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 100, "stop after this `number` of entries; 0: never")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Hour), false)
}

func addPrefix(cmd *cobra.Command, prefix *string) {
	cmd.Flags().StringVar(prefix, "prefix", "", "only keys whose `bytes` begin like this (text, or 0x…)")
}

func scan(cmd *cobra.Command, c *inspect.Checkpoint, s *inspect.Store, o scanOptions) error {
	prefix, err := inspect.ParseBytes(o.prefix)
	if err != nil {
		return err
	}
	t, asJSON, n := newRowTable(s), outputFormat(cmd) == "json", 0
	out := bufio.NewWriter(cmd.OutOrStdout())
	var refused refusals
	w := inspect.Walk{Stores: []*inspect.Store{s}, Prefix: prefix, Progress: progress(cmd, progressInterval)}
	err = c.Walk(cmd.Context(), w, func(r inspect.Row) error {
		if n++; o.limit > 0 && n > o.limit {
			say(cmd, "stopped after %d entries: --limit 0 prints all", o.limit)
			return inspect.ErrStop
		}
		refused.see(r)
		if asJSON {
			return writeLine(out, r.AppendJSON(nil, false))
		}
		t.add(r)
		return t.page(out)
	})
	if err == nil && !asJSON {
		err = t.write(out)
	}
	refused.tell(cmd)
	return errors.Join(err, out.Flush())
}

// writeLine writes a line of JSON.
func writeLine(w io.Writer, line []byte) error {
	_, err := w.Write(append(line, '\n'))
	return err
}
