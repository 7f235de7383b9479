// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Run is a bounded run: where the user's topics ended when it was begun. All its workers, also those that are started
// again after a crash, have the same ends.
type Run struct {
	Number int64                      `json:"number"` // dense, from 1
	Ends   map[string]map[int32]int64 `json:"ends"`   // by topic and partition
}

func (r Run) validate() error {
	for topic, ends := range r.Ends {
		for p, end := range ends {
			if p < 0 || end < 0 {
				return fmt.Errorf("topic %.80q, partition %d ends at offset %d", topic, p, end)
			}
		}
	}
	return nil
}

// CurrentRun returns the newest bounded run of the incarnation that has not ended, and false if there is none; the Run
// returned with false has the number of the one to begin.
func (r *Repository) CurrentRun(ctx context.Context, incarnation int) (Run, bool, error) {
	l, err := r.life(incarnation)
	if err != nil {
		return Run{}, false, err
	}
	newest, ended := int64(0), int64(0)
	for info, err := range r.store.List(ctx, l.runs()) {
		if err != nil {
			return Run{}, false, fmt.Errorf("list bounded runs: %w", err)
		}
		if n, end, ok := l.parseRun(info.Name); ok && end {
			ended = max(ended, n)
		} else if ok {
			newest = max(newest, n)
		}
	}
	if newest <= ended {
		return Run{Number: ended + 1}, false, nil
	}
	run := Run{}
	if err := r.readDocument(ctx, l.run(newest), kindRun, &run); err != nil {
		return Run{}, false, fmt.Errorf("read bounded run %d: %w", newest, err)
	}
	if run.Number != newest {
		return Run{}, false, fmt.Errorf("read bounded run %d: %w: the object is of run %d", newest, ErrCorrupt, run.Number)
	}
	return run, true, nil
}

// BeginRun creates a bounded run if there is none of its number, and returns the one that stands.
func (r *Repository) BeginRun(ctx context.Context, incarnation int, run Run) (Run, error) {
	l, err := r.lifeRound(incarnation, run.Number)
	if err != nil {
		return Run{}, err
	}
	err = r.createDocument(ctx, l.run(run.Number), kindRun, run)
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return Run{}, fmt.Errorf("begin bounded run %d: %w", run.Number, err)
	}
	standing := Run{}
	if err := r.readDocument(ctx, l.run(run.Number), kindRun, &standing); err != nil {
		return Run{}, fmt.Errorf("read bounded run %d: %w", run.Number, err)
	}
	return standing, nil
}

// EndRun records that every task has finished the run. May be repeated.
func (r *Repository) EndRun(ctx context.Context, incarnation int, number int64) error {
	l, err := r.lifeRound(incarnation, number)
	if err != nil {
		return err
	}
	if _, err := r.mark(ctx, l.runEnded(number), "ended\n"); err != nil {
		return fmt.Errorf("end bounded run %d: %w", number, err)
	}
	return nil
}
