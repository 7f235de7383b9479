// SPDX-License-Identifier: Apache-2.0

package security

import (
	"io"
	"syscall"
	"testing"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// refuses is what a worker logs while a broker does not let it in.
const refuses = "a broker refuses this worker"

// ownWorld makes a world on a broker of its own, which the test may restart.
func ownWorld(t *testing.T, options ...kafkabroker.Option) *world {
	t.Helper()
	files, err := newFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return worldOn(t, kafkabroker.Start(t, append(kafkabroker.Secured(files.dir, plainUsers), options...)...), files)
}

// reauthenticate has sessions end after 2 s: clients authenticate again on the connections that they have.
var reauthenticate = kafkabroker.WithProperty("connections.max.reauth.ms", "2000")

func TestAPasswordIsReplacedWhileAWorkerRuns(t *testing.T) {
	t.Parallel()
	w := ownWorld(t, reauthenticate)
	w.scram("canary-of-first")
	w.grant(w.printed()...)
	p := w.start(io.Discard, "run")
	w.orders(10, "a")
	w.counted("Ada", 10)

	w.setPassword("canary-of-second")
	w.says(p, refuses)
	w.write("password", "") // somebody is just writing it
	w.orders(10, "a")
	w.write("password", "canary-of-second")
	w.counted("Ada", 20)
	if code := w.end(p, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}

	w.set("AUTHENTICATION_TIMEOUT=3s")
	p = w.start(io.Discard, "run")
	w.orders(10, "a")
	w.counted("Ada", 30)
	w.setPassword("canary-of-third")
	w.says(p, "authentication.timeout")
	if code := w.code(p); code != 7 {
		t.Errorf("a worker that brokers refuse for ever has ended with %d", code)
	}
	w.write("password", "canary-of-third")
	w.orders(10, "a")
	w.run(0, []string{"run", "--until", "end"})
	w.counted("Ada", 40)
	w.scan("canary-of-")
}

func TestSessionsThatEndAreRenewedWithoutANewConnection(t *testing.T) {
	t.Parallel()
	w := ownWorld(t, reauthenticate)
	w.tls(kafkabroker.SASLListener)
	w.set("SASL_MECHANISM=oauthbearer", "SASL_OAUTH_TOKEN_URL="+w.tokenEndpoint("canary-of-client"), "SASL_OAUTH_CLIENT_ID=client",
		"SASL_OAUTH_CLIENT_SECRET_FILE="+w.write("secret", "canary-of-client"))
	w.grant(w.printed()...)
	p := w.start(io.Discard, "run")
	for n := int64(1); n <= 5; n++ { // the checkpoints between them take longer than a session
		w.orders(1, "a")
		w.counted("Ada", n)
		w.saysTimes(p, `"msg":"checkpoint stored"`, int(n)*8)
	}
	if code := w.end(p, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, text := range []string{refuses, "tasks lost", "epoch not committed"} {
		if n := times(p.text(), text); n > 0 {
			t.Errorf("%d times: %s", n, text)
		}
	}
}

func TestCertificatesOfBothSidesAreReplacedWhileAWorkerRuns(t *testing.T) {
	t.Parallel()
	w := ownWorld(t)
	w.mutual(w.files.authority)
	w.set("TLS_CA_FILE=" + w.write("ca.pem", string(w.files.authority.PEM)))
	w.grant(w.printed()...)
	p := w.start(io.Discard, "run")
	w.orders(10, "a")
	w.counted("Ada", 10)

	next, err := kafkabroker.NewAuthority("next")
	if err != nil {
		t.Fatal(err)
	}
	if err := kafkabroker.WriteCertificates(w.files.dir, []string{"127.0.0.1"}, next); err != nil {
		t.Fatal(err)
	}
	if err := w.broker.Restart(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.says(p, "tls.ca-file")
	certificate, key := w.certificate(next)
	w.write("cert.pem", certificate[:100])
	w.write("ca.pem", string(w.files.authority.PEM)+string(next.PEM))
	w.says(p, "read tls.cert-file")
	w.write("key.pem", key)
	w.write("cert.pem", certificate)
	w.orders(10, "a")
	w.counted("Ada", 20)
	if code := w.end(p, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
