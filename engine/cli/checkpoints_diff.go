// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json/jsontext"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/inspect"
)

// difference is how two checkpoints differ, in the output.
type difference struct {
	From      int64           `json:"from"`
	To        int64           `json:"to"`
	Unchanged int             `json:"unchangedTasks"`
	Stores    []storeDiffInfo `json:"stores"`
}

type storeDiffInfo struct {
	Store   string       `json:"store"`
	Added   int64        `json:"added"`
	Removed int64        `json:"removed"`
	Changed int64        `json:"changed"`
	Changes []changeInfo `json:"changes"`
}

type changeInfo struct {
	Change string         `json:"change"`
	Before jsontext.Value `json:"before,omitempty"`
	After  jsontext.Value `json:"after,omitempty"`
}

func (p *program) checkpointsDiffCommand() *cobra.Command {
	var store string
	var limit int
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare the state of two checkpoints",
		Long: "Compares the entries of two checkpoints, each named by its number, by a savepoint, or latest, and prints for every\n" +
			"store how many were added, removed and changed, with the first of them. An entry of which only the time has moved\n" +
			"has changed. Tasks that have committed nothing in between are not read, and files that both checkpoints have are\n" +
			"downloaded once.",
		Example: p.example("checkpoints diff 11 12", "checkpoints diff before-release latest --store clicks-per-page --limit 50 -o json"),
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, names []string) error {
			a, err := p.checkpoint(cmd, names[0])
			if err != nil {
				return err
			}
			b, err := p.checkpoint(cmd, names[1])
			if err != nil {
				return err
			}
			o := inspect.DiffOptions{Samples: max(limit, 0), Progress: progress(cmd, progressInterval)}
			if store != "" {
				o.Stores = []string{store}
			}
			d, err := inspect.Compare(cmd.Context(), a, b, o)
			if err != nil {
				return err
			}
			return printDiff(cmd, difference{From: a.Number(), To: b.Number(), Unchanged: d.Same}, d)
		},
	}
	cmd.Flags().StringVar(&store, "store", "", "only the `store` of this name")
	cmd.Flags().IntVar(&limit, "limit", 10, "print this `number` of changes of each store")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Hour), false)
}

func printDiff(cmd *cobra.Command, info difference, d *inspect.Diff) error {
	info.Stores = []storeDiffInfo{}
	counts := newTable("STORE", "ADDED", "REMOVED", "CHANGED")
	changes := newTable("STORE", "TASK", "CHANGE", "KEY", "SUBKEY", "TIME", "BEFORE", "AFTER")
	for _, s := range d.Stores {
		counts.row(s.Store, s.Added, s.Removed, s.Changed)
		store := storeDiffInfo{s.Store, s.Added, s.Removed, s.Changed, []changeInfo{}}
		for _, c := range s.Samples {
			row := c.Row()
			changes.row(s.Store, row.Task, c.Kind, inspect.Text(row.Key), inspect.Text(row.SubKey), rowTime(row), side(c.Before), side(c.After))
			store.Changes = append(store.Changes, changeInfo{string(c.Kind), line(c.Before), line(c.After)})
		}
		info.Stores = append(info.Stores, store)
	}
	if info.Unchanged > 0 {
		say(cmd, "%d tasks have the same state in both checkpoints", info.Unchanged)
	}
	if outputFormat(cmd) == "json" {
		return writeJSON(cmd.OutOrStdout(), info)
	}
	if err := counts.write(cmd.OutOrStdout()); err != nil || len(changes.rows) == 0 {
		return err
	}
	if _, err := cmd.OutOrStdout().Write([]byte{'\n'}); err != nil {
		return err
	}
	return changes.write(cmd.OutOrStdout())
}

// side is the value of an entry on one side of a comparison.
func side(r *inspect.Row) string {
	if r == nil {
		return "-"
	}
	return inspect.Text(r.Value)
}

func line(r *inspect.Row) jsontext.Value {
	if r == nil {
		return nil
	}
	return r.AppendJSON(nil, false)
}
