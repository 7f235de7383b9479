// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// call is a request that was begun.
type call struct {
	s          *Store
	ctx        context.Context
	verb, name string
	// used are the credentials that it is signed with; nil if they are fetched for it.
	used *credentials.Value
}

func (s *Store) begin(ctx context.Context, verb, name string) call {
	c := call{s: s, ctx: ctx, verb: verb, name: name}
	if !s.creds.IsExpired() {
		c.used = s.signer()
	}
	return c
}

// fail says what an error of the request means. nil stays nil.
func (c call) fail(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s object %s in bucket %s: %w", c.verb, c.name, c.s.bucket, err)
	if c.ctx.Err() != nil {
		return err
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == 0 {
		if objstore.IsUntrusted(err) {
			return err
		}
		return objstore.Transient(err)
	}
	switch meaning(answer) {
	case absent:
		if c.verb == "put" || c.verb == "create" {
			// There is nothing to be found when writing: the parts of an upload are gone, or a server
			// on a file system has lost the race with a delete that pruned the folder.
			return objstore.Transient(err)
		}
		return fmt.Errorf("%w: %w", objstore.ErrNotFound, err)
	case exists:
		return fmt.Errorf("%w: %w", objstore.ErrExists, err)
	case noSuchPart:
		return fmt.Errorf("%w: %w", objstore.ErrRange, err)
	case transient:
		return objstore.Transient(err)
	case expired:
		c.s.creds.Expire()
		return objstore.Transient(fmt.Errorf("%w: the credentials seem to have expired: renew what AWS_ variables, file or identity provide", err))
	case forbidden:
		if c.renewed() {
			return objstore.Transient(err)
		}
	}
	return err
}

// signer is what requests are signed with now; nil if that cannot be had.
func (s *Store) signer() *credentials.Value {
	value, err := s.client.GetCreds()
	if err != nil {
		return nil
	}
	return &value
}

// renewed fetches the credentials anew and says whether they are others than those that were refused.
func (c call) renewed() bool {
	used := c.used
	if used == nil {
		used = c.s.signer()
	}
	c.s.creds.Expire()
	now := c.s.signer()
	return used != nil && now != nil &&
		(now.AccessKeyID != used.AccessKeyID || now.SecretAccessKey != used.SecretAccessKey || now.SessionToken != used.SessionToken)
}

type answerMeaning int

const (
	refused answerMeaning = iota
	absent
	exists
	noSuchPart
	transient
	expired
	forbidden
)

func meaning(answer minio.ErrorResponse) answerMeaning {
	switch answer.Code {
	case minio.NoSuchKey:
		return absent
	case "NoSuchBucket":
		return refused
	case "ConditionalRequestConflict", "OperationAborted", "SlowDown", "RequestTimeout", "InternalError",
		"Throttling", "ThrottlingException", "KMS.ThrottlingException", "RequestLimitExceeded", "BadDigest", "IncompleteBody":
		// A digest that does not match, or a body cut short, was damaged on the way.
		return transient
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return expired
	case "InvalidToken", "InvalidAccessKeyId":
		return forbidden // with 400 or 403
	}
	switch code := answer.StatusCode; {
	case code == http.StatusBadRequest && strings.HasPrefix(answer.Code, "400 "):
		return expired // the answer to HEAD has no body to say more; this is what it is for a good request
	case code == http.StatusForbidden, code == http.StatusUnauthorized:
		return forbidden
	case code == http.StatusNotFound:
		return absent // HEAD has no body to say more
	case code == http.StatusPreconditionFailed:
		return exists
	case code == http.StatusRequestedRangeNotSatisfiable:
		return noSuchPart
	case objstore.IsBusy(code):
		return transient
	}
	return refused
}
