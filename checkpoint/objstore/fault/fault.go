// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Kind is a method of objstore.Store.
type Kind string

// The kinds of calls.
const (
	Get    Kind = "get" // and GetRange
	Put    Kind = "put"
	Create Kind = "create"
	Delete Kind = "delete"
	List   Kind = "list"
	Stat   Kind = "stat"
)

// Op is a call that is about to be made.
type Op struct {
	N    int64 // ordinal of the call on this store, from 1
	Kind Kind
	Name string // or prefix
}

// Fault is what goes wrong with a call. The zero value is nothing.
type Fault struct {
	Delay  time.Duration // before anything else; ends early with the context
	Before error         // the call fails without effect
	After  error         // the call takes effect, but its reply is lost
	// Truncate ends the content that a Get gives after so many bytes, as if that were all; 0 does not.
	Truncate int64
	// Break ends it after so many bytes with a transient error, as a connection that breaks; 0 does not.
	Break int64
	// Flip inverts a bit of the byte at this place of it, counted from 1; 0 does not.
	Flip int64
}

// Hook decides about a call.
type Hook func(Op) Fault

// Unavailable is a transient failure, as of a store that answers 503.
func Unavailable(op Op) error {
	return objstore.Transient(fmt.Errorf("%s object %s: injected: service unavailable", op.Kind, op.Name))
}

// Store misbehaves as its hook says.
type Store struct {
	inner objstore.Store
	mu    struct {
		sync.Mutex
		n    int64
		hook Hook
	}
}

var _ objstore.Store = (*Store)(nil)

// New wraps a store. A nil hook injects nothing.
func New(inner objstore.Store, hook Hook) *Store {
	s := &Store{inner: inner}
	s.mu.hook = hook
	return s
}

// SetHook replaces the hook for calls that begin later.
func (s *Store) SetHook(hook Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.hook = hook
}

// Calls is how many calls were made so far.
func (s *Store) Calls() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.n
}

func (s *Store) decide(kind Kind, name string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.n++
	if s.mu.hook == nil {
		return Fault{}
	}
	return s.mu.hook(Op{N: s.mu.n, Kind: kind, Name: name})
}

// call runs one call with its fault.
func (s *Store) call(ctx context.Context, kind Kind, name string, do func(Fault) error) error {
	f := s.decide(kind, name)
	if err := pause(ctx, f.Delay); err != nil {
		return err
	}
	if f.Before != nil {
		return f.Before
	}
	return errors.Join(do(f), f.After)
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	var body io.ReadCloser
	err := s.call(ctx, Get, name, func(f Fault) (err error) {
		body, err = s.inner.GetRange(ctx, name, offset, length)
		if err == nil && (f.Truncate > 0 || f.Break > 0 || f.Flip > 0) {
			broken := objstore.Transient(fmt.Errorf("injected: connection broken after %d bytes: %w", f.Break, io.ErrUnexpectedEOF))
			body = &damaged{ReadCloser: body, fault: f, broken: broken}
		}
		return err
	})
	if err != nil && body != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, err
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body) error {
	return s.call(ctx, Put, name, func(Fault) error { return s.inner.Put(ctx, name, body) })
}

// Create implements objstore.Store.
func (s *Store) Create(ctx context.Context, name string, body objstore.Body) error {
	return s.call(ctx, Create, name, func(Fault) error { return s.inner.Create(ctx, name, body) })
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	return s.call(ctx, Delete, name, func(Fault) error { return s.inner.Delete(ctx, name) })
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	var info objstore.Info
	err := s.call(ctx, Stat, name, func(Fault) (err error) {
		info, err = s.inner.Stat(ctx, name)
		return err
	})
	return info, err
}

// List implements objstore.Store. A failure after the effect comes when all was yielded.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		stopped := false
		err := s.call(ctx, List, prefix, func(Fault) error {
			for info, err := range s.inner.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if !yield(info, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(objstore.Info{}, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// damaged is content that was truncated or flipped on its way, without any error to show for it, or whose
// connection broke.
type damaged struct {
	io.ReadCloser
	fault  Fault
	broken error // what a connection that breaks gives
	read   int64
}

// Read implements io.Reader.
func (d *damaged) Read(p []byte) (int, error) {
	if d.fault.Truncate > 0 {
		left := d.fault.Truncate - d.read
		if left <= 0 {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), left)]
	}
	if d.fault.Break > 0 {
		left := d.fault.Break - d.read
		if left <= 0 {
			return 0, d.broken
		}
		p = p[:min(int64(len(p)), left)]
	}
	n, err := d.ReadCloser.Read(p)
	if at := d.fault.Flip - 1 - d.read; d.fault.Flip > 0 && at >= 0 && at < int64(n) {
		p[at] ^= 1
	}
	d.read += int64(n)
	return n, err
}
