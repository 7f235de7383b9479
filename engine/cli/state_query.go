// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/inspect"
)

func (p *program) stateQueryCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "query SELECT",
		Short: "Select from a store",
		Long: "Evaluates a SELECT over one store of a checkpoint, with WHERE, GROUP BY, HAVING, ORDER BY and LIMIT.\n\n" +
			"Columns are key, subkey, time, value, task and partition; value.a.b[0] is a part of a JSON value. Functions are\n" +
			"count, sum, min, max and avg. Texts stand in quotation marks, single or double; times compare with texts such as\n" +
			"'2026-01-31T12:00:00Z'. What does not apply to a value is null: a path into a number, the sum of a text.\n\n" +
			"Rows are read one by one. Groups, and rows to be sorted, are held in memory up to a limit. With -o json every row\n" +
			"is an object on a line of its own.",
		Example: p.example("state query 'SELECT key, value.amount FROM orders WHERE value.country = \"DE\" LIMIT 10'",
			"state query 'SELECT value.country, count(*), sum(value.amount) FROM orders GROUP BY 1 ORDER BY 3 DESC' --from 12"),
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, got []string) error {
			q, err := inspect.Parse(got[0])
			if err != nil {
				return err
			}
			c, err := p.checkpoint(cmd, from)
			if err != nil {
				return err
			}
			s, err := c.Store(q.From())
			if err != nil {
				return err
			}
			note(cmd, s)
			return printQuery(cmd, c, s, q)
		},
	}
	addFrom(cmd, &from)
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Hour), false)
}

func printQuery(cmd *cobra.Command, c *inspect.Checkpoint, s *inspect.Store, q *inspect.Query) error {
	var t *table
	var names []string
	asJSON := outputFormat(cmd) == "json"
	out := bufio.NewWriter(cmd.OutOrStdout())
	e, err := q.NewExecutor(s, func(values []any) error {
		if asJSON {
			return writeLine(out, object(names, values))
		}
		cells := make([]any, len(values))
		for i, v := range values {
			cells[i] = inspect.Text(v)
		}
		t.row(cells...)
		return t.page(out)
	})
	if err != nil {
		return err
	}
	names = e.Columns()
	t = newTable(names...)
	var refused refusals
	w := inspect.Walk{Stores: []*inspect.Store{s}, Progress: progress(cmd, progressInterval)}
	err = c.Walk(cmd.Context(), w, func(r inspect.Row) error {
		refused.see(r)
		return e.Add(r)
	})
	if err == nil {
		err = e.Finish()
	}
	if err == nil && !asJSON {
		err = t.write(out)
	}
	refused.tell(cmd)
	return errors.Join(err, out.Flush())
}

// object writes values by name, in their order.
func object(names []string, values []any) []byte {
	line := []byte{'{'}
	for i, name := range names {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, inspect.JSONOf(name)...)
		line = append(append(line, ':'), inspect.JSONOf(values[i])...)
	}
	return append(line, '}')
}
