// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// producer takes a transactional id for the group app; an empty id is none.
func producer(t *testing.T, cfg *config.Config, id string) *Producer {
	t.Helper()
	p, err := NewProducer(t.Context(), cfg, "app", id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// A worker has looked at what is committed, and nothing was. Before it commits, another worker starts, works and ends.
func TestAnInitialCommitThatWasOvertakenChangesNothing(t *testing.T) {
	t.Parallel()
	cfg := fake(t, kfake.SeedTopics(1, "in"))
	ctx, a := admin(t, cfg)
	tp := partition.TopicPartition{Topic: "in"}
	late, early := producer(t, cfg, "initial"), producer(t, cfg, "initial")
	if out, err := early.CommitInitial(ctx, []OffsetCommit{{tp, 0, "early"}}, nil); out != core.Confirmed {
		t.Fatal(out, err)
	}
	if out, err := late.CommitInitial(ctx, []OffsetCommit{{tp, 0, "late"}}, nil); out != core.Fenced {
		t.Errorf("the late commit is %v, %v", out, err)
	}
	got, err := a.StableOffsets(ctx, "app", []partition.TopicPartition{tp})
	if err != nil || got[tp] != (Committed{0, "early"}) {
		t.Errorf("committed is %+v, %v", got[tp], err)
	}
}

// The engine starts anew from what a stable fetch says, right after a transaction was confirmed.
func TestOffsetsOfATransactionAreThereOnceItsEndIsConfirmed(t *testing.T) {
	t.Parallel()
	cfg := fake(t, kfake.SeedTopics(1, "in", "out"))
	ctx, a := admin(t, cfg)
	tp, p, box := partition.TopicPartition{Topic: "in"}, producer(t, cfg, "app.1"), NewOutbox(partition.TaskID{}, nil)
	box.Use(p)
	for n := range int64(200) {
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		box.Append(partition.TopicPartition{Topic: "out"}, nil, []byte("x"))
		if out, err := p.Flush(ctx); out != core.Confirmed {
			t.Fatal(out, err)
		}
		if out, err := p.CommitOffsets(ctx, "", -1, []OffsetCommit{{tp, n, fmt.Sprint(n)}}); out != core.Confirmed {
			t.Fatal(out, err)
		}
		if out, err := p.End(ctx, true); out != core.Confirmed {
			t.Fatal(out, err)
		}
		box.Reset()
		got, err := a.StableOffsets(ctx, "app", []partition.TopicPartition{tp})
		if err != nil || got[tp].Offset != n {
			t.Fatalf("after the confirmed commit of %d a stable fetch gives %+v, %v", n, got[tp], err)
		}
	}
}
