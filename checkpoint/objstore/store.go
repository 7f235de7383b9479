// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

var (
	// ErrNotFound says that no object has the name.
	ErrNotFound = errors.New("object not found")
	// ErrExists says that Create found an object of that name; nothing was written.
	ErrExists = errors.New("object exists already")
	// ErrTransient marks a failure after which the same call may be made again: the store was
	// busy, away, or its reply was lost. The call may have taken effect.
	ErrTransient = errors.New("object store is not answering as it should")
	// ErrName marks a name or prefix that is not allowed, see CheckName.
	ErrName = errors.New("object name is not allowed")
	// ErrUnsafe says that a store breaks a promise that exactly-once processing rests on.
	ErrUnsafe = errors.New("object store is unsafe for checkpoints")
	// ErrRange says that GetRange was asked for a part that the object does not have.
	ErrRange = errors.New("object has no such part")
	// ErrDamaged says that a content is not the one that was written, as an encrypting store finds out. It comes
	// with ErrTransient, because that may have happened on the way.
	ErrDamaged = errors.New("object is damaged")
	// ErrTooLarge says that an object is larger than the reader was prepared to take.
	ErrTooLarge = errors.New("object is larger than allowed")
)

// Info describes one object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the store's clock, of a precision between a nanosecond and a second
}

// Body is the content of an object to be written. It is read by offset, so that a call can be repeated
// and parts can be sent in parallel. *bytes.Reader, *strings.Reader and *io.SectionReader are bodies.
// The content must not change during the call; the store keeps no reference to it afterwards.
type Body interface {
	io.ReaderAt
	Size() int64
}

// Store holds objects by name. Implementations are safe for concurrent use; names follow CheckName and
// anything else is ErrName. Errors wrap one of the sentinels where one applies.
type Store interface {
	// Get opens an object for reading; the caller closes it. ErrNotFound if there is none. A read
	// that fails half-way returns an error that wraps ErrTransient where reading anew may help.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// GetRange opens a part of an object: length bytes from offset on, fewer where the object ends
	// before, all the rest if length is negative. Otherwise it is like Get. A part that begins at or
	// past the end is ErrRange, as are a negative offset and a length of 0; but (0, -1) is the whole
	// object, which may be empty.
	GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// Put writes an object, replacing one of the same name. May be repeated.
	Put(ctx context.Context, name string, body Body) error
	// Create writes an object only if the name is free; otherwise ErrExists. It is the fence of the
	// checkpoint protocol: see invariant I1.
	Create(ctx context.Context, name string, body Body) error
	// Delete removes an object. An absent one is not an error, so that it may be repeated.
	Delete(ctx context.Context, name string) error
	// List yields the objects whose name begins with prefix, in byte order of their names. Objects
	// that come or go during the listing may be in it or not. After an error it ends.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Stat describes one object. ErrNotFound if there is none.
	Stat(ctx context.Context, name string) (Info, error)
}

// Transient marks an error as ErrTransient. Drivers use it; nil stays nil.
func Transient(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrTransient, err)
}

// Read opens an object and hands its content to consume. If s is a *Retry, a transient failure of
// either repeats both, so consume must begin anew each time it is called.
func Read(ctx context.Context, s Store, name string, consume func(io.Reader) error) error {
	if r, ok := s.(*Retry); ok {
		return r.read(ctx, name, consume)
	}
	return readOnce(ctx, s, name, consume)
}

func readOnce(ctx context.Context, s Store, name string, consume func(io.Reader) error) error {
	body, err := s.Get(ctx, name)
	if err != nil {
		return err
	}
	return consumeAndClose(body, name, consume)
}

func consumeAndClose(body io.ReadCloser, name string, consume func(io.Reader) error) error {
	err := consume(body)
	if cerr := body.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close object %s: %w", name, cerr)
	}
	return err
}

// ReadFrom opens an object at offset, in bytes, and hands its content from there on to consume, once. It is
// for objects that never change: if s is a *Retry, a connection that breaks is made anew at the byte where
// it broke, and consume notices nothing. An offset at the end of the object gives no bytes. consume's own
// error is returned as it is.
func ReadFrom(ctx context.Context, s Store, name string, offset int64, consume func(io.Reader) error) error {
	if r, ok := s.(*Retry); ok {
		body := &resuming{ctx: ctx, retry: r, name: name, offset: offset}
		return errors.Join(consume(body), body.close())
	}
	body, err := getFrom(ctx, s, name, offset)
	if err != nil {
		return err
	}
	return errors.Join(consume(body), body.Close())
}

// getFrom opens an object at offset, where there may be nothing more.
func getFrom(ctx context.Context, s Store, name string, offset int64) (io.ReadCloser, error) {
	body, err := s.GetRange(ctx, name, offset, -1)
	if errors.Is(err, ErrRange) && offset > 0 {
		info, statErr := s.Stat(ctx, name)
		if statErr != nil {
			return nil, statErr
		}
		if info.Size == offset {
			return io.NopCloser(eof{}), nil
		}
	}
	return body, err
}

// eof is a content of no bytes.
type eof struct{}

// Read implements io.Reader.
func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// CheckRange says whether offset and length may be asked of GetRange. The error wraps ErrRange.
func CheckRange(offset, length int64) error {
	if offset < 0 || length == 0 {
		return fmt.Errorf("%w: %d bytes from offset %d on", ErrRange, length, offset)
	}
	return nil
}

// ReadAll returns the content of a small object. More than limit bytes are ErrTooLarge.
func ReadAll(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	var content []byte
	err := Read(ctx, s, name, func(r io.Reader) error {
		var err error
		if content, err = io.ReadAll(io.LimitReader(r, limit+1)); err != nil {
			return fmt.Errorf("read object %s: %w", name, err)
		}
		if int64(len(content)) > limit {
			return fmt.Errorf("read object %s: more than %d bytes: %w", name, limit, ErrTooLarge)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return content, nil
}
