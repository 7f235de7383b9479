// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/streamd/streamd/engine/config"
)

// fake starts a broker of one test.
func fake(t *testing.T, opts ...kfake.Opt) *config.Config {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := config.Default()
	cfg.Brokers = c.ListenAddrs()
	cfg.RequestTimeout = 5 * time.Second
	return cfg
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func ping(t *testing.T, cfg *config.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Connect(ctx, cfg)
	if err == nil {
		c.Close()
	}
	return err
}

func TestEverySASLMechanismAuthenticates(t *testing.T) {
	t.Parallel()
	for setting, mechanism := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			cfg := fake(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "worker", "hunter2"))
			cfg.SASLMechanism, cfg.SASLUser = setting, "worker"
			cfg.SASLPasswordFile = secretFile(t, "hunter2\n")
			if err := ping(t, cfg); err != nil {
				t.Fatal(err)
			}
			cfg.SASLPasswordFile = secretFile(t, "wrong")
			if err := ping(t, cfg); err == nil {
				t.Error("a wrong password was accepted")
			}
			cfg.SASLPasswordFile = filepath.Join(t.TempDir(), "missing")
			if err := ping(t, cfg); err == nil {
				t.Error("a missing password file was accepted")
			}
		})
	}
}

func TestRefusalsForLackOfRightsAreRecognised(t *testing.T) {
	t.Parallel()
	for _, err := range []error{kerr.SaslAuthenticationFailed, kerr.TopicAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed} {
		if !IsAuth(fmt.Errorf("produce: %w", err)) {
			t.Errorf("%v is not said to be about rights", err)
		}
	}
	if IsAuth(kerr.UnknownTopicOrPartition) || IsAuth(nil) {
		t.Error("something else is said to be about rights")
	}
}

// authority makes a certificate authority and a certificate of it for 127.0.0.1, and returns the server's settings and
// the authority's file.
func authority(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := secretFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

func TestTLSTrustsOnlyTheGivenAuthority(t *testing.T) {
	t.Parallel()
	server, ca := authority(t)
	_, stranger := authority(t)
	cfg := fake(t, kfake.TLS(server))
	cfg.TLS, cfg.TLSCAFile = true, ca
	if err := ping(t, cfg); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"another authority": stranger, "a missing file": ca + ".missing", "a file without a certificate": secretFile(t, "x")} {
		cfg := *cfg
		cfg.TLSCAFile, cfg.RequestTimeout = file, time.Second
		if err := ping(t, &cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
