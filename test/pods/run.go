// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	kafkabroker "github.com/streamd/streamd/test/kafka"

	"github.com/streamd/streamd/test/fleet"
)

// run is one run of the command.
type run struct {
	fleet.Crew
	opts    options
	rand    *rand.Rand // of the scenarios' choices
	admin   *kafka.Admin
	store   *fleet.Store
	berths  []*berth
	feeder  *feeder
	watcher *watcher
	querier *querier
	result  result

	wired    bool // workers start behind lines
	standbys int  // that workers start with
}

// execute does everything. The error is about the run itself; broken promises are in the result.
func execute(ctx context.Context, o options) (res *result, err error) {
	berths, err := openBerths(&o)
	if err != nil {
		return nil, err
	}
	scene, err := fleet.Open(ctx, app, o.dir, listeners(berths)...)
	if err != nil {
		return nil, err
	}
	r := &run{Crew: fleet.Crew{Scene: scene}, opts: o, rand: rand.New(rand.NewPCG(o.Seed, 2)), berths: berths}
	r.Say("seed %d", o.Seed)
	defer func() { err = errors.Join(err, r.Close(o.keep || err != nil || res.Broken())) }()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer r.release()
	r.result.Options = o
	if err := r.perform(ctx); err != nil {
		var found strings.Builder
		r.result.printTables(&found)
		r.Say("it ends early; until then:\n%s", found.String())
		return nil, fmt.Errorf("%w (seed %d, logs in %s)", err, o.Seed, filepath.Join(r.Dir, "logs"))
	}
	return r.finish(), nil
}

// prepare makes everything but the workers.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.store, err = r.OpenStore(ctx, r.opts.S3); err != nil {
		return err
	}
	for _, b := range r.berths {
		b.broker.LeadTo(r.Broker.ListenerAddr(b.name))
		b.store.LeadTo(r.store.Addr())
	}
	cfg := config.Default()
	cfg.Brokers = []string{r.Broker.Addr()}
	if r.admin, err = kafka.NewAdmin(ctx, cfg); err != nil {
		return err
	}
	if err := r.CreateTopics(ctx, r.opts.Partitions, events, updates); err != nil {
		return err
	}
	if r.feeder, err = newFeeder(&r.opts, r.Broker.Addr()); err != nil {
		return err
	}
	r.querier = newQuerier(&r.opts, &r.Faults, r.feeder)
	r.Changed = r.querier.direct
	r.watcher, err = newWatcher(&r.opts, &r.Faults, r.Broker.Addr())
	return err
}

func (r *run) release() {
	r.KillAll()
	r.admin.Close()
	for _, b := range r.berths {
		if err := b.close(); err != nil {
			r.Say("%v", err)
		}
	}
}

// perform makes the state, then runs the scenarios beside feeder and watcher.
func (r *run) perform(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var routines sync.WaitGroup
	defer func() {
		cancel()
		routines.Wait()
		r.feeder.cl.Close()
	}()
	routines.Go(func() { r.watcher.watch(ctx) })
	if err := r.fill(ctx); err != nil {
		return err
	}
	routines.Go(func() { r.feeder.feed(ctx) })
	if r.opts.Queries > 0 {
		routines.Go(func() { r.querier.ask(ctx) })
	}
	for _, name := range r.opts.Scenarios {
		s, _ := scenarioNamed(name)
		if err := r.play(ctx, s); err != nil {
			return fmt.Errorf("scenario %s: %w", name, err)
		}
	}
	if err := r.sweep(ctx); err != nil {
		return err
	}
	return r.StopAll(ctx)
}

// sweep gives every key one more event, which finds its state to be what it should be, or not.
func (r *run) sweep(ctx context.Context) error {
	r.Say("asking every key for its state")
	if err := r.feeder.fill(ctx); err != nil {
		return err
	}
	return r.check(ctx, "the end")
}

// fill makes the state and waits until it is checkpointed.
func (r *run) fill(ctx context.Context) error {
	if err := r.staff(ctx, r.opts.Workers); err != nil {
		return err
	}
	r.Say("filling: %d keys, %s of state", r.opts.keys(), config.FormatSize(r.opts.StateBytes))
	began := time.Now()
	if err := r.feeder.fill(ctx); err != nil {
		return err
	}
	if err := r.caughtUp(ctx); err != nil {
		return err
	}
	r.Say("filled in %.0f s; waiting for a checkpoint of it", time.Since(began).Seconds())
	return r.checkpointed(ctx)
}

