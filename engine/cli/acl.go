// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/topology"
)

// Whose grants acl prints and doctor looks for.
const (
	roleWorker   = "worker"
	roleOperator = "operator"
)

// aclOptions are the flags of acl.
type aclOptions struct {
	role, principal, prefix string
	mute                    bool
}

// formatCommands is a script of Kafka's own tool.
const formatCommands = "kafka-acls"

func (p *program) aclCommand() *cobra.Command {
	var o aclOptions
	cmd := &cobra.Command{
		Use:   "acl",
		Short: "Print the grants that the application needs from Kafka",
		Long: "Prints exactly the grants (ACLs) that brokers with an authorizer must give. They follow from the pipeline and the\n" +
			"settings; nothing is asked of a broker. Whoever may read, write or delete may also describe, so that is not listed\n" +
			"beside these. For an operator they are those of status, plan, fork, rollback, rescale and reset.\n\n" +
			"With -o kafka-acls it is a shell script that calls Kafka's own tool with the script's arguments. doctor tells which\n" +
			"grants are missing.",
		Example: p.example("acl", "acl --principal User:spend -o kafka-acls > grant.sh", "acl --for operator -o json", "acl --app-id try --prefix try."),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.settings(cmd)
			if err != nil {
				return err
			}
			t, err := p.topology()
			if err != nil {
				return err
			}
			grants, err := o.grants(t, cfg)
			if err != nil {
				return err
			}
			if outputFormat(cmd) == formatCommands {
				return o.writeCommands(cmd.OutOrStdout(), cfg, grants)
			}
			table := newTable("RESOURCE", "PATTERN", "NAME", "OPERATION", "BECAUSE")
			for _, g := range grants {
				table.row(g.Resource, pattern(g), g.Name, g.Operation, g.Why)
			}
			return printOut(cmd, grants, table)
		},
	}
	f := cmd.Flags()
	addRole(cmd, &o.role)
	f.StringVar(&o.principal, "principal", "", "`principal` of the printed commands, as User:name; without it, that of sasl.user")
	f.StringVar(&o.prefix, "prefix", "", "grants of a fork or replay that writes to topics with this `prefix`")
	f.BoolVar(&o.mute, "mute", false, "grants of a fork or replay that writes to no output topic")
	return withSettings(withOutput(cmd, "table", "json", formatCommands), false)
}

func addRole(cmd *cobra.Command, role *string) {
	cmd.Flags().StringVar(role, "for", roleWorker, "whose grants: `"+roleWorker+"|"+roleOperator+"`")
}

func grantsFor(role string, t *topology.Topology, cfg *config.Config, outputs checkpoint.Outputs) ([]kafka.Grant, error) {
	switch role {
	case roleWorker:
		return worker.WorkerGrants(t, cfg, outputs), nil
	case roleOperator:
		return worker.OperatorGrants(t, cfg, outputs), nil
	}
	return nil, failf(exitUsage, "--for %s is neither %s nor %s", role, roleWorker, roleOperator)
}

func (o aclOptions) grants(t *topology.Topology, cfg *config.Config) ([]kafka.Grant, error) {
	if o.prefix != "" && o.mute {
		return nil, failf(exitUsage, "outputs go to topics with --prefix or, with --mute, nowhere: name one of them")
	}
	return grantsFor(o.role, t, cfg, checkpoint.Outputs{Prefix: o.prefix, Muted: o.mute})
}

// writeCommands writes one command for all operations on a resource.
func (o aclOptions) writeCommands(out io.Writer, cfg *config.Config, grants []kafka.Grant) error {
	principal := o.principal
	if principal == "" && cfg.SASLUser != "" {
		principal = "User:" + cfg.SASLUser
	}
	if principal == "" {
		return failf(exitUsage, "to whom? name it by --principal, as User:name")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\n# The grants of %s for the %s. Arguments go to kafka-acls.sh, for example: --command-config admin.properties\nset -e\n", cfg.AppID, o.role)
	for i, g := range grants {
		first := i == 0 || g.Resource != grants[i-1].Resource || g.Name != grants[i-1].Name
		if first {
			fmt.Fprintf(&b, "kafka-acls.sh --bootstrap-server %s \"$@\" --add --allow-principal %s --%s %s --resource-pattern-type %s",
				quote(strings.Join(cfg.Brokers, ",")), quote(principal), g.Resource, quote(g.Name), pattern(g))
		}
		fmt.Fprintf(&b, " --operation %s", g.Operation)
		if last := i == len(grants)-1 || g.Resource != grants[i+1].Resource || g.Name != grants[i+1].Name; last {
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func pattern(g kafka.Grant) string {
	if g.Prefixed {
		return "prefixed"
	}
	return "literal"
}

// quote makes a word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
