// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/test/fleet"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

type checkpoints struct {
	common
	state, changed, store, memory string
	rounds                        int
	segment                       time.Duration
}

func checkpointCommand() *cobra.Command {
	var c checkpoints
	cmd := &cobra.Command{
		Use: "checkpoint", Short: "Checkpoints of a large state of which little changes: what they send, and what they cost", Args: cobra.NoArgs,
		Long: "Loads a state through the engine, stores it, and then lets the engine run at full load over few of its keys: in turn\n" +
			"without a checkpoint and with one. At the end it restores the newest checkpoint, and copies the same objects.\n\n" +
			"It takes about five times the state in disk space: the state, the newest changes of it in Kafka, the objects, and a copy.",
		Example: "  go run ./bench checkpoint --state 2GiB --changed 1% --rounds 5",
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	c.flags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&c.state, "state", "2GiB", "size of the state: keys of 8 bytes with values of 100 to 1000")
	fs.StringVar(&c.changed, "changed", "1%", "share of the keys that change between two rounds")
	fs.IntVar(&c.rounds, "rounds", 5, "checkpoints to measure")
	fs.DurationVar(&c.segment, "segment", 10*time.Second, "how long to measure without a checkpoint, and at least with one")
	fs.StringVar(&c.store, "store", "", "object store (default: a folder of the run)")
	fs.StringVar(&c.memory, "memory", "1GiB", "the memory setting of the engine")
	return cmd
}

// checkpointRound is one measured checkpoint of all tasks.
type checkpointRound struct {
	Changed  int64   `json:"changedBytes"` // keys and values
	Uploaded int64   `json:"uploadedBytes"`
	Seconds  float64 `json:"seconds"`             // from the start of the round to its end
	Without  float64 `json:"recordsPerSecBefore"` // before it, without a checkpoint
	With     float64 `json:"recordsPerSecDuring"` // from its start on
}

// checkpointed is the outcome of a run.
type checkpointed struct {
	StateBytes int64             `json:"stateBytes"`
	Keys       uint64            `json:"keys"`
	BaseBytes  int64             `json:"firstUploadBytes"`
	BaseTook   float64           `json:"firstSeconds"`
	Rounds     []checkpointRound `json:"rounds"`
	PauseP50   float64           `json:"pauseMillisP50"`
	PauseP99   float64           `json:"pauseMillisP99"`
	PauseMax   float64           `json:"pauseMillisMax"`
	Restore    restored          `json:"restore"`
}

// measuredEngine is the engine of a run, with what is needed to watch it and to start its rounds.
type measuredEngine struct {
	*process
	address string
	repo    *checkpoint.Repository
	load    *changes
}

func (c checkpoints) run(ctx context.Context) error {
	state, share, err := c.sizes()
	if err != nil {
		return err
	}
	b, closeBench, err := c.open(ctx, smallLogs()...)
	if err != nil {
		return err
	}
	defer closeBench()
	if c.store == "" {
		c.store = "file://" + filepath.Join(b.dir, "store")
	}
	store, err := open.Open(ctx, c.store, open.Options{})
	if err != nil {
		return err
	}
	app := unique("checkpoint")
	e, err := c.launch(ctx, b, app, checkpoint.NewRepository(store, app))
	if err != nil {
		return err
	}
	e.load = b.changes(app+"-in", state)
	r := checkpointed{Keys: e.load.keys, StateBytes: e.load.stateBytes()}
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- e.follow(watching) }()
	err = c.measure(ctx, e, share, &r)
	stopWatching()
	err = errors.Join(err, <-watched)
	if _, serr := e.stop(); err == nil {
		err = serr
	}
	if err != nil {
		return err
	}
	if r.Restore, err = measureRestore(ctx, store, e.repo, filepath.Join(b.dir, "restored")); err != nil {
		return err
	}
	if c.output == "json" {
		return printJSON(r)
	}
	return r.print()
}

func (c checkpoints) sizes() (state int64, share float64, err error) {
	if state, err = config.ParseSize(c.state); err != nil {
		return 0, 0, err
	}
	number, ok := strings.CutSuffix(c.changed, "%")
	share, err = strconv.ParseFloat(number, 64)
	if !ok || err != nil || share <= 0 || share > 100 {
		return 0, 0, fmt.Errorf("--changed is %q, expected a percentage such as 1%%", c.changed)
	}
	return state, share / 100, nil
}

