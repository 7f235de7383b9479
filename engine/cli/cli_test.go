// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/version"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		each(c, visit)
	}
}

func commandLines() []*cobra.Command {
	return []*cobra.Command{Generic(), Command(counter())}
}

func TestEveryCommandHasAnExampleThatParses(t *testing.T) {
	t.Parallel()
	for _, root := range commandLines() {
		each(root, func(cmd *cobra.Command) {
			if cmd == root || !cmd.Runnable() || cmd.Name() == "help" || strings.Contains(cmd.CommandPath(), "completion") {
				return
			}
			if cmd.Example == "" || cmd.Short == "" {
				t.Errorf("%s has no example or no description", cmd.CommandPath())
			}
			for line := range strings.Lines(cmd.Example) {
				line, _, _ = strings.Cut(line, "|")
				line, _, _ = strings.Cut(line, ">")
				words := strings.Fields(line)
				if len(words) < 2 || words[0] != root.Name() {
					t.Errorf("%s: example %q does not begin with the binary's name", cmd.CommandPath(), line)
					continue
				}
				found, rest, err := root.Find(words[1:])
				if err == nil {
					err = found.ParseFlags(rest)
				}
				if err != nil {
					t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				}
			}
		})
	}
}

func TestNoFlagTakesASecret(t *testing.T) {
	t.Parallel()
	for _, root := range commandLines() {
		each(root, func(cmd *cobra.Command) {
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if strings.Contains(f.Name, "password") && !strings.HasSuffix(f.Name, "-file") {
					t.Errorf("%s --%s", cmd.CommandPath(), f.Name)
				}
			})
		})
	}
}

func TestMistakesOnTheCommandLineAreUsageErrorsWithAProposal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		text string
	}{
		{[]string{"descibe"}, "describe"},
		{[]string{"checkpoints", "lst"}, "did you mean list?"},
		{[]string{"run", "--comit-interval", "1s"}, "did you mean --commit-interval?"},
		{[]string{"run", "--commit-interval", "soon"}, "not a duration"},
		{[]string{"run", "--until", "tomorrow"}, "the only bound is end"},
		{[]string{"run", "extra"}, "unknown command"},
		{[]string{"describe", "-o", "jason"}, "did you mean json?"},
		{[]string{"state", "get", "per-word"}, "arg(s)"},
		{[]string{"dev", "--input", "nonsense", "--dir", filepath.Join(t.TempDir(), "dev"), "--memory=256MiB"}, "expected topic=file"},
	} {
		execute(t.Context(), counter(), nil, tc.args...).want(t, exitUsage, tc.text, "--help")
	}
}

func TestInvalidSettingsAreReportedAtOnceWithExitCode3(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"run", "dev", "config view"} {
		environ := []string{"STREAMD_COMIT_FLOOR=1s", "STREAMD_LANES=many"}
		args := strings.Fields(command)
		execute(t.Context(), counter(), environ, args...).want(t, exitInvalid, "did you mean STREAMD_COMMIT_FLOOR?", "lanes")
	}
	execute(t.Context(), counter(), nil, "run", "--lanes=-1", "--memory=1MiB").want(t, exitInvalid, "lanes", "memory")
}

func TestInvalidPipelineIsReportedWithExitCode3(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("broken")
	stream.From(p, "in", codec.String, codec.String).Group().Count("")
	for _, command := range []string{"run", "describe"} {
		execute(t.Context(), p, nil, command).want(t, exitInvalid, "the pipeline is not valid", "name")
	}
}

func TestDescribeWritesEveryFormat(t *testing.T) {
	t.Parallel()
	for format, text := range map[string]string{"text": "sub-topology 0", "json": `"subTopologies"`, "dot": "digraph", "mermaid": "flowchart"} {
		r := execute(t.Context(), counter(), nil, "describe", "-o", format).want(t, 0, text)
		if r.err != "" {
			t.Errorf("talk: %s", r.err)
		}
	}
}

