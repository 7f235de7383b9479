// SPDX-License-Identifier: Apache-2.0

package gcs

import (
	"context"
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
	default:
		return objstore.IsBusy(code)
	}
}

// isHopeless finds failures to get an answer that no repeat will heal.
func isHopeless(err error) bool {
	if objstore.IsUntrusted(err) {
		return true
	}
	var token *auth.Error
	return errors.As(err, &token) && !token.Temporary()
}
