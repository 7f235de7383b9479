// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Wire is what goes wrong with an HTTP request. The zero value is nothing.
type Wire struct {
	Delay time.Duration // before anything else; ends early with the request's context
	// Applied says that the request reaches the server and takes effect before the trouble comes.
	Applied bool
	// Cut breaks the connection instead of an answer.
	Cut bool
	// Status, if it is not 0, is answered instead of what the server says, with Header and Body.
	Status int
	Header http.Header
	Body   string
	// Break breaks the connection after so many bytes of the answer's content, which net/http reports as
	// io.ErrUnexpectedEOF; 0 does not.
	Break int64
}

// Transport misbehaves below a driver, as networks and servers do. Safe for concurrent use; the hook is called
// one at a time.
type Transport struct {
	inner http.RoundTripper
	mu    struct {
		sync.Mutex
		hook func(*http.Request) Wire
	}
}

var _ http.RoundTripper = (*Transport)(nil)

// NewTransport wraps a transport. Nothing goes wrong until there is a hook.
func NewTransport(inner http.RoundTripper) *Transport { return &Transport{inner: inner} }

// SetHook replaces the hook for requests that begin later; nil injects nothing.
func (t *Transport) SetHook(hook func(*http.Request) Wire) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.hook = hook
}

func (t *Transport) decide(r *http.Request) Wire {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.hook == nil {
		return Wire{}
	}
	return t.mu.hook(r)
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := t.decide(r)
	if err := pause(r.Context(), w.Delay); err != nil {
		return nil, closing(r.Body, err)
	}
	troubled := w.Cut || w.Status != 0
	if troubled && !w.Applied {
		return w.answer(r, r.Body)
	}
	response, err := t.inner.RoundTrip(r)
	switch {
	case err != nil:
		return nil, err
	case troubled:
		return w.answer(r, response.Body)
	case w.Break > 0:
		response.Body = &damaged{ReadCloser: response.Body, fault: Fault{Break: w.Break}, broken: io.ErrUnexpectedEOF}
	}
	return response, nil
}

// answer gives the scripted answer and closes what is not used.
func (w Wire) answer(r *http.Request, unused io.ReadCloser) (*http.Response, error) {
	if w.Cut {
		return nil, closing(unused, fmt.Errorf("injected: connection broken: %w", io.ErrUnexpectedEOF))
	}
	_ = closing(unused, nil)
	content := w.Body
	if r.Method == http.MethodHead {
		content = ""
	}
	header := w.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.Status, http.StatusText(w.Status)), StatusCode: w.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader([]byte(content))), ContentLength: int64(len(content)),
		Request: r,
	}, nil
}

// closing closes what a request leaves behind. Its own error would hide the injected one.
func closing(body io.Closer, err error) error {
	if body != nil {
		_ = body.Close()
	}
	return err
}
