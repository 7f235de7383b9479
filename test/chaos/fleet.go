// SPDX-License-Identifier: Apache-2.0

package main

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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/streamd/streamd/engine/worker"
)

// fleet starts and ends worker processes. Its methods are called by one goroutine, the scenario's.
type fleet struct {
	run     *run
	workers []*proc
	started int
}

// proc is one worker process.
type proc struct {
	name     string
	state    string // folder
	commit   time.Duration
	address  string // of its HTTP API
	cmd      *exec.Cmd
	stdin    io.Closer     // open as long as we live
	ended    chan struct{} // closed when it has ended; err may be read then
	err      error
	expected bool // we have killed it

	mu struct {
		sync.Mutex
		transactionalID string // of its present membership
		last            []string
	}
}

// start runs a worker. An empty state folder asks for one of its own; commit is its commit interval.
func (f *fleet) start(state string, commit time.Duration) (*proc, error) {
	f.started++
	p := &proc{name: fmt.Sprintf("worker-%02d", f.started), state: state, commit: commit, ended: make(chan struct{})}
	if state == "" {
		p.state = filepath.Join(f.run.dir, "state", p.name)
	}
	var err error
	if p.address, err = freeAddress(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(f.run.dir, "logs", p.name+".log"))
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = f.environ(p)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	logs, logWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = logWriter, logWriter
	err = p.cmd.Start()
	if closeErr := logWriter.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.follow(logs, file)
	f.workers = append(f.workers, p)
	return p, nil
}

// environ gives the worker its settings, and none of ours: an unknown setting would be refused.
func (f *fleet) environ(p *proc) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "STREAMD_") {
			env = append(env, kv)
		}
	}
	o := &f.run.opts
	return append(env,
		childEnv+"="+strconv.FormatUint(o.Groups, 10),
		"STREAMD_BROKERS="+f.run.brokers,
		"STREAMD_STATE_DIR="+p.state,
		"STREAMD_STORE_URL="+f.run.storeURL,
		"STREAMD_SESSION_TIMEOUT="+o.SessionTimeout.String(),
		"STREAMD_COMMIT_INTERVAL="+p.commit.String(),
		"STREAMD_COMMIT_FLOOR="+(p.commit/10).String(), // a slow worker is slow at low load too
		"STREAMD_CHECKPOINT_INTERVAL="+o.CheckpointInterval.String(),
		"STREAMD_MEMORY=512MiB",
		"STREAMD_HTTP_ADDRESS="+p.address,
		"STREAMD_PPROF_ADDRESS=",
	)
}

// follow copies the log to a file, and reads from it what the scenario wants to know.
func (p *proc) follow(logs io.ReadCloser, file io.WriteCloser) {
	in := bufio.NewScanner(logs)
	in.Buffer(nil, 4<<20)
	for in.Scan() {
		line := in.Text()
		fmt.Fprintln(file, line)
		p.note(line)
	}
	logs.Close()
	p.err = p.cmd.Wait()
	file.Close()
	close(p.ended)
}

func (p *proc) note(line string) {
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

func (p *proc) transactionalID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.transactionalID
}

// tail is the end of the log.
func (p *proc) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.mu.last, "\n    ")
}

// status asks the worker what it does. A worker that does not answer has no tasks as far as we know.
func (p *proc) status(ctx context.Context) (worker.Snapshot, error) {
	var snap worker.Snapshot
	body, err := p.get(ctx, "/api/v1/status")
	if err != nil {
		return snap, err
	}
	return snap, json.Unmarshal(body, &snap)
}

func (p *proc) get(ctx context.Context, path string) ([]byte, error) {
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

// checkpointAge is the age of the worker's oldest task checkpoint; false: it does not say.
func (p *proc) checkpointAge(ctx context.Context) (oldest float64, known bool) {
	body, err := p.get(ctx, "/metrics")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "streamd_checkpoint_age_seconds{") {
			continue
		}
		_, text, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			oldest, known = max(oldest, v), true
		}
	}
	return oldest, known
}

// kill ends the process with SIGKILL and takes it off the list.
func (f *fleet) kill(p *proc) error {
	p.expected = true
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.ended
	f.forget(p)
	return nil
}

func (f *fleet) forget(p *proc) {
	f.workers = slices.DeleteFunc(f.workers, func(other *proc) bool { return other == p })
}

func (p *proc) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %v to %s: %w", s, p.name, err)
	}
	return nil
}

// reap reports workers that have ended without being killed, and starts others in their place.
func (f *fleet) reap() error {
	for _, p := range slices.Clone(f.workers) {
		select {
		case <-p.ended:
		default:
			continue
		}
		f.forget(p)
		f.run.faults.add("%s ended by itself (%v); the end of its log:\n    %s", p.name, p.err, p.tail())
		if _, err := f.start("", f.run.opts.CommitInterval); err != nil {
			return err
		}
	}
	return nil
}

// killAll ends what is left, when the run is over for another reason than its end.
func (f *fleet) killAll() {
	for _, p := range slices.Clone(f.workers) {
		if err := f.kill(p); err != nil {
			f.run.say("%v", err)
		}
	}
}

// stopAll ends all workers in order; each must exit with code 0.
func (f *fleet) stopAll(ctx context.Context) error {
	all := slices.Clone(f.workers)
	for _, p := range all {
		if err := p.signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	for _, p := range all {
		if err := f.stopped(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// stopped waits for a worker that got SIGTERM.
func (f *fleet) stopped(ctx context.Context, p *proc) error {
	select {
	case <-p.ended:
		if p.err != nil {
			f.run.faults.add("%s did not end in order after SIGTERM (%v); the end of its log:\n    %s", p.name, p.err, p.tail())
		}
		f.forget(p)
		return nil
	case <-time.After(stopLimit):
		f.run.faults.add("%s still runs %v after SIGTERM; the end of its log:\n    %s", p.name, stopLimit, p.tail())
		return f.kill(p)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopLimit is longer than the workers' drain timeout.
const stopLimit = 40 * time.Second

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
