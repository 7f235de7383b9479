// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/api"
)

func (p *program) apiCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:     "api",
		Short:   "Say who may use the HTTP API of workers",
		Example: p.example("api token new --role viewer --name alice"),
	}, family(&cobra.Command{
		Use:     "token",
		Short:   "Make tokens for the HTTP API",
		Example: p.example("api token new --role operator --name deploys --append tokens"),
	}, p.tokenNewCommand()))
}

// newToken is the output of api token new.
type newToken struct {
	Token string `json:"token"`
	Line  string `json:"line"` // of the file that api.tokens-file names
}

func (p *program) tokenNewCommand() *cobra.Command {
	var role, name, file string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a token, and the line that lets in who has it",
		Long: "Prints a new token, and a line for the file that api.tokens-file names. The line has only a hash of the token: give the\n" +
			"token to who is to use it, since it is nowhere else. With --append the line is added to a file. Workers read the file\n" +
			"anew when it changes.\n\n" +
			"A viewer reads what the API says of the application. An operator also looks up state, takes savepoints, pauses, resumes\n" +
			"and drains. An admin may do everything. A peer is a worker.",
		Example: p.example("api token new --role viewer --name alice", "api token new --role operator --name deploys --append tokens"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, line, err := api.NewToken(api.Role(role), name)
			if err != nil {
				return failf(exitUsage, "%w", err)
			}
			if file != "" {
				if err := appendLine(file, line); err != nil {
					return err
				}
				say(cmd, "added to %s: %s", file, line)
			}
			t := newTable("FIELD", "VALUE")
			t.row("token", token)
			t.row("line", line)
			return printOut(cmd, newToken{token, line}, t)
		},
	}
	cmd.Flags().StringVar(&role, "role", string(api.Viewer), "what the token is for: viewer, operator, admin or peer")
	cmd.Flags().StringVar(&name, "name", "", "whose it is, for the audit log")
	cmd.Flags().StringVar(&file, "append", "", "`file` to which the line is added")
	return withOutput(cmd, "table", "json")
}

// appendLine adds a line to a file, which is made if there is none.
func appendLine(file, line string) (err error) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	before := ""
	if n := info.Size(); n > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, n-1); err != nil {
			return fmt.Errorf("read the end of %s: %w", file, err)
		}
		if last[0] != '\n' {
			before = "\n"
		}
	}
	_, err = f.WriteString(before + line + "\n")
	return err
}
