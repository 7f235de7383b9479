// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/reference"
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
	// Control records are kept, so that the end of a partition can be seen.
	client, err := v.open(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	in, err := v.events(ctx, client)
	if err != nil {
		return nil, err
	}
	var records []reference.Record
	err = client.readAll(ctx, v.out, func(r *kgo.Record) error {
		records = append(records, reference.Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value})
		return nil
	})
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
	return client.readAll(ctx, topic, func(r *kgo.Record) error {
		var e T
		if err := json.Unmarshal(r.Value, &e); err != nil {
			return fmt.Errorf("decode record %d of partition %d of topic %s: %w", r.Offset, r.Partition, topic, err)
		}
		*to = append(*to, e)
		return nil
	})
}

// readAll reads what is committed in a topic, up to its end at the start. Records of a partition come in their order.
func (c *connection) readAll(ctx context.Context, topic string, each func(*kgo.Record) error) error {
	ends, err := kadm.NewClient(c.Client).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("look at topic %s: %w", topic, err)
	}
	left := map[int32]int64{} // ends of the partitions that are not read yet
	from := map[int32]kgo.Offset{}
	for p, end := range ends[topic] {
		if end.Offset > 0 {
			left[p], from[p] = end.Offset, kgo.NewOffset().AtStart()
		}
	}
	c.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	defer c.PurgeTopicsFromConsuming(topic)
	for len(left) > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s: %w", topic, err)
		}
		var failed error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				end, reading := left[p.Partition]
				if !reading || failed != nil {
					return
				}
				if r.Offset+1 >= end {
					delete(left, p.Partition)
				}
				if r.Attrs.IsControl() || r.Offset >= end {
					continue
				}
				failed = each(r)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}
