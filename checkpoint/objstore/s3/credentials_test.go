// SPDX-License-Identifier: Apache-2.0

package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// doorkeeper lets in who signs with the present key and refuses all others.
type doorkeeper struct {
	http.Handler
	mu struct {
		sync.Mutex
		key     string
		refuse  func(http.ResponseWriter)
		refused int
	}
}

func (d *doorkeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !strings.Contains(r.Header.Get("Authorization"), "Credential="+d.mu.key+"/") {
		d.mu.refused++
		d.mu.refuse(w)
		return
	}
	d.Handler.ServeHTTP(w, r)
}

// agent hands out the credentials of a container, which are good for an hour by what it says.
type agent struct {
	mu struct {
		sync.Mutex
		key string
	}
}

func (a *agent) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": "canary", "Token": "t", "Expiration": %q}`,
		a.mu.key, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func (a *agent) give(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.key = key
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	anonymous(t)
	a := &agent{}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL+"/credentials")
	return a
}

func newDoor(t *testing.T, b *stub) (*doorkeeper, string) {
	t.Helper()
	door := &doorkeeper{Handler: b}
	server := httptest.NewServer(door)
	t.Cleanup(server.Close)
	return door, server.URL
}

func TestCredentialsThatHaveChangedAreFetchedAfterARefusal(t *testing.T) {
	a := newAgent(t)
	for name, refusal := range map[string]func(http.ResponseWriter){
		"unknown key":   func(w http.ResponseWriter) { refuse(w, 403, "InvalidAccessKeyId") },
		"expired token": func(w http.ResponseWriter) { refuse(w, 400, "ExpiredToken") },
		"no reason":     func(w http.ResponseWriter) { w.WriteHeader(403) },
	} {
		b, _ := newStub(t)
		b.mu.objects["/streamd/p/a"] = "x"
		door, url := newDoor(t, b)
		door.mu.key, door.mu.refuse = "FIRST", refusal
		a.give("FIRST")
		s := retrying(t, url)
		if _, err := s.Stat(t.Context(), "a"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a.give("SECOND")
		door.mu.key = "SECOND"
		if _, err := s.Stat(t.Context(), "a"); err != nil || door.mu.refused != 1 {
			t.Errorf("%s: %v after %d refusals", name, err, door.mu.refused)
		}
	}
}

func TestCredentialsThatStayRefusedAreAnErrorThatSaysSo(t *testing.T) {
	a := newAgent(t)
	a.give("OLD")
	b, _ := newStub(t)
	door, url := newDoor(t, b)
	door.mu.key = "NEW"
	door.mu.refuse = func(w http.ResponseWriter) { refuse(w, 403, "InvalidAccessKeyId") }
	_, err := retrying(t, url).Stat(t.Context(), "a")
	if err == nil || errors.Is(err, objstore.ErrTransient) || door.mu.refused != 1 {
		t.Errorf("a wrong key: error is %v after %d requests, want a permanent one at once", err, door.mu.refused)
	}
	door.mu.refuse = func(w http.ResponseWriter) { refuse(w, 400, "ExpiredToken") }
	s := objstore.NewRetry(open(t, stubConfig(url)), objstore.Policy{Base: time.Microsecond, Attempts: 3})
	err = s.Put(t.Context(), "a", strings.NewReader("x"))
	if !errors.Is(err, objstore.ErrTransient) || !strings.Contains(fmt.Sprint(err), "expired") || strings.Contains(fmt.Sprint(err), "canary") {
		t.Errorf("an expired token: error is %v, want a transient one that says so", err)
	}
}
