// SPDX-License-Identifier: Apache-2.0

package gcs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"
	"google.golang.org/api/googleapi"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// fail says what an error of a request means. nil stays nil.
func (s *Store) fail(ctx context.Context, verb, name string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s object %s in bucket %s: %w", verb, name, s.bucket, err)
	if ctx.Err() != nil {
		return err
	}
	var answer *googleapi.Error
	if !errors.As(err, &answer) {
		if isHopeless(err) {
			return err
		}
		return objstore.Transient(err)
	}
	switch code := answer.Code; {
	case code == http.StatusNotFound && !lacksBucket(answer) && (verb == "get" || verb == "stat" || verb == "delete"):
		return fmt.Errorf("%w: %w", objstore.ErrNotFound, err)
	case code == http.StatusPreconditionFailed && verb == "create":
		return fmt.Errorf("%w: %w", objstore.ErrExists, err)
	case code == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %w", objstore.ErrRange, err)
	case isTransient(answer):
		return objstore.Transient(err)
	}
	return err
}

// lacksBucket tells a missing bucket from a missing object, which have the same code and reason.
func lacksBucket(answer *googleapi.Error) bool {
	return strings.Contains(answer.Message+answer.Body, "bucket does not exist")
}

func isTransient(answer *googleapi.Error) bool {
	switch code := answer.Code; {
	case code == http.StatusForbidden:
		for _, item := range answer.Errors {
			if item.Reason == "rateLimitExceeded" || item.Reason == "userRateLimitExceeded" {
				return true
			}
		}
		return false
	case code == http.StatusUnauthorized:
		// The token was revoked or has expired early; the next one may be taken.
		return true
	case code == http.StatusConflict, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests:
		return true
	default:
		return code >= 500 && code != http.StatusNotImplemented
	}
}

// isHopeless finds failures to get an answer that no repeat will heal.
func isHopeless(err error) bool {
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	if errors.As(err, &unknownAuthority) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &record) {
		return true
	}
	var token *auth.Error
	return errors.As(err, &token) && !token.Temporary()
}
