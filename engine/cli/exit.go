// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/crypt"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/deploy"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/statestore"
)

// The exit codes, as in the package's documentation.
const (
	exitFailure      = 1
	exitUsage        = 2
	exitInvalid      = 3
	exitNotFound     = 4
	exitPrecondition = 5
	exitTimeout      = 6
	exitAuth         = 7
	exitSignal       = 128 // plus the signal's number
)

// codedError is an error that knows its exit code.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// failf makes an error with an exit code.
func failf(code int, format string, args ...any) error {
	return &codedError{code, fmt.Errorf(format, args...)}
}

// errSignal is the cause of a context that a signal has ended.
type errSignal struct{ sig syscall.Signal }

func (e errSignal) Error() string { return "ended by " + e.sig.String() }

// errTimeout is the cause of a context that --timeout has ended.
var errTimeout = errors.New("took longer than --timeout")

// reactions gives the exit code of known errors; the first that matches counts.
var reactions = []struct {
	err  error
	code int
}{
	{config.ErrInvalid, exitInvalid},
	{topology.ErrIncompatible, exitInvalid},
	{worker.ErrTopologyChanged, exitInvalid},
	{worker.ErrPartitionsChanged, exitInvalid},
	{open.ErrURL, exitInvalid},
	{deploy.ErrValues, exitInvalid},
	{deploy.ErrRequired, exitUsage},
	{crypt.ErrKeyFile, exitInvalid},
	{checkpoint.ErrFutureFormat, exitInvalid},
	{errTimeout, exitTimeout},
	{context.DeadlineExceeded, exitTimeout},
	{devbroker.ErrInUse, exitPrecondition},
	{kafka.ErrGroupBusy, exitPrecondition},
	{worker.ErrLifeTaken, exitPrecondition},
	{worker.ErrRunning, exitPrecondition},
	{worker.ErrOutputs, exitUsage},
	{kafka.ErrOffsetExpired, exitPrecondition},
	{worker.ErrNoOffset, exitPrecondition},
	{worker.ErrForeignOffset, exitPrecondition},
	{kafka.ErrTopicGone, exitPrecondition},
	{checkpoint.ErrIncomplete, exitPrecondition},
	{checkpoint.ErrTaken, exitPrecondition},
	{checkpoint.ErrHalted, exitPrecondition},
	{checkpoint.ErrNotHalted, exitPrecondition},
	{statestore.ErrLocked, exitPrecondition},
	{statestore.ErrForeign, exitPrecondition},
	{objstore.ErrUnsafe, exitPrecondition},
	{crypt.ErrKey, exitPrecondition},
	{crypt.ErrPlain, exitPrecondition},
	{inspect.ErrSyntax, exitUsage},
	{inspect.ErrKey, exitUsage},
	{inspect.ErrForeign, exitInvalid},
	{inspect.ErrTooLarge, exitPrecondition},
	{inspect.ErrRescaled, exitPrecondition},
	{inspect.ErrNoStore, exitNotFound},
	{kafka.ErrUnknownTopic, exitNotFound},
	{checkpoint.ErrMissing, exitNotFound},
	{fs.ErrNotExist, exitNotFound},
}

// exitCode chooses the exit code of a command that has returned err.
func exitCode(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	var signalled errSignal
	if errors.As(err, &signalled) || errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &signalled) {
		return exitSignal + int(signalled.sig)
	}
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	if kafka.IsAuth(err) {
		return exitAuth
	}
	for _, r := range reactions {
		if errors.Is(err, r.err) {
			return r.code
		}
	}
	if strings.HasPrefix(err.Error(), "unknown command ") { // cobra has no type for it
		return exitUsage
	}
	return exitFailure
}

// Execute runs the command line and returns the exit code. Errors are printed to the command's stderr.
func Execute(ctx context.Context, root *cobra.Command, args []string) int {
	ctx, stop := withSignals(ctx)
	defer stop()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	code := exitCode(ctx, err)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", root.Name(), err)
	}
	if code == exitUsage {
		fmt.Fprintf(cmd.ErrOrStderr(), "run '%s --help' for how to use it\n", cmd.CommandPath())
	}
	return code
}

// withSignals ends the context at the first SIGINT or SIGTERM. The second ends the process at once, which is safe:
// what was not committed is done again by the next owner.
func withSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case s := <-signals:
				sig, _ := s.(syscall.Signal)
				if n > 0 {
					os.Exit(exitSignal + int(sig))
				}
				cancel(errSignal{sig})
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
