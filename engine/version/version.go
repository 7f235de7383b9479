// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime"
	"runtime/debug"
	"sync"
)

// Info says what a binary was built from.
type Info struct {
	Program  string `json:"program"`  // version of the main module
	Streamd  string `json:"streamd"`  // version of the engine in it
	Revision string `json:"revision"` // of the main module's repository; "-dirty" at the end: with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Module is the path of the engine's Go module.
const Module = "github.com/streamd/streamd"

// Of returns what this binary was built from.
func Of() Info { return built() }

var built = sync.OnceValue(func() Info {
	v := Info{Program: "unknown", Streamd: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Program = info.Main.Version
	if info.Main.Path == Module {
		v.Streamd = info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == Module {
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
})
