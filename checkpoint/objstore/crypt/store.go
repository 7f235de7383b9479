// SPDX-License-Identifier: Apache-2.0

package crypt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Store encrypts what it writes to another store and decrypts what it reads. Names stay as they are.
type Store struct {
	inner objstore.Store
	keys  *Keys
}

var _ objstore.Store = (*Store)(nil)

// New wraps a store that holds nothing that is not encrypted.
func New(inner objstore.Store, keys *Keys) *Store { return &Store{inner: inner, keys: keys} }

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.Store. A part from the middle takes two requests, one of them for the
// header; an object that is replaced between them is objstore.ErrDamaged.
func (s *Store) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := objstore.CheckRange(offset, length); err != nil {
		return nil, fmt.Errorf("get object %s: %w", name, err)
	}
	if offset > maxPlainBytes {
		return nil, fmt.Errorf("get object %s from byte %d on: %w", name, offset, objstore.ErrRange)
	}
	segment := segmentAt(offset)
	o := &opener{name: name, segment: segment}
	var err error
	if segment == 0 {
		err = s.openAtStart(ctx, o, sealedLength(0, offset, length))
	} else {
		err = s.openInside(ctx, o, sealedLength(segment, offset, length))
	}
	if err != nil {
		return nil, err
	}
	if err := o.skipTo(offset, length); err != nil {
		return nil, errors.Join(fmt.Errorf("get object %s: %w", name, err), o.Close())
	}
	return o, nil
}

// sealedLength is how many bytes of the object are needed from the first segment on: one more than the
// segments themselves, which shows that the last of them is not the last of the object. -1 is all.
func sealedLength(first, offset, length int64) int64 {
	if length < 0 || length > maxPlainBytes-offset {
		return -1
	}
	last := segmentAt(offset + length - 1)
	return (last-first+1)*segmentBytes + 1
}

func (s *Store) openAtStart(ctx context.Context, o *opener, length int64) error {
	body, err := s.inner.GetRange(ctx, o.name, 0, length)
	if err != nil {
		return err
	}
	if o.box, err = s.readHeader(o.name, body); err != nil {
		return errors.Join(err, body.Close())
	}
	o.source = body
	return nil
}

func (s *Store) openInside(ctx context.Context, o *opener, length int64) error {
	header, err := s.inner.GetRange(ctx, o.name, 0, int64(headerBytes))
	if err != nil {
		return err
	}
	o.box, err = s.readHeader(o.name, header)
	if err = errors.Join(err, header.Close()); err != nil {
		return err
	}
	o.source, err = s.inner.GetRange(ctx, o.name, o.segment*segmentBytes, length)
	return err
}

func (s *Store) readHeader(name string, r io.Reader) (box, error) {
	header := make([]byte, headerBytes)
	n, err := io.ReadFull(r, header)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return box{}, fmt.Errorf("read the header of object %s: %w", name, err)
	}
	id, err := keyID(header[:n])
	if err != nil {
		return box{}, fmt.Errorf("open object %s: %w", name, err)
	}
	key, err := s.keys.find(id)
	if err != nil {
		return box{}, fmt.Errorf("open object %s: %w", name, err)
	}
	b, err := openBox(name, header, key)
	if err != nil {
		return box{}, fmt.Errorf("open object %s: %w", name, err)
	}
	return b, nil
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body) error {
	sealed, err := s.seal(name, body)
	if err != nil {
		return fmt.Errorf("put object %s: %w", name, err)
	}
	return s.inner.Put(ctx, name, sealed)
}

// Create implements objstore.Store.
func (s *Store) Create(ctx context.Context, name string, body objstore.Body) error {
	sealed, err := s.seal(name, body)
	if err != nil {
		return fmt.Errorf("create object %s: %w", name, err)
	}
	return s.inner.Create(ctx, name, sealed)
}

func (s *Store) seal(name string, body objstore.Body) (*sealer, error) {
	if body.Size() > maxPlainBytes {
		return nil, fmt.Errorf("%w: %d bytes, encryption takes %d", objstore.ErrTooLarge, body.Size(), maxPlainBytes)
	}
	id, key := s.keys.current()
	b, header, err := newBox(name, id, key)
	if err != nil {
		return nil, err
	}
	return &sealer{box: b, header: header, plain: body, size: body.Size()}, nil
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, name string) error { return s.inner.Delete(ctx, name) }

// Stat implements objstore.Store. The size is that of the plain content; the object is not opened.
func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	info, err := s.inner.Stat(ctx, name)
	info.Size = plainSize(info.Size)
	return info, err
}

// List implements objstore.Store. Sizes are those of the plain contents; no object is opened.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range s.inner.List(ctx, prefix) {
			info.Size = plainSize(info.Size)
			if !yield(info, err) {
				return
			}
		}
	}
}
