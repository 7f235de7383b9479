// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/devbroker"
)

func TestFeedSendsEveryLineOnce(t *testing.T) {
	t.Parallel()
	broker, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := broker.CreateTopics(1, linesTopic); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n, err := feed(ctx, []string{broker.Addr()}, strings.NewReader("one\ntwo\n\nfour"))
	if n != 4 || err != nil {
		t.Fatalf("feed sent %d lines, %v; want 4", n, err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.ConsumeTopics(linesTopic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var got []string
	for len(got) < 4 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if text := strings.Join(got, "|"); text != "one|two||four" {
		t.Errorf("topic %s holds %q", linesTopic, text)
	}
}

func TestFeedTellsThatTheTopicIsMissing(t *testing.T) {
	t.Parallel()
	broker, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	n, err := feed(t.Context(), []string{broker.Addr()}, strings.NewReader("one"))
	if n != 0 || err == nil || !strings.Contains(err.Error(), linesTopic) {
		t.Errorf("feed gave %d, %v; want an error that names the topic", n, err)
	}
}
