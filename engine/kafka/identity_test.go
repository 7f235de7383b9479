// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/sasl/aws"

	"github.com/streamd/streamd/engine/config"
)

// endpoint is a token endpoint that lets in one secret.
type endpoint struct {
	*httptest.Server
	asked  atomic.Int64
	secret atomic.Value
	expiry atomic.Int64 // seconds
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.secret.Store("first")
	e.expiry.Store(3600)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if id != "client" || secret != e.secret.Load() || r.FormValue("scope") != "kafka" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error": "invalid_client", "error_description": "got %s"}`, secret)
			return
		}
		fmt.Fprintf(w, `{"access_token": "token-%d", "token_type": "Bearer", "expires_in": %d}`, e.asked.Load(), e.expiry.Load())
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) config(t *testing.T) *config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.SASLMechanism, cfg.SASLTokenURL, cfg.SASLClientID = string(config.SASLOAuthBearer), e.URL, "client"
	cfg.SASLScopes, cfg.SASLExtensions = []string{"kafka"}, []string{"logicalCluster=one"}
	cfg.SASLClientSecretFile = secretFile(t, "first")
	return cfg
}

func TestATokenIsSharedUntilShortlyBeforeItExpires(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	cfg := e.config(t)
	first, err := identityOf(cfg).oauth(t.Context())
	if err != nil || !strings.HasPrefix(first.Token, "token-") || first.Extensions["logicalCluster"] != "one" {
		t.Fatalf("got %+v, %v", first, err)
	}
	asked, again := e.asked.Load(), *cfg
	second, err := identityOf(&again).oauth(t.Context()) // another client with the same settings
	if err != nil || second.Token != first.Token || e.asked.Load() != asked {
		t.Errorf("got %+v, %v after %d requests", second, err, e.asked.Load()-asked)
	}
	// Brokers that refuse the token make it be fetched anew, but not each time.
	id := identityOf(cfg)
	for range 3 {
		id.connected("a:1", time.Now(), kerr.SaslAuthenticationFailed)
		third, err := id.oauth(t.Context())
		if err != nil || third.Token == first.Token || e.asked.Load() != asked+1 {
			t.Errorf("got %+v, %v after %d requests", third, err, e.asked.Load()-asked)
		}
	}
	short := e.config(t)
	e.expiry.Store(int64(tokenMargin.Seconds()) - 1)
	for want := int64(1); want <= 2; want++ {
		before := e.asked.Load()
		if _, err := identityOf(short).oauth(t.Context()); err != nil || e.asked.Load() == before {
			t.Errorf("a token that expires at once was kept: %v", err)
		}
	}
}

func TestARefusalOfTheTokenEndpointNamesSettingsAndNoSecret(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.secret.Store("second")
	_, err := identityOf(e.config(t)).oauth(t.Context())
	if !isAuthentication(err) || !strings.Contains(err.Error(), "sasl.oauth-client-secret-file") || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("got %v", err)
	}
	if strings.Contains(fmt.Sprint(err), "first") {
		t.Errorf("the secret is in %v", err)
	}
	redirect := httptest.NewServer(http.RedirectHandler(e.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	cfg := e.config(t)
	cfg.SASLTokenURL = redirect.URL
	asked := e.asked.Load()
	if _, err := identityOf(cfg).oauth(t.Context()); !errors.Is(err, errRedirected) || e.asked.Load() != asked {
		t.Errorf("got %v after %d requests", err, e.asked.Load()-asked)
	}
}

func TestAWSCredentialsAreSignedAndReadEachTime(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDFIRST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary")
	t.Setenv("AWS_SESSION_TOKEN", "")
	cfg := config.Default()
	cfg.TLS, cfg.SASLMechanism = true, string(config.SASLAWS)
	id := identityOf(cfg)
	mechanism := aws.ManagedStreamingIAM(id.aws)
	for _, key := range []string{"AKIDFIRST", "AKIDSECOND"} {
		t.Setenv("AWS_ACCESS_KEY_ID", key)
		_, message, err := mechanism.Authenticate(t.Context(), "b-1.c.kafka.eu-west-1.amazonaws.com:9098")
		if err != nil || !strings.Contains(string(message), key+"/") || !strings.Contains(string(message), "eu-west-1/kafka-cluster/aws4_request") {
			t.Errorf("got %s, %v", message, err)
		}
		if strings.Contains(string(message), "canary") {
			t.Error("the secret key is sent")
		}
	}
}

func TestAWSIdentityOfAContainerIsAskedAgainAfterARefusal(t *testing.T) {
	var key atomic.Value
	key.Store("ONE")
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": "canary", "Token": "t", "Expiration": %q}`, key.Load(), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer agent.Close()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.URL+"/credentials")
	cfg := config.Default()
	cfg.TLS, cfg.SASLMechanism, cfg.Brokers = true, string(config.SASLAWS), []string{"container:1"}
	id := identityOf(cfg)
	for _, want := range []string{"ONE", "ONE", "TWO"} {
		if want == "TWO" {
			id.connected("container:1", time.Now(), kerr.SaslAuthenticationFailed)
		}
		got, err := id.aws(t.Context())
		if err != nil || got.AccessKey != want {
			t.Errorf("got %s, %v, expected %s", got.AccessKey, err, want)
		}
		key.Store("TWO")
	}
}

func TestARefusalIsFinalOnceItHasLastedLongEnough(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Brokers, cfg.AuthenticationTimeout = []string{"refusing:1"}, time.Minute
	id, began := identityOf(cfg), time.Now()
	c := &Cluster{cfg: cfg, id: id}
	at := func(d time.Duration, addr string, err error) error {
		id.connected(addr, began.Add(d), err)
		return c.Refused()
	}
	refused := fmt.Errorf("x: %w", kerr.SaslAuthenticationFailed)
	for _, step := range []struct {
		at    time.Duration
		addr  string
		err   error
		final bool
	}{
		{0, "a:1", refused, false},
		{50 * time.Second, "a:1", refused, false},
		{55 * time.Second, "a:1", nil, false}, // let in: the count is over
		{61 * time.Second, "a:1", refused, false},
		{100 * time.Second, "b:1", errors.New("connection refused"), false},
		{110 * time.Second, "a:1", refused, false},
		{111 * time.Second, "b:1", nil, false}, // another broker does not count
		{122 * time.Second, "a:1", refused, true},
		{123 * time.Second, "a:1", nil, false},
		{124 * time.Second, "a:1", refused, false},
		{400 * time.Second, "a:1", refused, false}, // nobody has tried for long: a new count
	} {
		err := at(step.at, step.addr, step.err)
		if (err != nil) != step.final {
			t.Errorf("after %s: got %v", step.at, err)
		}
		if step.final && (!errors.Is(err, kerr.SaslAuthenticationFailed) || !strings.Contains(err.Error(), "authentication.timeout")) {
			t.Errorf("got %v", err)
		}
	}
}

func TestInsistEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := insist(ctx, config.Default(), func() error {
		if calls++; calls == 2 {
			cancel()
		}
		return kerr.SaslAuthenticationFailed
	})
	if !errors.Is(err, kerr.SaslAuthenticationFailed) || calls != 2 {
		t.Errorf("got %v after %d calls", err, calls)
	}
	if err := insist(t.Context(), config.Default(), func() error { return nil }); err != nil {
		t.Error(err)
	}
}