// smallLogs has the broker drop what was read and trimmed at once, so that the disk holds little more than the state.
func smallLogs() []kafkabroker.Option {
	return []kafkabroker.Option{
		kafkabroker.WithProperty("log.segment.bytes", "33554432"),
		kafkabroker.WithProperty("log.retention.bytes", "268435456"),
		kafkabroker.WithProperty("log.retention.check.interval.ms", "1000"),
		kafkabroker.WithProperty("log.segment.delete.delay.ms", "1000"),
	}
}

// launch starts the engine, which begins no rounds of its own.
func (c checkpoints) launch(ctx context.Context, b *bench, app string, repo *checkpoint.Repository) (*measuredEngine, error) {
	engine, err := b.engine(ctx)
	if err != nil {
		return nil, err
	}
	for _, topic := range []string{app + "-in", app + "-out"} {
		if err := b.createTopic(ctx, topic); err != nil {
			return nil, err
		}
	}
	e := &measuredEngine{repo: repo}
	if e.address, err = fleet.FreeAddress(); err != nil {
		return nil, err
	}
	e.process, err = launch(ctx, engine, "newest", "--in", app+"-in", "--out", app+"-out", "--group", app, "--brokers", b.brokers,
		"--http-address", e.address, "--state-dir", filepath.Join(b.dir, "state"), "--store-url", c.store, "--memory", c.memory,
		"--checkpoint-interval", "10h", "--checkpoints-kept", "2")
	if err != nil {
		return nil, err
	}
	return e, e.untilReady(ctx)
}

// follow tells the generator how far the engine is.
func (e *measuredEngine) follow(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		f, err := scrape(ctx, e.address)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		e.load.processed.Store(int64(f.sum("streamd_records_in_total")))
	}
}

// measure loads the state, stores it, and alternates. The second round lets the engine trim what the load has left in Kafka.
func (c checkpoints) measure(ctx context.Context, e *measuredEngine, share float64, r *checkpointed) error {
	say("loading %d keys, %d MiB", r.Keys, r.StateBytes>>20)
	if err := e.load.run(ctx, true); err != nil {
		return err
	}
	if err := e.until(ctx, "all was loaded", func() (bool, error) { return e.load.backlog() == 0, nil }); err != nil {
		return err
	}
	for n := int64(1); n <= 2; n++ {
		first, err := e.checkpoint(ctx, n)
		if err != nil {
			return err
		}
		if n == 1 {
			r.BaseBytes, r.BaseTook = first.Uploaded, first.Seconds
		}
	}
	// Half of the keys change before a round and half after the one before: while a checkpoint is made the same keys change
	// as until then, so that it does not matter at which moment the tasks enter the round.
	span := max(1, uint64(share/2*float64(r.Keys)))
	e.load.move(span)
	e.load.take()
	before, err := scrape(ctx, e.address)
	if err != nil {
		return err
	}
	group, loadCtx := errgroup.WithContext(ctx)
	loadCtx, stop := context.WithCancel(loadCtx)
	defer stop()
	group.Go(func() error { return e.load.run(loadCtx, false) })
	for n := range c.rounds {
		say("round %d of %d", n+1, c.rounds)
		round, err := c.alternate(ctx, e, int64(3+n))
		if err != nil {
			return err
		}
		r.Rounds = append(r.Rounds, round)
		e.load.move(span)
	}
	stop()
	if err := group.Wait(); err != nil {
		return err
	}
	after, err := scrape(ctx, e.address)
	const pause = "streamd_checkpoint_pause_seconds"
	r.PauseMax = 1000 * after.sum("streamd_checkpoint_pause_max_seconds")
	r.PauseP50 = min(r.PauseMax, 1000*quantile(0.5, pause, before, after))
	r.PauseP99 = min(r.PauseMax, 1000*quantile(0.99, pause, before, after))
	return err
}

