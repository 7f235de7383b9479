// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
)

func (p *program) savepointExport() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "export NAME --to FILE",
		Short: "Write a savepoint with everything that belongs to it to one file",
		Long: "The file is a tar archive of the savepoint's documents and state. It needs neither Kafka nor the object store to be\n" +
			"read: import stores it in any object store, for looking into it there, or for beginning from it.",
		Example: p.example("savepoint export before-release --to before-release.tar", "savepoint export before-release --to - | gzip > s.tar.gz"),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			_, a, err := p.openArchive(cmd)
			if err != nil {
				return err
			}
			if to == "" {
				return failf(exitUsage, "--to is missing: a file, or - for the standard output")
			}
			s, err := a.savepoint(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.export(cmd, s, to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "`file`, which must not exist, or - for the standard output")
	return withSettings(withTimeout(cmd, 0), false)
}

func (a *archive) export(cmd *cobra.Command, s checkpoint.LifeSavepoint, to string) (err error) {
	progress := progressOf(cmd, "written")
	if to == "-" {
		return a.repo.Export(cmd.Context(), s.Life, s.Name, cmd.OutOrStdout(), progress)
	}
	file, err := createFile(to, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.discard()) }()
	if _, err := os.Stat(to); err == nil {
		return failf(exitPrecondition, "file %s exists already", to)
	}
	w := bufio.NewWriterSize(file, 1<<20)
	if err := a.repo.Export(cmd.Context(), s.Life, s.Name, w, progress); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.install(); err != nil {
		return err
	}
	say(cmd, "savepoint %s of %s is in %s", s.Name, a.repo.App(), to)
	return nil
}

// progressOf tells of long work once a second at most.
func progressOf(cmd *cobra.Command, verb string) func(done, all int64) {
	last := time.Now()
	return func(done, all int64) {
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			say(cmd, "  %s of %s %s", sizeText(done), sizeText(all), verb)
		}
	}
}

func (p *program) savepointImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Store an exported savepoint in this object store",
		Long: "Stores the savepoint under the application id, which must be new to this object store. state, checkpoints and\n" +
			"fork then work on it as on any other. An archive that is damaged or cut short is refused.",
		Example: p.example("savepoint import before-release.tar --app-id flights"),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			cfg, err := p.settings(cmd)
			if err != nil {
				return err
			}
			if cfg.AppID == "" {
				return failf(exitUsage, "which application is it to be? name it by --app-id")
			}
			store, err := openStore(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if store == nil {
				return failf(exitUsage, "where is it to be stored? name the object store by --store-url")
			}
			from := io.Reader(cmd.InOrStdin())
			if files[0] != "-" {
				file, err := os.Open(files[0])
				if err != nil {
					return err
				}
				defer file.Close()
				from = file
			}
			s, err := checkpoint.NewRepository(store, cfg.AppID).Import(cmd.Context(), bufio.NewReaderSize(from, 1<<20))
			if err != nil {
				return err
			}
			say(cmd, "savepoint %s is stored as one of application %s", s.Name, cfg.AppID)
			return nil
		},
	}
	return withSettings(withTimeout(cmd, 0), false)
}
