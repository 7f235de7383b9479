// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/streamd/streamd/engine/config"
)

// dialTLS opens a connection with the certificates that are in the files now.
func (id *identity) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	tc, err := tlsConfig(&id.cfg, host)
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: tc}
	conn, err := d.DialContext(ctx, network, addr)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", errNoHandshake, err)
	}
	return conn, err
}

// errNoHandshake is what a broker does that takes the greeting of TLS for a request.
var errNoHandshake = errors.New("the broker has closed the connection in answer to the TLS handshake")

// tlsConfig reads the certificate files.
func tlsConfig(cfg *config.Config, host string) (*tls.Config, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if cfg.TLSServerName != "" {
		tc.ServerName = cfg.TLSServerName
	}
	if cfg.TLSCAFile != "" {
		pem, err := os.ReadFile(cfg.TLSCAFile)
		if err != nil {
			return nil, unreadable("tls.ca-file", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, unreadable("tls.ca-file "+cfg.TLSCAFile, errNoCertificate)
		}
	}
	if cfg.TLSCertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
		if err != nil {
			return nil, unreadable(fmt.Sprintf("tls.cert-file %s and tls.key-file %s", cfg.TLSCertFile, cfg.TLSKeyFile), err)
		}
		tc.Certificates = []tls.Certificate{cert}
	}
	return tc, nil
}

var errNoCertificate = errors.New("it holds no certificate in PEM form")
