// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// openStore makes the place where the workers keep their checkpoints: a folder, or an S3 server behind a line that can be cut.
func (r *run) openStore(ctx context.Context) (err error) {
	if r.store, err = r.OpenStore(ctx, r.opts.S3); err != nil {
		return err
	}
	r.storeURL = r.store.URL()
	if !r.opts.S3 {
		return nil
	}
	if r.line, err = fleet.OpenLine(); err != nil {
		return err
	}
	r.line.LeadTo(r.store.Addr())
	r.storeURL = r.store.URLThrough(r.line.Addr())
	return nil
}

// outage cuts the workers off from their object store. Processing must go on, the age of the checkpoints must rise,
// and both must heal by themselves.
func (r *run) outage(ctx context.Context) error {
	if err := r.settled(ctx); err != nil {
		return err
	}
	o := &outage{Length: r.opts.Outage}
	o.AgeBefore, _ = r.oldestCheckpoint(ctx)
	before := r.watcher.seen.Load()
	r.Say("object store: cut off for %v; the oldest checkpoint is %.1f s old", o.Length, o.AgeBefore)
	r.line.Cut(true)
	if err := fleet.Wait(ctx, o.Length); err != nil {
		return err
	}
	o.AgeAtEnd, _ = r.oldestCheckpoint(ctx)
	o.Outputs = r.watcher.seen.Load() - before
	r.line.Cut(false)
	healed := time.Now()
	if o.Outputs == 0 {
		r.Faults.Add("object store away for %v: no output was committed in this time; %s", o.Length, r.describe(ctx))
	}
	if o.AgeAtEnd < o.AgeBefore {
		r.Faults.Add("object store away for %v: the age of the oldest checkpoint went from %.1f s to %.1f s, it should rise", o.Length, o.AgeBefore, o.AgeAtEnd)
	}
	for deadline := time.Now().Add(comebackLimit); ; {
		age, known := r.oldestCheckpoint(ctx)
		if known && age < time.Since(healed).Seconds() {
			break
		}
		if time.Now().After(deadline) {
			r.Faults.Add("object store back for %v: the oldest checkpoint is still %.1f s old", comebackLimit, age)
			break
		}
		if err := fleet.Wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	o.Healed = time.Since(healed)
	r.Say("object store: %d outputs while it was away, age rose to %.1f s, new checkpoints of all tasks %.1f s after", o.Outputs, o.AgeAtEnd, o.Healed.Seconds())
	r.result.Outage = o
	return r.workers.reap()
}

// oldestCheckpoint is the age in seconds of the oldest task checkpoint of all workers; false where one does not say.
func (r *run) oldestCheckpoint(ctx context.Context) (oldest float64, known bool) {
	known = true
	for _, p := range r.workers.All {
		age, ok := checkpointAge(ctx, p)
		oldest, known = max(oldest, age), known && ok
	}
	return oldest, known
}
