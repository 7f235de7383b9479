// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/reference"
	"github.com/streamd/streamd/examples/nexmark/wire"
)

// verification is one run of verify.
type verification struct {
	place
	query  reference.Query
	topics model.Topics
	out    string
	output string
}

func verifyCommand(c *choice) *cobra.Command {
	v := &verification{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the results of a query with those of another evaluation",
		Long: "Reads the events and what committed transactions have put into the topic of the results, evaluates the query over\n" +
			"all events at once, without the engine, and compares. It needs room for all events in memory.\n\n" +
			"The exit code is 0 if the results are right, and 1 if not.",
		Example: "  nexmark verify --brokers kafka:9092 --query q5",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if v.query, err = reference.Find(c.query); err != nil {
				return err
			}
			v.topics, v.out = model.TopicsOf(c.prefix), c.out
			if err := v.configure(cmd, v.output); err != nil {
				return err
			}
			r, err := v.run(cmd.Context())
			if err != nil {
				return err
			}
			return r.print(cmd.OutOrStdout(), v.output)
		},
	}
	v.addFlags(cmd.Flags())
	addOutput(cmd.Flags(), &v.output)
	return cmd
}

// verdict is what verify has found.
type verdict struct {
	Query      string   `json:"query"`
	Events     int64    `json:"events"`
	Records    int      `json:"records"` // in the topic of the results
	Rows       int      `json:"rows"`    // that these amount to
	Expected   int      `json:"expected"`
	Missing    int      `json:"missing"`
	Unexpected int      `json:"unexpected"`
	Lines      []string `json:"differences,omitempty"` // the first
}

var errWrongResults = errors.New("the results are wrong")

// print writes the verdict. It returns an error if that is against the results.
func (v *verdict) print(w io.Writer, output string) error {
	wrong := v.Missing+v.Unexpected > 0
	if output == "json" {
		if err := writeJSON(w, v); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%s over %s events: %s records make %s rows, %s are expected\n", v.Query, thousands(v.Events),
			thousands(int64(v.Records)), thousands(int64(v.Rows)), thousands(int64(v.Expected)))
		if wrong {
			fmt.Fprintf(w, "%s rows are missing (-), %s are unexpected (+); the first are\n", thousands(int64(v.Missing)), thousands(int64(v.Unexpected)))
			for _, l := range v.Lines {
				fmt.Fprintln(w, " ", l)
			}
		} else {
			fmt.Fprintln(w, "all rows are right")
		}
	}
	if wrong {
		return errWrongResults
	}
	return nil
}

func (v *verification) run(ctx context.Context) (r *verdict, err error) {
	client, err := v.open(wire.ReadOptions()...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	in, err := v.events(ctx, client)
	if err != nil {
		return nil, err
	}
	records, err := wire.ReadResults(ctx, client.Client, v.out)
	if err != nil {
		return nil, err
	}
	got, err := v.query.Read(records)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", v.out, err)
	}
	want := v.query.Evaluate(in)
	d := v.query.Compare(want, got)
	return &verdict{
		Query: v.query.Name, Events: int64(len(in.People) + len(in.Auctions) + len(in.Bids)), Records: len(records),
		Rows: len(got), Expected: len(want), Missing: d.Missing, Unexpected: d.Unexpected, Lines: d.Lines,
	}, nil
}

// events reads the three topics, with another decoder than that of the pipelines.
func (v *verification) events(ctx context.Context, client *connection) (in reference.Input, err error) {
	err = errors.Join(
		decodeAll(ctx, client, v.topics.Person, &in.People),
		decodeAll(ctx, client, v.topics.Auction, &in.Auctions),
		decodeAll(ctx, client, v.topics.Bid, &in.Bids),
	)
	return in, err
}

func decodeAll[T any](ctx context.Context, client *connection, topic string, to *[]T) error {
	return wire.ReadAll(ctx, client.Client, topic, func(r *kgo.Record) error {
		var e T
		if err := json.Unmarshal(r.Value, &e); err != nil {
			return fmt.Errorf("decode record %d of partition %d of topic %s: %w", r.Offset, r.Partition, topic, err)
		}
		*to = append(*to, e)
		return nil
	})
}
