// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is an engine that is being measured.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu struct {
		sync.Mutex
		ready    time.Time
		cpuReady time.Duration
		peakRSS  int64
		tail     []string
	}
}

// launch starts an engine and watches its standard error for READY.
func launch(ctx context.Context, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, path, args...), done: make(chan struct{})}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 30 * time.Second
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go p.watch()
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.line(lines.Text())
		}
	}()
	return p, nil
}

func (p *process) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text == "READY" && p.mu.ready.IsZero() {
		p.mu.ready, p.mu.cpuReady = time.Now(), cpuOf(p.cmd.Process.Pid)
		return
	}
	p.mu.tail = append(p.mu.tail, text)
	p.mu.tail = p.mu.tail[max(0, len(p.mu.tail)-10):]
}

// watch samples memory until the process has ended.
func (p *process) watch() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
		if rss := rssOf(p.cmd.Process.Pid); rss > 0 {
			p.mu.Lock()
			p.mu.peakRSS = max(p.mu.peakRSS, rss)
			p.mu.Unlock()
		}
	}
}

// untilReady waits until records flow.
func (p *process) untilReady(ctx context.Context) error {
	return p.until(ctx, "it was ready", func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.mu.ready.IsZero(), nil
	})
}

// until polls, and ends with the process.
func (p *process) until(ctx context.Context, what string, is func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := is(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.done:
			_, err := p.wait()
			return errors.Join(fmt.Errorf("the engine ended before %s", what), err)
		}
	}
}

// used is what a process took from READY to its end.
type used struct {
	CPU     time.Duration
	Elapsed time.Duration
	PeakRSS int64
}

// wait waits for the end of the process.
func (p *process) wait() (used, error) {
	<-p.done
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		return used{}, fmt.Errorf("%s: %w: %s", p.cmd.Path, err, strings.Join(p.mu.tail, " | "))
	}
	state := p.cmd.ProcessState
	u := used{CPU: state.UserTime() + state.SystemTime() - p.mu.cpuReady, Elapsed: time.Since(p.mu.ready), PeakRSS: p.mu.peakRSS}
	if ru, ok := state.SysUsage().(*syscall.Rusage); ok {
		u.PeakRSS = max(u.PeakRSS, ru.Maxrss*1024)
	}
	return u, nil
}

// stop asks the process to drain, and waits for its end.
func (p *process) stop() (used, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return used{}, err
	}
	return p.wait()
}

// cpuOf reads user and system time of a process, which Linux counts in hundredths of a second.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rssOf reads the resident memory of a process, in bytes.
func rssOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
