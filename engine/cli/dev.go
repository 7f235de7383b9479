// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
)

// devOptions are the flags of dev.
type devOptions struct {
	dir        string
	port       int
	partitions int32
	inputs     []string // topic=file
	show       []string // topics
	quiet      bool
	reset      bool
	until      string
}

func (p *program) devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the pipeline with a broker inside, nothing to install",
		Long: "Runs everything in this process: a Kafka broker that keeps its data in a folder, a folder as object store, the\n" +
			"topics that the pipeline needs, and one worker. Other Kafka clients can connect to the broker while it runs. What\n" +
			"the pipeline writes is printed on stdout. The next dev goes on where this one ended, unless --reset.\n\n" +
			"--input puts the lines of a file (- is stdin) into a source topic, one record each, if the topic is still empty.",
		Example: p.example("dev", "dev --input lines=book.txt --until end", "dev --reset --print results"),
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.dev(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", filepath.Join(".streamd", p.pipeline), "`folder` for broker, checkpoints and state")
	f.IntVar(&o.port, "port", 0, "`port` of the broker on 127.0.0.1; 0: a free one")
	f.Int32Var(&o.partitions, "partitions", 4, "`number` of partitions of topics that are created")
	f.StringArrayVar(&o.inputs, "input", nil, "`topic=file`: put the file's lines into the topic; may be repeated")
	f.StringSliceVar(&o.show, "print", nil, "`topics` to print; without it all that the pipeline writes")
	f.BoolVar(&o.quiet, "quiet", false, "print no topic")
	f.BoolVar(&o.reset, "reset", false, "delete the folder first")
	addUntil(cmd, &o.until)
	return withSettings(cmd, true)
}

// development is one run of dev.
type development struct {
	o        devOptions
	cfg      *config.Config
	topology *topology.Topology
	cmd      *cobra.Command
}

func (p *program) dev(cmd *cobra.Command, o devOptions) (err error) {
	cfg, err := p.settings(cmd)
	if err != nil {
		return err
	}
	if o.reset {
		if err := resetFolder(o.dir); err != nil {
			return err
		}
	}
	broker, err := devbroker.Start(devbroker.Options{Dir: filepath.Join(o.dir, "broker"), Port: o.port})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	if err := devSettings(cfg, o, broker.Addr()); err != nil {
		return err
	}
	wo, err := p.workerOptions(cmd, cfg, o.until)
	if err != nil {
		return err
	}
	d := &development{o: o, cfg: cfg, topology: wo.Topology, cmd: cmd}
	if err := d.createTopics(broker); err != nil {
		return err
	}
	say(cmd, "%s: broker at %s, everything in %s", p.name, broker.Addr(), o.dir)
	return d.run(cmd.Context(), func(ctx context.Context) error {
		return runWorker(ctx, wo)
	})
}

// devSettings points everything that the user has not set to the folder.
func devSettings(cfg *config.Config, o devOptions, addr string) error {
	abs, err := filepath.Abs(o.dir)
	if err != nil {
		return fmt.Errorf("find folder %s: %w", o.dir, err)
	}
	cfg.Brokers = []string{addr}
	if cfg.IsDefault("store.url") {
		folder := url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(abs, "checkpoints"))}
		cfg.StoreURL = folder.String()
	}
	if cfg.IsDefault("state.dir") {
		cfg.StateDir = filepath.Join(abs, "state")
	}
	if cfg.IsDefault("log.level") {
		cfg.LogLevel = "warn" // the results are what one looks at
	}
	return nil
}

// resetFolder deletes what dev has put into a folder, and nothing else.
func resetFolder(dir string) error {
	for _, part := range []string{"broker", "checkpoints", "state"} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			return fmt.Errorf("reset %s: %w", dir, err)
		}
	}
	return nil
}