func TestConfigViewTellsOrigins(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "streamd.yaml")
	if err := os.WriteFile(file, []byte("commit:\n  floor: 5ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := execute(t.Context(), counter(), []string{"STREAMD_LANES=3"}, "config", "view", "--origin", "--config", file, "--brokers", "a:1", "-o", "json").want(t, 0)
	got := map[string]settingValue{}
	for _, v := range decode[[]settingValue](t, r) {
		got[v.Name] = v
	}
	for name, want := range map[string][2]string{
		"brokers":         {"a:1", "flag --brokers"},
		"lanes":           {"3", "env STREAMD_LANES"},
		"commit.floor":    {"5ms", "file " + file + ":2"},
		"commit.interval": {"100ms", "default"},
		"app.id":          {"counter", "default (the pipeline's name)"},
	} {
		if v := got[name]; v.Value != want[0] || v.Origin != want[1] {
			t.Errorf("%s is %+v, expected %v", name, v, want)
		}
	}
	if len(got) != len(config.Settings()) {
		t.Errorf("%d settings of %d", len(got), len(config.Settings()))
	}
	execute(t.Context(), counter(), nil, "config", "view", "--origin").want(t, 0, "ORIGIN", "default")
}

func TestVersionTellsWhatItWasBuiltFrom(t *testing.T) {
	t.Parallel()
	execute(t.Context(), nil, nil, "version").want(t, 0, "streamd", "go1")
	if v := decode[version.Info](t, execute(t.Context(), nil, nil, "version", "-o", "json").want(t, 0)); v.Go == "" {
		t.Errorf("got %+v", v)
	}
}

func TestGenericBinaryAsksForTheApplication(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"status", "reset --yes x", "checkpoints list"} {
		execute(t.Context(), nil, nil, strings.Fields(command)...).want(t, exitUsage, "--app-id")
	}
}

func TestBrokerThatDoesNotAnswerEndsTheCommandAtTheTimeout(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	execute(t.Context(), counter(), nil, "status", "--brokers", l.Addr().String(), "--timeout", "300ms").want(t, exitTimeout)
	execute(t.Context(), counter(), nil, "status", "--brokers", "127.0.0.1:1").want(t, exitFailure, "connection refused")
}

func TestExitCodesFollowTheError(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errSignal{sig})
		if code := exitCode(ctx, fmt.Errorf("list topics: %w", context.Canceled)); code != exitSignal+int(sig) {
			t.Errorf("%v: %d", sig, code)
		}
		if code := exitCode(ctx, nil); code != 0 {
			t.Errorf("a drained worker: %d", code)
		}
	}
	for _, r := range reactions {
		if code := exitCode(t.Context(), fmt.Errorf("do x: %w", r.err)); code != r.code {
			t.Errorf("%v: %d, expected %d", r.err, code, r.code)
		}
	}
	if code := exitCode(t.Context(), errors.New("something")); code != exitFailure {
		t.Errorf("got %d", code)
	}
}

func TestDevRunsEverythingAndGoesOnWhereItEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	file := filepath.Join(dir, "lines.txt")
	if err := os.WriteFile(file, []byte("to be\nor not\nto be\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dev := []string{"dev", "--dir", filepath.Join(dir, "dev"), "--input", "lines=" + file, "--until", "end", "--http-address=", "--pprof-address=", "--memory=256MiB"}
	r := execute(ctx, regrouper(), nil, dev...).want(t, 0, "put 3 records into topic lines", "counts\tto be\t2\n", "counts\tor not\t1\n")
	if n := strings.Count(r.out, "\n"); n != 3 {
		t.Errorf("%d lines: %s", n, r.out)
	}
	r = execute(ctx, regrouper(), nil, dev...).want(t, 0, "holds records already")
	if r.out != "" {
		t.Errorf("printed again: %s", r.out)
	}
	execute(ctx, regrouper(), nil, append(dev, "--reset", "--print", "counts")...).want(t, 0, "counts\tto be\t2\n")
	execute(ctx, regrouper(), nil, append(dev, "--print", "count")...).want(t, exitUsage, "did you mean counts?")
	execute(ctx, regrouper(), nil, append(dev, "--partitions", "7")...).want(t, exitPrecondition, "--reset")
}

func TestNewPipelineBuildsAndItsTestPasses(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it compiles a module")
	}
	source, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "clicks")
	execute(t.Context(), nil, nil, "new", "clicks", "--dir", dir, "--module", "example.com/clicks", "--replace-module", source).want(t, 0, "go test ./...")
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		run := exec.CommandContext(t.Context(), "go", args...)
		run.Dir = dir
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("go %v: %v\n%s", args, err, out)
		}
	}
	execute(t.Context(), nil, nil, "new", "clicks", "--dir", dir, "--replace-module", source).want(t, exitPrecondition, "exists already")
	execute(t.Context(), nil, nil, "new", "my clicks").want(t, exitUsage, "cannot be the name")
	execute(t.Context(), nil, nil, "new", "x", "--dir", dir+"2", "--module", "../up").want(t, exitUsage, "path of a module")
	execute(t.Context(), nil, nil, "new", "x", "--dir", dir+"2", "--replace-module", dir+"3").want(t, exitNotFound)
}

func TestBytesOfAnUnknownCodecAreGuessed(t *testing.T) {
	t.Parallel()
	n, err := codec.Int64.Append(nil, 42)
	if err != nil || guess(n) != "42" || guess([]byte("text")) != "text" || guess([]byte{0xff}) != "0xff" || guess([]byte{0, 0, 0, 0, 0, 0, 0, 5}) != "5" {
		t.Errorf("guessed %s", guess(n))
	}
}
