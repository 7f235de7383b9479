// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
)

// ladderRoutes has a route for each role, and one for peers.
func ladderRoutes(s *api.Server) {
	s.Open("GET /livez", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	s.Handle(route("GET /api/v1/view", api.Viewer, false))
	s.Handle(route("GET /api/v1/state/{key}", api.Operator, true))
	s.Handle(route("POST /api/v1/operate", api.Operator, false))
	s.Handle(route("DELETE /api/v1/undo", api.Admin, false))
}

func TestARoleOpensTheRoutesThatAreItsOwn(t *testing.T) {
	t.Parallel()
	a := grantAccess(t)
	r := serving(t, func(c *config.Config) { c.APITokensFile = a.path }, ladderRoutes)
	for _, tc := range []struct {
		method, path string
		may          []api.Role
	}{
		{"GET", "/api/v1/view", api.Roles()},
		{"GET", "/api/v1/state/x", []api.Role{api.Operator, api.Admin, api.Peer}},
		{"POST", "/api/v1/operate", []api.Role{api.Operator, api.Admin}},
		{"DELETE", "/api/v1/undo", []api.Role{api.Admin}},
	} {
		for _, role := range api.Roles() {
			want := http.StatusForbidden
			if slices.Contains(tc.may, role) {
				want = http.StatusOK
			}
			if got := r.ask(tc.method, tc.path, "", bearer(a.tokens[role])); got.status != want {
				t.Errorf("%s %s as %s: %d %s, expected %d", tc.method, tc.path, role, got.status, got.body, want)
			} else if want == http.StatusForbidden {
				got.problem(t)
			}
		}
		for name, token := range map[string]string{"no token": "", "a token that is not known": "streamd_" + strings.Repeat("A", 43), "the hash": strings.Fields(a.lines[api.Admin])[2]} {
			got := r.ask(tc.method, tc.path, "", bearer(token))
			if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %s: %d %s", tc.method, tc.path, name, got.status, got.body)
			}
			got.problem(t)
		}
	}
	if got := r.ask("GET", "/livez", "", nil); got.status != http.StatusOK {
		t.Errorf("health without a token: %d", got.status)
	}
}

func TestOtherFormsOfAuthorizationAreRefused(t *testing.T) {
	t.Parallel()
	a := grantAccess(t)
	r := serving(t, func(c *config.Config) { c.APITokensFile = a.path }, ladderRoutes)
	for _, header := range []string{"Basic YTpi", "Bearer", "Bearer ", a.tokens[api.Admin], "Bearer " + a.tokens[api.Admin] + " x"} {
		if got := r.ask("GET", "/api/v1/view", "", func(req *http.Request) { req.Header.Set("Authorization", header) }); got.status != http.StatusUnauthorized {
			t.Errorf("%.12q…: %d", header, got.status)
		}
	}
}

func TestAChangedTokensFileHoldsAtOnceAndABrokenOneDoesNot(t *testing.T) {
	t.Parallel()
	a := grantAccess(t)
	r := serving(t, func(c *config.Config) { c.APITokensFile = a.path }, ladderRoutes)
	status := func(role api.Role) int { return r.ask("GET", "/api/v1/view", "", bearer(a.tokens[role])).status }
	if status(api.Viewer) != http.StatusOK {
		t.Fatal("a viewer may not view")
	}
	a.write(t, api.Admin)
	if got := status(api.Viewer); got != http.StatusUnauthorized {
		t.Errorf("a token that was withdrawn: %d", got)
	}
	put(t, a.path, "viewer alice "+a.tokens[api.Viewer])
	if got := status(api.Admin); got != http.StatusOK {
		t.Errorf("after a broken file: %d", got)
	}
	if said := r.logs.FilterMessageSnippet("cannot be used").All(); len(said) != 1 {
		t.Errorf("a broken file was said %d times", len(said))
	} else if text, _ := said[0].ContextMap()["error"].(string); !strings.Contains(text, "line 1") || strings.Contains(text, a.tokens[api.Viewer]) {
		t.Error(text)
	}
	a.write(t, api.Viewer)
	if got := status(api.Viewer); got != http.StatusOK {
		t.Errorf("after it was mended: %d", got)
	}
}

