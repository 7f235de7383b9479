// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/partition"
)

// trialWorkers run an application that begins from a cut.
const trialWorkers = 2

// trial is an application that begins from a cut. It is used by one goroutine.
type trial struct {
	*run
	outcome
	cut    checkpoint.Cut
	before line    // of the application that the cut is of
	whole  outputs // of that one
	how    string  // the command that begins it
	from   string  // what the command calls the cut
	halts  bool    // at a savepoint in the middle

	own    line // from the cut on
	out    outputs
	middle checkpoint.Cut
}

// fork is a trial with as many tasks as at the cut, rescaled one with others.
func (r *run) fork(cut checkpoint.Cut) *trial {
	return &trial{run: r, cut: cut, from: fmt.Sprint(cut.Round), whole: r.whole, how: "fork", outcome: outcome{App: fmt.Sprint("fork-", cut.Round), Command: "fork", Round: cut.Round}}
}

func (r *run) rescaled(cut checkpoint.Cut, partitions int, before line, whole outputs) *trial {
	return &trial{
		run: r, cut: cut, from: fmt.Sprint(cut.Round), before: before, whole: whole, how: fmt.Sprint("rescale --partitions ", partitions),
		outcome: outcome{App: fmt.Sprintf("%s-%d-%d", cut.App, cut.Round, partitions), Command: fmt.Sprint("rescale ", partitions), Round: cut.Round},
	}
}

// execute begins the application by the program's own command, runs it to the end with a kill on the way, and checks what
// it has written. The error is about the run itself; broken promises are in the outcome.
func (t *trial) execute(ctx context.Context) (err error) {
	at, err := t.stateOf(ctx, t.cut)
	if err != nil {
		return err
	}
	t.InFlight = t.cut.InFlight()
	var faults []string
	if t.own, faults = t.before.branch(t.whole, at); len(faults) > 0 {
		t.fault(faults...)
	}
	if err := t.begin(ctx); err != nil || len(t.Faults) > 0 {
		return err
	}
	if err := t.work(ctx); err != nil {
		return fmt.Errorf("%s: %w", t.App, err)
	}
	if t.out, err = t.outputsOf(ctx, t.App+"."); err != nil {
		return err
	}
	t.Counts, t.Totals = t.out.size()
	t.fault(t.own.check(t.want, t.out)...)
	for w := range t.want.totals {
		if !t.own.isOpen(w) {
			t.Closed++
		}
	}
	return nil
}

// begin runs the command that begins the application.
func (t *trial) begin(ctx context.Context) error {
	began := time.Now()
	err := t.command(ctx, t.cut.App, fmt.Sprintf("%s --from %s --as %s --prefix %s.", t.how, t.from, t.App, t.App))
	t.Began = time.Since(began)
	return err
}

// command runs a command of the pipeline's own program to its end.
func (t *trial) command(ctx context.Context, app, line string) error {
	verb, _, _ := strings.Cut(line, " ")
	name := t.App + "-" + verb
	p, err := t.program(app, name, t.stateDir(name), line)
	if err != nil {
		return err
	}
	select {
	case <-p.Ended:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.Kill())
	}
	if err := p.Err(); err != nil {
		t.fault(fmt.Sprintf("%q ended with %v:\n    %s", line, err, p.Tail()))
	}
	return nil
}

// How long a trial takes at least, so that it has a middle to kill in, and where it is halted, another one.
const (
	leastWork  = 2 * time.Second
	halvedWork = 6 * time.Second
)

// work runs the workers to their end, and kills one on the way.
func (t *trial) work(ctx context.Context) (err error) {
	began := time.Now()
	from := inputsOf(t.cut)
	left, least := int64(0), leastWork
	if t.halts {
		least = halvedWork
	}
	for tp, end := range t.ends {
		if tp.Topic == orders {
			left += end - from[tp]
		}
	}
	// Tasks are on different workers and lanes.
	while := least * time.Duration(t.opts.Partitions) / time.Duration(max(1, left))
	c := t.newCrew(t.App, untilEnd, whileEnv+"="+while.String())
	if t.halts {
		c.line = "run"                                                    // which does not end before it is halted
		c.settings = append(c.settings, "STREAMD_CHECKPOINT_INTERVAL=1h") // the savepoint has its turn at once
	}
	defer func() { err = errors.Join(err, c.killAll()) }()
	if err := c.startAll(trialWorkers); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, t.opts.Limit)
	defer cancel()
	if t.halts {
		if err := t.halt(limited, c); err != nil || len(t.Faults) > 0 {
			return err
		}
		from = inputsOf(t.middle)
	}
	if t.Killed, err = c.strike(limited, from); err != nil && limited.Err() == nil {
		return err
	}
	err = c.join(ctx)
	t.Took = time.Since(began)
	t.fault(c.faults...)
	return err
}

