// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/streamd/streamd/engine/cli"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/queries"
)

func main() {
	root, err := command(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "nexmark: %v\nrun 'nexmark --help' for how to use it\n", err)
		os.Exit(exitUsage)
	}
	os.Exit(cli.Execute(context.Background(), root, os.Args[1:]))
}

// exitUsage is the exit code that the engine's commands have for a wrong command line.
const exitUsage = 2

// choice is which pipeline the program is about: one binary has them all.
type choice struct{ query, prefix, out string }

func (c *choice) flags(f *pflag.FlagSet) {
	f.StringVar(&c.query, "query", "q0", "`query`: "+strings.Join(queries.Names(), ", "))
	f.StringVar(&c.prefix, "prefix", "", "`text` before the names of the input topics")
	f.StringVar(&c.out, "out", "", "`topic` of the results (default PREFIXnexmark-QUERY)")
}

// complete fills in what follows from the rest.
func (c *choice) complete() {
	if c.out == "" {
		c.out = c.prefix + "nexmark-" + c.query
	}
}

// command makes the command line for the pipeline that the arguments choose. All that the engine gives to a pipeline's
// binary is there, for that pipeline.
func command(args []string) (*cobra.Command, error) {
	var c choice
	early := pflag.NewFlagSet("nexmark", pflag.ContinueOnError)
	early.ParseErrorsAllowlist.UnknownFlags = true
	early.BoolP("help", "h", false, "") // the root's, later
	c.flags(early)
	if err := early.Parse(args); err != nil {
		return nil, err
	}
	c.complete()
	p, err := queries.Pipeline(c.query, model.TopicsOf(c.prefix), c.out)
	if err != nil {
		return nil, err
	}
	root := cli.Command(p)
	root.Short = "Generate NEXMark events, run a query of the suite on them, check its results"
	root.Long = "The NEXMark suite on streamd. The flags --query, --prefix and --out choose the pipeline that the commands are about."
	var again choice // the flags are parsed once more, with all others, to the same values
	again.flags(root.PersistentFlags())
	for _, cmd := range root.Commands() {
		if cmd.Name() == "run" {
			cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return createOut(cmd, c.out) }
		}
	}
	root.AddCommand(genCommand(&c), verifyCommand(&c))
	return root, nil
}

// outPartitions is how many partitions the topic of the results gets.
const outPartitions = 4

// createOut creates the topic of the results if it does not exist. The engine leaves that to the owners of a cluster.
func createOut(cmd *cobra.Command, topic string) (err error) {
	p := place{}
	if p.cfg, err = config.Load(config.Sources{Flags: cmd.Flags(), Environ: os.Environ()}); err != nil {
		return err
	}
	client, err := p.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return client.create(cmd.Context(), topic, outPartitions)
}
