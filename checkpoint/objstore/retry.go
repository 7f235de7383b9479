// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"
)

// Policy bounds the repeating of failed calls. The zero value means the defaults.
type Policy struct {
	// Attempts is the most that one call is made, default 8.
	Attempts int
	// Base and Cap shape the pause before attempt n: a random part of min(Cap, Base·2ⁿ) ("full
	// jitter", which spreads a crowd of workers best). Defaults 50 ms and 5 s.
	Base, Cap time.Duration
	// Budget is how many repeats may be outstanding beyond successes: a repeat takes one, ten
	// successful calls give one back. When it is used up calls are made once, so that a store that
	// is down is not also flooded. Default 200.
	Budget int
	// Stall is how long a call may go without moving a byte or giving an answer, default 1 min. Then it is
	// given up and counts as failed with ErrTransient, since a connection may hang that nobody closes.
	Stall time.Duration
	// Rand gives numbers in [0, 1), default math/rand/v2. Called under a lock, one at a time.
	Rand func() float64
	// OnRetry, if set, hears of each repeat before its pause. Called by many goroutines at once.
	OnRetry func(RetryInfo)
}

// RetryInfo tells of a call that failed and will be made again.
type RetryInfo struct {
	Op      string // "get", "put", "create", "delete", "list", "stat"
	Name    string
	Attempt int // that failed, from 1
	Pause   time.Duration
	Err     error
}

const (
	refundPerSuccess = 0.1
	// damagedAttempts is how often a damaged content is read: what happened on the way is gone by then, so that
	// what is still wrong is wrong in the store.
	damagedAttempts = 3
)

// EnsureDefaults returns the policy with zero fields filled.
func (p Policy) EnsureDefaults() Policy {
	if p.Attempts <= 0 {
		p.Attempts = 8
	}
	if p.Base <= 0 {
		p.Base = 50 * time.Millisecond
	}
	if p.Cap <= 0 {
		p.Cap = 5 * time.Second
	}
	if p.Budget <= 0 {
		p.Budget = 200
	}
	if p.Stall <= 0 {
		p.Stall = time.Minute
	}
	if p.Rand == nil {
		p.Rand = rand.Float64
	}
	return p
}

// Retry is a Store that repeats the calls of another which failed with ErrTransient, and recognises its
// own Create when a reply was lost. It is the one place that repeats.
type Retry struct {
	inner  Store
	policy Policy
	mu     struct {
		sync.Mutex
		tokens float64
	}
}

// NewRetry wraps a store.
func NewRetry(inner Store, policy Policy) *Retry {
	r := &Retry{inner: inner, policy: policy.EnsureDefaults()}
	r.mu.tokens = float64(r.policy.Budget)
	return r
}

// Get implements Store. It repeats the opening only; Read repeats the reading too.
func (r *Retry) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return r.GetRange(ctx, name, 0, -1)
}

// GetRange implements Store. It repeats the opening only; ReadFrom goes on where a connection broke.
func (r *Retry) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	var content io.ReadCloser
	err := r.do(ctx, "get", name, func(w *watch) error {
		body, err := r.inner.GetRange(w.ctx, name, offset, length)
		if err == nil {
			content = w.keep(body)
		}
		return err
	})
	return content, err
}

func (r *Retry) read(ctx context.Context, name string, consume func(io.Reader) error) error {
	return r.do(ctx, "get", name, func(w *watch) error {
		body, err := r.inner.Get(w.ctx, name)
		if err != nil {
			return err
		}
		return consumeAndClose(w.keep(body), name, consume)
	})
}

// Put implements Store.
func (r *Retry) Put(ctx context.Context, name string, body Body) error {
	return r.do(ctx, "put", name, func(w *watch) error { return r.inner.Put(w.ctx, name, w.body(body)) })
}

// Create implements Store. If an attempt failed without a clear answer and a later one finds the name
// taken, the object is read back: the same bytes are the own write, others are ErrExists.
func (r *Retry) Create(ctx context.Context, name string, body Body) error {
	ambiguous := false
	return r.do(ctx, "create", name, func(w *watch) error {
		err := w.verdict(r.inner.Create(w.ctx, name, w.body(body)))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrExists):
			ambiguous = true
			return err
		case !ambiguous:
			return err
		}
		same, compareErr := sameContent(w, r.inner, name, body)
		if compareErr != nil {
			return fmt.Errorf("create object %s: read back after an unclear answer: %w", name, compareErr)
		}
		if same {
			return nil
		}
		return err
	})
}

