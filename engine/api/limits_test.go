// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/streamd/streamd/engine/api"
)

func TestMoreThanAServerCanAnswerIsRefusedAndMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	const limit = 256
	entered, leave := make(chan struct{}, limit), make(chan struct{})
	r := serving(t, nil, func(s *api.Server) {
		ladderRoutes(s)
		s.Handle(api.Route{Pattern: "GET /api/v1/slow", Role: api.Viewer, Handle: func(w http.ResponseWriter, r *http.Request) error {
			entered <- struct{}{}
			<-leave
			return nil
		}})
	})
	var slow sync.WaitGroup
	for range limit {
		slow.Go(func() { r.ask("GET", "/api/v1/slow", "", nil) })
	}
	for range limit {
		<-entered
	}
	got := r.ask("GET", "/api/v1/view", "", nil)
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" || !got.problem(t).Retriable {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.ask("GET", "/livez", "", nil); got.status != http.StatusOK {
		t.Errorf("health: %d", got.status)
	}
	close(leave)
	slow.Wait()
	if got := r.ask("GET", "/api/v1/view", "", nil); got.status != http.StatusOK {
		t.Errorf("afterwards: %d", got.status)
	}
}

func TestStreamsHaveALimitOfTheirOwn(t *testing.T) {
	t.Parallel()
	r := serving(t, nil, func(s *api.Server) { s.Resources(api.NewStandIn(), passing(t)) })
	for range 64 {
		r.follow("", "").next()
	}
	if got := r.ask("GET", "/api/v1/events", "", nil); got.status != http.StatusTooManyRequests {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.ask("GET", "/api/v1/status", "", nil); got.status != http.StatusOK {
		t.Errorf("what is no stream: %d", got.status)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	r := serving(t, nil, func(s *api.Server) { s.Resources(api.NewStandIn(), passing(t)) })
	large, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+r.addr+"/api/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	large.Header.Set("X-Large", strings.Repeat("x", 32<<10))
	// The server hangs up before it has read all of it, which the client may see first.
	if resp, err := r.client.Do(large); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a large header: %d", resp.StatusCode)
		}
	}
	if got := r.ask("POST", "/api/v1/operations", `{"action":"`+strings.Repeat("x", 100<<10)+`"}`, nil); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d %s", got.status, got.body)
	}
	got := r.ask("GET", "/api/v1/status", "", func(req *http.Request) { req.Header.Set("X-Request-Id", "mine-1") })
	if got.header.Get("X-Request-Id") != "mine-1" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", got.header)
	}
	got = r.ask("GET", "/api/v1/status", "", func(req *http.Request) { req.Header.Set("X-Request-Id", "a b<script>") })
	if id := got.header.Get("X-Request-Id"); id == "" || strings.Contains(id, " ") {
		t.Errorf("%q", id)
	}
}
