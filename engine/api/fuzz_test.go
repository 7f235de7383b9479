// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"bytes"
	"encoding/json/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// Whatever comes in, the answer is one of HTTP's, errors are problem documents, and the server's own fault is none of them.
func FuzzRequests(f *testing.F) {
	p := stream.NewPipeline("fuzzed")
	stream.From(p, "in", codec.String, codec.String).To("out")
	compiled, err := p.Build()
	if err != nil {
		f.Fatal(err)
	}
	s, err := New(Options{Config: config.Default(), Log: zap.NewNop()})
	if err != nil {
		f.Fatal(err)
	}
	s.loopback = true
	s.Resources(NewStandIn(), compiled)
	s.end() // streams end at once, and operations are not begun
	for _, d := range s.drains {
		d(f.Context())
	}
	for _, seed := range []string{
		"GET /api/v1/tasks?limit=3&page-token=eA HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /api/v1/operations/x?wait=10s HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: a-1\r\n\r\n",
		"POST /api/v1/operations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 17\r\n\r\n{\"action\":\"pause\"}",
		"GET //api/../v1/%2e HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer x\r\nIf-None-Match: *\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.serve(w, r.WithContext(t.Context()))
		if w.Code >= 400 && w.Header().Get("Content-Type") == "application/problem+json" {
			var p struct {
				Status int `json:"status"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p, json.RejectUnknownMembers(false)); err != nil || p.Status != w.Code {
				t.Errorf("%d: %v: %s", w.Code, err, w.Body)
			}
		}
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s", w.Body)
		}
	})
}

// A tokens file is read or refused, and what is wrong with it does not repeat it.
func FuzzGrants(f *testing.F) {
	f.Add("viewer alice sha256:" + strings.Repeat("ab", 32))
	f.Add("# x\nadmin a@b cert:spiffe://x\n")
	f.Add("viewer alice streamd_secretsecret")
	f.Fuzz(func(t *testing.T, text string) {
		grants, err := parseGrants([][]byte{[]byte(text)})
		if err != nil && strings.Contains(text, "streamd_secret") && strings.Contains(err.Error(), "streamd_secret") {
			t.Errorf("%v", err)
		}
		for _, g := range grants {
			if !grantName.MatchString(g.name) || (g.hash == nil) == (g.subject == "") {
				t.Errorf("%+v", g)
			}
		}
	})
}
