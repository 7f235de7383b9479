// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/streamd/streamd/engine/api"
)

// forwardedHeader marks a query that one worker hands on to another, which does not hand it on again.
const forwardedHeader = "Streamd-Forwarded"

// errUnreachable says that a worker could not be asked.
var errUnreachable = errors.New("the worker cannot be reached")

// patience is how long a worker that says nothing is waited for, where it should not have to wait itself: then it is
// perhaps not there any more, and the task may have a new owner.
const patience = 2 * time.Second

// maxAnswer bounds what is read of an answer: rows in base64, and what is around them.
const maxAnswer = 64 << 20

// peers asks other workers.
type peers struct {
	client *http.Client
	scheme string
}

func newPeers(p *api.Peers) *peers {
	if p == nil {
		return &peers{}
	}
	return &peers{client: &http.Client{Transport: p, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, scheme: p.Scheme()}
}

// ask hands a query on to the worker at an endpoint.
func (p *peers) ask(ctx context.Context, endpoint string, q *Query) (*Answer, error) {
	if p.client == nil {
		return nil, errUnreachable
	}
	deadline, _ := ctx.Deadline()
	on := *q
	left := time.Until(deadline)
	on.Timeout = max(time.Millisecond, left-min(left/4, time.Second/4)) // it has to tell in time that it has not been enough
	if len(q.Min.texts()) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = p.scheme + "://" + endpoint
	}
	a, err := get(ctx, p.client, endpoint, &on, func(r *http.Request) { r.Header.Set(forwardedHeader, "1") })
	var refused *api.Problem
	if errors.As(err, &refused) && (refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden) {
		return nil, api.Problemf(http.StatusBadGateway, "peer-refused", "the worker at %s does not let this one in: %s", endpoint, refused.Detail)
	}
	return a, err
}

// get sends a query to a worker and reads what it says. An error is a problem, or wraps errUnreachable.
func get(ctx context.Context, client *http.Client, base string, q *Query, edit func(*http.Request)) (*Answer, error) {
	body, err := fetch(ctx, client, base, q.path(), edit)
	var told *refusal
	if errors.As(err, &told) && told.Code == codeNoKey && q.Key != nil {
		return parseAbsent(told.body)
	}
	if err != nil {
		return nil, err
	}
	a, err := parseAnswer(q, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: its answer: %w", base, err)
	}
	return a, nil
}

// refusal is a problem that another worker has answered with, and the document that says so.
type refusal struct {
	*api.Problem
	body []byte
}

// Unwrap returns the problem.
func (r *refusal) Unwrap() error { return r.Problem }

// fetch gets what a worker has at a path. An error is a *refusal, or wraps errUnreachable.
func fetch(ctx context.Context, client *http.Client, base, path string, edit func(*http.Request)) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", base, err)
	}
	edit(r)
	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w: %w", base, errUnreachable, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w: %w", base, errUnreachable, err)
	}
	if resp.StatusCode == http.StatusOK {
		return body, nil
	}
	p, err := parseProblem(resp, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w: it answers with status %d, and not as a worker does", base, errUnreachable, resp.StatusCode)
	}
	return nil, &refusal{p, body}
}

// problemType begins the type of every problem of a worker.
const problemType = "urn:streamd:problem:"

func parseProblem(resp *http.Response, body []byte) (*api.Problem, error) {
	var doc struct {
		Type      string `json:"type"`
		Detail    string `json:"detail"`
		Retriable bool   `json:"retriable"`
	}
	var members map[string]jsontext.Value
	if err := errors.Join(json.Unmarshal(body, &doc), json.Unmarshal(body, &members)); err != nil {
		return nil, err
	}
	code, ok := strings.CutPrefix(doc.Type, problemType)
	if !ok {
		return nil, errUnreachable
	}
	p := &api.Problem{Status: resp.StatusCode, Code: code, Detail: doc.Detail, More: map[string]any{}}
	if doc.Retriable {
		p.Retry = time.Second
	}
	for name, value := range members {
		p.More[name] = value // those that every problem has are written anew
	}
	return p, nil
}
