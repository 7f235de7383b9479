// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Problem is an answer that is an error: a problem document of RFC 9457. A handler returns it as its error.
type Problem struct {
	Status int
	Code   string // ends the document's type, such as "not-found"
	Detail string // what was asked, what was found, what to do
	// Retry, if not zero, says that the same request may succeed later, and when to try.
	Retry time.Duration
	// More are further members of the document.
	More map[string]any
}

// Problemf makes a problem with a text.
func Problemf(status int, code, format string, args ...any) *Problem {
	return &Problem{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// problemType begins the type of every problem.
const problemType = "urn:streamd:problem:"

// The codes of the problems that the server itself makes.
const (
	codeUnauthorized = "unauthorized"
	codeForbidden    = "forbidden"
	codeNotFound     = "not-found"
	codeMethod       = "method-not-allowed"
	codeHost         = "wrong-host"
	codeOrigin       = "cross-origin"
	codeBusy         = "too-many-requests"
	codeInvalid      = "invalid-request"
	codeTooLarge     = "too-large"
	codeMedia        = "unsupported-media-type"
	codeUnavailable  = "unavailable"
	codeInternal     = "internal"
)

// problemOf makes a problem of a handler's error.
func problemOf(err error) *Problem {
	var (
		p     *Problem
		large *http.MaxBytesError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &large):
		return Problemf(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is larger than %d bytes", large.Limit)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Problem{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Detail: "no answer was found in time: " + err.Error(), Retry: time.Second}
	}
	return &Problem{Status: http.StatusInternalServerError, Code: codeInternal, Detail: err.Error()}
}

// write sends the problem.
func (p *Problem) write(w http.ResponseWriter, requestID string) {
	doc := map[string]any{}
	for k, v := range p.More {
		doc[k] = v
	}
	doc["type"], doc["title"], doc["status"] = problemType+p.Code, http.StatusText(p.Status), p.Status
	doc["detail"], doc["requestId"], doc["retriable"] = p.Detail, requestID, p.Retry > 0
	body, err := json.Marshal(doc, json.Deterministic(true))
	if err != nil { // a member that cannot be written is left out, the problem is not
		body, _ = json.Marshal(map[string]any{"type": problemType + p.Code, "title": http.StatusText(p.Status), "status": p.Status,
			"detail": p.Detail, "requestId": requestID, "retriable": p.Retry > 0})
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	if p.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.Retry+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // who has asked may be gone
}