// alternate measures the engine without a checkpoint, and then with one. Before that it lets the engine find the keys that
// change from now on: what it is spared later would else be taken for a gain.
func (c checkpoints) alternate(ctx context.Context, e *measuredEngine, n int64) (checkpointRound, error) {
	if err := e.until(ctx, "the keys of the round had changed", func() (bool, error) { return e.load.warm(), nil }); err != nil {
		return checkpointRound{}, err
	}
	without, err := e.rate(ctx, func() error { return fleet.Wait(ctx, c.segment) })
	if err != nil {
		return checkpointRound{}, err
	}
	var round checkpointRound
	changed := e.load.take()
	with, err := e.rate(ctx, func() (err error) {
		began := time.Now()
		if round, err = e.checkpoint(ctx, n); err == nil {
			err = fleet.Wait(ctx, c.segment-time.Since(began))
		}
		return err
	})
	round.Changed, round.Without, round.With = changed, without, with
	return round, err
}

// rate is how many records a second the engine processes during f.
func (e *measuredEngine) rate(ctx context.Context, f func() error) (float64, error) {
	from, err := scrape(ctx, e.address)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	to, err := scrape(ctx, e.address)
	return (to.sum("streamd_records_in_total") - from.sum("streamd_records_in_total")) / time.Since(began).Seconds(), err
}

// checkpoint starts a round and waits for its end. The engine looks for new rounds once a second.
func (e *measuredEngine) checkpoint(ctx context.Context, n int64) (r checkpointRound, err error) {
	from, err := scrape(ctx, e.address)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if _, err := e.repo.StartRound(ctx, 1, n, checkpoint.GoOn); err != nil {
		return r, err
	}
	err = e.until(ctx, "the round was over", func() (bool, error) { return e.repo.Over(ctx, 1, n) })
	if err != nil {
		return r, err
	}
	r.Seconds = time.Since(began).Seconds()
	// The last parts are counted a moment after they are in the store.
	const stored, failed = "streamd_checkpoints_total", "streamd_checkpoint_errors_total"
	var to figures
	err = e.until(ctx, "all tasks had counted their parts", func() (bool, error) {
		to, err = scrape(ctx, e.address)
		done := to.sum(stored) + to.sum(failed) - from.sum(stored) - from.sum(failed)
		return err != nil || done >= from.sum("streamd_tasks"), err
	})
	if err != nil {
		return r, err
	}
	if to.sum(failed) > from.sum(failed) {
		return r, fmt.Errorf("round %d was abandoned: a task could not store its part", n)
	}
	const bytes = "streamd_checkpoint_uploaded_bytes_total"
	r.Uploaded = int64(to.sum(bytes) - from.sum(bytes))
	return r, nil
}

func (r checkpointed) print() error {
	fmt.Printf("%d keys, %d MiB of keys and values; first checkpoint: %d MiB in %.1f s\n", r.Keys, r.StateBytes>>20, r.BaseBytes>>20, r.BaseTook)
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "round\tchanged MiB\tuploaded MiB\tuploaded/changed\tseconds\trecords/s without\trecords/s with\tloss %\t")
	line := func(name string, c checkpointRound) {
		fmt.Fprintf(tw, "%s\t%.1f\t%.1f\t%.2f\t%.1f\t%.0f\t%.0f\t%.1f\t\n", name, float64(c.Changed)/(1<<20), float64(c.Uploaded)/(1<<20),
			float64(c.Uploaded)/float64(c.Changed), c.Seconds, c.Without, c.With, 100*(1-c.With/c.Without))
	}
	var mean checkpointRound
	n := float64(len(r.Rounds))
	for i, c := range r.Rounds {
		line(strconv.Itoa(i+1), c)
		mean.Changed, mean.Uploaded, mean.Seconds = mean.Changed+c.Changed, mean.Uploaded+c.Uploaded, mean.Seconds+c.Seconds/n
		mean.Without, mean.With = mean.Without+c.Without/n, mean.With+c.With/n
	}
	if n > 0 {
		mean.Changed, mean.Uploaded = mean.Changed/int64(n), mean.Uploaded/int64(n)
		line("mean", mean)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Printf("pauses: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", r.PauseP50, r.PauseP99, r.PauseMax)
	fmt.Printf("restore: %d MiB in %d files, %.0f MiB/s; plain copy of the same objects %.0f MiB/s; share %.2f\n",
		r.Restore.Bytes>>20, r.Restore.Files, r.Restore.MiBPerSec, r.Restore.PlainMiBPerSec, r.Restore.MiBPerSec/r.Restore.PlainMiBPerSec)
	return nil
}
