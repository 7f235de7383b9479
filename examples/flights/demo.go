// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
)

// demo shows the pipeline at work with nothing installed.
type demo struct {
	dir  string // of broker, checkpoints, state and log
	rate int    // flights a second
	out  io.Writer
	// size of the terminal; nil: there is none, and the demo ends by itself.
	size func() (width, height int)
	cfg  *config.Config
}

func demoCommand() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the pipeline at work on real flights, with a broker inside",
		Long: "Runs a Kafka broker, a folder as object store and one worker in this process, sends 20,000 flights at a steady\n" +
			"pace and shows the results as they change. On a terminal it then stays up until Ctrl-C; elsewhere it ends.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.out = cmd.OutOrStdout()
			if f, ok := d.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				d.size = func() (int, int) { return terminalSize(f) }
			}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&d.dir, "dir", filepath.Join(".streamd", "flights-demo"), "`folder` for everything that the demo keeps; what an earlier one left there is deleted")
	cmd.Flags().IntVar(&d.rate, "rate", 2000, "flights a `second`; 0: as fast as it goes")
	return cmd
}

func terminalSize(f *os.File) (width, height int) {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80, 24
	}
	return width, height
}

// demoPartitions is how many partitions each topic has.
const demoPartitions = 4

// run does the whole of it. The end of ctx is a good end.
func (d *demo) run(ctx context.Context) (err error) {
	if err := d.prepare(); err != nil {
		return err
	}
	broker, err := devbroker.Start(devbroker.Options{Dir: filepath.Join(d.dir, "broker")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	if err := broker.CreateTopics(demoPartitions, flightsTopic, delaysTopic, routesTopic); err != nil {
		return err
	}
	if err := d.configure(broker.Addr()); err != nil {
		return err
	}
	log, err := d.logger()
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "broker at %s, status at http://%s/api/v1/status, log in %s\n\n",
		broker.Addr(), d.cfg.HTTPAddress, filepath.Join(d.dir, "worker.log"))

	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var worker sync.WaitGroup
	var workerErr error
	worker.Go(func() {
		workerErr = engine.Run(running, pipeline(), engine.WithConfig(d.cfg), engine.WithLogger(log))
		stop(workerErr) // without a worker there is nothing to wait for
	})
	showErr := d.show(running, []string{broker.Addr()})
	if showErr == nil {
		d.next(broker.Addr())
		if d.size != nil {
			<-running.Done()
		}
	}
	stop(nil)
	worker.Wait()
	if workerErr == nil && ctx.Err() != nil {
		return nil // ended by the user, however far it had come
	}
	if workerErr != nil {
		return workerErr // show has failed because of it
	}
	return showErr
}

// prepare begins on an empty folder.
func (d *demo) prepare() error {
	abs, err := filepath.Abs(d.dir)
	if err != nil {
		return fmt.Errorf("find folder %s: %w", d.dir, err)
	}
	d.dir = abs
	for _, part := range []string{"broker", "checkpoints", "state", "worker.log"} {
		if err := os.RemoveAll(filepath.Join(d.dir, part)); err != nil {
			return fmt.Errorf("empty folder %s: %w", d.dir, err)
		}
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// configure sets what differs from the defaults.
func (d *demo) configure(addr string) error {
	d.cfg = config.Default()
	d.cfg.Brokers = []string{addr}
	d.cfg.StateDir = filepath.Join(d.dir, "state")
	d.cfg.StoreURL = d.storeURL()
	d.cfg.CheckpointInterval = time.Second // so that the last one holds the results that are shown
	d.cfg.PprofAddress = ""
	var err error
	d.cfg.HTTPAddress, err = freeAddress(d.cfg.HTTPAddress)
	return err
}

func (d *demo) storeURL() string {
	folder := url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(d.dir, "checkpoints"))}
	return folder.String()
}

// freeAddress returns the address, or one with another port if that is taken.
func freeAddress(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", fmt.Errorf("find a free port: %w", err)
		}
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// logger keeps the log away from the table.
func (d *demo) logger() (*zap.Logger, error) {
	c := zap.NewProductionConfig()
	c.Encoding = "console"
	c.OutputPaths = []string{filepath.Join(d.dir, "worker.log")}
	log, err := c.Build()
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return log, nil
}

const (
	// refresh is how often a table is drawn, refreshLine how often a line is printed.
	refresh     = 200 * time.Millisecond
	refreshLine = time.Second
	// quiet is how long nothing may change after the last flight before the results count as complete, and as part
	// of a checkpoint.
	quiet = 2500 * time.Millisecond
)

// show feeds the flights and shows what the pipeline makes of them, until all are in the results.
func (d *demo) show(ctx context.Context, brokers []string) error {
	results, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(delaysTopic, routesTopic),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return fmt.Errorf("connect to %v: %w", brokers, err)
	}
	defer results.Close()
	ctx, stop := context.WithCancelCause(ctx)
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer stop(nil)
	var sent atomic.Int64
	var fed atomic.Bool
	feeding.Go(func() {
		if err := feed(ctx, brokers, d.rate, &sent); err != nil {
			stop(err)
			return
		}
		fed.Store(true)
	})

	s := &screen{w: d.out, size: d.size, began: time.Now()}
	every := refresh
	if d.size == nil {
		every = refreshLine
	}
	b := newBoard()
	drawn, changed := s.began, s.began
	for {
		n, err := poll(ctx, results, b)
		if err != nil {
			return err
		}
		now := time.Now()
		if n > 0 {
			changed = now
		}
		if fed.Load() && b.flights >= sent.Load() && now.Sub(changed) > quiet {
			s.end(b)
			return nil
		}
		if now.Sub(drawn) >= every {
			drawn = now
			s.draw(b)
		}
	}
}

// poll puts what comes within a short time on the board and returns how many records that was.
func poll(ctx context.Context, results *kgo.Client, b *board) (n int, err error) {
	short, cancel := context.WithTimeout(ctx, refresh)
	defer cancel()
	fetches := results.PollFetches(short)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if ferr := fetches.Err0(); ferr != nil && !errors.Is(ferr, context.DeadlineExceeded) {
		return 0, fmt.Errorf("read the results: %w", ferr)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		n++
		err = errors.Join(err, b.put(r))
	})
	return n, err
}

// next says where to look.
func (d *demo) next(addr string) {
	program := "go run ./examples/flights"
	store := "--store-url " + d.storeURL()
	lines := []string{
		"",
		"Every flight is in these numbers exactly once. Where to look next:",
		"",
		"  " + program + " describe                         # what the pipeline is made of",
		"  " + program + " checkpoints list " + store,
		"  " + program + " state get delays ATL " + store,
		"  " + program + " state scan busiest --limit 5 " + store,
	}
	if d.size != nil {
		lines = append(lines,
			"  "+program+" status --brokers "+addr,
			"  curl http://"+d.cfg.HTTPAddress+"/api/v1/status      # also /metrics, /livez, /readyz",
			"", "The broker and the worker stay up. Ctrl-C ends them.")
	} else {
		lines = append(lines,
			"  "+program+" dev --dir "+d.dir+" --quiet  # goes on from here; status is then at",
			"  curl http://127.0.0.1:8080/api/v1/status         # also /metrics, /livez, /readyz")
	}
	fmt.Fprintln(d.out, strings.Join(lines, "\n"))
}
