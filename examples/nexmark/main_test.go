// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json/v2"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/examples/nexmark/model"
)

// shell runs command lines against a broker of the test.
type shell struct {
	t    *testing.T
	addr string // empty: the commands need no broker
	dir  string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	b, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return &shell{t: t, addr: b.Addr(), dir: t.TempDir()}
}

// run runs a command line and returns what it printed.
func (s *shell) run(args ...string) (string, error) {
	s.t.Helper()
	if s.addr != "" {
		args = append(args, "--brokers", s.addr)
	}
	root, err := command(args)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err = root.ExecuteContext(ctx)
	return out.String(), err
}

// must is run for what has to work.
func (s *shell) must(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// connect returns a client as verify has it.
func (s *shell) connect() *connection {
	s.t.Helper()
	p := place{cfg: config.Default()}
	p.cfg.Brokers = []string{s.addr}
	client, err := p.open(kgo.KeepControlRecords())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// work runs a query to the end of its input.
func (s *shell) work(query string) {
	s.t.Helper()
	s.must("run", "--query", query, "--until", "end", "--store-url", "file://"+filepath.ToSlash(filepath.Join(s.dir, "store")),
		"--state-dir", filepath.Join(s.dir, "state-"+query), "--http-address", "127.0.0.1:0", "--log-level", "error", "--commit-interval", "20ms")
}

func TestGeneratedEventsRunAndVerify(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	var made summary
	if err := json.Unmarshal([]byte(s.must("gen", "--events", "5000", "--partitions", "2", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"nexmark-person": 100, "nexmark-auction": 300, "nexmark-bid": 4600}
	if made.Events != 5000 || made.Seed != 1 || !cmp.Equal(made.Records, want) {
		t.Fatalf("gen has made %+v, want 5000 events: %v", made, want)
	}
	for query, rows := range map[string]int{"q0": 4600, "q4": 5, "q20": -1} {
		s.work(query)
		var v verdict
		if err := json.Unmarshal([]byte(s.must("verify", "--query", query, "-o", "json")), &v); err != nil {
			t.Fatal(err)
		}
		if v.Events != 5000 || v.Missing+v.Unexpected > 0 || v.Rows != v.Expected || rows >= 0 && v.Rows != rows {
			t.Errorf("verify finds %+v, want %d rows", v, rows)
		}
	}
	if out := s.must("verify", "--query", "q4"); !strings.Contains(out, "5 are expected\nall rows are right\n") {
		t.Errorf("verify prints\n%s", out)
	}
}

func TestVerifySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must("gen", "--events", "500", "--prefix", "p-")
	c := choice{query: "q2", prefix: "p-"}
	c.complete()
	out, err := s.run("verify", "--query", "q2", "--prefix", "p-", "--out", "nowhere")
	if err == nil || errors.Is(err, errWrongResults) {
		t.Errorf("a topic that does not exist gives the error %v\n%s", err, out)
	}
	client := s.connect()
	if err := client.create(t.Context(), c.out, 1); err != nil {
		t.Fatal(err)
	}
	wrong := &kgo.Record{Topic: c.out, Value: []byte(`{"auction":123,"price":4}`)}
	if err := client.ProduceSync(t.Context(), wrong).FirstErr(); err != nil {
		t.Fatal(err)
	}
	out, err = s.run("verify", "--query", "q2", "--prefix", "p-")
	if !errors.Is(err, errWrongResults) || !strings.Contains(out, "\n  + auction 123, price 4\n") {
		t.Errorf("error %v, verify prints\n%s", err, out)
	}
}

func TestGeneratedRecordsAreWhereTheirKeysBelong(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.must("gen", "--events", "2000", "--rate", "100", "--base", "2030-01-01T00:00:00Z")
	client := s.connect()
	type record struct {
		ID      int64 `json:"id"`
		Auction int64 `json:"auction"`
		Time    int64 `json:"dateTime"`
	}
	murmur2 := kgo.StickyKeyPartitioner(nil).ForTopic("")
	for _, topic := range model.TopicsOf("").All() {
		newest := map[int32]int64{}
		var partitions []int32
		err := client.readAll(t.Context(), topic, func(r *kgo.Record) error {
			var v record
			if err := json.Unmarshal(r.Value, &v); err != nil {
				return err
			}
			if key := int64(binary.BigEndian.Uint64(r.Key)); len(r.Key) != 8 || key != max(v.ID, v.Auction) {
				t.Errorf("%s has the key %x", r.Value, r.Key)
			}
			if got := murmur2.Partition(r, 4); got != int(r.Partition) {
				t.Errorf("%s is in partition %d, its key belongs to %d", r.Value, r.Partition, got)
			}
			if r.Timestamp.UnixMilli() != v.Time || v.Time < newest[r.Partition] || v.Time < 1893456000000 {
				t.Errorf("%s has the timestamp %d, behind one of %d", r.Value, r.Timestamp.UnixMilli(), newest[r.Partition])
			}
			newest[r.Partition] = v.Time
			partitions = append(partitions, r.Partition)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(partitions)
		if got := slices.Compact(partitions); len(got) != 4 {
			t.Errorf("topic %s has records in the partitions %v", topic, got)
		}
	}
	if _, err := s.run("gen", "--events", "50"); err == nil {
		t.Error("events were put behind others without --append")
	}
	s.must("gen", "--events", "50", "--append")
}

func TestLiveEventsHaveTheTimeOfTheClock(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	before := time.Now().UnixMilli()
	s.must("gen", "--live", "5000", "--events", "1000")
	after := time.Now().UnixMilli()
	client := s.connect()
	n := 0
	err := client.readAll(t.Context(), "nexmark-bid", func(r *kgo.Record) error {
		b, err := model.Bids.Decode(r.Value)
		if at := r.Timestamp.UnixMilli(); b.DateTime != at || at < before || at > after {
			t.Errorf("a bid of %d has the timestamp %d, want one from %d to %d", b.DateTime, at, before, after)
		}
		n++
		return err
	})
	if err != nil || n != 920 {
		t.Errorf("error %v, %d bids, want 920", err, n)
	}
	if span := after - before; span < 200 {
		t.Errorf("1000 events at 5000 a second came in %d ms", span)
	}
}

func TestTheQueryChoosesThePipeline(t *testing.T) {
	t.Parallel()
	s := &shell{t: t}
	out := s.must("describe", "--query", "q2", "--prefix", "a-")
	for _, part := range []string{"nexmark-q2", "a-nexmark-bid"} {
		if !strings.Contains(out, part) {
			t.Errorf("describe does not name %s:\n%s", part, out)
		}
	}
	if _, err := s.run("describe", "--query", "q99"); err == nil || !strings.Contains(err.Error(), "q22") {
		t.Errorf("an unknown query gives the error %v", err)
	}
}
