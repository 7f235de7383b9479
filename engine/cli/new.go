// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/version"
)

//go:embed templates
var templates embed.FS

// skeleton lists what new writes: the file and its template.
var skeleton = []struct{ file, template string }{
	{"main.go", "templates/main.go.tmpl"},
	{"main_test.go", "templates/main_test.go.tmpl"},
	{"README.md", "templates/README.md.tmpl"},
	{".gitignore", "templates/gitignore.tmpl"},
}

// newOptions are the flags of new.
type newOptions struct {
	module  string
	dir     string
	replace string
}

func (p *program) newCommand() *cobra.Command {
	var o newOptions
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a small pipeline with its test, to begin from",
		Long: "Writes a Go module with a pipeline that counts words, a test of it and a README into a new folder. It builds, and\n" +
			"its test passes. NAME becomes the name of the folder, of the pipeline and of the module.",
		Example: p.example("new clicks", "new clicks --module example.com/team/clicks"),
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, got []string) error { return newPipeline(cmd, got[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.module, "module", "", "`path` of the module; without it NAME")
	f.StringVar(&o.dir, "dir", "", "`folder` to write to; without it NAME")
	f.StringVar(&o.replace, "replace-module", "", "`folder` with the source of streamd to build with, for work on streamd itself")
	return withTimeout(cmd, 5*time.Minute)
}

// modulePath is a careful subset of what Go allows.
var modulePath = regexp.MustCompile(`^[a-zA-Z0-9_-][a-zA-Z0-9._~-]*(/[a-zA-Z0-9_-][a-zA-Z0-9._~-]*)*$`)

func newPipeline(cmd *cobra.Command, name string, o newOptions) error {
	if !config.ValidAppID(name) {
		return failf(exitUsage, "%q cannot be the name of a pipeline: use up to 100 letters, digits, underscores and dashes, beginning with a letter or digit", name)
	}
	if o.module == "" {
		o.module = name
	}
	if !modulePath.MatchString(o.module) {
		return failf(exitUsage, "%q cannot be the path of a module", o.module)
	}
	if o.dir == "" {
		o.dir = name
	}
	mod, sum, err := moduleFiles(o)
	if err != nil {
		return err
	}
	if err := os.Mkdir(o.dir, 0o755); errors.Is(err, os.ErrExist) {
		return failf(exitPrecondition, "%s exists already: choose another name, or --dir", o.dir)
	} else if err != nil {
		return fmt.Errorf("create %s: %w", o.dir, err)
	}
	files := map[string][]byte{"go.mod": mod}
	if sum != nil {
		files["go.sum"] = sum
	}
	for _, s := range skeleton {
		if files[s.file], err = render(s.template, name); err != nil {
			return err
		}
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(o.dir, file), content, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	if sum == nil {
		if err := tidy(cmd.Context(), o.dir); err != nil {
			return fmt.Errorf("%s is written, but its dependencies are not resolved: run go mod tidy in it: %w", o.dir, err)
		}
	}
	say(cmd, "%s is ready:\n  cd %s\n  go test ./...\n  go run . dev --input lines=README.md --until end", name, o.dir)
	return nil
}

func render(file, name string) ([]byte, error) {
	t, err := template.ParseFS(templates, file)
	if err != nil {
		return nil, fmt.Errorf("parse template %s: %w", file, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, struct{ Name string }{name}); err != nil {
		return nil, fmt.Errorf("fill in template %s: %w", file, err)
	}
	return b.Bytes(), nil
}

// goVersion is what the generic methods of package stream need.
const goVersion = "1.27.0"

// moduleFiles makes go.mod and, with --replace-module, go.sum: the dependencies are then those of that folder, which
// needs no network. Without it go.sum is nil, and go mod tidy finds out.
func moduleFiles(o newOptions) (mod, sum []byte, err error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "module %s\n\ngo %s\n\n", o.module, goVersion)
	if o.replace == "" {
		if v := version.Of().Streamd; strings.HasPrefix(v, "v") && !strings.Contains(v, "+dirty") {
			fmt.Fprintf(&b, "require %s %s\n", version.Module, v)
		}
		return b.Bytes(), nil, nil
	}
	source, err := filepath.Abs(o.replace)
	if err != nil {
		return nil, nil, fmt.Errorf("find %s: %w", o.replace, err)
	}
	theirs, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return nil, nil, failf(exitNotFound, "--replace-module %s: %w", o.replace, err)
	}
	if sum, err = os.ReadFile(filepath.Join(source, "go.sum")); err != nil {
		return nil, nil, failf(exitNotFound, "--replace-module %s: %w", o.replace, err)
	}
	fmt.Fprintf(&b, "require %s v0.0.0\n\nreplace %s => %s\n\nrequire (\n", version.Module, version.Module, source)
	for _, r := range requirements(string(theirs)) {
		fmt.Fprintf(&b, "\t%s // indirect\n", r)
	}
	b.WriteString(")\n")
	return b.Bytes(), sum, nil
}

// requirements returns the "path version" pairs of a go.mod.
func requirements(mod string) []string {
	var found []string
	block := false
	for line := range strings.Lines(mod) {
		line, _, _ = strings.Cut(line, "//")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "require" && fields[1] == "(":
			block = true
		case len(fields) == 1 && fields[0] == ")":
			block = false
		case block && len(fields) == 2:
			found = append(found, fields[0]+" "+fields[1])
		case len(fields) == 3 && fields[0] == "require":
			found = append(found, fields[1]+" "+fields[2])
		}
	}
	return found
}

func tidy(ctx context.Context, dir string) error {
	run := exec.CommandContext(ctx, "go", "mod", "tidy")
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
