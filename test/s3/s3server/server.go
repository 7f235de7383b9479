// SPDX-License-Identifier: Apache-2.0

package s3server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// What clients of the server use; path-style addressing.
const (
	AccessKey = "test"
	SecretKey = "testsecret1234"
	Region    = "us-east-1"
	Bucket    = "streamd" // exists
)

const (
	startAttempts = 5 // the free port may be taken by another process before the server has it
	startTimeout  = 20 * time.Second
	pollInterval  = 20 * time.Millisecond
)

// Start runs a server until the test ends and returns its endpoint, "http://127.0.0.1:port". Where it
// cannot be built or run the test is skipped, or fails if REQUIRE_S3=1.
func Start(t testing.TB) string {
	t.Helper()
	endpoint, stop, err := Launch(t.Context(), t.TempDir())
	if err == nil {
		t.Cleanup(stop)
		return endpoint
	}
	if os.Getenv("REQUIRE_S3") == "1" {
		t.Fatalf("no S3 server: %v", err)
	}
	t.Skipf("no S3 server (REQUIRE_S3=1 makes this a failure): %v", err)
	return ""
}

// Launch runs a server that keeps its data in folder, for commands. It returns the endpoint and what ends
// the process; ctx bounds the start only.
func Launch(ctx context.Context, folder string) (endpoint string, stop func(), err error) {
	path, err := binary(ctx)
	if err != nil {
		return "", nil, err
	}
	// A bucket of the server is a folder.
	if err := os.MkdirAll(filepath.Join(folder, Bucket), 0o755); err != nil {
		return "", nil, err
	}
	for range startAttempts {
		if endpoint, stop, err = launch(ctx, path, folder); err == nil {
			return endpoint, stop, nil
		}
	}
	return "", nil, err
}

// launch starts one process and waits until it answers.
func launch(ctx context.Context, path, folder string) (endpoint string, stop func(), err error) {
	address, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	output := &lockedBuffer{}
	command := exec.Command(path, "--port", address, "posix", folder)
	command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		return "", nil, fmt.Errorf("start %s: %w", path, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait()
	}()
	stop = func() {
		_ = command.Process.Kill()
		<-ended
	}
	if err := waitUntilServing(ctx, address, ended); err != nil {
		stop()
		return "", nil, fmt.Errorf("%w; its output:\n%s", err, output)
	}
	return "http://" + address, stop, nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

func waitUntilServing(ctx context.Context, address string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			return err
		}
		// Any answer, also "access denied", says that it is up.
		if response, err := http.DefaultClient.Do(request); err == nil {
			return response.Body.Close()
		}
		select {
		case <-ended:
			return errors.New("the server has ended")
		case <-ctx.Done():
			return fmt.Errorf("the server did not answer at %s within %s", address, startTimeout)
		case <-ticker.C:
		}
	}
}

// lockedBuffer collects output while it is read.
type lockedBuffer struct {
	mu struct {
		sync.Mutex
		bytes.Buffer
	}
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.Buffer.Write(p)
}

// String is the output so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.Buffer.String()
}
