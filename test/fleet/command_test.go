// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"flag"
	"io"
	"testing"
)

// finding is whether a promise was broken.
type finding bool

func (f *finding) Print(io.Writer, string) error { return nil }

func (f *finding) Broken() bool { return bool(*f) }

func TestTheExitCodeSaysWhatHasHappened(t *testing.T) {
	right, wrong := finding(false), finding(true)
	for name, c := range map[string]struct {
		args    []string
		problem string
		result  *finding // nil: the run fails
		code    int
	}{
		"right":               {nil, "", &right, 0},
		"right, as JSON":      {[]string{"-o", "json"}, "", &right, 0},
		"wrong":               {nil, "", &wrong, 1},
		"a run that fails":    {nil, "", nil, 1},
		"a flag of nobody":    {[]string{"--cuts", "3"}, "", &right, 2},
		"an argument":         {[]string{"json"}, "", &right, 2},
		"an unknown format":   {[]string{"-o", "yaml"}, "", &right, 2},
		"a value that is bad": {nil, "cuts must be positive", &right, 2},
	} {
		execute := func(context.Context, string) (Result, error) {
			if c.result == nil {
				return c.result, errors.New("no broker")
			}
			return c.result, nil
		}
		command := Command{Flags: flag.NewFlagSet("cuts", flag.ContinueOnError), Check: func() string { return c.problem }, Execute: execute}
		if code := command.Run(c.args); code != c.code {
			t.Errorf("%s: exit code is %d, want %d", name, code, c.code)
		}
	}
}
