// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
)

func TestATokenIsMadeWithItsLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# without an end"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) result {
		return execute(t.Context(), nil, nil, append([]string{"api", "token", "new"}, args...)...)
	}
	made := decode[newToken](t, run("--role", "operator", "--name", "alice", "--append", file, "-o", "json").want(t, 0, "added to"))
	if !strings.HasPrefix(made.Token, "streamd_") || !strings.HasPrefix(made.Line, "operator alice sha256:") || strings.Contains(made.Line, made.Token) {
		t.Errorf("%+v", made)
	}
	run("--name", "bob", "--append", file).want(t, 0, "viewer bob sha256:")
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(string(got), "\n"); len(lines) != 4 || lines[1] != made.Line {
		t.Errorf("%q", lines)
	}
	cfg := config.Default()
	cfg.APITokensFile = file
	if _, err := api.New(api.Options{Config: cfg, Log: zap.NewNop()}); err != nil {
		t.Error(err)
	}
	run("--role", "root", "--name", "x").want(t, exitUsage, "viewer, operator, admin or peer")
	run("--name", "a b").want(t, exitUsage, "letters")
	run().want(t, exitUsage, "name")
}
