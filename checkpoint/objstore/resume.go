// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"context"
	"errors"
	"io"
)

// resuming is the content of an object that does not change, read over as many connections as it takes.
type resuming struct {
	ctx     context.Context // of the one call of ReadFrom that it lives in
	retry   *Retry
	name    string
	offset  int64 // of the next byte
	failed  int   // reads in a row that brought nothing
	damaged int   // how many of them because of a damage
	body    io.ReadCloser
}

// Read implements io.Reader.
func (b *resuming) Read(p []byte) (int, error) {
	for {
		if err := b.open(); err != nil {
			return 0, err
		}
		n, err := b.body.Read(p)
		b.offset += int64(n)
		if n > 0 {
			b.failed, b.damaged = 0, 0
		}
		if err == nil || err == io.EOF {
			return n, err
		}
		if errors.Is(err, ErrTransient) {
			// The next read opens it anew; what closing a broken connection says does not matter.
			_ = b.close()
			b.failed++
			if errors.Is(err, ErrDamaged) {
				b.damaged++
			}
			err = b.retry.again(b.ctx, b.damaged, RetryInfo{Op: "get", Name: b.name, Attempt: b.failed, Err: err})
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (b *resuming) open() (err error) {
	if b.body == nil {
		b.body, err = getFrom(b.ctx, b.retry, b.name, b.offset)
	}
	return err
}

func (b *resuming) close() error {
	if b.body == nil {
		return nil
	}
	body := b.body
	b.body = nil
	return body.Close()
}
