// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/yaml.v3"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
)

// contract holds what a worker answers against its description.
type contract struct {
	*rig
	check  validator.Validator
	tokens map[api.Role]string
	access string
	addr   string
	client http.Client
}

func newContract(t *testing.T) *contract {
	t.Helper()
	doc, err := libopenapi.NewDocument(api.Specification)
	if err != nil {
		t.Fatal(err)
	}
	check, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, problems := check.ValidateDocument(); !ok {
		for _, p := range problems {
			t.Errorf("the description: %s: %s", p.Message, p.Reason)
			for _, s := range p.SchemaValidationErrors {
				t.Errorf("  line %d: %s", s.Line, s.Reason)
			}
		}
		t.FailNow()
	}
	c := &contract{rig: newRig(t, "in", "out", "bad"), check: check, tokens: map[api.Role]string{}}
	c.access = filepath.Join(c.dir, "tokens")
	var lines []string
	for _, role := range api.Roles() {
		token, line, err := api.NewToken(role, string(role)+"-1")
		if err != nil {
			t.Fatal(err)
		}
		c.tokens[role], lines = token, append(lines, line)
	}
	if err := os.WriteFile(c.access, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// guarding has a repartition topic, state, and records that it cannot decode.
func guarding() *stream.Pipeline {
	p := stream.NewPipeline("guarding")
	stream.From(p, "in", codec.Bytes, codec.Uint64, stream.OnDecodeError(stream.DeadLetter("bad"))).
		KeyBy("by-rest", func(v uint64) uint64 { return v % 3 }, codec.Uint64).
		Group().Count("count").Stream().To("out")
	return p
}

var listening = regexp.MustCompile(`"msg":"listening","what":"http","address":"([^"]+)"`)

// work runs a worker until the function that it returns is called, or it ends by itself.
func (c *contract) work(ended chan<- error) (stop func()) {
	c.t.Helper()
	before := len(listening.FindAllString(c.logs.String(), -1))
	topology, err := guarding().Build()
	if err != nil {
		c.t.Fatal(err)
	}
	cfg := c.config("guarding", 0)
	cfg.HTTPAddress, cfg.APITokensFile = "127.0.0.1:0", c.access
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &c.logs, zap.DebugLevel))
	w, err := worker.New(worker.Options{Config: cfg, Topology: topology, Logger: log})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	go func() { ended <- w.Run(ctx) }()
	c.until("the worker listens", func() bool {
		found := listening.FindAllStringSubmatch(c.logs.String(), -1)
		if len(found) > before {
			c.addr = found[len(found)-1][1]
		}
		return len(found) > before
	})
	return cancel
}

// until polls a condition that other goroutines bring about.
func (c *contract) until(what string, done func() bool) {
	c.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.t.Fatalf("waited in vain until %s\n%s", what, c.logs.String())
		}
	}
}

// ask sends a request and checks the answer against the description.
func (c *contract) ask(role api.Role, method, path, body string, edit ...func(*http.Request)) (int, http.Header, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+c.addr+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if role != "" {
		req.Header.Set("Authorization", "Bearer "+c.tokens[role])
	}
	for _, change := range edit {
		change(req)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(got))
	if ok, problems := c.check.ValidateHttpResponse(req, resp); !ok {
		for _, p := range problems {
			c.t.Errorf("%s %s: %d: %s: %s\n%s", method, path, resp.StatusCode, p.Message, p.Reason, got)
			for _, s := range p.SchemaValidationErrors {
				c.t.Errorf("  %s %s", s.FieldPath, s.Reason)
			}
		}
	}
	return resp.StatusCode, resp.Header, string(got)
}

// get asks for a resource, which must be there.
func get[T any](c *contract, path string) (v T) {
	c.t.Helper()
	status, header, body := c.ask(api.Viewer, "GET", path, "")
	if status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	if header.Get("ETag") == "" {
		c.t.Errorf("GET %s has no ETag", path)
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		c.t.Fatalf("GET %s: %v", path, err)
	}
	return v
}

// list is a page of anything.
type list struct {
	Items []map[string]any `json:"items"`
	Next  string           `json:"nextPageToken"`
}

// operated asks for an operation and waits for its end.
func (c *contract) operated(body string) (op map[string]any) {
	c.t.Helper()
	status, _, answer := c.ask(api.Operator, "POST", "/api/v1/operations?wait=40s", body)
	if status != http.StatusAccepted {
		c.t.Fatalf("%s: %d %s", body, status, answer)
	}
	if err := json.Unmarshal([]byte(answer), &op); err != nil {
		c.t.Fatal(err)
	}
	return op
}

