// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// WriteJSON answers with a value. The answer has an ETag, and is 304 if the client has the same already.
func WriteJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	return write(w, r, "application/json", append(body, '\n'))
}

// write answers a GET with a document.
func write(w http.ResponseWriter, r *http.Request, mediaType string, body []byte) error {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache") // it may be kept, but is asked for each time
	h.Set("Vary", "Authorization")
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", mediaType)
	_, _ = w.Write(body) // who has asked may be gone
	return nil
}

// matches says whether a header If-None-Match has a tag.
func matches(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		if candidate = strings.TrimSpace(candidate); candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
			return true
		}
	}
	return false
}

// writeStatus answers with a value and a status of its own.
func writeStatus(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	if err := json.MarshalWrite(&body, v, json.Deterministic(true)); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body.Bytes(), '\n'))
	return nil
}

// ReadJSON reads the body of a request. Members that the value does not have are refused, and so is a body of another
// type: a page of another site could send that without being asked.
func ReadJSON(r *http.Request, v any) error {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return Problemf(http.StatusUnsupportedMediaType, codeMedia, "the body must be application/json")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return err
		}
		return Problemf(http.StatusBadRequest, codeInvalid, "read the body: %v", err)
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		var syntax *jsontext.SyntacticError
		if errors.As(err, &syntax) {
			return Problemf(http.StatusBadRequest, codeInvalid, "the body is not JSON: %v", err)
		}
		return Problemf(http.StatusBadRequest, codeInvalid, "the body does not fit: %v", err)
	}
	return nil
}
