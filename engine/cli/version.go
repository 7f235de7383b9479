// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/version"
)

func (p *program) versionCommand() *cobra.Command {
	return withOutput(&cobra.Command{
		Use:     "version",
		Short:   "Print what this binary was built from",
		Example: p.example("version", "version -o json"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := version.Of()
			if outputFormat(cmd) == "json" {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s (streamd %s, revision %s, %s, %s)\n",
				p.name, v.Program, v.Streamd, dash(v.Revision), v.Go, v.Platform)
			return err
		},
	}, "text", "json")
}
