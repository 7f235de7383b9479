// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
)

// program is what the commands of one binary share.
type program struct {
	name     string // of the binary, for help
	pipeline string // its name, which is the default application id; empty in the generic binary
	compile  func() (*topology.Topology, error)
	environ  func() []string
}

// Generic returns the command line of the binary that knows no pipeline.
func Generic() *cobra.Command {
	p := &program{name: "streamd", environ: os.Environ}
	return p.generic()
}

func (p *program) generic() *cobra.Command {
	root := p.root("Operate streamd applications, and begin new ones",
		"streamd runs typed stream processing pipelines, exactly once, over Kafka. A pipeline is a Go program with a command\n"+
			"line of its own (run, dev, describe, ...); this one has what needs no pipeline code.")
	root.AddCommand(p.newCommand(), p.checkpointsCommand(), p.stateCommand(), p.savepointCommand(), p.resumeCommand(), p.statusCommand(),
		p.resetCommand(), p.gcCommand(), p.doctorCommand(), p.apiCommand(), p.k8sCommand(), p.configCommand(), p.versionCommand())
	return root
}

// Command returns the command line of a pipeline's own binary.
func Command(p *stream.Pipeline) *cobra.Command {
	own := &program{name: filepath.Base(os.Args[0]), pipeline: p.Name(), compile: p.Build, environ: os.Environ}
	return own.forPipeline()
}

// forPipeline returns the command line of a pipeline's binary.
func (p *program) forPipeline() *cobra.Command {
	root := p.root("Run and operate the pipeline "+p.pipeline,
		"A streamd pipeline: worker, tools and development mode in one binary.")
	root.AddCommand(p.runCommand(), p.devCommand(), p.describeCommand(), p.planCommand(), p.checkpointsCommand(), p.stateCommand(),
		p.savepointCommand(), p.forkCommand(), p.replayCommand(), p.rollbackCommand(), p.rescaleCommand(), p.resumeCommand(), p.resetCommand(),
		p.gcCommand(), p.statusCommand(), p.doctorCommand(), p.aclCommand(), p.apiCommand(), p.k8sCommand(), p.configCommand(), p.versionCommand())
	return root
}

func (p *program) root(short, long string) *cobra.Command {
	root := &cobra.Command{
		Use:           p.name,
		Short:         short,
		Long:          long,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return failf(exitUsage, "%w%s", err, nearestFlag(cmd, err))
	})
	root.InitDefaultCompletionCmd()
	return root
}

// nearestFlag proposes a flag for one that does not exist.
func nearestFlag(cmd *cobra.Command, err error) string {
	_, got, ok := strings.Cut(err.Error(), "unknown flag: --")
	if !ok {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return didYouMean("--"+got, names)
}

// didYouMean gives ": did you mean X?", or nothing.
func didYouMean(got string, candidates []string) string {
	if n := config.Nearest(got, candidates); n != "" {
		return ": did you mean " + n + "?"
	}
	return ""
}

// example fills the binary's name into the examples of a help text.
func (p *program) example(lines ...string) string {
	for i, l := range lines {
		lines[i] = "  " + p.name + " " + l
	}
	return strings.Join(lines, "\n")
}

// args makes a violation of a rule about arguments a usage error.
func args(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if err := rule(cmd, got); err != nil {
			return failf(exitUsage, "%w", err)
		}
		return nil
	}
}

// family makes a command that only holds others.
func family(cmd *cobra.Command, members ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(members...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, got []string) error {
		if len(got) == 0 {
			return cmd.Help()
		}
		var names []string
		for _, m := range members {
			names = append(names, m.Name())
		}
		return failf(exitUsage, "unknown command %q for %q%s", got[0], cmd.CommandPath(), didYouMean(got[0], names))
	}
	return cmd
}

// always are the settings that the help of every command shows; the others are there too, and shown by run.
var always = []string{config.ConfigFlag, "app-id", "brokers", "store-url"}

// withSettings gives a command a flag for every setting. A worker's command shows all of them in its help.
func withSettings(cmd *cobra.Command, worker bool) *cobra.Command {
	settings := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	config.AddFlags(settings)
	settings.VisitAll(func(f *pflag.Flag) {
		f.Hidden = !worker
		for _, name := range always {
			f.Hidden = f.Hidden && f.Name != name
		}
	})
	cmd.Flags().AddFlagSet(settings)
	return cmd
}

// settings loads the configuration of a command. The application id is the pipeline's name unless it is set.
func (p *program) settings(cmd *cobra.Command) (*config.Config, error) {
	cfg, err := config.Load(config.Sources{Flags: cmd.Flags(), Environ: p.environ()})
	if err != nil {
		return nil, err
	}
	if cfg.AppID == "" {
		cfg.AppID = p.pipeline
	}
	return cfg, nil
}

// application loads the configuration of a command that is about one application and talks to its Kafka.
func (p *program) application(cmd *cobra.Command) (*config.Config, error) {
	cfg, err := p.settings(cmd)
	if err != nil {
		return nil, err
	}
	if cfg.AppID == "" {
		return nil, failf(exitUsage, "which application? name it by --app-id")
	}
	return cfg, cfg.ValidateConnection()
}

// topology compiles the pipeline.
func (p *program) topology() (*topology.Topology, error) {
	t, err := p.compile()
	if err != nil {
		return nil, failf(exitInvalid, "the pipeline is not valid:\n%w", err)
	}
	return t, nil
}

// withTimeout gives a command --timeout, which ends its context.
func withTimeout(cmd *cobra.Command, def time.Duration) *cobra.Command {
	cmd.Flags().Duration("timeout", def, "give up after this `time`; 0: never")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := cmd.Flags().GetDuration("timeout")
		if err != nil || d <= 0 {
			return run(cmd, args)
		}
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), d, errTimeout)
		defer cancel()
		cmd.SetContext(ctx)
		return run(cmd, args)
	}
	return cmd
}
