// SPDX-License-Identifier: Apache-2.0

package s3server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	module  = "github.com/versity/versitygw/cmd/versitygw"
	version = "v1.8.0"
)

// binary returns the path of the server, which it builds if it is not in the cache.
func binary(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	folder := filepath.Join(cache, "streamd-test", "versitygw-"+version)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	name := "versitygw"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := filepath.Join(folder, name)
	unlock, err := lock(filepath.Join(folder, "build.lock"))
	if err != nil {
		return "", fmt.Errorf("wait for another build: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, build(ctx, folder, name)
}

// build installs into a folder beside and renames, so that a build that was killed leaves no half binary.
func build(ctx context.Context, folder, name string) error {
	temp, err := os.MkdirTemp(folder, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	command := exec.CommandContext(ctx, "go", "install", module+"@"+version)
	command.Dir = temp // outside of any module
	for _, variable := range os.Environ() {
		// The flags of the test's own build are not for this one.
		if !strings.HasPrefix(variable, "GOFLAGS=") && !strings.HasPrefix(variable, "GOBIN=") && !strings.HasPrefix(variable, "GOWORK=") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "GOBIN="+temp, "GOTOOLCHAIN=auto", "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s@%s: %w\n%s", module, version, err, output)
	}
	return os.Rename(filepath.Join(temp, name), filepath.Join(folder, name))
}
