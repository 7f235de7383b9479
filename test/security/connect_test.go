// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/base64"
	"encoding/json/v2"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// token makes an unsigned token, as a broker of tests takes them.
func token(user string, life time.Duration) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // maps of texts and numbers
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now()
	return part(map[string]string{"alg": "none"}) + "." + part(map[string]any{"sub": user, "iat": now.Unix(), "exp": now.Add(life).Unix()}) + "."
}

// mutual has the program show a certificate of an authority.
func (w *world) mutual(a *kafkabroker.Authority) {
	w.t.Helper()
	w.tls(kafkabroker.MutualListener)
	certificate, key := w.certificate(a)
	w.set("TLS_CERT_FILE="+w.write("cert.pem", certificate), "TLS_KEY_FILE="+w.write("key.pem", key))
}

func (w *world) certificate(a *kafkabroker.Authority) (certificate, key string) {
	w.t.Helper()
	c, k, err := a.Issue(w.user)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(c), string(k)
}

// tokenEndpoint answers with tokens of the world's user.
func (w *world) tokenEndpoint(secret string) string {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, got, _ := r.BasicAuth(); got != secret {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"access_token": %q, "token_type": "Bearer", "expires_in": 3600}`, token(w.user, time.Hour))
	}))
	w.t.Cleanup(server.Close)
	return server.URL
}

func TestEveryWayToAuthenticateRunsThePipeline(t *testing.T) {
	t.Parallel()
	for name, authenticate := range map[string]func(*world){
		"plain": func(w *world) {
			w.user = "plain-user"
			w.tls(kafkabroker.SASLListener)
			w.set("SASL_MECHANISM=plain", "SASL_USER="+w.user, "SASL_PASSWORD_FILE="+w.write("password", plainUsers[w.user]))
		},
		"scram-sha-256": func(w *world) {
			w.scram("canary-of-scram")
			w.set("SASL_MECHANISM=scram-sha-256")
		},
		"scram-sha-512 at least once": func(w *world) {
			w.scram("canary-of-scram")
			w.set("GUARANTEE=at-least-once")
		},
		"scram-sha-512 without TLS": func(w *world) {
			w.scram("canary-of-scram")
			w.set("BROKERS="+w.broker.ListenerAddr(kafkabroker.ClearListener), "TLS_ENABLED=false", "TLS_CA_FILE=")
		},
		"token file": func(w *world) {
			w.tls(kafkabroker.SASLListener)
			w.set("SASL_MECHANISM=oauthbearer", "SASL_TOKEN_FILE="+w.write("token", token(w.user, time.Hour)), "SASL_EXTENSIONS=traceId=1")
		},
		"client credentials": func(w *world) {
			w.tls(kafkabroker.SASLListener)
			w.set("SASL_MECHANISM=oauthbearer", "SASL_OAUTH_TOKEN_URL="+w.tokenEndpoint("canary-of-client"), "SASL_OAUTH_CLIENT_ID=client",
				"SASL_OAUTH_CLIENT_SECRET_FILE="+w.write("secret", "canary-of-client"))
		},
		"mutual TLS": func(w *world) { w.mutual(w.files.authority) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			authenticate(w)
			w.grant(w.printed()...)
			w.orders(3, "a")
			w.run(0, []string{"doctor"})
			w.run(0, []string{"run", "--until", "end"})
			w.counted("Ada", 3)
		})
	}
}

func TestARefusedConnectionNamesTheSettingAndEndsAtOnce(t *testing.T) {
	t.Parallel()
	stranger, err := kafkabroker.NewAuthority("stranger")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		settings func(*world)
		says     []string
	}{
		"wrong password": {func(w *world) {
			w.scram("canary-of-scram")
			w.write("password", "canary-of-typo")
		}, []string{"sasl.password-file"}},
		"unknown user": {func(w *world) {
			w.scram("canary-of-scram")
			w.set("SASL_USER=nobody")
		}, []string{"user nobody"}},
		"unknown authority": {func(w *world) {
			w.scram("canary-of-scram")
			w.set("TLS_CA_FILE=" + w.write("ca.pem", string(stranger.PEM)))
		}, []string{"tls.ca-file"}},
		"wrong host name": {func(w *world) {
			w.scram("canary-of-scram")
			w.set("TLS_SERVER_NAME=kafka.example")
		}, []string{"kafka.example", "tls.server-name"}},
		"TLS to a port without": {func(w *world) {
			w.scram("canary-of-scram")
			w.set("BROKERS=" + w.broker.ListenerAddr(kafkabroker.ClearListener))
		}, []string{"tls.enabled", "not to speak TLS"}},
		"no TLS to a port with": {func(w *world) {
			w.set("BROKERS=" + w.broker.ListenerAddr(kafkabroker.SASLListener))
		}, []string{"tls.enabled"}},
		"no SASL to a port with": {func(w *world) { w.tls(kafkabroker.SASLListener) }, []string{"sasl.mechanism"}},
		"SASL to a port without": {func(w *world) {
			w.scram("canary-of-scram")
			w.mutual(w.files.authority)
		}, []string{"sasl.mechanism"}},
		"no certificate":                   {func(w *world) { w.tls(kafkabroker.MutualListener) }, []string{"set tls.cert-file"}},
		"certificate of another authority": {func(w *world) { w.mutual(stranger) }, []string{"tls.cert-file", "cert.pem"}},
		"expired token": {func(w *world) {
			w.tls(kafkabroker.SASLListener)
			w.set("SASL_MECHANISM=oauthbearer", "SASL_TOKEN_FILE="+w.write("token", token(w.user, -time.Minute)))
		}, []string{"token"}},
		"wrong client secret": {func(w *world) {
			w.tls(kafkabroker.SASLListener)
			w.set("SASL_MECHANISM=oauthbearer", "SASL_OAUTH_TOKEN_URL="+w.tokenEndpoint("canary-of-client"), "SASL_OAUTH_CLIENT_ID=client",
				"SASL_OAUTH_CLIENT_SECRET_FILE="+w.write("secret", "canary-of-typo"))
		}, []string{"401", "sasl.oauth-client-secret-file"}},
		"half a certificate": {func(w *world) {
			w.mutual(w.files.authority)
			w.write("cert.pem", "-----BEGIN CERTIFICATE-----\nMIIB")
		}, []string{"tls.cert-file", "cert.pem"}},
		"empty password": {func(w *world) {
			w.scram("canary-of-scram")
			w.write("password", "\n")
		}, []string{"sasl.password-file", "the file is empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.settings(w)
			for _, command := range []string{"run", "doctor"} {
				w.run(7, []string{command}, c.says...)
			}
			w.scan("canary-of-")
		})
	}
}

// scan looks for a text in everything that the programs have printed.
func (w *world) scan(secret string) {
	w.t.Helper()
	for _, p := range w.processes {
		if at := strings.Index(p.text(), secret); at >= 0 {
			w.t.Errorf("%v has printed a secret: %s", p.cmd.Args[1:], p.text()[max(0, at-200):at+len(secret)])
		}
	}
}
