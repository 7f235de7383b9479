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
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
)

// IsAuth says whether err means that the brokers did not accept who we are, or what we asked to do.
func IsAuth(err error) bool { return isAuthentication(err) || IsDenied(err) }

// IsDenied says whether err means that the brokers know who we are, and do not let us do what we asked.
func IsDenied(err error) bool {
	return isOneOf(err, kerr.ClusterAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed)
}

// isAuthentication says whether a connection has failed because of who we are or who the broker is: a new secret or
// certificate on either side would mend it.
func isAuthentication(err error) bool {
	var (
		credential  *credentialError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		first       *kgo.ErrFirstReadEOF
	)
	return isOneOf(err, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.SecurityDisabled) ||
		errors.As(err, &credential) || errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &first) || isAlert(err) || isTLSAnswer(err)
}

func isOneOf(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// isAlert says whether the other side has ended the TLS connection and said so.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// isTLSAnswer recognises the client's words for a TLS alert where a Kafka response was expected; it has no type for it.
func isTLSAnswer(err error) bool {
	return err != nil && strings.Contains(err.Error(), "appear to be a tls alert record")
}

// credentialError is that something to authenticate with could not be had.
type credentialError struct{ err error }

func (e *credentialError) Error() string { return e.err.Error() }
func (e *credentialError) Unwrap() error { return e.err }

func unreadable(what string, err error) error {
	return &credentialError{fmt.Errorf("read %s: %w", what, err)}
}

// explain adds to an error of connecting which settings it is about and what to do.
func explain(cfg *config.Config, err error) error {
	if hint := connectionHint(cfg, err); hint != "" {
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}

func connectionHint(cfg *config.Config, err error) string {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("the broker's certificate is not of an authority in tls.ca-file (%s): add the one that has signed it", orText(cfg.TLSCAFile, "not set: those of the system"))
	case errors.As(err, &host):
		return "the broker's certificate is for other names: its advertised.listeners must use one of them, or tls.server-name name one"
	case errors.As(err, &invalid):
		return "the broker's certificate cannot be used: it must be replaced, or the clock of one side is wrong"
	case errors.As(err, &record), errors.Is(err, errNoHandshake):
		return "tls.enabled is true, and the broker seems not to speak TLS on this port: name its TLS port in brokers"
	case isTLSAnswer(err), !cfg.TLS && errors.Is(err, io.EOF):
		return "the broker seems to speak TLS on this port (tls.enabled), or to expect SASL (sasl.mechanism)"
	case cfg.Mechanism() == config.SASLNone && errors.Is(err, io.EOF):
		return "the broker seems to expect SASL on this port: set sasl.mechanism"
	case errors.Is(err, kerr.IllegalSaslState):
		return "the broker takes no SASL on this port: name its SASL port in brokers, or set sasl.mechanism to none"
	case isAlert(err) && cfg.TLSCertFile == "":
		return "the broker asks for a client certificate: set tls.cert-file and tls.key-file"
	case isAlert(err):
		return fmt.Sprintf("the broker does not accept the certificate of tls.cert-file (%s): it must be of an authority that the broker trusts, and in its time", cfg.TLSCertFile)
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return fmt.Sprintf("the broker does not offer sasl.mechanism %s on this port", cfg.Mechanism())
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return saslHint(cfg)
	}
	return ""
}

func saslHint(cfg *config.Config) string {
	switch cfg.Mechanism() {
	case config.SASLOAuthBearer:
		return fmt.Sprintf("the broker does not accept the token of %s: check its expiry, issuer, audience and subject", orText(cfg.SASLTokenFile, cfg.SASLTokenURL))
	case config.SASLAWS:
		return "the broker does not accept the AWS credentials: the identity needs kafka-cluster:Connect, and the clock must be right"
	default:
		return fmt.Sprintf("the broker does not accept user %s with the content of sasl.password-file (%s)", cfg.SASLUser, cfg.SASLPasswordFile)
	}
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// insist calls f again while a connection is refused, for authentication.timeout. It is for a process that was let in
// before: what it authenticates with may be about to be replaced.
func insist(ctx context.Context, cfg *config.Config, f func() error) error {
	began := time.Now()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := f()
		if !isAuthentication(err) {
			return err
		}
		if time.Since(began) >= cfg.AuthenticationTimeout || Pause(ctx, wait) != nil {
			return explain(cfg, err)
		}
	}
}
