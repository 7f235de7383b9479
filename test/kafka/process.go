// SPDX-License-Identifier: Apache-2.0

package kafkabroker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// readyLine is logged after the broker has registered and was let in by the controller.
const readyLine = "Kafka Server started"

// fencedLine is logged when the controller fences the broker.
const fencedLine = "Fencing broker"

// keptLog bounds what of the log's end goes into an error, in bytes.
const keptLog = 8 << 10

// process is one run of the Java virtual machine.
type process struct {
	os    *os.Process
	ended chan struct{} // closed when it has ended; err may be read then
	err   error
	log   *logWriter
}

// startProcess starts java and returns once it runs. The log is appended to dir/broker.log.
func startProcess(dir string, args []string) (*process, error) {
	file, err := os.OpenFile(filepath.Join(dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the broker's log: %w", err)
	}
	p := &process{ended: make(chan struct{}), log: newLogWriter(file)}
	cmd := exec.Command("java", args...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go func() {
		defer file.Close()
		// Linux sends the parent-death signal when the thread ends that made the child, so it is held until the end.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.os = cmd.Process
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start java: %w", err)
	}
	return p, nil
}

// waitReady returns when the broker says that it is up, and fails when it ends or ctx is done first.
func (p *process) waitReady(ctx context.Context) error {
	select {
	case <-p.log.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("the broker ended while starting: %w; the end of its log:\n%s", p.err, p.log.tail())
	case <-ctx.Done():
		return fmt.Errorf("the broker is not up yet: %w; the end of its log:\n%s", context.Cause(ctx), p.log.tail())
	}
}

// waitFenced returns when the controller has fenced the broker, or has not within limit.
func (p *process) waitFenced(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.log.fenced:
		return nil
	case <-timer.C:
		return nil
	case <-p.ended:
		return fmt.Errorf("the controller ended: %w; the end of its log:\n%s", p.err, p.log.tail())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// kill ends the process as kill -9 does and waits until it is gone.
func (p *process) kill() error {
	if err := p.os.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the broker: %w", err)
	}
	<-p.ended
	return nil
}

// stop asks the process to end in order, and kills it when it has not within limit.
func (p *process) stop(limit time.Duration) error {
	if err := p.os.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the broker: %w", err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("stop the broker: still running after %s, killed", limit), p.kill())
	}
}

// logWriter copies the log to a file, keeps its end and looks for two lines.
type logWriter struct {
	file   *os.File
	ready  chan struct{} // closed at readyLine
	fenced chan struct{} // closed at fencedLine
	mu     struct {
		sync.Mutex
		last []byte
	}
}

func newLogWriter(file *os.File) *logWriter {
	return &logWriter{file: file, ready: make(chan struct{}), fenced: make(chan struct{})}
}

// Write implements io.Writer.
func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.last = append(w.mu.last, b...)
	w.closeAtLocked(readyLine, w.ready)
	w.closeAtLocked(fencedLine, w.fenced)
	if extra := len(w.mu.last) - keptLog; extra > 0 {
		w.mu.last = append(w.mu.last[:0], w.mu.last[extra:]...)
	}
	return w.file.Write(b)
}

func (w *logWriter) closeAtLocked(line string, seen chan struct{}) {
	if !isClosed(seen) && bytes.Contains(w.mu.last, []byte(line)) {
		close(seen)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (w *logWriter) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.mu.last)
}