// Delete implements Store.
func (r *Retry) Delete(ctx context.Context, name string) error {
	return r.do(ctx, "delete", name, func(w *watch) error { return r.inner.Delete(w.ctx, name) })
}

// Stat implements Store.
func (r *Retry) Stat(ctx context.Context, name string) (Info, error) {
	var info Info
	err := r.do(ctx, "stat", name, func(w *watch) (err error) {
		info, err = r.inner.Stat(w.ctx, name)
		return err
	})
	return info, err
}

// List implements Store. A listing that breaks begins anew and skips what was yielded; the order of
// names makes that exact.
func (r *Retry) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		last, stopped := "", false
		err := r.do(ctx, "list", prefix, func(w *watch) error {
			for info, err := range r.inner.List(w.ctx, prefix) {
				if err != nil {
					return err
				}
				w.pause()
				if info.Name > last {
					last = info.Name
					if !yield(info, nil) {
						stopped = true
						return nil
					}
				}
				w.progress()
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Info{}, err)
		}
	}
}

func (r *Retry) do(ctx context.Context, op, name string, call func(*watch) error) error {
	damaged := 0
	for attempt := 1; ; attempt++ {
		w := r.watch(ctx)
		err := w.end(call(w))
		if err == nil {
			r.refund()
			return nil
		}
		if errors.Is(err, ErrDamaged) {
			damaged++
		}
		if err := r.again(ctx, damaged, RetryInfo{Op: op, Name: name, Attempt: attempt, Err: err}); err != nil {
			return err
		}
	}
}

// again waits and returns nil if the failed call may be made again; otherwise it returns the final error. damaged
// is how often its content was.
func (r *Retry) again(ctx context.Context, damaged int, failed RetryInfo) error {
	err := failed.Err
	if !errors.Is(err, ErrTransient) {
		return err
	}
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%w: %w", ended, err)
	}
	if failed.Attempt >= r.policy.Attempts || damaged >= damagedAttempts {
		return fmt.Errorf("gave up after %d attempts: %w", failed.Attempt, err)
	}
	var ok bool
	if failed.Pause, ok = r.spend(failed.Attempt); !ok {
		return fmt.Errorf("gave up after %d attempts, the budget of repeats is used up: %w", failed.Attempt, err)
	}
	if r.policy.OnRetry != nil {
		r.policy.OnRetry(failed)
	}
	if werr := wait(ctx, failed.Pause); werr != nil {
		return fmt.Errorf("%w while waiting to repeat after: %w", werr, err)
	}
	return nil
}

// spend takes one repeat from the budget and says how long to wait before it.
func (r *Retry) spend(attempt int) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.tokens < 1 {
		return 0, false
	}
	r.mu.tokens--
	ceiling := r.policy.Cap
	// Shifts beyond 20 would only overflow; the cap has won long before.
	if shifted := r.policy.Base << min(attempt-1, 20); shifted > 0 && shifted < ceiling {
		ceiling = shifted
	}
	return time.Duration(r.policy.Rand() * float64(ceiling)), true
}

func (r *Retry) refund() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.tokens = min(r.mu.tokens+refundPerSuccess, float64(r.policy.Budget))
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// sameContent compares an object with a body without holding either in memory.
func sameContent(w *watch, s Store, name string, body Body) (bool, error) {
	same := true
	err := readOnce(w.ctx, s, name, func(r io.Reader) error {
		theirs, ours := make([]byte, 32<<10), make([]byte, 32<<10)
		own := io.NewSectionReader(body, 0, body.Size())
		for {
			w.progress()
			n, err := io.ReadFull(r, theirs)
			m, ownErr := io.ReadFull(own, ours[:n])
			if ownErr != nil && n > 0 && ownErr != io.ErrUnexpectedEOF && ownErr != io.EOF {
				return ownErr
			}
			if m != n || !bytes.Equal(theirs[:n], ours[:m]) {
				same = false
				return nil
			}
			switch err {
			case nil:
			case io.EOF, io.ErrUnexpectedEOF:
				rest, _ := own.Read(ours[:1])
				same = rest == 0
				return nil
			default:
				return err
			}
		}
	})
	if errors.Is(err, ErrNotFound) {
		// It was there a moment ago and is gone: not ours to claim.
		return false, nil
	}
	return same, err
}
