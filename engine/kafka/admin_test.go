// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

func admin(t *testing.T, cfg *config.Config) (context.Context, *Admin) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	a, err := NewAdmin(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return ctx, a
}

func TestInternalTopicsOfOneApplicationAreToldFromThoseOfAnother(t *testing.T) {
	t.Parallel()
	got := internalOf("orders", []string{
		"orders", "orders-1-0-changelog", "orders-2-by-customer-repartition", "orders-eu-1-0-changelog", "myorders-1-0-changelog",
		"orders-1-0-changelog-copy", "orders-x-0-changelog", "orders-eu-1-by-1-x-repartition",
	})
	if diff := cmp.Diff([]string{"orders-1-0-changelog", "orders-2-by-customer-repartition"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestClusterTellsWhichTransactionsItHas(t *testing.T) {
	t.Parallel()
	ctx, a := admin(t, fake(t))
	info, err := a.Describe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !info.StableFetch || info.TransactionVersion < 2 || len(info.Brokers) != 1 {
		t.Errorf("a current broker is %+v", info)
	}
	ctx, a = admin(t, fake(t, kfake.MaxVersions(kversion.V3_7_0())))
	if info, err = a.Describe(ctx); err != nil {
		t.Fatal(err)
	}
	if !info.StableFetch || info.TransactionVersion >= 2 {
		t.Errorf("a broker of 3.7 is %+v", info)
	}
}

func TestGroupThatDoesNotExistIsDeadAndCanBeDeleted(t *testing.T) {
	t.Parallel()
	ctx, a := admin(t, fake(t))
	g, err := a.GroupOf(ctx, "nobody")
	if err != nil || g.State != "Dead" || len(g.Committed) > 0 {
		t.Errorf("got %+v, %v", g, err)
	}
	if err := errors.Join(a.DeleteGroup(ctx, "nobody"), a.DeleteTopics(ctx, "nothing")); err != nil {
		t.Error(err)
	}
}

func TestCommittedOffsetsAndMetadataAreListedAndDeleted(t *testing.T) {
	t.Parallel()
	cfg := fake(t, kfake.SeedTopics(2, "in"))
	ctx, a := admin(t, cfg)
	tp := partition.TopicPartition{Topic: "in", Partition: 1}
	p := producer(t, cfg, "initial")
	if out, err := p.CommitInitial(ctx, []OffsetCommit{{tp, 7, "meta"}}, nil); out != core.Confirmed {
		t.Fatal(out, err)
	}
	g, err := a.GroupOf(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[partition.TopicPartition]Committed{tp: {7, "meta"}}, g.Committed); diff != "" {
		t.Error(diff)
	}
	if err := a.DeleteGroup(ctx, "app"); err != nil {
		t.Fatal(err)
	}
	if g, err = a.GroupOf(ctx, "app"); err != nil || len(g.Committed) > 0 {
		t.Errorf("after its deletion the group is %+v, %v", g, err)
	}
}

func TestOpenTransactionsOfAnApplicationAreListed(t *testing.T) {
	t.Parallel()
	cfg := fake(t, kfake.SeedTopics(1, "out"))
	ctx, a := admin(t, cfg)
	for _, id := range []string{"streamd.app.1.x", "streamd.apple.1.x"} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.TransactionalID(id), kgo.DefaultProduceTopic("out"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord("v")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	open, err := a.Transactions(ctx, "streamd.app.")
	if err != nil {
		t.Fatal(err)
	}
	want := []partition.TopicPartition{{Topic: "out", Partition: 0}}
	if len(open) != 1 || open[0].ID != "streamd.app.1.x" || !cmp.Equal(open[0].Touching, want) || open[0].Timeout <= 0 {
		t.Errorf("got %+v", open)
	}
}

func TestGrantsThatAreMissingAreFound(t *testing.T) {
	t.Parallel()
	allow := func(kind kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	cfg := fake(t, kfake.SeedTopics(1, "in", "out"), kfake.EnableACLs(), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "admin", "admin"),
		kfake.User("PLAIN", "worker", "hunter2",
			allow(kmsg.ACLResourceTypeTopic, "in", kmsg.ACLOperationRead),
			allow(kmsg.ACLResourceTypeTopic, "out", kmsg.ACLOperationDescribe)))
	cfg.SASLMechanism, cfg.SASLUser, cfg.SASLPasswordFile = "plain", "worker", secretFile(t, "hunter2")
	ctx, a := admin(t, cfg)
	wanted := []Grant{onTopic(Read, "in"), onTopic(Describe, "in"), onTopic(Write, "out"), onTopic(Create, "new"), onGroup(Read, "app")}
	got, err := a.Lacking(ctx, wanted)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted[2:], got); diff != "" {
		t.Error(diff)
	}
}

func TestFollowerShowsWhatWasCommittedSinceItBegan(t *testing.T) {
	t.Parallel()
	cfg := fake(t, kfake.SeedTopics(2, "in"))
	ctx, a := admin(t, cfg)
	feed := func(values ...string) {
		t.Helper()
		n, err := Feed(ctx, cfg, "in", func(yield func([]byte, error) bool) {
			for _, v := range values {
				if !yield([]byte(v), nil) {
					return
				}
			}
		})
		if err != nil || n != int64(len(values)) {
			t.Fatalf("fed %d: %v", n, err)
		}
	}
	feed("before")
	f, err := a.Follow(ctx, "in")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	feed("one", "two")
	got := map[string]bool{}
	if err := f.CatchUp(ctx, func(m Message) { got[string(m.Value)] = true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"one": true, "two": true}, got); diff != "" {
		t.Error(diff)
	}
	broken := errors.New("the file ended")
	if _, err := Feed(ctx, cfg, "in", func(yield func([]byte, error) bool) { yield(nil, broken) }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
