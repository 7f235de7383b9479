// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// This file is what drivers have in common. What an answer of a provider means stays in its driver.

// FolderPrefix is what a driver puts before all names to keep them in a folder: empty for no folder, otherwise the
// folder's path with a '/' at its end.
func FolderPrefix(folder string) (string, error) {
	folder = strings.Trim(folder, "/")
	if folder == "" {
		return "", nil
	}
	if err := CheckName(folder); err != nil {
		return "", fmt.Errorf("prefix: %w", err)
	}
	return folder + "/", nil
}

// ParseEndpoint reads the address of a server. It is a scheme, http or https, and a host, and nothing else.
func ParseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("endpoint %.80q is not of the form http://host:port or https://host:port", endpoint)
	}
	return u, nil
}

// ByteRange is the header Range of a request for a part of an object, as GetRange describes it. It is empty for the
// whole object, which is asked for without that header.
func ByteRange(offset, length int64) string {
	switch {
	case length > 0:
		return fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
	case offset > 0:
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return ""
}

// CheckContentRange compares the header Content-Range of an answer with the offset that was asked for. Some servers
// give the whole object instead, from which a resumed content would be patched together wrongly.
func CheckContentRange(contentRange string, offset int64) error {
	if !strings.HasPrefix(contentRange, fmt.Sprintf("bytes %d-", offset)) {
		return fmt.Errorf("asked from byte %d on, the server gave Content-Range %.80q: use a store that supports ranges", offset, contentRange)
	}
	return nil
}

// IsBusy says whether an HTTP status means that the same request may be made again.
func IsBusy(status int) bool {
	switch status {
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return status >= 500 && status != http.StatusNotImplemented
}

// IsUntrusted says whether a connection failed because of the server's certificate, or because it does not speak TLS.
// No repeat heals that.
func IsUntrusted(err error) bool {
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	return errors.As(err, &unknownAuthority) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &record)
}

// ReadTransient returns the content of an answer with its errors marked as ErrTransient, unless ctx has ended: what
// breaks while reading is the connection, which a new one may heal. net/http reports content that is shorter than
// announced.
func ReadTransient(ctx context.Context, name string, content io.ReadCloser) io.ReadCloser {
	return &transientReader{ReadCloser: content, ctx: ctx, name: name}
}

type transientReader struct {
	io.ReadCloser
	ctx  context.Context
	name string
}

// Read implements io.Reader.
func (r *transientReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF && r.ctx.Err() == nil {
		err = Transient(fmt.Errorf("read object %s: %w", r.name, err))
	}
	return n, err
}

// CopyBody copies length bytes of a content from offset at on. A content that ends before is io.ErrUnexpectedEOF.
func CopyBody(ctx context.Context, w io.Writer, content io.ReaderAt, at, length int64) error {
	n, err := io.Copy(w, ContextReader(ctx, io.NewSectionReader(content, at, length)))
	if err == nil && n != length {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// ContextReader reads from r until ctx ends, and ends a long copy soon after.
func ContextReader(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
