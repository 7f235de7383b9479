// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"encoding/json/v2"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Durations has durations be text in JSON, such as "1.5s".
var Durations = json.WithMarshalers(json.MarshalFunc(func(d time.Duration) ([]byte, error) { return json.Marshal(d.String()) }))

// Result is what a run has found.
type Result interface {
	// Print writes it as text or json.
	Print(w io.Writer, format string) error
	// Broken says whether a promise was broken.
	Broken() bool
}

// Command is a command that has only flags and one result.
type Command struct {
	// Flags has the name of the command and its flags, but for -o.
	Flags *flag.FlagSet
	// Check says what is wrong with the values of the flags; "" for nothing. It may fill in what depends on others.
	Check func() string
	// Execute does the work. The format is that of the result. An error is about the run itself.
	Execute func(ctx context.Context, format string) (Result, error)
}

// Run parses a command line, executes the command and prints its result. It returns the exit code: 2 for a wrong command
// line, 1 for a run that failed or has found a broken promise.
func (c Command) Run(args []string) int {
	format := c.Flags.String("o", "text", "text or json")
	if err := c.Flags.Parse(args); err != nil {
		return 2
	}
	if problem := c.problem(*format); problem != "" {
		fmt.Fprintf(os.Stderr, "%s: %s\n", c.Flags.Name(), problem)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := c.Execute(ctx, *format)
	if err == nil {
		err = result.Print(os.Stdout, *format)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Flags.Name(), err)
		return 1
	}
	if result.Broken() {
		return 1
	}
	return 0
}

func (c Command) problem(format string) string {
	switch {
	case c.Flags.NArg() > 0:
		return "there are only flags, no arguments"
	case format != "text" && format != "json":
		return fmt.Sprintf("-o %q is not known: use text or json", format)
	}
	return c.Check()
}