// play runs one scenario under load, and checks the results.
func (r *run) play(ctx context.Context, s scenario) error {
	r.wired, r.standbys = s.lines, 0
	if err := r.staff(ctx, r.opts.Workers); err != nil {
		return err
	}
	r.feeder.start()
	r.querier.on.Store(true)
	if err := fleet.Wait(ctx, r.opts.Calm); err != nil { // the cadence of the output
		return err
	}
	r.Say("scenario %s", s.name)
	// What the output does by itself, to compare with.
	if err := r.during(ctx, incident{Kind: s.name, What: nothing}, func() error { return fleet.Wait(ctx, r.opts.Calm) }); err != nil {
		return err
	}
	if err := s.play(r, ctx); err != nil {
		return err
	}
	return r.check(ctx, "scenario "+s.name)
}

// staff sees to it that there are so many workers with the present settings, each with a part of the tasks. Where there
// are others they end in order and leave their disks to the new ones.
func (r *run) staff(ctx context.Context, n int) error {
	var disks []string
	for _, p := range r.All {
		disks = append(disks, p.State)
	}
	if err := r.StopAll(ctx); err != nil {
		return err
	}
	for i := range n {
		disk := ""
		if i < len(disks) {
			disk = disks[i]
		}
		if _, err := r.hire(disk); err != nil {
			return err
		}
	}
	return r.settled(ctx)
}

// hire starts a worker with the present settings. An empty disk asks for one of its own.
func (r *run) hire(disk string) (*fleet.Process, error) {
	o := &r.opts
	env := []string{
		childEnv + "=" + strconv.Itoa(o.ValueBytes),
		"STREAMD_BROKERS=" + r.Broker.Addr(),
		"STREAMD_STORE_URL=" + r.store.URL(),
		"STREAMD_SESSION_TIMEOUT=" + o.SessionTimeout.String(),
		"STREAMD_COMMIT_INTERVAL=" + o.CommitInterval.String(),
		"STREAMD_CHECKPOINT_INTERVAL=" + o.CheckpointInterval.String(),
		"STREAMD_STANDBY_REPLICAS=" + strconv.Itoa(r.standbys),
		"STREAMD_MEMORY=" + o.Memory,
	}
	if !r.wired {
		return r.Start(disk, env...)
	}
	b := r.freeBerth()
	if b == nil {
		return nil, fmt.Errorf("all %d berths are taken", len(r.berths))
	}
	p, err := r.Start(disk, append(env, "STREAMD_BROKERS="+b.broker.Addr(), "STREAMD_STORE_URL="+r.store.URLThrough(b.store.Addr()))...)
	b.process = p
	return p, err
}

// berth is a place for a worker behind lines of its own.
type berth struct {
	name          string // of the broker's listener
	broker, store *fleet.Line
	process       *fleet.Process // nil: there was none yet
}

// spareBerths are for workers that are started while as many as usual are there.
const spareBerths = 2

// openBerths opens lines for as many workers as there may be at a time; none if no scenario needs them.
func openBerths(o *options) (berths []*berth, err error) {
	if !o.lines() {
		return nil, nil
	}
	for i := range o.Workers + spareBerths {
		b := &berth{name: fmt.Sprintf("BERTH%d", i)}
		if b.broker, err = fleet.OpenLine(); err == nil {
			b.store, err = fleet.OpenLine()
		}
		if err != nil {
			return nil, err
		}
		berths = append(berths, b)
	}
	return berths, nil
}

// listeners lets the broker be reached through the lines, and say so.
func listeners(berths []*berth) (options []kafkabroker.Option) {
	for _, b := range berths {
		options = append(options, kafkabroker.WithDetour(b.name, b.broker.Addr()))
	}
	return options
}

func (b *berth) close() error { return errors.Join(b.broker.Close(), b.store.Close()) }

func (r *run) freeBerth() *berth {
	for _, b := range r.berths {
		if b.process == nil || b.process.HasEnded() {
			return b
		}
	}
	return nil
}

// berthOf returns the place of a worker that was started behind lines.
func (r *run) berthOf(p *fleet.Process) *berth {
	for _, b := range r.berths {
		if b.process == p {
			return b
		}
	}
	panic("pods: " + p.Name + " has no lines")
}