func TestPeersKnowEachOtherByAToken(t *testing.T) {
	t.Parallel()
	a := grantAccess(t)
	path := filepath.Join(t.TempDir(), "peers")
	put(t, path, "the-first-peer-token\n")
	r := serving(t, func(c *config.Config) { c.APITokensFile, c.APIPeerTokenFile = a.path, path }, ladderRoutes)
	peers, err := api.NewPeers(r.cfg, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer peers.CloseIdleConnections()
	r.client.Transport = peers
	if got := r.ask("GET", "/api/v1/state/x", "", nil); got.status != http.StatusOK || !strings.Contains(got.body, `"peer"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.ask("POST", "/api/v1/operate", "", nil); got.status != http.StatusForbidden {
		t.Errorf("a peer may operate: %d", got.status)
	}
	put(t, path, "the-second-peer-token\nthe-first-peer-token\n")
	for _, token := range []string{"the-second-peer-token", "the-first-peer-token"} {
		if got := r.ask("GET", "/api/v1/state/x", "", bearer(token)); got.status != http.StatusOK {
			t.Errorf("%s: %d", token, got.status)
		}
	}
	put(t, path, "the-second-peer-token\n")
	if got := r.ask("GET", "/api/v1/state/x", "", bearer("the-first-peer-token")); got.status != http.StatusUnauthorized {
		t.Errorf("a peers' token that was withdrawn: %d", got.status)
	}
}

func TestWithoutTokensALoopbackAddressIsOpenAndAnotherIsForViewers(t *testing.T) {
	t.Parallel()
	local := serving(t, nil, ladderRoutes)
	if got := local.ask("DELETE", "/api/v1/undo", "", nil); got.status != http.StatusOK {
		t.Errorf("on a loopback address: %d %s", got.status, got.body)
	}
	remote := serving(t, func(c *config.Config) { c.HTTPAddress, c.Insecure = "0.0.0.0:0", true }, ladderRoutes)
	if got := remote.ask("GET", "/api/v1/view", "", nil); got.status != http.StatusOK {
		t.Errorf("a view of an insecure address: %d %s", got.status, got.body)
	}
	for _, path := range []string{"GET /api/v1/state/x", "POST /api/v1/operate", "DELETE /api/v1/undo"} {
		method, path, _ := strings.Cut(path, " ")
		if got := remote.ask(method, path, "", nil); got.status != http.StatusForbidden {
			t.Errorf("%s %s of an insecure address: %d", method, path, got.status)
		}
	}
}

func TestPagesOfOtherSitesGetNothing(t *testing.T) {
	t.Parallel()
	r := serving(t, nil, ladderRoutes)
	for _, host := range []string{"evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example:1", ""} {
		// An empty host is filled in by the client.
		got := r.ask("GET", "/api/v1/view", "", func(req *http.Request) { req.Host = host })
		if want := http.StatusMisdirectedRequest; host != "" && got.status != want {
			t.Errorf("host %q: %d, expected %d", host, got.status, want)
		}
	}
	for _, host := range []string{"localhost", "localhost:9", "127.0.0.1", "127.0.0.9:80", "[::1]", "[::1]:80"} {
		if got := r.ask("GET", "/api/v1/view", "", func(req *http.Request) { req.Host = host }); got.status != http.StatusOK {
			t.Errorf("host %q: %d", host, got.status)
		}
	}
	for name, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"} {
		got := r.ask("POST", "/api/v1/operate", "", func(req *http.Request) { req.Header.Set(name, value) })
		if got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: %d", name, value, got.status)
		}
	}
}

func TestEveryChangeAndEveryRefusalIsInTheAuditLogWithoutSecrets(t *testing.T) {
	t.Parallel()
	a := grantAccess(t)
	r := serving(t, func(c *config.Config) { c.APITokensFile = a.path }, ladderRoutes)
	r.ask("GET", "/api/v1/view", "", bearer(a.tokens[api.Viewer]))
	r.ask("POST", "/api/v1/operate", "", bearer(a.tokens[api.Operator]))
	r.ask("GET", "/api/v1/state/private-key", "", bearer(a.tokens[api.Viewer]))
	r.ask("GET", "/api/v1/view", "", bearer("streamd_wrong"))
	var got []string
	for _, line := range r.logs.FilterMessage("audit").All() {
		m := line.ContextMap()
		got = append(got, strings.Join([]string{m["caller"].(string), m["role"].(string), m["route"].(string), m["outcome"].(string)}, ","))
		if m["from"] == "" || m["requestID"] == "" {
			t.Errorf("%v", m)
		}
	}
	want := []string{
		"the-operator,operator,POST /api/v1/operate,done",
		"the-viewer,viewer,GET /api/v1/state/{key},denied",
		",,GET /api/v1/view,denied",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, line := range r.logs.All() {
		text := line.Message
		for _, f := range line.Context {
			text += f.String
			if err, ok := f.Interface.(error); ok {
				text += err.Error()
			}
		}
		for _, secret := range []string{"private-key", "streamd_", strings.Fields(a.lines[api.Viewer])[2]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in the log: %s", secret, text)
			}
		}
	}
}

func TestABrokenFileAtTheStartIsAnErrorThatDoesNotRepeatIt(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"viewer alice hunter2":             "line 1",
		"\n# x\nviewer alice sha256:beef":  "line 3",
		"root alice sha256:beef":           "viewer, operator, admin and peer",
		"viewer al:ice cert:x":             "letters",
		"viewer alice cert:":               "subject",
		"viewer alice":                     "expected",
		"viewer alice sha256:aa cert:evil": "expected",
	} {
		cfg := config.Default()
		cfg.APITokensFile = filepath.Join(t.TempDir(), "tokens")
		put(t, cfg.APITokensFile, content)
		_, err := api.New(api.Options{Config: cfg, Log: zap.NewNop()})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestWhatThereIsNotIsAProblemToo(t *testing.T) {
	t.Parallel()
	r := serving(t, nil, ladderRoutes)
	if got := r.ask("GET", "/api/v1/nothing", "", nil); got.status != http.StatusNotFound || got.problem(t).Type != "urn:streamd:problem:not-found" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.ask("PUT", "/api/v1/view", "", nil); got.status != http.StatusMethodNotAllowed || !strings.Contains(got.header.Get("Allow"), "GET") || got.problem(t).Type != "urn:streamd:problem:method-not-allowed" {
		t.Errorf("%d %q %s", got.status, got.header.Get("Allow"), got.body)
	}
}
