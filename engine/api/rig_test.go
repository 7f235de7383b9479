// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"context"
	"encoding/json/v2"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
)

// rig is a server on a port of its own.
type rig struct {
	t      *testing.T
	cfg    *config.Config
	server *api.Server
	logs   *observer.ObservedLogs
	addr   string
	client *http.Client
	scheme string
}

// serving starts a server. routes may add to it, setup may change its settings.
func serving(t *testing.T, setup func(*config.Config), routes func(*api.Server)) *rig {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r := &rig{t: t, cfg: config.Default(), logs: logs, client: &http.Client{Timeout: 30 * time.Second}, scheme: "http"}
	if setup != nil {
		setup(r.cfg)
	}
	s, err := api.New(api.Options{Config: r.cfg, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	r.server = s
	if routes != nil {
		routes(s)
	}
	host := "127.0.0.1"
	if strings.HasPrefix(r.cfg.HTTPAddress, "0.0.0.0") {
		host = "0.0.0.0"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r.addr = net.JoinHostPort("127.0.0.1", port)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
			s.Close()
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return r
}

// route is one that answers with who has asked.
func route(pattern string, role api.Role, peers bool) api.Route {
	return api.Route{Pattern: pattern, Role: role, Peers: peers, Handle: func(w http.ResponseWriter, r *http.Request) error {
		return api.WriteJSON(w, r, api.CallerOf(r.Context()))
	}}
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

// problem is what a problem document says.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	Status    int    `json:"status"`
	RequestID string `json:"requestId"`
	Retriable bool   `json:"retriable"`
}

func (a reply) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("status %d, content type %q, expected a problem: %s", a.status, got, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	if p.Status != a.status || p.Detail == "" || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("status %d, request %s: %+v", a.status, a.header.Get("X-Request-Id"), p)
	}
	return p
}

// ask sends a request. edit may change it.
func (r *rig) ask(method, path, body string, edit func(*http.Request)) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.scheme+"://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if edit != nil {
		edit(req)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(got)}
}

// bearer shows a token.
func bearer(token string) func(*http.Request) {
	return func(r *http.Request) {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
}

// put writes a file in one step, as a mounted secret changes.
func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// access is a tokens file with a token of each role.
type access struct {
	path   string
	tokens map[api.Role]string
	lines  map[api.Role]string
}

func grantAccess(t *testing.T) *access {
	t.Helper()
	a := &access{path: filepath.Join(t.TempDir(), "tokens"), tokens: map[api.Role]string{}, lines: map[api.Role]string{}}
	for _, role := range api.Roles() {
		token, line, err := api.NewToken(role, "the-"+string(role))
		if err != nil {
			t.Fatal(err)
		}
		a.tokens[role], a.lines[role] = token, line
	}
	a.write(t, api.Roles()...)
	return a
}

// write lets in the tokens of some roles.
func (a *access) write(t *testing.T, roles ...api.Role) {
	t.Helper()
	text := "# who may come in\n\n"
	for _, role := range roles {
		text += a.lines[role] + "\n"
	}
	put(t, a.path, text)
}
