// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/streamd/streamd/engine/config"
)

// dialTimeout bounds one attempt to connect; the client goes on to another broker after it.
const dialTimeout = 5 * time.Second

// ClientOptions gives the options that every client of the process shares: where the brokers are, how to
// authenticate, how long to try. Certificates and passwords are read anew for each connection, so a rotated file
// needs no restart; they are read once here too, so that a wrong path is found at start.
func ClientOptions(cfg *config.Config) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(cfg.ClientID),
		kgo.SoftwareNameAndVersion("streamd", "0"),
		kgo.MaxVersions(requestVersions()),
		kgo.RetryTimeout(cfg.RequestTimeout),
		kgo.RequestTimeoutOverhead(min(cfg.RequestTimeout, 10*time.Second)),
		// A created topic, or a partition that has moved, should not wait for the default of five minutes.
		kgo.MetadataMaxAge(30 * time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
	if cfg.TLS {
		if _, err := tlsConfig(cfg, ""); err != nil {
			return nil, err
		}
		opts = append(opts, kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialTLS(ctx, cfg, network, addr)
		}))
	} else {
		opts = append(opts, kgo.DialTimeout(dialTimeout))
	}
	mechanism, err := saslMechanism(cfg)
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// requestVersions keeps requests about committed offsets below the versions that name topics by id: this package
// names them by name. That a topic was not created again behind its name is checked where ids are recorded.
func requestVersions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 9)
	v.SetMaxKeyVersion(int16(kmsg.OffsetFetch), 9)
	v.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 5)
	return v
}

func dialTLS(ctx context.Context, cfg *config.Config, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	tc, err := tlsConfig(cfg, host)
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: tc}
	return d.DialContext(ctx, network, addr)
}

// tlsConfig reads the certificate files.
func tlsConfig(cfg *config.Config, host string) (*tls.Config, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if cfg.TLSServerName != "" {
		tc.ServerName = cfg.TLSServerName
	}
	if cfg.TLSCAFile != "" {
		pem, err := os.ReadFile(cfg.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca-file: %w", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read tls.ca-file %s: %w", cfg.TLSCAFile, errNoCertificate)
		}
	}
	if cfg.TLSCertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.cert-file and tls.key-file: %w", err)
		}
		tc.Certificates = []tls.Certificate{cert}
	}
	return tc, nil
}

var errNoCertificate = errors.New("it holds no certificate in PEM form")

// saslMechanism returns nil where none is configured.
func saslMechanism(cfg *config.Config) (sasl.Mechanism, error) {
	if cfg.SASLMechanism == "" || cfg.SASLMechanism == "none" {
		return nil, nil
	}
	if _, err := cfg.SASLPassword(); err != nil {
		return nil, fmt.Errorf("sasl.password-file: %w", err)
	}
	scramAuth := func(context.Context) (scram.Auth, error) {
		pass, err := cfg.SASLPassword()
		return scram.Auth{User: cfg.SASLUser, Pass: pass.Reveal()}, err
	}
	switch cfg.SASLMechanism {
	case "plain":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := cfg.SASLPassword()
			return plain.Auth{User: cfg.SASLUser, Pass: pass.Reveal()}, err
		}), nil
	case "scram-sha-256":
		return scram.Sha256(scramAuth), nil
	case "scram-sha-512":
		return scram.Sha512(scramAuth), nil
	}
	return nil, fmt.Errorf("sasl.mechanism %q is not known: use plain, scram-sha-256 or scram-sha-512", cfg.SASLMechanism)
}
