// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/engine/worker"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// childVariable holds, in a process that is one worker of a test, what it is to run.
const childVariable = "STREAMD_WORKER_TEST_CHILD"

// TestMain runs the tests, or, in a process that a test has started, one worker.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childVariable); spec != "" {
		os.Exit(child(spec))
	}
	kafkabroker.Main(suite{m})
}

// suite runs the tests and then looks for what they have left running.
type suite struct{ m *testing.M }

func (s suite) Run() int {
	code := s.m.Run()
	if err := dev.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	leaks := goleak.Find(
		goleak.IgnoreAnyFunction("github.com/streamd/streamd/test/kafka.startLocal"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"), // of the shared broker, which ends after this
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).watchCtx"),
	)
	if code == 0 && leaks != nil {
		fmt.Fprintln(os.Stderr, leaks)
		code = 1
	}
	return code
}

// dev is the in-process broker that the tests share. The first one that needs it starts it.
var dev devBroker

type devBroker struct {
	once   sync.Once
	broker *devbroker.Broker
	err    error
}

func (d *devBroker) addr(tb testing.TB) string {
	tb.Helper()
	d.once.Do(func() { d.broker, d.err = devbroker.Start(devbroker.Options{}) })
	if d.err != nil {
		tb.Fatal(d.err)
	}
	return d.broker.Addr()
}

func (d *devBroker) close() error {
	d.once.Do(func() {})
	if d.broker == nil {
		return nil
	}
	return d.broker.Close()
}

// child runs a worker until it ends, or until the parent is gone.
func child(text string) int {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	o, err := s.options(jsonLogger(os.Stderr))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	w, err := worker.New(o)
	if err == nil {
		err = w.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
