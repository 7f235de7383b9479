// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"time"
)

const (
	// fresh is how old an answer of the object store may be that is given again: each costs, and many may ask.
	fresh = 2 * time.Second
	// lookTimeout bounds what is asked of it for one request.
	lookTimeout = 20 * time.Second
)

// memo is something that is looked up by one request at a time, and no sooner than after a while again. Failures are not
// kept.
type memo[T any] struct {
	turn chan struct{} // holds one
	at   time.Time
	last T
}

func newMemo[T any]() *memo[T] { return &memo[T]{turn: make(chan struct{}, 1)} }

func (m *memo[T]) get(ctx context.Context, look func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	if !m.at.IsZero() && time.Since(m.at) < fresh {
		return m.last, nil
	}
	v, err := look(ctx)
	if err == nil {
		m.at, m.last = time.Now(), v
	}
	return v, err
}

// forget has the next request look anew.
func (m *memo[T]) forget() {
	m.turn <- struct{}{}
	m.at = time.Time{}
	<-m.turn
}
