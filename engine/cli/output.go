// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// withOutput gives a command -o with the formats, the first being the default.
func withOutput(cmd *cobra.Command, formats ...string) *cobra.Command {
	cmd.Flags().StringP("output", "o", formats[0], "`format`: "+strings.Join(formats, ", "))
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if got := outputFormat(cmd); !slices.Contains(formats, got) {
			return failf(exitUsage, "output format %q is not one of %s%s", got, strings.Join(formats, ", "), didYouMean(got, formats))
		}
		return run(cmd, args)
	}
	return cmd
}

func outputFormat(cmd *cobra.Command) string { return cmd.Flags().Lookup("output").Value.String() }

func writeJSON(w io.Writer, v any) error {
	if err := json.MarshalWrite(w, v, jsontext.WithIndent("  "), json.Deterministic(true)); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// table gathers rows and writes them in columns.
type table struct {
	header []string
	rows   [][]string
}

func newTable(header ...string) *table { return &table{header: header} }

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// tablePage is how many rows have columns of one width where there is no end of rows.
const tablePage = 10_000

// page writes the rows so far and forgets them if they are many, so that a table of any length takes no more memory.
func (t *table) page(w io.Writer) error {
	if len(t.rows) < tablePage {
		return nil
	}
	err := t.write(w)
	t.rows = t.rows[:0]
	return err
}

func (t *table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range slices.Insert(slices.Clone(t.rows), 0, t.header) {
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return tw.Flush()
}

// printOut writes v as JSON, or the table, as the command's -o says.
func printOut(cmd *cobra.Command, v any, t *table) error {
	if outputFormat(cmd) == "json" {
		return writeJSON(cmd.OutOrStdout(), v)
	}
	return t.write(cmd.OutOrStdout())
}

// say writes a line of talk.
func say(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// sizeText writes a size for people, with three digits.
func sizeText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, suffix := float64(n)/unit, "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if f < unit {
			break
		}
		f, suffix = f/unit, next
	}
	return fmt.Sprintf("%.3g %s", f, suffix)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
