// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
)

// visits has a store of each kind that is asked for in its own way.
func visits() *stream.Pipeline {
	p := stream.NewPipeline("visits")
	in := stream.From(p, "in", codec.String, codec.Int64, stream.OutOfOrder(0))
	in.Group().Window(stream.Tumbling(time.Minute).Grace(time.Hour)).Count("per-minute").Stream()
	in.VersionedTable("amount", 10*time.Minute).Latest().Stream().To("out", codec.Int64)
	in.Process("seen", func(s *stream.Setup) stream.Handler[string, int64, int64] {
		byAmount := s.Map("by-amount", codec.Int64, codec.String, stream.TTL(5*time.Minute))
		return func(ctx *stream.Context[int64], _ string, amount int64) error {
			return byAmount.Put(amount, fmt.Sprint("seen ", amount))
		}
	}, codec.Int64)
	return p
}

func TestWindowsVersionsAndValuesThatExpireAreFoundAsStepsFindThem(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	at := func(minute int) time.Time { return time.Date(2026, 1, 31, 12, minute, 0, 0, time.UTC) }
	var last *kgo.Record
	for minute := range 8 {
		r.visit("b", minute, at(minute))
		last = r.visit("a", minute, at(minute))
	}
	cfg := r.config("visits", 0)
	app, err := engine.New(visits(), engine.WithConfig(cfg))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	reached := engine.MinPosition(fmt.Sprintf("in/%d@%d", last.Partition, last.Offset))

	var got []string
	windows := engine.StoreOf(app, "per-minute", codec.String, codec.Int64)
	for e, err := range windows.All(ctx, "a", reached, engine.Between(at(2), at(4))) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.Key, " ", e.Time.Minute(), " ", e.Value))
	}
	if diff := cmp.Diff([]string{"a 2 1", "a 3 1", "a 4 1"}, got); diff != "" {
		t.Errorf("windows of a key:\n%s", diff)
	}

	amounts := engine.StoreOf(app, "amount", codec.String, codec.Int64)
	for minute, want := range map[int]int64{7: 7, 3: 3} {
		if found, err := amounts.Get(ctx, "a", engine.AsOf(at(minute).Add(30*time.Second))); err != nil || found.Value != want {
			t.Errorf("as of minute %d: %+v, %v", minute, found.Value, err)
		}
	}
	if _, err := amounts.Get(ctx, "a", engine.AsOf(at(-60))); err == nil {
		t.Error("an answer as of a time before the history")
	}
	if found, err := amounts.Get(ctx, "a"); err != nil || found.Value != 7 {
		t.Errorf("the newest version: %+v, %v", found, err)
	}

	// The watermark is at minute 7, so what was put at minute 2 and before has expired.
	got = nil
	byAmount := engine.StoreOf(app, "seen.by-amount", codec.String, codec.String)
	for e, err := range byAmount.All(ctx, "a") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Value)
	}
	if diff := cmp.Diff([]string{"seen 3", "seen 4", "seen 5", "seen 6", "seen 7"}, got); diff != "" {
		t.Errorf("values with a TTL:\n%s", diff)
	}
	if found, err := byAmount.Get(ctx, "a", engine.SubKey(codec.Int64, 4)); err != nil || found.Value != "seen 4" {
		t.Errorf("a sub-key: %+v, %v", found, err)
	}
	if found, err := byAmount.Get(ctx, "a", engine.SubKey(codec.Int64, 1)); err != nil || found.OK {
		t.Errorf("a sub-key that has expired: %+v, %v", found, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// visit writes a record of a key.
func (r *rig) visit(key string, amount int, at time.Time) *kgo.Record {
	rec := &kgo.Record{Topic: "in", Partition: partition.ForKey([]byte(key), partitions), Key: []byte(key), Timestamp: at}
	rec.Value = must(codec.Int64.Append(nil, int64(amount)))
	r.put(rec)
	return rec
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAnswersAboutStateAreAsDescribed(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	c.put(&kgo.Record{Topic: "in", Value: []byte{0, 0, 0, 0, 0, 0, 0, 7}})
	ended := make(chan error, 1)
	stop := c.work(ended)
	c.until("the record is counted", func() bool {
		status, _, body := c.ask(api.Operator, "GET", "/api/v1/stores/count/keys/1", "")
		return status == http.StatusOK && strings.Contains(body, `"value":1`)
	})
	for path, want := range map[string]int{
		"/api/v1/stores":                                       200,
		"/api/v1/stores/count/keys":                            200,
		"/api/v1/stores/count/keys?limit=1&encoding=raw":       200,
		"/api/v1/stores/count/keys?key=1":                      200,
		"/api/v1/stores/count/keys/1?encoding=raw&stale=allow": 200,
		"/api/v1/stores/count/keys/2":                          404,
		"/api/v1/stores/count/keys/x":                          400,
		"/api/v1/stores/cuont/keys/1":                          409,
	} {
		if status, _, body := c.ask(api.Operator, "GET", path, ""); status != want {
			t.Errorf("%s: %d, want %d: %s", path, status, want, body)
		}
	}
	for role, want := range map[api.Role]int{"": 401, api.Viewer: 403, api.Peer: 200, api.Admin: 200} {
		if status, _, body := c.ask(role, "GET", "/api/v1/stores/count/keys/1", ""); status != want {
			t.Errorf("%s: %d, want %d: %s", role, status, want, body)
		}
	}
	c.client.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
