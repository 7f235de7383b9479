// SPDX-License-Identifier: Apache-2.0

package devbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func start(t *testing.T, o Options) *Broker {
	t.Helper()
	b, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func produce(ctx context.Context, t *testing.T, cl *kgo.Client, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "in", Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// committed reads n records of the topic "in" as a read_committed consumer sees them.
func committed(ctx context.Context, t *testing.T, addr string, n int) []string {
	t.Helper()
	cl := client(t, addr, kgo.ConsumeTopics("in"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var got []string
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		fs.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	return got
}

func commitOffset(ctx context.Context, t *testing.T, cl *kgo.Client, at int64, metadata string) {
	t.Helper()
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: "in", Partition: 0, At: at, LeaderEpoch: -1, Metadata: metadata})
	if err := kadm.NewClient(cl).CommitAllOffsets(ctx, "app", os); err != nil {
		t.Fatal(err)
	}
}

func fetchOffset(ctx context.Context, t *testing.T, cl *kgo.Client) kadm.Offset {
	t.Helper()
	os, err := kadm.NewClient(cl).FetchOffsets(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	o, ok := os.Lookup("in", 0)
	if !ok {
		t.Fatal("nothing is committed")
	}
	return o.Offset
}

func TestDataAndOffsetsSurviveReopen(t *testing.T) {
	t.Parallel()
	ctx, dir := testContext(t), t.TempDir()
	b, err := Start(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.CreateTopics(1, "in"); err != nil {
		t.Fatal(err)
	}
	cl := client(t, b.Addr())
	produce(ctx, t, cl, "a", "b", "c")
	commitOffset(ctx, t, cl, 2, "meta")
	cl.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	b = start(t, Options{Dir: dir})
	if err := b.CreateTopics(1, "in"); err != nil {
		t.Fatalf("the topic is not what it was: %v", err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, committed(ctx, t, b.Addr(), 3)); diff != "" {
		t.Error(diff)
	}
	if o := fetchOffset(ctx, t, client(t, b.Addr())); o.At != 2 || o.Metadata != "meta" {
		t.Errorf("committed offset is %d %q, expected 2 \"meta\"", o.At, o.Metadata)
	}
}

func TestDataAndOffsetsSurviveAKill(t *testing.T) {
	t.Parallel()
	ctx, dir, after := testContext(t), t.TempDir(), t.TempDir()
	b := start(t, Options{Dir: dir})
	if err := b.CreateTopics(1, "in"); err != nil {
		t.Fatal(err)
	}
	cl := client(t, b.Addr())
	produce(ctx, t, cl, "a", "b", "c")
	commitOffset(ctx, t, cl, 2, "meta")
	// What a kill leaves behind is what is in the files now.
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b = start(t, Options{Dir: after})
	if diff := cmp.Diff([]string{"a", "b", "c"}, committed(ctx, t, b.Addr(), 3)); diff != "" {
		t.Error(diff)
	}
	if o := fetchOffset(ctx, t, client(t, b.Addr())); o.At != 2 {
		t.Errorf("committed offset is %d, expected 2", o.At)
	}
}

func TestReadCommittedSeesOnlyWhatWasCommitted(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", t.TempDir()} {
		t.Run(fmt.Sprintf("folder=%t", dir != ""), func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := start(t, Options{Dir: dir})
			if err := b.CreateTopics(1, "in"); err != nil {
				t.Fatal(err)
			}
			cl := client(t, b.Addr(), kgo.TransactionalID("app-1"), kgo.DefaultProduceTopic("in"))
			transact(ctx, t, cl, kgo.TryAbort, "aborted")
			transact(ctx, t, cl, kgo.TryCommit, "one", "two")
			transact(ctx, t, cl, kgo.TryAbort, "aborted too")
			transact(ctx, t, cl, kgo.TryCommit, "three")
			if diff := cmp.Diff([]string{"one", "two", "three"}, committed(ctx, t, b.Addr(), 3)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func transact(ctx context.Context, t *testing.T, cl *kgo.Client, how kgo.TransactionEndTry, values ...string) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, cl, values...)
	if err := cl.EndTransaction(ctx, how); err != nil {
		t.Fatal(err)
	}
}

func TestTransactionsSurviveReopen(t *testing.T) {
	t.Parallel()
	ctx, dir := testContext(t), t.TempDir()
	var want []string
	for i := range 3 {
		b, err := Start(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CreateTopics(1, "in"); err != nil {
			t.Fatal(err)
		}
		cl := client(t, b.Addr(), kgo.TransactionalID("app-1"))
		transact(ctx, t, cl, kgo.TryAbort, "aborted")
		value := fmt.Sprint("run ", i)
		transact(ctx, t, cl, kgo.TryCommit, value)
		want = append(want, value)
		if diff := cmp.Diff(want, committed(ctx, t, b.Addr(), len(want))); diff != "" {
			t.Error(diff)
		}
		cl.Close()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecondBrokerOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, Options{Dir: dir})
	if _, err := Start(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, expected ErrInUse", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Dir: dir})
}

func TestTopicWithOtherPartitionCountIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t, Options{})
	if err := b.CreateTopics(2, "in"); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateTopics(4, "in"); err == nil {
		t.Fatal("no error")
	}
}

func TestTakenPortIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t, Options{})
	var port int
	if _, err := fmt.Sscanf(b.Addr(), "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Options{Port: port}); err == nil {
		t.Fatal("no error")
	}
}
