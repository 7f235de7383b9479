// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// The loop is then in the middle of a step, and does not hear of the stop.
func TestADrainEndsInTimeWhileAnEpochWaitsForABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 10)
	inEpoch, brokerGone, waiting := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var first, retried sync.Once
	p := stream.NewPipeline("drain")
	stream.From(p, "in", codec.Uint64, codec.Uint64).
		Peek(func(uint64, uint64) {
			first.Do(func() { close(inEpoch) })
			<-brokerGone
		}).
		To("out")
	topology, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.config("drain", 0)
	cfg.RequestTimeout, cfg.DrainTimeout, cfg.TransactionTimeout = time.Second, time.Second, 2*time.Second
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &r.logs, zap.DebugLevel), zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "retrying" {
			retried.Do(func() { close(waiting) })
		}
		return nil
	}))
	w, err := worker.New(worker.Options{Config: cfg, Topology: topology, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-inEpoch
	r.broker.Close()
	close(brokerGone)
	<-waiting
	stop()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the worker says that it has drained, but its epoch could not be committed")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the worker still runs 20 s after it was asked to stop, with a drain timeout of a second")
	}
}

// A worker may be asked to stop at any moment: while it joins, restores, commits, stores a checkpoint, warms up, or hands a
// task over. It ends cleanly, and whoever comes next goes on from where it was.
func TestAWorkerEndsCleanlyInWhateverItIsAskedToStop(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{
		"joining group", "tasks assigned", "task running", "epoch committed", "checkpoint stored", "task moves", "tasks revoked", "following task",
	} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out")
			r.feed("in", 0, 200)
			others := []*background{r.start(counting("app"), 1, nil)}
			r.until("the other runs everything", func() bool { return len(r.ran(1)) == partitions })
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &r.logs, zap.DebugLevel), zap.Hooks(func(e zapcore.Entry) error {
				if e.Message == moment {
					stop()
				}
				return nil
			})).With(zap.Int("worker", 0))
			topology, err := counting("app").Build()
			if err != nil {
				t.Fatal(err)
			}
			w, err := worker.New(worker.Options{Config: r.config("app", 0), Topology: topology, Logger: log})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- w.Run(ctx) }()
			if moment == "tasks revoked" { // it must have some, and be asked for them
				r.until("it runs a task", func() bool { return len(r.ran(0)) > 0 })
				others = append(others, r.start(counting("app"), 2, nil), r.start(counting("app"), 3, nil))
			}
			fed := 200
			r.until("the moment has come", func() bool {
				r.feed("in", fed, 10)
				fed += 10
				return ctx.Err() != nil
			})
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("it still runs")
			}
			for _, other := range others {
				if err := other.stop(); err != nil {
					t.Fatal(err)
				}
			}
			r.counted(fed/10, nil)
		})
	}
}
