// SPDX-License-Identifier: Apache-2.0

package gcs_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/checkpoint/objstore/gcs"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
)

func connect(t *testing.T, c gcs.Config) *gcs.Store {
	t.Helper()
	if c.Client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		t.Cleanup(transport.CloseIdleConnections)
		c.Client = &http.Client{Transport: transport}
	}
	if c.Bucket == "" {
		c.Bucket = bucketName
	}
	s, err := gcs.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() objstore.Store {
		_, address := newFake(t)
		return func() objstore.Store { return connect(t, gcs.Config{Endpoint: address, Prefix: "some/prefix"}) }
	})
}

func TestTheImportedPackageOpensItsScheme(t *testing.T) {
	t.Parallel()
	_, address := newFake(t)
	s, err := open.Open(t.Context(), "gs://"+bucketName+"/prefix?endpoint="+address, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := objstore.SelfTest(t.Context(), s); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"gs://", "gs:///prefix", "gs://bucket?region=x"} {
		if _, err := open.Open(t.Context(), bad, open.Options{}); !errors.Is(err, open.ErrURL) {
			t.Errorf("%s: error is %v, want ErrURL", bad, err)
		}
	}
	for _, bad := range []string{"gs://bucket/../x", "gs://b?endpoint=ftp://h", "gs://b?endpoint=http://user:pw@h"} {
		if _, err := open.Open(t.Context(), bad, open.Options{}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestAnswersOfTheServerMeanWhatTheyShould(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	for _, test := range []struct {
		answer answer
		want   error // nil: permanent
	}{
		{answer{status: 412, reason: "conditionNotMet"}, objstore.ErrExists},
		{answer{status: 409, reason: "conflict"}, objstore.ErrTransient},
		{answer{status: 503, reason: "backendError"}, objstore.ErrTransient},
		{answer{status: 500}, objstore.ErrTransient},
		{answer{status: 429, reason: "rateLimitExceeded"}, objstore.ErrTransient},
		{answer{status: 403, reason: "rateLimitExceeded"}, objstore.ErrTransient},
		{answer{status: 408}, objstore.ErrTransient},
		{answer{status: 401, reason: "authError"}, objstore.ErrTransient},
		{answer{drop: true}, objstore.ErrTransient},
		{answer{status: 403, reason: "forbidden"}, nil},
		{answer{status: 404, reason: "notFound"}, nil},
		{answer{status: 400, reason: "invalid"}, nil},
		{answer{status: 501}, nil},
	} {
		f.answer(http.MethodPost, test.answer)
		err := connect(t, gcs.Config{Endpoint: address}).Create(t.Context(), "a", strings.NewReader("x"))
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

func TestNoRequestIsRepeatedByTheClientItself(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	s := connect(t, gcs.Config{Endpoint: address})
	busy := answer{status: 503, reason: "backendError"}
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		f.answer(method, busy)
	}
	_, getErr := s.Get(t.Context(), "a")
	for call, err := range map[string]error{
		"create": s.Create(t.Context(), "a", strings.NewReader("x")), "get": getErr, "delete": s.Delete(t.Context(), "a"),
	} {
		if !errors.Is(err, objstore.ErrTransient) {
			t.Errorf("%s: error is %v, want the first answer's", call, err)
		}
	}
}

func TestACreateWhoseReplyIsLostIsRecognisedAsTheOwn(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]answer{
		"cut connection":         {apply: true, drop: true},
		"error after all":        {apply: true, status: 503, reason: "backendError"},
		"conflict, not applied":  {status: 409, reason: "conflict"},
		"conflict with our own":  {apply: true, status: 409, reason: "conflict"},
		"token expired half-way": {status: 401, reason: "authError"},
	} {
		f, address := newFake(t)
		f.answer(http.MethodPost, lost)
		s := objstore.NewRetry(connect(t, gcs.Config{Endpoint: address}), objstore.Policy{Base: time.Microsecond})
		if err := s.Create(t.Context(), "fence", strings.NewReader("mine")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, parameters := range f.mu.writes {
			if parameters.Get("ifGenerationMatch") != "0" {
				t.Errorf("%s: an upload was sent without its condition", name)
			}
		}
	}
	f, address := newFake(t)
	f.mu.objects["fence"] = object{content: []byte("theirs")}
	f.answer(http.MethodPost, answer{status: 409, reason: "conflict"})
	s := objstore.NewRetry(connect(t, gcs.Config{Endpoint: address}), objstore.Policy{Base: time.Microsecond})
	if err := s.Create(t.Context(), "fence", strings.NewReader("mine")); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("another's object: error is %v, want ErrExists", err)
	}
}

func TestAServerThatIgnoresTheConditionFailsTheSelfTest(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	f.ignoreConditions = true
	if err := objstore.SelfTest(t.Context(), connect(t, gcs.Config{Endpoint: address})); !errors.Is(err, objstore.ErrUnsafe) {
		t.Errorf("error is %v, want ErrUnsafe", err)
	}
}

func TestAServerThatIgnoresRangesIsFoundOut(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	f.ignoreRanges = true
	f.mu.objects["a"] = object{content: []byte("0123456789")}
	if _, err := connect(t, gcs.Config{Endpoint: address}).GetRange(t.Context(), "a", 4, -1); err == nil || errors.Is(err, objstore.ErrTransient) {
		t.Errorf("error is %v, want a permanent one", err)
	}
}

func TestAMissingBucketIsNotAMissingObject(t *testing.T) {
	t.Parallel()
	_, address := newFake(t)
	s := connect(t, gcs.Config{Endpoint: address, Bucket: "nobodys"})
	_, getErr := s.Get(t.Context(), "a")
	_, statErr := s.Stat(t.Context(), "a")
	for _, err := range []error{getErr, statErr, s.Delete(t.Context(), "a"), s.Put(t.Context(), "a", strings.NewReader(""))} {
		if err == nil || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrTransient) {
			t.Errorf("error is %v, want a permanent one", err)
		}
	}
}

func TestABrokenReadIsTransient(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	f.mu.objects["a"] = object{content: make([]byte, 1<<20)}
	transport := fault.NewTransport(http.DefaultTransport)
	transport.SetHook(func(*http.Request) fault.Wire { return fault.Wire{Break: 1000} })
	client := &http.Client{Transport: transport}
	err := objstore.Read(t.Context(), connect(t, gcs.Config{Endpoint: address, Client: client}), "a", func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, objstore.ErrTransient) {
		t.Errorf("error is %v, want a transient one", err)
	}
}

func TestAContentThatEndsEarlyIsNotStored(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	err := connect(t, gcs.Config{Endpoint: address}).Put(t.Context(), "a", shortBody{strings.NewReader("12345")})
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(f.mu.objects) > 0 {
		t.Errorf("error is %v, %d objects are stored", err, len(f.mu.objects))
	}
}

// shortBody says that it is longer than it is.
type shortBody struct{ *strings.Reader }

func (b shortBody) Size() int64 { return b.Reader.Size() + 1 }

// troubled are the answers of Google's servers to calls that should be made again.
var troubled = map[storetest.Trouble]fault.Wire{
	storetest.Busy:     {Status: 503},
	storetest.Expired:  {Status: 401},
	storetest.Conflict: {Status: 409},
}

func TestRetriesGetThroughTroubles(t *testing.T) {
	t.Parallel()
	storetest.RunTroubled(t, func(t *testing.T) (objstore.Store, func(storetest.Trouble, int)) {
		_, address := newFake(t)
		transport := fault.NewTransport(http.DefaultTransport)
		s := connect(t, gcs.Config{Endpoint: address, Client: &http.Client{Transport: transport}})
		return s, storetest.ThroughRequests(transport, troubled)
	})
}
