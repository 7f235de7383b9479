// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/streamd/streamd/test/fleet"
)

// scenario is something that happens to the workers.
type scenario struct {
	name  string
	lines bool // workers start behind lines
	play  func(*run, context.Context) error
}

var scenarios = []scenario{
	{"rolling", false, (*run).rolling},
	{"scale", false, (*run).scale},
	{"storm", false, (*run).storm},
	{"failover", false, (*run).failover},
	{"zombie", true, (*run).zombie},
	{"broker-away", true, (*run).brokerAway},
	{"store-away", true, (*run).storeAway},
	{"slow", true, (*run).slow},
	{"broker-restart", false, (*run).brokerRestart},
}

func scenarioNamed(name string) (scenario, bool) {
	for _, s := range scenarios {
		if s.name == name {
			return s, true
		}
	}
	return scenario{}, false
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// tail is how long after an incident the output is looked at.
const tail = time.Second

// during does something to the workers, waits until all has come to rest and there is output of every task, and notes what
// the output had of it.
func (r *run) during(ctx context.Context, i incident, do func() error) error {
	i.span.From = time.Now()
	if err := do(); err != nil {
		return err
	}
	if err := r.settled(ctx); err != nil {
		return err
	}
	if err := r.flowing(ctx); err != nil {
		return err
	}
	if err := fleet.Wait(ctx, tail); err != nil {
		return err
	}
	i.span.To = time.Now()
	r.record(i)
	return nil
}

// any returns one of the workers.
func (r *run) any() *fleet.Process { return r.All[r.rand.IntN(len(r.All))] }

// tasksOf names the tasks of a worker.
func tasksOf(ctx context.Context, p *fleet.Process) (tasks []string, err error) {
	snap, err := p.Status(ctx)
	for _, t := range snap.Tasks {
		tasks = append(tasks, t.Task)
	}
	return tasks, err
}

// dismiss ends workers by SIGTERM, all at once.
func (r *run) dismiss(ctx context.Context, kind string, all ...*fleet.Process) error {
	c := change{workers: len(r.All) - len(all)}
	for _, p := range all {
		tasks, err := tasksOf(ctx, p)
		if err != nil {
			return err
		}
		c.leaving += len(tasks)
	}
	return r.during(ctx, incident{Kind: kind, What: fmt.Sprintf("-%d worker", len(all)), Fewest: c.fewest(r.opts.Partitions)}, func() error {
		for _, p := range all {
			if err := p.Signal(syscall.SIGTERM); err != nil {
				return err
			}
		}
		for _, p := range all {
			if err := r.Stopped(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// admit starts workers, all at once, on disks; an empty one asks for one of its own.
func (r *run) admit(ctx context.Context, kind string, disks ...string) error {
	n := len(disks)
	c := change{workers: len(r.All) + n, joining: n}
	return r.during(ctx, incident{Kind: kind, What: fmt.Sprintf("+%d worker", n), Fewest: c.fewest(r.opts.Partitions)}, func() error {
		for _, disk := range disks {
			if _, err := r.hire(disk); err != nil {
				return err
			}
		}
		return nil
	})
}

// rolling replaces each worker by a new one.
func (r *run) rolling(ctx context.Context) error {
	for _, p := range slices.Clone(r.All) {
		if r.opts.Surge {
			if err := r.admit(ctx, "rolling", ""); err != nil {
				return err
			}
		}
		if err := r.dismiss(ctx, "rolling", p); err != nil {
			return err
		}
		if !r.opts.Surge {
			if err := r.admit(ctx, "rolling", p.State); err != nil {
				return err
			}
		}
	}
	return nil
}

// scale goes from two workers to four, to one, and back to two.
func (r *run) scale(ctx context.Context) error {
	for _, n := range []int{2, 4, 1, 2} {
		var err error
		switch have := len(r.All); {
		case n < have:
			err = r.dismiss(ctx, "scale", r.All[n:]...)
		case n > have:
			err = r.admit(ctx, "scale", make([]string, n-have)...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storm changes the workers so often that placement has no time to come to rest.
func (r *run) storm(ctx context.Context) error {
	i := incident{Kind: "storm", Fewest: unknown}
	changes := 0
	err := r.during(ctx, i, func() error {
		var going []*fleet.Process
		for end := time.Now().Add(r.opts.Storm); time.Now().Before(end); changes++ {
			p, err := r.gust()
			if err != nil {
				return err
			}
			if p != nil {
				going = append(going, p)
			}
			if err := fleet.Wait(ctx, r.opts.Every); err != nil {
				return err
			}
			r.Reap()
		}
		for _, p := range going {
			if err := r.Stopped(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	r.Say("storm: %d changes of the workers", changes)
	return err
}

// gust lets one worker come, die or leave. It returns the one that has got SIGTERM.
func (r *run) gust() (*fleet.Process, error) {
	come, kill := r.rand.IntN(2) == 0, r.rand.IntN(3) == 0
	if n := len(r.All); n == 1 || come && n <= r.opts.Workers {
		_, err := r.hire(r.leftDisk())
		return nil, err
	}
	p := r.any()
	if kill {
		return nil, r.Kill(p)
	}
	r.Forget(p)
	return p, p.Signal(syscall.SIGTERM)
}

// leftDisk is the disk of a worker that has ended, or "" for one in two calls, and where there is none.
func (r *run) leftDisk() string {
	inUse := map[string]bool{}
	var left []string
	for _, p := range r.Ever {
		if !p.HasEnded() {
			inUse[p.State] = true
		}
	}
	for _, p := range r.Ever {
		if !inUse[p.State] && !slices.Contains(left, p.State) {
			left = append(left, p.State)
		}
	}
	if len(left) == 0 || r.rand.IntN(2) == 0 {
		return ""
	}
	return left[r.rand.IntN(len(left))]
}
