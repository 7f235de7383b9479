// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

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
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == 0 {
		if isHopeless(err) {
			return err
		}
		return objstore.Transient(err)
	}
	switch meaning(answer) {
	case absent:
		if verb == "put" || verb == "create" {
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
	}
	return err
}

type answerMeaning int

const (
	refused answerMeaning = iota
	absent
	exists
	noSuchPart
	transient
)

func meaning(answer minio.ErrorResponse) answerMeaning {
	switch answer.Code {
	case minio.NoSuchKey:
		return absent
	case "NoSuchBucket":
		return refused
	case "ConditionalRequestConflict", "OperationAborted", "SlowDown", "RequestTimeout", "InternalError",
		"Throttling", "ThrottlingException", "KMS.ThrottlingException", "RequestLimitExceeded",
		"ExpiredToken", "ExpiredTokenException", "BadDigest", "IncompleteBody":
		// A digest that does not match, or a body cut short, was damaged on the way.
		return transient
	}
	switch code := answer.StatusCode; {
	case code == http.StatusNotFound:
		return absent // HEAD has no body to say more
	case code == http.StatusPreconditionFailed:
		return exists
	case code == http.StatusRequestedRangeNotSatisfiable:
		return noSuchPart
	case code == http.StatusConflict, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests,
		code >= 500 && code != http.StatusNotImplemented:
		return transient
	}
	return refused
}

// isHopeless finds connection errors that no repeat will heal.
func isHopeless(err error) bool {
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	return errors.As(err, &unknownAuthority) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &record)
}
