// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/streamd/streamd/operators/topology"
)

func (p *program) describeCommand() *cobra.Command {
	return withOutput(&cobra.Command{
		Use:   "describe",
		Short: "Print the pipeline's topology",
		Long: "Prints the sub-topologies, topics, steps and stores that the pipeline compiles to. Nothing is connected to.\n" +
			"dot is for Graphviz, mermaid for Markdown, json for programs and for comparing two versions.",
		Example: p.example("describe", "describe -o dot | dot -Tsvg > pipeline.svg"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := p.topology()
			if err != nil {
				return err
			}
			return t.Describe(cmd.OutOrStdout(), topology.Format(outputFormat(cmd)))
		},
	}, string(topology.Text), string(topology.JSON), string(topology.DOT), string(topology.Mermaid))
}
