// SPDX-License-Identifier: Apache-2.0

package kafkabroker

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

//go:embed pom.xml
var pom []byte

// ErrUnavailable says that this machine lacks what a broker needs: Java, or the jars and the means to get them.
var ErrUnavailable = errors.New("no real Kafka broker on this machine")

// oldestJava is the oldest major version that Kafka 4 brokers run on.
const oldestJava = 17

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// Prepare looks for Java and resolves the broker's jars, and returns the folder that holds them. The first call of
// a user downloads about 45 MB. An error is ErrUnavailable, with the reason. It is safe to call in several
// processes at the same time.
func Prepare(ctx context.Context) (string, error) {
	if err := checkJava(ctx); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	jars, err := resolveJars(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return jars, nil
}

func checkJava(ctx context.Context) error {
	path, err := exec.LookPath("java")
	if err != nil {
		return errors.New("java is not in PATH: install a Java runtime, version 17 or newer")
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s -version: %w: %s", path, err, bytes.TrimSpace(out))
	}
	match := javaVersion.FindSubmatch(out)
	if match == nil {
		return fmt.Errorf("read the version of %s: none in %q", path, out)
	}
	if major, err := strconv.Atoi(string(match[1])); err != nil || major < oldestJava {
		return fmt.Errorf("%s is version %s: install version %d or newer", path, match[1], oldestJava)
	}
	return nil
}

// resolveJars returns the cache folder of the pom's jars and fills it if need be.
func resolveJars(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil { // no home folder, as in some containers
		cache = filepath.Join(os.TempDir(), "cache-"+strconv.Itoa(os.Getuid()))
	}
	hash := sha256.Sum256(pom)
	base := filepath.Join(cache, "streamd", "kafka")
	jars := filepath.Join(base, hex.EncodeToString(hash[:8]))
	if _, err := os.Stat(jars); err == nil {
		return jars, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("make the jar cache: %w", err)
	}
	unlock, err := lock(jars + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(jars); err == nil { // another process was faster
		return jars, nil
	}
	return jars, download(ctx, base, jars)
}

// download fills a temporary folder and renames it, so that a broken download is never taken for a good one.
func download(ctx context.Context, base, jars string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("mvn is not in PATH: install Maven, which fetches the broker's jars once")
	}
	work, err := os.MkdirTemp(base, "download-")
	if err != nil {
		return fmt.Errorf("make the download folder: %w", err)
	}
	defer os.RemoveAll(work)
	project := filepath.Join(work, "pom.xml")
	if err := os.WriteFile(project, pom, 0o644); err != nil {
		return fmt.Errorf("write the pom: %w", err)
	}
	filled := filepath.Join(work, "jars")
	cmd := exec.CommandContext(ctx, mvn, "--quiet", "--batch-mode", "--strict-checksums", "--file", project,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+filled)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch the broker's jars with %s: %w: %s", mvn, err, bytes.TrimSpace(out))
	}
	if err := os.Rename(filled, jars); err != nil {
		return fmt.Errorf("move the jars into the cache: %w", err)
	}
	return nil
}

// lock waits for the exclusive lock on a file. The system releases it when the process ends.
func lock(path string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the jar cache: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file.Close, nil
}