// createTopics creates the topics that the pipeline reads and writes.
func (d *development) createTopics(broker *devbroker.Broker) error {
	topics := append(d.topology.UserSources(), d.topology.UserOutputs()...)
	if err := broker.CreateTopics(d.o.partitions, topics...); err != nil {
		return failf(exitPrecondition, "%w: use the same --partitions, or begin anew with --reset", err)
	}
	return nil
}

// run feeds the inputs, prints the outputs, and works until ctx ends or the bounded run has ended.
func (d *development) run(ctx context.Context, work func(context.Context) error) error {
	adm, err := kafka.NewAdmin(ctx, d.cfg)
	if err != nil {
		return err
	}
	defer adm.Close()
	follower, err := d.follow(ctx, adm)
	if err != nil {
		return err
	}
	defer follower.Close()
	for _, in := range d.o.inputs {
		if err := d.feed(ctx, adm, in); err != nil {
			return err
		}
	}
	printer := &printer{w: d.cmd.OutOrStdout()}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var watch sync.WaitGroup
	var watchErr error
	watch.Go(func() { watchErr = follower.Run(following, printer.show) })
	err = work(ctx)
	stop()
	watch.Wait()
	if err == nil && watchErr == nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), catchUpTimeout)
		defer cancel()
		watchErr = follower.CatchUp(last, printer.show)
	}
	return errors.Join(err, watchErr, printer.err)
}

// catchUpTimeout bounds the printing of what the last commit has brought.
const catchUpTimeout = 10 * time.Second

func (d *development) follow(ctx context.Context, adm *kafka.Admin) (*kafka.Follower, error) {
	if d.o.quiet {
		return adm.Follow(ctx)
	}
	outputs := d.topology.UserOutputs()
	if len(d.o.show) == 0 {
		return adm.Follow(ctx, outputs...)
	}
	for _, t := range d.o.show {
		if !slices.Contains(outputs, t) {
			return nil, failf(exitUsage, "--print %s: the pipeline does not write that topic%s", t, didYouMean(t, outputs))
		}
	}
	return adm.Follow(ctx, d.o.show...)
}

// feed puts the lines of a file into a topic, if nothing is in it.
func (d *development) feed(ctx context.Context, adm *kafka.Admin, input string) error {
	topic, path, ok := strings.Cut(input, "=")
	if !ok {
		return failf(exitUsage, "--input %s: expected topic=file", input)
	}
	if sources := d.topology.UserSources(); !slices.Contains(sources, topic) {
		return failf(exitUsage, "--input %s: the pipeline does not read topic %s%s", input, topic, didYouMean(topic, sources))
	}
	ends, err := adm.HighWatermarks(ctx, topic)
	if err != nil {
		return err
	}
	for _, end := range ends {
		if end > 0 {
			say(d.cmd, "topic %s holds records already: %s was not put in again (--reset begins anew)", topic, path)
			return nil
		}
	}
	in := io.NopCloser(d.cmd.InOrStdin())
	if path != "-" {
		if in, err = os.Open(path); err != nil {
			return failf(exitNotFound, "--input %s: %w", input, err)
		}
	}
	defer in.Close()
	n, err := kafka.Feed(ctx, d.cfg, topic, lines(in))
	if err != nil {
		return err
	}
	say(d.cmd, "put %d records into topic %s", n, topic)
	return nil
}

// maxLineBytes is the longest line that can become a record: the broker's default limit.
const maxLineBytes = 1 << 20

// lines yields the lines of r, without their ends, in memory of their own.
func lines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
		for s.Scan() {
			if !yield([]byte(s.Text()), nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(nil, fmt.Errorf("read a line: %w", err))
		}
	}
}

// printer writes records for people: topic, key and value, separated by tabs.
type printer struct {
	w   io.Writer
	err error // of the first write that failed
}

func (p *printer) show(m kafka.Message) {
	if p.err != nil {
		return
	}
	key, value := "-", "null"
	if m.Key != nil {
		key = guess(m.Key)
	}
	if m.Value != nil {
		value = guess(m.Value)
	}
	_, p.err = fmt.Fprintf(p.w, "%s\t%s\t%s\n", m.Topic, key, value)
}
