// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// fail says what an error of a request means. nil stays nil.
func (s *Store) fail(ctx context.Context, verb, name string, err error) error {
	if err == nil {
		return nil
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // the URL around it may hold a token
	}
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		err = &refusal{answer}
	}
	err = fmt.Errorf("%s object %s in container %s: %w", verb, name, s.container, err)
	if ctx.Err() != nil {
		return err
	}
	if answer == nil {
		if isHopeless(err) {
			return err
		}
		return objstore.Transient(err)
	}
	return judge(verb, answer, err)
}

// refusal is an answer of the server in one line. The client's own error takes a page.
type refusal struct{ answer *azcore.ResponseError }

// Error implements error.
func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the server answers %d %s", r.answer.StatusCode, r.answer.ErrorCode))
}

// Unwrap returns the client's error.
func (r *refusal) Unwrap() error { return r.answer }

func judge(verb string, answer *azcore.ResponseError, err error) error {
	writes := verb == "put" || verb == "create"
	switch bloberror.Code(answer.ErrorCode) {
	case bloberror.ContainerNotFound:
		return err
	case bloberror.BlobAlreadyExists, bloberror.ConditionNotMet:
		if verb == "create" {
			return fmt.Errorf("%w: %w", objstore.ErrExists, err)
		}
	case bloberror.BlobImmutableDueToPolicy:
		return err
	case bloberror.MD5Mismatch, bloberror.InvalidBlockList, bloberror.InvalidBlobOrBlock:
		// A content that was damaged on the way, or blocks that a concurrent upload has done away with.
		return objstore.Transient(err)
	}
	switch code := answer.StatusCode; {
	case code == http.StatusNotFound && !writes && verb != "list":
		return fmt.Errorf("%w: %w", objstore.ErrNotFound, err)
	case code == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %w", objstore.ErrRange, err)
	case code == http.StatusUnauthorized, objstore.IsBusy(code):
		// After 401: the token was revoked or has expired early; the next one may be taken.
		return objstore.Transient(err)
	}
	return err
}

// isHopeless finds failures to get an answer that no repeat will heal.
func isHopeless(err error) bool {
	if objstore.IsUntrusted(err) {
		return true
	}
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) {
		return refused.RawResponse == nil || refused.RawResponse.StatusCode < 500 && refused.RawResponse.StatusCode != http.StatusTooManyRequests
	}
	// The client marks so what it will not repeat, credentials that are not there among them.
	var final interface{ NonRetriable() }
	return errors.As(err, &final)
}
