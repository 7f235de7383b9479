// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bufio"
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/streamd/streamd/engine/api"
)

// Process is one worker process. Its methods may be called at the same time.
type Process struct {
	// Name is also that of its log file.
	Name string
	// State is the folder of its local state.
	State string
	// Ended is closed when the process has ended and all of its log was read.
	Ended chan struct{}

	address string // of its HTTP API
	cmd     *exec.Cmd
	stdin   io.Closer // open as long as we live
	err     error     // may be read when Ended is closed

	mu struct {
		sync.Mutex
		transactionalID string // of its present membership
		last            []string
	}
}

// Start runs this executable again as a worker with a name of its own and a folder of local state. Its log goes to NAME.log
// in the folder logs, which exists. The environment is ours, without settings of streamd, and with env, which has the form
// of [os.Environ].
func Start(name, logs, state string, env ...string) (*Process, error) {
	p := &Process{Name: name, State: state, Ended: make(chan struct{})}
	var err error
	if p.address, err = FreeAddress(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(logs, name+".log"))
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(environ(), "STREAMD_HTTP_ADDRESS="+p.address, "STREAMD_PPROF_ADDRESS=", "STREAMD_STATE_DIR="+state)
	p.cmd.Env = append(p.cmd.Env, env...)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, outputWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = outputWriter, outputWriter
	err = p.cmd.Start()
	if closeErr := outputWriter.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.follow(output, file)
	return p, nil
}

// environ is our environment without settings: an unknown one would be refused.
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "STREAMD_") {
			env = append(env, kv)
		}
	}
	return env
}

// follow copies the log to a file, and reads from it what others want to know.
func (p *Process) follow(output io.ReadCloser, file io.WriteCloser) {
	in := bufio.NewScanner(output)
	in.Buffer(nil, 4<<20)
	for in.Scan() {
		line := in.Text()
		fmt.Fprintln(file, line)
		p.note(line)
	}
	output.Close()
	p.err = p.cmd.Wait()
	file.Close()
	close(p.Ended)
}

func (p *Process) note(line string) {
	var entry struct {
		Message         string `json:"msg"`
		TransactionalID string `json:"transactionalID"`
	}
	parsed := json.Unmarshal([]byte(line), &entry) == nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if parsed && entry.Message == "joining group" {
		p.mu.transactionalID = entry.TransactionalID
	}
	p.mu.last = append(p.mu.last, line)
	if len(p.mu.last) > 20 {
		p.mu.last = p.mu.last[1:]
	}
}

// HasEnded says whether the process has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}

// Err waits for the end of the process and says how it went; nil is exit code 0.
func (p *Process) Err() error {
	<-p.Ended
	return p.err
}

// TransactionalID is that of the worker's present membership in its group; "" before it has one.
func (p *Process) TransactionalID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.transactionalID
}

// Tail is the end of the log.
func (p *Process) Tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.mu.last, "\n    ")
}

// Status asks the worker what it does. A worker that does not answer has no tasks as far as we know.
func (p *Process) Status(ctx context.Context) (api.Status, error) {
	var snap api.Status
	body, err := p.Get(ctx, "/api/v1/status")
	if err != nil {
		return snap, err
	}
	return snap, json.Unmarshal(body, &snap)
}

// Get fetches a path of the worker's HTTP API, within two seconds.
func (p *Process) Get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// Kill ends the process with SIGKILL and waits for its end. It does nothing to one that has ended.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.Name, err)
	}
	<-p.Ended
	return nil
}

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %v to %s: %w", s, p.Name, err)
	}
	return nil
}

// FreeAddress returns an address of this machine that nobody listens on now.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
