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
