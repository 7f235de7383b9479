// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo says what this binary was built from.
type versionInfo struct {
	Program  string `json:"program"`  // version of the main module
	Streamd  string `json:"streamd"`  // version of the engine in it
	Revision string `json:"revision"` // of the main module's repository; "-dirty" at the end: with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

const module = "github.com/streamd/streamd"

func buildVersion() versionInfo {
	v := versionInfo{Program: "unknown", Streamd: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Program = info.Main.Version
	if info.Main.Path == module {
		v.Streamd = info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module {
			v.Streamd = d.Version
		}
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if v.Revision != "" {
		v.Revision += dirty
	}
	return v
}

func (p *program) versionCommand() *cobra.Command {
	return withOutput(&cobra.Command{
		Use:     "version",
		Short:   "Print what this binary was built from",
		Example: p.example("version", "version -o json"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := buildVersion()
			if outputFormat(cmd) == "json" {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s (streamd %s, revision %s, %s, %s)\n",
				p.name, v.Program, v.Streamd, dash(v.Revision), v.Go, v.Platform)
			return err
		},
	}, "text", "json")
}
