// SPDX-License-Identifier: Apache-2.0

package s3_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/checkpoint/objstore/s3"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
	"github.com/streamd/streamd/test/s3/s3server"
)

// stub is a bucket that gives scripted answers to the first writes and then behaves. No server we can run
// answers 409, so this stands in for Amazon's.
type stub struct {
	mu struct {
		sync.Mutex
		script  []answer
		objects map[string]string
		writes  int
		headers []http.Header
	}
}

type answer struct {
	status int
	code   string
	apply  bool // the write takes effect although the answer says otherwise
	drop   bool // the connection is cut instead of an answer
}

func newStub(t *testing.T, script ...answer) (*stub, string) {
	b := &stub{}
	b.mu.script, b.mu.objects = script, map[string]string{}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, server.URL
}

func (b *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r.Method {
	case http.MethodPut:
		b.write(w, r, content)
	case http.MethodPost:
		b.mu.headers = append(b.mu.headers, r.Header.Clone())
		refuse(w, http.StatusNotImplemented, "NotImplemented")
	default:
		b.read(w, r)
	}
}

func (b *stub) write(w http.ResponseWriter, r *http.Request, content []byte) {
	b.mu.writes++
	b.mu.headers = append(b.mu.headers, r.Header.Clone())
	if len(b.mu.script) > 0 {
		a := b.mu.script[0]
		b.mu.script = b.mu.script[1:]
		if a.apply {
			b.mu.objects[r.URL.Path] = string(content)
		}
		if a.drop {
			panic(http.ErrAbortHandler)
		}
		refuse(w, a.status, a.code)
		return
	}
	if _, taken := b.mu.objects[r.URL.Path]; taken && r.Header.Get("If-None-Match") == "*" {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	b.mu.objects[r.URL.Path] = string(content)
}

func (b *stub) read(w http.ResponseWriter, r *http.Request) {
	content, ok := b.mu.objects[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("ETag", `"x"`)
	_, _ = io.WriteString(w, content)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>scripted</Message></Error>", code)
}

// anonymous takes credentials away: without them bodies are sent plain, not in signed chunks, which keeps
// the stub small. Tests that need it cannot be parallel.
func anonymous(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
}

func stubConfig(url string) s3.Config {
	c := config(url, "p")
	c.AccessKey, c.SecretKey = "", ""
	return c
}

func retrying(t *testing.T, url string) *objstore.Retry {
	t.Helper()
	return objstore.NewRetry(open(t, stubConfig(url)), objstore.Policy{Base: time.Microsecond})
}

func TestAConflictingConditionalWriteIsRepeatedUntilItIsClear(t *testing.T) {
	anonymous(t)
	conflict := answer{status: http.StatusConflict, code: "ConditionalRequestConflict"}
	b, url := newStub(t, conflict, conflict)
	if err := retrying(t, url).Create(t.Context(), "fence", strings.NewReader("mine")); err != nil {
		t.Fatal(err)
	}
	if b.mu.writes != 3 {
		t.Errorf("%d requests, want 3", b.mu.writes)
	}
	for _, h := range b.mu.headers {
		if h.Get("If-None-Match") != "*" {
			t.Error("a repeat was sent without its condition")
		}
	}
}

func TestAConflictThatEndsWithAnotherWinnerIsErrExists(t *testing.T) {
	anonymous(t)
	b, url := newStub(t, answer{status: http.StatusConflict, code: "ConditionalRequestConflict"})
	b.mu.objects["/streamd/p/fence"] = "theirs"
	err := retrying(t, url).Create(t.Context(), "fence", strings.NewReader("mine"))
	if !errors.Is(err, objstore.ErrExists) {
		t.Errorf("error is %v, want ErrExists", err)
	}
}

func TestACreateWhoseReplyIsLostIsRecognisedAsTheOwn(t *testing.T) {
	anonymous(t)
	for name, lost := range map[string]answer{
		"cut connection":   {apply: true, drop: true},
		"error after all":  {apply: true, status: http.StatusInternalServerError, code: "InternalError"},
		"gateway timeout":  {apply: true, status: http.StatusGatewayTimeout},
		"cut, not applied": {drop: true},
	} {
		_, url := newStub(t, lost)
		if err := retrying(t, url).Create(t.Context(), "fence", strings.NewReader("mine")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersOfTheServerMeanWhatTheyShould(t *testing.T) {
	anonymous(t)
	tests := []struct {
		answer answer
		want   error // nil: permanent
	}{
		{answer{status: 412, code: "PreconditionFailed"}, objstore.ErrExists},
		{answer{status: 409, code: "ConditionalRequestConflict"}, objstore.ErrTransient},
		{answer{status: 409, code: "OperationAborted"}, objstore.ErrTransient},
		{answer{status: 503, code: "SlowDown"}, objstore.ErrTransient},
		{answer{status: 400, code: "KMS.ThrottlingException"}, objstore.ErrTransient},
		{answer{status: 400, code: "KMS.DisabledException"}, nil},
		{answer{status: 500, code: "InternalError"}, objstore.ErrTransient},
		{answer{status: 502}, objstore.ErrTransient},
		{answer{status: 429}, objstore.ErrTransient},
		{answer{status: 400, code: "RequestTimeout"}, objstore.ErrTransient},
		{answer{status: 400, code: "ExpiredToken"}, objstore.ErrTransient},
		{answer{status: 400, code: "BadDigest"}, objstore.ErrTransient},
		{answer{drop: true}, objstore.ErrTransient},
		{answer{status: 403, code: "AccessDenied"}, nil},
		{answer{status: 404, code: "NoSuchBucket"}, nil},
		{answer{status: 404, code: "NoSuchKey"}, objstore.ErrTransient},
		{answer{status: 404, code: "NoSuchUpload"}, objstore.ErrTransient},
		{answer{status: 400, code: "InvalidArgument"}, nil},
		{answer{status: 501, code: "NotImplemented"}, nil},
	}
	for _, test := range tests {
		_, url := newStub(t, test.answer)
		err := open(t, stubConfig(url)).Create(t.Context(), "a", strings.NewReader("x"))
		if err == nil {
			t.Errorf("%+v: no error", test.answer)
			continue
		}
		for _, sentinel := range []error{objstore.ErrExists, objstore.ErrTransient, objstore.ErrNotFound} {
			if got, want := errors.Is(err, sentinel), test.want == sentinel; got != want {
				t.Errorf("%+v: errors.Is(%v, %v) is %v", test.answer, err, sentinel, got)
			}
		}
	}
}

func TestAServerThatIgnoresTheConditionFailsTheSelfTest(t *testing.T) {
	anonymous(t)
	b, url := newStub(t)
	ignoring := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-None-Match")
		b.ServeHTTP(w, r)
	})
	server := httptest.NewServer(ignoring)
	t.Cleanup(server.Close)
	for address, want := range map[string]bool{url: false, server.URL: true} {
		err := objstore.SelfTest(t.Context(), open(t, stubConfig(address)))
		if errors.Is(err, objstore.ErrUnsafe) != want {
			t.Errorf("self-test says %v, unsafe should be %v", err, want)
		}
	}
}

func TestAServerThatIgnoresRangesIsFoundOut(t *testing.T) {
	anonymous(t)
	b, url := newStub(t)
	b.mu.objects["/streamd/p/a"] = "0123456789"
	body, err := open(t, stubConfig(url)).GetRange(t.Context(), "a", 4, -1)
	if err == nil {
		content, _ := io.ReadAll(body)
		t.Fatalf("the part from byte 4 on is said to be %q", content)
	}
	if errors.Is(err, objstore.ErrTransient) || !strings.Contains(err.Error(), "range") {
		t.Errorf("error is %v, want a permanent one that names ranges", err)
	}
}

// troubled are the answers of Amazon's servers to calls that should be made again.
var troubled = map[storetest.Trouble]fault.Wire{
	storetest.Busy:     {Status: 503, Body: "<Error><Code>SlowDown</Code></Error>"},
	storetest.Expired:  {Status: 400, Body: "<Error><Code>ExpiredToken</Code></Error>"},
	storetest.Conflict: {Status: 409, Body: "<Error><Code>ConditionalRequestConflict</Code></Error>"},
}

func TestRetriesGetThroughTroublesOfARealServer(t *testing.T) {
	t.Parallel()
	endpoint := s3server.Start(t)
	t.Run("Suite", func(t *testing.T) {
		storetest.RunTroubled(t, func(t *testing.T) (objstore.Store, func(storetest.Trouble, int)) {
			c := config(endpoint, strings.NewReplacer("/", "-").Replace(t.Name())+rand.Text())
			transport := fault.NewTransport(http.DefaultTransport)
			c.Transport = transport
			return open(t, c), storetest.ThroughRequests(transport, troubled)
		})
	})
}
