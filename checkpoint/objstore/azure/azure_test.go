// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/azure"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
)

func connect(t *testing.T, c azure.Config) *azure.Store {
	t.Helper()
	if c.Client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		t.Cleanup(transport.CloseIdleConnections)
		c.Client = &http.Client{Transport: transport}
	}
	if c.Container == "" {
		c.Container = containerName
	}
	s, err := azure.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() objstore.Store {
		_, address := newFake(t)
		return func() objstore.Store { return connect(t, azure.Config{Endpoint: address, Prefix: "some/prefix"}) }
	})
}

func TestTheImportedPackageOpensItsScheme(t *testing.T) {
	t.Parallel()
	_, address := newFake(t)
	s, err := open.Open(t.Context(), "azblob://"+containerName+"/prefix?endpoint="+address, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := objstore.SelfTest(t.Context(), s); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"azblob://", "azblob:///prefix", "azblob://c?region=x"} {
		if _, err := open.Open(t.Context(), bad, open.Options{}); !errors.Is(err, open.ErrURL) {
			t.Errorf("%s: error is %v, want ErrURL", bad, err)
		}
	}
	for _, bad := range []string{"azblob://c/../x?account=a", "azblob://c?endpoint=ftp://h", "azblob://c?endpoint=http://user:pw@h", "azblob://c?endpoint=http://h?sig=x"} {
		if _, err := open.Open(t.Context(), bad, open.Options{}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestCredentialsComeFromTheEnvironment(t *testing.T) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	if _, err := azure.New(azure.Config{Container: "c"}); err == nil || !strings.Contains(err.Error(), "AZURE_STORAGE_ACCOUNT") {
		t.Errorf("error is %v, want one that names the variable", err)
	}
	t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
	t.Setenv("AZURE_STORAGE_KEY", base64.StdEncoding.EncodeToString([]byte("canary")))
	f, address := newFake(t)
	if err := connect(t, azure.Config{Endpoint: address}).Put(t.Context(), "a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if got := f.mu.writes[0].Header.Get("Authorization"); !strings.HasPrefix(got, "SharedKey account:") {
		t.Errorf("the request is authorized by %q", got)
	}
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "?sig=canary")
	if _, err := azure.New(azure.Config{Container: "c", Endpoint: address}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a token over plain HTTP: error is %v", err)
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	t.Parallel()
	unreachable := &http.Client{Transport: refusing{}}
	c := azure.Config{Container: "c", Account: "account", SASToken: "sv=1&sig=canary", Client: unreachable}
	err := connect(t, c).Put(t.Context(), "a", strings.NewReader("x"))
	if !errors.Is(err, objstore.ErrTransient) {
		t.Errorf("error is %v, want a transient one", err)
	}
	c.AccountKey = "canary, no base64"
	_, keyErr := azure.New(c)
	if keyErr == nil {
		t.Error("a key that is not base64 was accepted")
	}
	if printed := fmt.Sprintf("%v %v %v %+v %#v", err, keyErr, c, c, c); strings.Contains(printed, "canary") {
		t.Errorf("a credential is printed: %s", printed)
	}
}

// refusing fails like a server that is away.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

func TestLargeObjectsGoInBlocks(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	s := connect(t, azure.Config{Endpoint: address, PartBytes: 1 << 20})
	content := bytes.Repeat([]byte("0123456789abcde"), 300_000) // 4.5 MB
	if err := s.Put(t.Context(), "big", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if got, err := objstore.ReadAll(t.Context(), s, "big", 1<<30); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read back %d bytes, %v; want %d", len(got), err, len(content))
	}
	if len(f.mu.writes) != 6 {
		t.Errorf("%d requests, want 5 blocks and their list", len(f.mu.writes))
	}
	f.answer(http.MethodPut, answer{status: 400, code: "InvalidBlockList"})
	if err := s.Put(t.Context(), "big", bytes.NewReader(content)); !errors.Is(err, objstore.ErrTransient) {
		t.Errorf("blocks that are gone: error is %v, want a transient one", err)
	}
}

func TestAnswersOfTheServerMeanWhatTheyShould(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	for _, test := range []struct {
		answer answer
		want   error // nil: permanent
	}{
		{answer{status: 409, code: "BlobAlreadyExists"}, objstore.ErrExists},
		{answer{status: 412, code: "ConditionNotMet"}, objstore.ErrExists},
		{answer{status: 409, code: "ContainerBeingDeleted"}, objstore.ErrTransient},
		{answer{status: 409, code: ""}, objstore.ErrTransient},
		{answer{status: 503, code: "ServerBusy"}, objstore.ErrTransient},
		{answer{status: 500, code: "OperationTimedOut"}, objstore.ErrTransient},
		{answer{status: 502}, objstore.ErrTransient},
		{answer{status: 429}, objstore.ErrTransient},
		{answer{status: 408}, objstore.ErrTransient},
		{answer{status: 401, code: "InvalidAuthenticationInfo"}, objstore.ErrTransient},
		{answer{status: 400, code: "Md5Mismatch"}, objstore.ErrTransient},
		{answer{drop: true}, objstore.ErrTransient},
		{answer{status: 409, code: "BlobImmutableDueToPolicy"}, nil},
		{answer{status: 403, code: "AuthenticationFailed"}, nil},
		{answer{status: 404, code: "ContainerNotFound"}, nil},
		{answer{status: 400, code: "InvalidInput"}, nil},
		{answer{status: 501, code: "NotImplemented"}, nil},
	} {
		f.answer(http.MethodPut, test.answer)
		err := connect(t, azure.Config{Endpoint: address}).Create(t.Context(), "a", strings.NewReader("x"))
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
	s := connect(t, azure.Config{Endpoint: address})
	busy := answer{status: 503, code: "ServerBusy"}
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodHead, http.MethodDelete} {
		f.answer(method, busy)
	}
	_, getErr := s.Get(t.Context(), "a")
	_, statErr := s.Stat(t.Context(), "a")
	for call, err := range map[string]error{
		"create": s.Create(t.Context(), "a", strings.NewReader("x")), "get": getErr, "stat": statErr, "delete": s.Delete(t.Context(), "a"),
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
		"error after all":        {apply: true, status: 500, code: "InternalError"},
		"conflict, not applied":  {status: 409},
		"token expired half-way": {status: 401, code: "InvalidAuthenticationInfo"},
	} {
		f, address := newFake(t)
		f.answer(http.MethodPut, lost)
		s := objstore.NewRetry(connect(t, azure.Config{Endpoint: address}), objstore.Policy{Base: time.Microsecond})
		if err := s.Create(t.Context(), "fence", strings.NewReader("mine")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, request := range f.mu.writes {
			if request.Header.Get("If-None-Match") != "*" {
				t.Errorf("%s: an upload was sent without its condition", name)
			}
		}
	}
	f, address := newFake(t)
	f.mu.objects["fence"] = object{content: []byte("theirs")}
	f.answer(http.MethodPut, answer{drop: true})
	s := objstore.NewRetry(connect(t, azure.Config{Endpoint: address}), objstore.Policy{Base: time.Microsecond})
	if err := s.Create(t.Context(), "fence", strings.NewReader("mine")); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("another's object: error is %v, want ErrExists", err)
	}
}

func TestServersThatBreakAPromiseAreFoundOut(t *testing.T) {
	t.Parallel()
	f, address := newFake(t)
	f.ignoreConditions, f.ignoreRanges, f.hierarchical = true, true, true
	s := connect(t, azure.Config{Endpoint: address})
	if err := objstore.SelfTest(t.Context(), s); !errors.Is(err, objstore.ErrUnsafe) {
		t.Errorf("no conditions: error is %v, want ErrUnsafe", err)
	}
	f.mu.objects["a.b"], f.mu.objects["a/b"] = object{[]byte("01234"), time.Now()}, object{nil, time.Now()}
	if _, err := s.GetRange(t.Context(), "a.b", 4, -1); err == nil || errors.Is(err, objstore.ErrTransient) {
		t.Errorf("no ranges: error is %v, want a permanent one", err)
	}
	var listErr error
	for _, err := range s.List(t.Context(), "a") {
		listErr = err
	}
	if listErr == nil || !strings.Contains(listErr.Error(), "hierarchical") {
		t.Errorf("a listing that is out of order: error is %v", listErr)
	}
}

func TestAMissingContainerIsNotAMissingObject(t *testing.T) {
	t.Parallel()
	_, address := newFake(t)
	s := connect(t, azure.Config{Endpoint: address, Container: "nobodys"})
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
	err := objstore.Read(t.Context(), connect(t, azure.Config{Endpoint: address, Client: client}), "a", func(r io.Reader) error {
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
	for _, part := range []int64{2, 100} {
		err := connect(t, azure.Config{Endpoint: address, PartBytes: part}).Put(t.Context(), "a", shortBody{strings.NewReader("12345")})
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(f.mu.objects) > 0 {
			t.Errorf("parts of %d bytes: error is %v, %d objects are stored", part, err, len(f.mu.objects))
		}
	}
}

// shortBody says that it is longer than it is.
type shortBody struct{ *strings.Reader }

func (b shortBody) Size() int64 { return b.Reader.Size() + 1 }

// troubled are the answers of Azure's servers to calls that should be made again.
var troubled = map[storetest.Trouble]fault.Wire{
	storetest.Busy:     {Status: 503, Header: http.Header{"X-Ms-Error-Code": {"ServerBusy"}}},
	storetest.Expired:  {Status: 401, Header: http.Header{"X-Ms-Error-Code": {"InvalidAuthenticationInfo"}}},
	storetest.Conflict: {Status: 409},
}

func TestRetriesGetThroughTroubles(t *testing.T) {
	t.Parallel()
	storetest.RunTroubled(t, func(t *testing.T) (objstore.Store, func(storetest.Trouble, int)) {
		_, address := newFake(t)
		transport := fault.NewTransport(http.DefaultTransport)
		s := connect(t, azure.Config{Endpoint: address, Client: &http.Client{Transport: transport}})
		return s, storetest.ThroughRequests(transport, troubled)
	})
}
