// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bufio"
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/streamd/streamd/engine/api"
)

// Entry is one line of a worker's log, with what others want to know of it.
type Entry struct {
	At      time.Time
	Worker  string // its name
	Message string
	Task    string   // if it is about one
	Tasks   []string // if it is about several
	Source  string   // of a task's state
	Round   int64    // if it is about one
	Took    time.Duration
	Error   string
}

// Process is one worker process. Its methods may be called at the same time.
type Process struct {
	// Name is also that of its log file.
	Name string
	// State is the folder of its local state.
	State string
	// Ended is closed when the process has ended and all of its log was read.
	Ended  chan struct{}
	speaks chan struct{} // closed by its first line

	address string // of its HTTP API
	cmd     *exec.Cmd
	stdin   io.Closer // open as long as we live
	err     error     // may be read when Ended is closed

	mu struct {
		sync.Mutex
		transactionalID string // of its present membership
		last            []string
		entries         []Entry
	}
}

// Start runs this executable again as a worker with a name of its own and a folder of local state. Its log goes to NAME.log
// in the folder logs, which exists. The environment is ours, without settings of streamd, and with env, which has the form
// of [os.Environ].
func Start(name, logs, state string, env ...string) (*Process, error) {
	p := &Process{Name: name, State: state, Ended: make(chan struct{}), speaks: make(chan struct{})}
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
	for first := true; in.Scan(); first = false {
		line := in.Text()
		if first {
			close(p.speaks)
		}
		fmt.Fprintln(file, line)
		p.note(line)
	}
	output.Close()
	p.err = p.cmd.Wait()
	file.Close()
	close(p.Ended)
}

func (p *Process) note(line string) {
	entry, id, parsed := parseEntry(line)
	p.mu.Lock()
	defer p.mu.Unlock()
	if parsed {
		entry.Worker = p.Name
		p.mu.entries = append(p.mu.entries, entry)
	}
	if parsed && entry.Message == "joining group" {
		p.mu.transactionalID = id
	}
	p.mu.last = append(p.mu.last, line)
	if len(p.mu.last) > 20 {
		p.mu.last = p.mu.last[1:]
	}
}

// parseEntry reads a line of a log, and the transactional id in it if there is just one.
func parseEntry(line string) (e Entry, transactionalID string, ok bool) {
	var in struct {
		At              float64        `json:"ts"` // seconds
		Message         string         `json:"msg"`
		Task            string         `json:"task"`
		Tasks           jsontext.Value `json:"tasks"` // names, or how many
		Source          string         `json:"source"`
		Round           int64          `json:"round"`
		Took            float64        `json:"duration"` // seconds
		Error           string         `json:"error"`
		TransactionalID jsontext.Value `json:"transactionalID"` // one or several
	}
	if json.Unmarshal([]byte(line), &in) != nil {
		return Entry{}, "", false
	}
	e = Entry{
		At: time.UnixMicro(int64(math.Round(in.At * 1e6))), Message: in.Message, Task: in.Task, Source: in.Source, Round: in.Round,
		Took: time.Duration(in.Took * 1e9), Error: in.Error,
	}
	if in.Tasks.Kind() == '[' && json.Unmarshal(in.Tasks, &e.Tasks) != nil {
		return Entry{}, "", false
	}
	if in.TransactionalID.Kind() == '"' && json.Unmarshal(in.TransactionalID, &transactionalID) != nil {
		return Entry{}, "", false
	}
	return e, transactionalID, true
}

// Entries are the lines of the log since a moment, in the order in which they were written.
func (p *Process) Entries(since time.Time) []Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := len(p.mu.entries)
	for first > 0 && !p.mu.entries[first-1].At.Before(since) {
		first--
	}
	return slices.Clone(p.mu.entries[first:])
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

// Endpoint is the URL of the worker's HTTP API.
func (p *Process) Endpoint() string { return "http://" + p.address }

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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Endpoint()+path, nil)
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

// PeakMemory is the most resident memory that the process has had, in bytes; 0 if it has ended, and where the system does
// not say: Linux does. What wait(2) tells of ended processes has that of their parent in it.
func (p *Process) PeakMemory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "\nVmHWM:")
	var kibibytes int64
	if _, err := fmt.Sscan(rest, &kibibytes); err != nil {
		return 0
	}
	return kibibytes << 10
}

// Kill ends the process with SIGKILL and waits for its end. It does nothing to one that has ended.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.Name, err)
	}
	<-p.Ended
	return nil
}

// Signal sends a signal to the process, once it has said a word: before that it may not know the signal yet, and die of it.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.speaks:
	case <-p.Ended:
	}
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
