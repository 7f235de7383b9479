// SPDX-License-Identifier: Apache-2.0

package api

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/streamd/streamd/engine/config"
)

func parseKeyPair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	return &pair, err
}

func parseAuthorities(contents [][]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(contents[0]) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// serverTLS makes the configuration of a server whose certificate, and whose clients' authorities, may change. It is nil
// if the server speaks plain HTTP.
//
// Nobody has to show a certificate, since health checks have none: what is asked for a route is decided later.
func serverTLS(cfg *config.Config, failed func(error)) (*tls.Config, error) {
	if cfg.APITLSCertFile == "" {
		return nil, nil
	}
	pair, err := watch(parseKeyPair, failed, cfg.APITLSCertFile, cfg.APITLSKeyFile)
	if err != nil {
		return nil, err
	}
	protocols := []string{"h2", "http/1.1"}
	if cfg.APITLSClientCAFile == "" {
		return &tls.Config{NextProtos: protocols, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil }}, nil
	}
	clients, err := watch(parseAuthorities, failed, cfg.APITLSClientCAFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{NextProtos: protocols, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{
			NextProtos: protocols, Certificates: []tls.Certificate{*pair.get()},
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients.get(),
			// A session that is taken up again has been verified against authorities that may be gone.
			SessionTicketsDisabled: true,
		}, nil
	}}, nil
}
