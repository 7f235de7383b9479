// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// workers starts and ends worker processes. Its methods are called by one goroutine, the scenario's.
type workers struct {
	run     *run
	all     []*proc
	started int
}

// proc is one worker process.
type proc struct {
	*fleet.Process
	commit time.Duration
}

// start runs a worker. An empty state folder asks for one of its own; commit is its commit interval.
func (f *workers) start(state string, commit time.Duration) (*proc, error) {
	f.started++
	name := fmt.Sprintf("worker-%02d", f.started)
	if state == "" {
		state = filepath.Join(f.run.dir, "state", name)
	}
	o := &f.run.opts
	p, err := fleet.Start(name, filepath.Join(f.run.dir, "logs"), state,
		childEnv+"="+strconv.FormatUint(o.Groups, 10),
		"STREAMD_BROKERS="+f.run.brokers,
		"STREAMD_STORE_URL="+f.run.storeURL,
		"STREAMD_SESSION_TIMEOUT="+o.SessionTimeout.String(),
		"STREAMD_COMMIT_INTERVAL="+commit.String(),
		"STREAMD_COMMIT_FLOOR="+(commit/10).String(), // a slow worker is slow at low load too
		"STREAMD_CHECKPOINT_INTERVAL="+o.CheckpointInterval.String(),
		"STREAMD_MEMORY=512MiB",
	)
	if err != nil {
		return nil, err
	}
	started := &proc{p, commit}
	f.all = append(f.all, started)
	return started, nil
}

// checkpointAge is the age of the worker's oldest task checkpoint; false: it does not say.
func (p *proc) checkpointAge(ctx context.Context) (oldest float64, known bool) {
	body, err := p.Get(ctx, "/metrics")
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
func (f *workers) kill(p *proc) error {
	if err := p.Kill(); err != nil {
		return err
	}
	f.forget(p)
	return nil
}

func (f *workers) forget(p *proc) {
	f.all = slices.DeleteFunc(f.all, func(other *proc) bool { return other == p })
}

// reap reports workers that have ended without being killed, and starts others in their place.
func (f *workers) reap() error {
	for _, p := range slices.Clone(f.all) {
		if !p.HasEnded() {
			continue
		}
		f.forget(p)
		f.run.faults.add("%s ended by itself (%v); the end of its log:\n    %s", p.Name, p.Err(), p.Tail())
		if _, err := f.start("", f.run.opts.CommitInterval); err != nil {
			return err
		}
	}
	return nil
}

// killAll ends what is left, when the run is over for another reason than its end.
func (f *workers) killAll() {
	for _, p := range slices.Clone(f.all) {
		if err := f.kill(p); err != nil {
			f.run.say("%v", err)
		}
	}
}

// stopAll ends all workers in order; each must exit with code 0.
func (f *workers) stopAll(ctx context.Context) error {
	all := slices.Clone(f.all)
	for _, p := range all {
		if err := p.Signal(syscall.SIGTERM); err != nil {
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
func (f *workers) stopped(ctx context.Context, p *proc) error {
	select {
	case <-p.Ended:
		if err := p.Err(); err != nil {
			f.run.faults.add("%s did not end in order after SIGTERM (%v); the end of its log:\n    %s", p.Name, err, p.Tail())
		}
		f.forget(p)
		return nil
	case <-time.After(stopLimit):
		f.run.faults.add("%s still runs %v after SIGTERM; the end of its log:\n    %s", p.Name, stopLimit, p.Tail())
		return f.kill(p)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopLimit is longer than the workers' drain timeout.
const stopLimit = 40 * time.Second