// middlePoint is the savepoint at which an application is halted.
const middlePoint = "middle"

// halt stops the application at a savepoint in the middle of its work, and lets it go on. Nothing may have been written
// beyond the savepoint.
func (t *trial) halt(ctx context.Context, c *crew) error {
	if _, _, err := c.middle(ctx, inputsOf(t.cut)); err != nil {
		return err
	}
	if err := t.command(ctx, t.App, "savepoint create "+middlePoint+" --stop"); err != nil || len(t.Faults) > 0 {
		return err
	}
	if err := c.join(ctx); err != nil {
		return err
	}
	repo := checkpoint.NewRepository(t.store, t.App)
	saved, err := repo.Savepoints(ctx, 1)
	if err != nil {
		return err
	}
	if len(saved) != 1 {
		return fmt.Errorf("there are %d savepoints, expected one", len(saved))
	}
	if t.middle, err = repo.LoadCut(ctx, 1, saved[0].Round); err != nil {
		return err
	}
	at, err := t.stateOf(ctx, t.middle)
	if err != nil {
		return err
	}
	out, err := t.outputsOf(ctx, t.App+".")
	if err != nil {
		return err
	}
	for customer, list := range out.counts {
		if last := list[len(list)-1]; last != at.counts[customer] {
			t.fault(fmt.Sprintf("customer %d: the savepoint holds %+v, the last update is %+v", customer, at.counts[customer], last))
		}
	}
	if err := t.command(ctx, t.App, "resume"); err != nil {
		return err
	}
	c.line = untilEnd
	return c.startAll(trialWorkers)
}

// inputsOf is where the tasks stood at a cut.
func inputsOf(cut checkpoint.Cut) map[partition.TopicPartition]int64 {
	inputs := map[partition.TopicPartition]int64{}
	for _, m := range cut.Manifests {
		for topic, offsets := range m.Position.Inputs {
			for p, at := range offsets {
				inputs[partition.TopicPartition{Topic: topic, Partition: p}] = at
			}
		}
	}
	return inputs
}

// clear deletes what the application has made, but for its checkpoints.
func (t *trial) clear(ctx context.Context) error {
	internal, err := t.admin.InternalTopics(ctx, t.App)
	errs := []error{err, t.admin.DeleteTopics(ctx, append(internal, t.App+"."+counts, t.App+"."+totals)...)}
	states, err := filepath.Glob(filepath.Join(t.dir, "state", t.App+"-*"))
	errs = append(errs, err)
	for _, dir := range states {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// try executes a trial and reports it.
func (r *run) try(ctx context.Context, t *trial) error {
	if err := t.execute(ctx); err != nil {
		return err
	}
	r.report.add(t.outcome)
	return nil
}

// tryFork tries a fork.
func (r *run) tryFork(ctx context.Context, cut checkpoint.Cut) error {
	t := r.fork(cut)
	return errors.Join(r.try(ctx, t), t.clear(context.WithoutCancel(ctx)))
}

// Numbers of tasks of the stages behind a repartition topic, after a rescale and after another one.
const (
	more  = 8
	fewer = 6
)

// tryRescale tries a rescale of a cut, and then one of a savepoint of the application that it has given.
func (r *run) tryRescale(ctx context.Context, cut checkpoint.Cut) (err error) {
	first := r.rescaled(cut, more, line{}, r.whole)
	first.halts = true
	defer func() { err = errors.Join(err, first.clear(context.WithoutCancel(ctx))) }()
	if err := r.try(ctx, first); err != nil || len(first.Faults) > 0 {
		return err
	}
	second := r.rescaled(first.middle, fewer, first.own, first.out)
	second.from = middlePoint
	return errors.Join(r.try(ctx, second), second.clear(context.WithoutCancel(ctx)))
}
