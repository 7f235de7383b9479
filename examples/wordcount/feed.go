// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// feedCommand puts text into the pipeline's topic, from a plain Kafka producer as any other program would.
func feedCommand() *cobra.Command {
	var file string
	brokers := []string{"127.0.0.1:9092"}
	cmd := &cobra.Command{
		Use:     "feed",
		Short:   "Send the lines of a file, or of stdin, to topic " + linesTopic,
		Example: "  wordcount feed --file book.txt\n  echo 'to be or not to be' | wordcount feed",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := cmd.InOrStdin()
			if file != "-" {
				f, err := os.Open(file)
				if err != nil {
					return fmt.Errorf("feed: %w", err)
				}
				defer f.Close()
				in = f
			}
			n, err := feed(cmd.Context(), brokers, in)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "sent %d lines to topic %s\n", n, linesTopic)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "file", "-", "`file` to read; - is stdin")
	cmd.Flags().StringSliceVar(&brokers, "brokers", brokers, "Kafka `brokers`, separated by commas")
	return cmd
}

// maxLineBytes is the longest line that fits a record, by the broker's default.
const maxLineBytes = 1 << 20

// feed sends each line as a record without a key and returns how many were written. It ends at the first that was not.
func feed(ctx context.Context, brokers []string, in io.Reader) (int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(linesTopic))
	if err != nil {
		return 0, fmt.Errorf("feed: connect to %v: %w", brokers, err)
	}
	defer client.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	var written struct {
		sync.Mutex
		lines int
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() && ctx.Err() == nil {
		client.Produce(ctx, kgo.StringRecord(lines.Text()), func(_ *kgo.Record, err error) {
			if err != nil {
				stop(fmt.Errorf("feed: write to topic %s: %w", linesTopic, err)) // the first cause stays
				return
			}
			written.Lock()
			defer written.Unlock()
			written.lines++
		})
	}
	// A failure of the flush is that of ctx, which the cause tells better.
	_ = client.Flush(ctx)
	err = context.Cause(ctx)
	if lines.Err() != nil {
		err = errors.Join(err, fmt.Errorf("feed: read a line: %w", lines.Err()))
	}
	written.Lock()
	defer written.Unlock()
	return written.lines, err
}
