// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/config"
)

func (p *program) configCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:     "config",
		Short:   "Show the settings",
		Example: p.example("config view --origin"),
	}, p.configViewCommand())
}

// settingValue is one setting in the output of config view.
type settingValue struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // "flag", "env", "file" or "default", and where
}

func (p *program) configViewCommand() *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use:     "view",
		Short:   "Print every setting with its value",
		Long:    "Prints the value that each setting has here and now, and, with --origin, where it comes from. Values that do\nnot fit together are reported afterwards, with exit code 3.",
		Example: p.example("config view", "config view --origin --config streamd.yaml", "config view -o json"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.settings(cmd)
			if err != nil {
				return err
			}
			var values []settingValue
			t := newTable("SETTING", "VALUE")
			if origin {
				t.header = append(t.header, "ORIGIN")
			}
			for _, s := range config.Settings() {
				v := settingValue{s.Name, cfg.Text(s.Name), cfg.Origin(s.Name).String()}
				if s.Name == "app.id" && cfg.IsDefault(s.Name) && p.pipeline != "" {
					v.Origin = "default (the pipeline's name)"
				}
				values = append(values, v)
				if origin {
					t.row(v.Name, dash(v.Value), v.Origin)
				} else {
					t.row(v.Name, dash(v.Value))
				}
			}
			if err := printOut(cmd, values, t); err != nil {
				return err
			}
			return cfg.Validate()
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "also print where each value comes from")
	return withSettings(withOutput(cmd, "table", "json"), true)
}
