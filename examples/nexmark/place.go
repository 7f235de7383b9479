// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/engine/kafka"
)

// place is where gen and verify find their topics.
type place struct {
	cfg *config.Config
	dev string // folder of the command dev; empty: the brokers of cfg count
}

// addFlags adds --dev and the flags of all settings of a connection.
func (p *place) addFlags(f *pflag.FlagSet) {
	settings := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	config.AddFlags(settings)
	settings.VisitAll(func(s *pflag.Flag) { s.Hidden = s.Name != "brokers" && s.Name != config.ConfigFlag })
	f.AddFlagSet(settings)
	f.StringVar(&p.dev, "dev", "", "`folder` of the command dev, whose broker is used instead, while dev does not run")
}

// configure loads the settings and checks the output format.
func (p *place) configure(cmd *cobra.Command, output string) (err error) {
	if output != "text" && output != "json" {
		return fmt.Errorf("output format %q is not one of text, json", output)
	}
	if p.cfg, err = config.Load(config.Sources{Flags: cmd.Flags(), Environ: os.Environ()}); err != nil {
		return err
	}
	return p.cfg.ValidateConnection()
}

func addOutput(f *pflag.FlagSet, output *string) {
	f.StringVarP(output, "output", "o", "text", "`format`: text, json")
}

func writeJSON(w io.Writer, v any) error {
	if err := json.MarshalWrite(w, v, jsontext.WithIndent("  "), json.Deterministic(true)); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// connection is a client with what it is connected to.
type connection struct {
	*kgo.Client
	broker *devbroker.Broker // nil: not ours
}

func (p *place) open(opts ...kgo.Opt) (*connection, error) {
	c := &connection{}
	cfg := *p.cfg
	if p.dev != "" {
		var err error
		if c.broker, err = devbroker.Start(devbroker.Options{Dir: filepath.Join(p.dev, "broker")}); err != nil {
			return nil, err
		}
		cfg.Brokers = []string{c.broker.Addr()}
	}
	basic, err := kafka.ClientOptions(&cfg)
	if err == nil {
		c.Client, err = kgo.NewClient(append(basic, opts...)...)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %v: %w", cfg.Brokers, err), c.closeBroker())
	}
	return c, nil
}

func (c *connection) closeBroker() error {
	if c.broker == nil {
		return nil
	}
	return c.broker.Close()
}

// Close ends the connection. The error says that a broker of ours could not keep its data.
func (c *connection) Close() error {
	c.Client.Close()
	return c.closeBroker()
}

const (
	// seenEvery is how often a new topic is looked for, seenTimeout how long.
	seenEvery   = 50 * time.Millisecond
	seenTimeout = 30 * time.Second
)

// create creates a topic if it does not exist, and waits until the brokers know it: they learn of it after the answer.
func (c *connection) create(ctx context.Context, topic string, partitions int32) error {
	admin := kadm.NewClient(c.Client)
	if _, err := admin.CreateTopic(ctx, partitions, -1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	ctx, cancel := context.WithTimeout(ctx, seenTimeout)
	defer cancel()
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		ends, err := admin.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err == nil && len(ends[topic]) > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for topic %s to be there: %w", topic, errors.Join(ctx.Err(), err))
		}
	}
}

// createInputs creates the topics that the events go to. Those that exist must have as many partitions and, unless more
// is wanted, no records.
func (c *connection) createInputs(ctx context.Context, partitions int32, more bool, topics ...string) error {
	for _, topic := range topics {
		if err := c.create(ctx, topic, partitions); err != nil {
			return err
		}
	}
	ends, err := kadm.NewClient(c.Client).ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("look at topics %v: %w", topics, err)
	}
	for topic, offsets := range ends {
		if len(offsets) != int(partitions) {
			return fmt.Errorf("topic %s has %d partitions: give --partitions %[2]d, or another --prefix", topic, len(offsets))
		}
		for _, end := range offsets {
			if end.Offset > 0 && !more {
				return fmt.Errorf("topic %s holds records already: give another --prefix, or --append", topic)
			}
		}
	}
	return nil
}
