// SPDX-License-Identifier: Apache-2.0

package crypt

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Guard is a store without encryption that refuses to read encrypted objects as if they were plain: who has forgotten
// the keys would take every checkpoint for damaged. Everything else is as in the store that it wraps.
type Guard struct{ objstore.Store }

// NewGuard wraps a store for which there are no keys.
func NewGuard(inner objstore.Store) *Guard { return &Guard{inner} }

// Get implements objstore.Store. Reading an encrypted object fails with ErrKey.
func (g *Guard) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return g.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.Store. A part that begins with the object is looked at as by Get; parts from the
// middle are given as they are.
func (g *Guard) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	body, err := g.Store.GetRange(ctx, name, offset, length)
	if err != nil || offset > 0 {
		return body, err
	}
	return &guarded{ReadCloser: body, name: name}, nil
}

// guarded holds the beginning of a content back until it is clear that it is plain.
type guarded struct {
	io.ReadCloser
	name    string
	held    []byte // of the beginning, not yet given out
	checked bool
	err     error // that came with the beginning
}

// Read implements io.Reader.
func (r *guarded) Read(p []byte) (int, error) {
	if !r.checked {
		r.check()
	}
	if len(r.held) > 0 {
		n := copy(p, r.held)
		r.held = r.held[n:]
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.ReadCloser.Read(p)
}

func (r *guarded) check() {
	r.checked = true
	beginning := make([]byte, len(magic))
	n, err := io.ReadFull(r.ReadCloser, beginning)
	switch {
	case err == io.ErrUnexpectedEOF:
		err = io.EOF
	case bytes.Equal(beginning, []byte(magic)):
		n, err = 0, fmt.Errorf("read object %s: %w: it is encrypted and no keys are given: set store.encryption-keys-file", r.name, ErrKey)
	}
	r.held, r.err = beginning[:n], err
}
