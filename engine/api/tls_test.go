// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, a.pem, _ = a.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// make signs a certificate, by the authority or, if it has no key yet, by itself.
func (a *authority) make(template *x509.Certificate) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if signer == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, certPEM, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func (a *authority) server() (certPEM, keyPEM string) {
	_, _, certPEM, keyPEM = a.make(&x509.Certificate{Subject: pkix.Name{CommonName: "worker"}, DNSNames: []string{"worker.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	return certPEM, keyPEM
}

func (a *authority) client(name string) tls.Certificate {
	a.t.Helper()
	_, _, certPEM, keyPEM := a.make(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// trusting makes a client that trusts an authority, and shows a certificate, if it has one. Each request has a connection of
// its own.
func (r *rig) trusting(a *authority, own ...tls.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	r.scheme = "https"
	r.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: own}, DisableKeepAlives: true}
}

// secured has a server with a certificate in files that may be replaced.
type secured struct {
	*rig
	ca        *authority
	cert, key string
	clients   string
	access    *access
}

func secure(t *testing.T, setup func(*config.Config)) *secured {
	t.Helper()
	dir := t.TempDir()
	s := &secured{ca: newAuthority(t), cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key"), clients: filepath.Join(dir, "clients"), access: grantAccess(t)}
	certPEM, keyPEM := s.ca.server()
	put(t, s.cert, certPEM)
	put(t, s.key, keyPEM)
	put(t, s.clients, s.ca.pem)
	s.rig = serving(t, func(c *config.Config) {
		c.APITLSCertFile, c.APITLSKeyFile, c.APITLSClientCAFile, c.APITokensFile = s.cert, s.key, s.clients, s.access.path
		if setup != nil {
			setup(c)
		}
	}, ladderRoutes)
	s.trusting(s.ca)
	return s
}

// serial is that of the certificate that the server shows now.
func (s *secured) serial() string {
	s.t.Helper()
	c, err := tls.Dial("tcp", s.addr, s.client.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestACertificateIsReplacedWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	s := secure(t, nil)
	first := s.serial()
	certPEM, keyPEM := s.ca.server()
	put(t, s.cert, certPEM) // its key is still to come
	if got := s.serial(); got != first {
		t.Errorf("half a certificate is in force: %s", got)
	}
	put(t, s.key, keyPEM)
	second := s.serial()
	if second == first {
		t.Error("the new certificate is not in force")
	}
	put(t, s.cert, "not a certificate")
	if got := s.serial(); got != second {
		t.Errorf("after a broken file: %s", got)
	}
	if s.logs.FilterMessageSnippet("cannot be used").Len() == 0 {
		t.Error("nothing was said of the broken file")
	}
	if got := s.ask("GET", "/api/v1/view", "", bearer(s.access.tokens[api.Viewer])); got.status != http.StatusOK || got.header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

func TestACertificateStandsForACaller(t *testing.T) {
	t.Parallel()
	s := secure(t, func(c *config.Config) { c.APITLSClientRole = "viewer" })
	put(t, s.access.path, "admin root cert:root.test\npeer workers cert:worker.test\n")
	status := func(path string) (int, string) {
		method, path, _ := strings.Cut(path, " ")
		got := s.ask(method, path, "", nil)
		return got.status, got.body
	}
	if got, _ := status("GET /livez"); got != http.StatusOK {
		t.Errorf("health without a certificate: %d", got)
	}
	if got, _ := status("GET /api/v1/view"); got != http.StatusUnauthorized {
		t.Errorf("without a certificate: %d", got)
	}
	s.trusting(s.ca, s.ca.client("root.test"))
	if got, body := status("DELETE /api/v1/undo"); got != http.StatusOK || !strings.Contains(body, `"root"`) {
		t.Errorf("root: %d %s", got, body)
	}
	s.trusting(s.ca, s.ca.client("somebody"))
	if got, _ := status("GET /api/v1/view"); got != http.StatusOK {
		t.Errorf("somebody views: %d", got)
	}
	if got, _ := status("POST /api/v1/operate"); got != http.StatusForbidden {
		t.Errorf("somebody operates: %d", got)
	}
	other := newAuthority(t)
	s.trusting(s.ca, other.client("root.test"))
	if resp, err := s.client.Get("https://" + s.addr + "/api/v1/view"); err == nil {
		resp.Body.Close()
		t.Errorf("a certificate of another authority: %d", resp.StatusCode)
	}
	put(t, s.clients, other.pem)
	if got, _ := status("DELETE /api/v1/undo"); got != http.StatusOK {
		t.Errorf("after the authority was replaced: %d", got)
	}
}

func TestPeersCallEachOtherByTheirCertificates(t *testing.T) {
	t.Parallel()
	s := secure(t, func(c *config.Config) { c.APITLSClientRole = "none" })
	put(t, s.access.path, "peer workers cert:worker.test\n")
	cfg := *s.cfg
	cfg.APIPeerCAFile = s.clients
	for name, want := range map[string]string{"": "", "worker.test": "", "other.test": "other.test"} {
		cfg.APIPeerServerName = name
		peers, err := api.NewPeers(&cfg, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", peers.Scheme()+"://"+s.addr+"/api/v1/state/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := peers.RoundTrip(req)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("as %s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
			t.Errorf("as %q: %d, %s", name, resp.StatusCode, resp.Proto)
		}
		peers.CloseIdleConnections()
	}
}
