// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"github.com/streamd/streamd/engine/config"
)

// Peers is how a worker calls others of its application. It is an http.RoundTripper, for as many requests at once as its
// user allows: it shows the token of api.peer-token-file, or the worker's own certificate, and trusts the authorities of
// api.peer-ca-file. All of them are read anew when they change.
type Peers struct {
	transport *http.Transport
	tokens    *watched[[]string] // nil: none is configured
	scheme    string
}

// NewPeers reads the files. failed is told when one of them cannot be used later.
func NewPeers(cfg *config.Config, failed func(error)) (*Peers, error) {
	p := &Peers{scheme: "http"}
	var err error
	if cfg.APIPeerTokenFile != "" {
		if p.tokens, err = watch(parsePeerTokens, failed, cfg.APIPeerTokenFile); err != nil {
			return nil, err
		}
	}
	p.transport = &http.Transport{MaxIdleConnsPerHost: cfg.QueryMaxConcurrent, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
	if cfg.APITLSCertFile == "" {
		return p, nil
	}
	p.scheme = "https"
	p.transport.DialTLSContext, err = dialTLS(cfg, failed)
	return p, err
}

// dialTLS makes connections with what the files say at that time.
func dialTLS(cfg *config.Config, failed func(error)) (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	own, err := watch(parseKeyPair, failed, cfg.APITLSCertFile, cfg.APITLSKeyFile)
	if err != nil {
		return nil, err
	}
	trusted := &watched[*x509.CertPool]{} // nil: those of the system
	if cfg.APIPeerCAFile != "" {
		if trusted, err = watch(parseAuthorities, failed, cfg.APIPeerCAFile); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{Config: &tls.Config{
			ServerName: cmp.Or(cfg.APIPeerServerName, host), RootCAs: trusted.get(), NextProtos: []string{"h2", "http/1.1"},
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(), nil },
		}}
		return d.DialContext(ctx, network, addr)
	}, nil
}

// Scheme is that of the endpoints of other workers, which have the same settings: "http" or "https".
func (p *Peers) Scheme() string { return p.scheme }

// RoundTrip implements http.RoundTripper. A request with an Authorization of its own keeps it.
func (p *Peers) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.tokens != nil && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+p.tokens.get()[0])
	}
	return p.transport.RoundTrip(r)
}

// CloseIdleConnections gives back the connections that no request uses.
func (p *Peers) CloseIdleConnections() { p.transport.CloseIdleConnections() }
