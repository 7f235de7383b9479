// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// workers starts and ends worker processes. Its methods are called by one goroutine, the scenario's.
type workers struct {
	fleet.Crew
	run    *run
	commit map[*fleet.Process]time.Duration // commit intervals
}

// start runs a worker. An empty state folder asks for one of its own; commit is its commit interval.
func (f *workers) start(state string, commit time.Duration) (*fleet.Process, error) {
	o := &f.run.opts
	p, err := f.Start(state,
		childEnv+"="+strconv.FormatUint(o.Groups, 10),
		"STREAMD_BROKERS="+f.Broker.Addr(),
		"STREAMD_STORE_URL="+f.run.storeURL,
		"STREAMD_SESSION_TIMEOUT="+o.SessionTimeout.String(),
		"STREAMD_COMMIT_INTERVAL="+commit.String(),
		"STREAMD_COMMIT_FLOOR="+(commit/10).String(), // a slow worker is slow at low load too
		"STREAMD_CHECKPOINT_INTERVAL="+o.CheckpointInterval.String(),
		"STREAMD_MEMORY=512MiB",
	)
	if err == nil {
		f.commit[p] = commit
	}
	return p, err
}

// checkpointAge is the age of the worker's oldest task checkpoint; false: it does not say.
func checkpointAge(ctx context.Context, p *fleet.Process) (oldest float64, known bool) {
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

// reap reports workers that have ended without being killed, and starts others in their place.
func (f *workers) reap() error {
	for range f.Reap() {
		if _, err := f.start("", f.run.opts.CommitInterval); err != nil {
			return err
		}
	}
	return nil
}