func TestAWorkerAnswersAsIsDescribed(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	var records []*kgo.Record
	for i := range 40 {
		records = append(records, &kgo.Record{Topic: "in", Partition: int32(i % partitions), Value: []byte{0, 0, 0, 0, 0, 0, 0, byte(i)}})
	}
	c.put(append(records, &kgo.Record{Topic: "in", Value: []byte("secret")})...)
	ended := make(chan error, 1)
	stop := c.work(ended)
	c.until("it is ready", func() bool { status, _, _ := c.ask("", "GET", "/readyz", ""); return status == http.StatusOK })
	c.until("a checkpoint is complete", func() bool {
		return slices.ContainsFunc(get[list](c, "/api/v1/checkpoints").Items, func(r map[string]any) bool { return r["state"] == "complete" })
	})
	c.resources()
	c.operations()
	c.pages()
	c.matrix()
	c.client.CloseIdleConnections()

	// A pause ends the worker; one that is started again waits, and can be asked to go on.
	if op := c.operated(`{"action":"pause"}`); op["state"] != "succeeded" || op["round"] == nil {
		t.Errorf("pause: %v", op)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	stop()
	stop = c.work(ended)
	defer stop()
	var app map[string]any
	c.until("the application is halted", func() bool {
		status, _, body := c.ask(api.Viewer, "GET", "/api/v1/application", "")
		return status == http.StatusOK && json.Unmarshal([]byte(body), &app) == nil && app["halt"] != nil
	})
	if op := c.operated(`{"action":"savepoint","name":"late"}`); op["state"] != "failed" || op["error"].(map[string]any)["code"] != "halted" {
		t.Errorf("savepoint of a halted application: %v", op)
	}
	if op := c.operated(`{"action":"resume"}`); op["state"] != "succeeded" {
		t.Errorf("resume: %v", op)
	}
	c.until("it runs again", func() bool { status, _, _ := c.ask("", "GET", "/readyz", ""); return status == http.StatusOK })
	if op := c.operated(`{"action":"resume"}`); op["state"] != "failed" || op["error"].(map[string]any)["code"] != "not-halted" {
		t.Errorf("resume of what runs: %v", op)
	}
	if op := c.operated(`{"action":"drain"}`); op["state"] != "succeeded" {
		t.Errorf("drain: %v", op)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`"action":"pause"`, `"caller":"operator-1"`, `"outcome":"denied"`} {
		if !strings.Contains(c.logs.String(), line) {
			t.Errorf("the log lacks %s", line)
		}
	}
}

// resources looks at each of them.
func (c *contract) resources() {
	c.t.Helper()
	app := get[map[string]any](c, "/api/v1/application")
	if app["id"] != "guarding" || app["incarnation"] != 1.0 || app["tasks"] != float64(2*partitions) || app["halt"] != nil || app["created"] == nil {
		c.t.Errorf("%v", app)
	}
	for format, want := range map[string]string{"json": `"subTopologies"`, "dot": "digraph", "mermaid": "flowchart", "text": "sub-topology"} {
		status, _, body := c.ask(api.Viewer, "GET", "/api/v1/topology?format="+format, "")
		if status != http.StatusOK || !strings.Contains(strings.ToLower(body), strings.ToLower(want)) {
			c.t.Errorf("%s: %d %.300s", format, status, body)
		}
	}
	task := get[map[string]any](c, "/api/v1/tasks/1_2")
	if status, _ := task["status"].(map[string]any); status["state"] != "running" || fmt.Sprint(task["stores"]) != "[count]" {
		c.t.Errorf("%v", task)
	}
	workers := get[list](c, "/api/v1/workers")
	if len(workers.Items) != 1 || workers.Items[0]["self"] != true || len(workers.Items[0]["tasks"].([]any)) != 2*partitions {
		c.t.Errorf("%v", workers)
	}
	newest := get[list](c, "/api/v1/checkpoints")
	i := slices.IndexFunc(newest.Items, func(r map[string]any) bool { return r["state"] == "complete" })
	if newest.Items[i]["bytes"] == nil {
		c.t.Errorf("%v", newest.Items[i])
	}
	if st := get[api.Status](c, "/api/v1/status"); !st.Joined || len(st.Tasks) != 2*partitions || st.Member == "" {
		c.t.Errorf("%+v", st)
	}
	settings := get[list](c, "/api/v1/config")
	if !slices.ContainsFunc(settings.Items, func(s map[string]any) bool { return s["name"] == "api.tokens-file" && s["value"] == c.access }) {
		c.t.Error("api.tokens-file is not among the settings")
	}
	c.errors()
	for _, path := range []string{"/livez", "/metrics", "/api/v1/openapi.json"} {
		if status, _, body := c.ask(api.Viewer, "GET", path, ""); status != http.StatusOK {
			c.t.Errorf("%s: %d %s", path, status, body)
		}
	}
	etag := ""
	_, header, _ := c.ask(api.Viewer, "GET", "/api/v1/topology", "")
	etag = header.Get("ETag")
	if status, _, _ := c.ask(api.Viewer, "GET", "/api/v1/topology", "", func(r *http.Request) { r.Header.Set("If-None-Match", `"x", W/`+etag) }); status != http.StatusNotModified {
		c.t.Errorf("the same again: %d", status)
	}
	for _, path := range []string{"/api/v1/tasks/7_0", "/api/v1/checkpoints/99999", "/api/v1/operations/none"} {
		if status, _, body := c.ask(api.Viewer, "GET", path, ""); status != http.StatusNotFound {
			c.t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/api/v1/tasks/x", "/api/v1/checkpoints/x", "/api/v1/topology?format=x", "/api/v1/status?x=1", "/api/v1/tasks?limit=0", "/api/v1/tasks?page-token=x"} {
		if status, _, body := c.ask(api.Viewer, "GET", path, ""); status != http.StatusBadRequest {
			c.t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// errors looks at what became of the record that could not be decoded.
func (c *contract) errors() {
	c.t.Helper()
	var found map[string]any
	c.until("the dead letter is counted", func() bool {
		for _, f := range get[list](c, "/api/v1/errors").Items {
			if f["source"] == "record" {
				found = f
			}
		}
		return found != nil
	})
	sample := found["samples"].([]any)[0].(map[string]any)
	if found["outcome"] != "dead-lettered" || found["count"] != 1.0 || sample["topic"] != "in" || sample["deadLetterTopic"] != "bad" || sample["error"] != nil {
		c.t.Errorf("%v", found)
	}
	_, _, body := c.ask(api.Operator, "GET", "/api/v1/errors", "")
	if !strings.Contains(body, `"error":"`) || strings.Contains(body, "secret") {
		c.t.Error(body)
	}
}

// operations begins a savepoint, twice with one key, and lets go of it.
func (c *contract) operations() {
	c.t.Helper()
	keyed := func(r *http.Request) { r.Header.Set("Idempotency-Key", "once") }
	_, first, _ := c.ask(api.Operator, "POST", "/api/v1/operations", `{"action":"savepoint","name":"kept","note":"n"}`, keyed)
	status, second, _ := c.ask(api.Operator, "POST", "/api/v1/operations", `{"action":"savepoint","name":"kept","note":"n"}`, keyed)
	if status != http.StatusAccepted || first.Get("Location") != second.Get("Location") || second.Get("Idempotent-Replayed") != "true" {
		c.t.Errorf("the same key: %d, %s and %s", status, first.Get("Location"), second.Get("Location"))
	}
	if status, _, body := c.ask(api.Operator, "POST", "/api/v1/operations", `{"action":"savepoint","name":"other"}`, keyed); status != http.StatusUnprocessableEntity {
		c.t.Errorf("the same key for another request: %d %s", status, body)
	}
	op := get[map[string]any](c, first.Get("Location")+"?wait=40s")
	if op["state"] != "succeeded" || op["requestedBy"] != "operator-1" {
		c.t.Fatalf("%v", op)
	}
	if d := get[map[string]any](c, fmt.Sprintf("/api/v1/checkpoints/%v", op["round"])); len(d["parts"].([]any)) != 2*partitions {
		c.t.Errorf("%v", d)
	}
	if op := c.operated(`{"action":"savepoint","name":"kept"}`); op["state"] != "failed" || op["error"].(map[string]any)["code"] != "name-taken" {
		c.t.Errorf("the same name: %v", op)
	}
	c.until("the savepoint is listed", func() bool {
		return slices.ContainsFunc(get[list](c, "/api/v1/savepoints").Items, func(s map[string]any) bool {
			return s["name"] == "kept" && s["by"] == "operator-1" && s["note"] == "n"
		})
	})
	if ops := get[list](c, "/api/v1/operations"); len(ops.Items) != 2 || ops.Items[1]["id"] != op["id"] {
		c.t.Errorf("%v", ops)
	}
	if status, _, body := c.ask(api.Admin, "DELETE", "/api/v1/savepoints/kept", ""); status != http.StatusNoContent {
		c.t.Errorf("%d %s", status, body)
	}
	if status, _, body := c.ask(api.Admin, "DELETE", "/api/v1/savepoints/kept", ""); status != http.StatusNotFound {
		c.t.Errorf("again: %d %s", status, body)
	}
	for body, want := range map[string]int{
		`{"action":"explode"}`: 400, `{"action":"drain","name":"x"}`: 400, `{"action":"savepoint"}`: 400, `{"action":"savepoint","name":"a b"}`: 400,
		`{`: 400, `[]`: 400, `{"action":"drain","who":"me"}`: 400, `{"action":"savepoint","name":"x","note":"` + strings.Repeat("n", 2000) + `"}`: 400,
		`{"action":"savepoint","name":"x","note":"` + strings.Repeat("n", 100_000) + `"}`: 413,
	} {
		if status, _, got := c.ask(api.Operator, "POST", "/api/v1/operations", body); status != want {
			c.t.Errorf("%.60s: %d %s, expected %d", body, status, got, want)
		}
	}
	if status, _, got := c.ask(api.Operator, "POST", "/api/v1/operations", `{"action":"drain"}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }); status != http.StatusUnsupportedMediaType {
		c.t.Errorf("a form: %d %s", status, got)
	}
}

// pages reads a list in parts.
func (c *contract) pages() {
	c.t.Helper()
	var all []string
	for path := "/api/v1/tasks?limit=3"; ; {
		l := get[list](c, path)
		for _, task := range l.Items {
			all = append(all, task["task"].(string))
		}
		if l.Next == "" {
			break
		}
		path = "/api/v1/tasks?limit=3&page-token=" + l.Next
	}
	var want []string
	for sub := range int32(2) {
		for p := range int32(partitions) {
			want = append(want, partition.TaskID{SubTopology: sub, Partition: p}.String())
		}
	}
	if !slices.Equal(all, want) {
		c.t.Errorf("%v, expected %v", all, want)
	}
}

// matrix asks for every route that is described in every role, with and without a token.
func (c *contract) matrix() {
	c.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Security []map[string][]string `yaml:"security"`
		} `yaml:"paths"`
	}
	if err := yaml.Unmarshal(api.Specification, &doc); err != nil {
		c.t.Fatal(err)
	}
	variable := regexp.MustCompile(`\{[^}]+\}`)
	for path, methods := range doc.Paths {
		for method, d := range methods {
			var least []string
			for _, requirement := range d.Security {
				least = append(least, requirement["token"]...)
			}
			method, path := strings.ToUpper(method), variable.ReplaceAllString(path, "1")
			if method == "POST" {
				path += "?unknown=1" // an operation is not to begin
			}
			for role, token := range c.tokens {
				want := 0
				if !admits(least, role) {
					want = http.StatusForbidden
				}
				c.admitted(method, path, "Bearer "+token, want)
			}
			want := http.StatusUnauthorized
			if len(least) == 0 {
				want = 0
			}
			c.admitted(method, path, "", want)
			if len(least) > 0 {
				c.admitted(method, path, "Bearer streamd_wrong", want)
			}
		}
	}
}

// admits says whether a role may use what is described as for others: each includes those before it.
func admits(least []string, role api.Role) bool {
	ladder := []string{"viewer", "operator", "admin"}
	for _, l := range least {
		if l == string(role) || slices.Contains(ladder, string(role)) && slices.Index(ladder, l) >= 0 && slices.Index(ladder, l) < slices.Index(ladder, string(role)) {
			return true
		}
	}
	return len(least) == 0 || role == api.Peer && slices.Contains(least, "viewer")
}

// admitted asks, and compares the status where it says who may come in. want 0 is any other.
func (c *contract) admitted(method, path, authorization string, want int) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // a stream has no end
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	got := resp.StatusCode
	if got != http.StatusUnauthorized && got != http.StatusForbidden {
		got = 0
	}
	if got != want {
		c.t.Errorf("%s %s with %.12q…: %d, expected %d", method, path, authorization, resp.StatusCode, want)
	}
}
