// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
)

func passing(t *testing.T) *topology.Topology {
	t.Helper()
	p := stream.NewPipeline("stood-in")
	stream.From(p, "in", codec.String, codec.String).To("out")
	compiled, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// sent is a server-sent event.
type sent struct{ id, kind, data string }

// follower reads a stream of events.
type follower struct {
	t      *testing.T
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

func (r *rig) follow(lastID, token string) *follower {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/api/v1/events", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	bearer(token)(req)
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cancel(); resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &follower{r.t, bufio.NewScanner(resp.Body), cancel}
}

// next returns the next event; the zero one if the stream has ended.
func (f *follower) next() (e sent) {
	for f.lines.Scan() {
		switch name, value, _ := strings.Cut(f.lines.Text(), ": "); name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			e.data = value
		case "":
			if e.kind != "" {
				return e
			}
		}
	}
	return sent{}
}

// task returns the next event about a task.
func (f *follower) task() sent {
	f.t.Helper()
	for {
		if e := f.next(); e.kind == "task" || e.kind == "" {
			return e
		}
	}
}

func TestAFollowerThatComesBackGetsWhatItHasMissed(t *testing.T) {
	t.Parallel()
	w := api.NewStandIn()
	r := serving(t, nil, func(s *api.Server) { s.Resources(w, passing(t)) })
	f := r.follow("", "")
	if e := f.next(); e.kind != "ready" || e.id == "" {
		t.Fatalf("%+v", e)
	}
	w.Set("running")
	first := f.task()
	if !strings.Contains(first.data, `"state":"running"`) {
		t.Fatalf("%+v", first)
	}
	f.cancel()
	other := r.follow("", "") // sees when the change is there that the first misses
	w.Set("stuck")
	if e := other.task(); !strings.Contains(e.data, `"state":"stuck"`) {
		t.Fatalf("%+v", e)
	}
	f = r.follow(first.id, "")
	if e := f.next(); e.kind != "ready" || e.id != first.id {
		t.Errorf("%+v", e)
	}
	if e := f.task(); !strings.Contains(e.data, `"state":"stuck"`) {
		t.Errorf("%+v", e)
	}
	for _, lastID := range []string{"otherboot-1", "x", first.id + "9999"} {
		if e := r.follow(lastID, "").next(); e.kind != "reset" {
			t.Errorf("after %s: %+v", lastID, e)
		}
	}
}

func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	a := grantAccess(t)
	r := serving(t, func(c *config.Config) { c.APITokensFile = a.path }, func(s *api.Server) { s.Resources(api.NewStandIn(), passing(t)) })
	f := r.follow("", a.tokens[api.Viewer])
	f.next()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if e := f.next(); e.kind != "" {
		t.Errorf("%+v", e)
	}
}

func TestADrainSucceedsWhenTheServerEnds(t *testing.T) {
	t.Parallel()
	w := api.NewStandIn()
	r := serving(t, nil, func(s *api.Server) { s.Resources(w, passing(t)) })
	ended := make(chan reply, 1)
	go func() { ended <- r.ask("POST", "/api/v1/operations?wait=20s", `{"action":"drain"}`, nil) }()
	<-w.Drained
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if got := <-ended; got.status != http.StatusAccepted || !strings.Contains(got.body, `"state":"succeeded"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestWithoutAnObjectStoreThereAreNoCheckpoints(t *testing.T) {
	t.Parallel()
	r := serving(t, nil, func(s *api.Server) { s.Resources(api.NewStandIn(), passing(t)) })
	for _, path := range []string{"GET /api/v1/checkpoints", "GET /api/v1/checkpoints/1", "GET /api/v1/savepoints", "DELETE /api/v1/savepoints/x"} {
		method, path, _ := strings.Cut(path, " ")
		if got := r.ask(method, path, "", nil); got.status != http.StatusConflict || got.problem(t).Type != "urn:streamd:problem:no-object-store" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := r.ask("POST", "/api/v1/operations", `{"action":"pause"}`, nil); got.status != http.StatusConflict {
		t.Errorf("pause: %d %s", got.status, got.body)
	}
}
