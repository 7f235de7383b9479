// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/operators/codec"
)

// Queries answers queries of state: an [App] in the process of a worker, or a [Client] elsewhere.
type Queries = query.Asker

// Client asks the workers of an application over HTTP.
type Client = query.Client

// ClientOptions say which workers a Client asks.
type ClientOptions = query.ClientOptions

// NewClient makes a Client. It opens no connection.
func NewClient(o ClientOptions) (*Client, error) { return query.NewClient(o) }

// Store reads a store of a running application, whichever worker has what is asked for. It may be used from any goroutine.
type Store[K, V any] struct {
	queries Queries
	name    string
	key     codec.Codec[K]
	value   codec.Codec[V]
}

// StoreOf returns a store by its name. The codecs are those that the pipeline has for it; a value codec with migrations
// upgrades what former releases have stored.
func StoreOf[K, V any](from Queries, name string, key codec.Codec[K], value codec.Codec[V]) *Store[K, V] {
	return &Store[K, V]{from, name, key, codec.Stored(value)}
}

// Entry is one entry of a store.
type Entry[K, V any] struct {
	Key    K
	SubKey []byte    // as it is encoded; nil where the store has none
	Time   time.Time // of a window's start, of a row or of a value's last use; zero where the store has none
	Value  V
}

// Found is what a key has.
type Found[V any] struct {
	Value V
	OK    bool // there is a value
	Time  time.Time
	At    *query.Answer // where the answer is from, and its position
}

// QueryOption says more about a query.
type QueryOption func(*query.Query) error

// MinPosition has the answer reflect at least a position: the Token of an answer, or topic/partition@offset of a record.
func MinPosition(text string) QueryOption {
	return func(q *query.Query) error { return q.Min.Require(text) }
}

// MaxStaleness allows an answer from a standby that is behind by up to d, where the owner cannot answer at once.
func MaxStaleness(d time.Duration) QueryOption {
	return func(q *query.Query) error { q.Stale, q.MaxStale = true, d; return nil }
}

// SubKey asks for one sub-key of the key.
func SubKey[S any](c codec.Codec[S], sub S) QueryOption {
	return func(q *query.Query) (err error) { q.SubKey, err = encode(c, sub); return err }
}

// AsOf asks for what a row of a versioned table was at a time.
func AsOf(t time.Time) QueryOption {
	return func(q *query.Query) error { q.AsOf = &t; return nil }
}

// Between asks for the windows that start from since to until; a zero time is no bound.
func Between(since, until time.Time) QueryOption {
	return func(q *query.Query) error { q.Since, q.Until = since, until; return nil }
}

// Prefix asks for keys that begin with bytes, as they are encoded.
func Prefix(b []byte) QueryOption {
	return func(q *query.Query) error { q.Prefix = b; return nil }
}

func encode[T any](c codec.Codec[T], v T) ([]byte, error) { return c.Append([]byte{}, v) }

func newQuery(name string, opts []QueryOption) (query.Query, error) {
	q := query.Query{Store: name, Raw: true}
	for _, set := range opts {
		if err := set(&q); err != nil {
			return q, fmt.Errorf("query store %s: %w", name, err)
		}
	}
	return q, nil
}

// ErrSeveral says that a key has several entries where one was asked for.
var ErrSeveral = errors.New("the key has several entries: name a sub-key, or use All")

// Get returns the value of a key. That there is none is no error.
func (s *Store[K, V]) Get(ctx context.Context, key K, opts ...QueryOption) (Found[V], error) {
	q, err := newQuery(s.name, opts)
	if err != nil {
		return Found[V]{}, err
	}
	if q.Key, err = encode(s.key, key); err != nil {
		return Found[V]{}, fmt.Errorf("query store %s: encode the key: %w", s.name, err)
	}
	a, err := s.queries.Do(ctx, q)
	if err != nil {
		return Found[V]{}, fmt.Errorf("query store %s: %w", s.name, err)
	}
	if len(a.Rows) > 1 || a.Next != "" {
		return Found[V]{}, fmt.Errorf("query store %s: %w", s.name, ErrSeveral)
	}
	found := Found[V]{At: a}
	for i := range a.Rows {
		e, err := s.entry(&a.Rows[i])
		if err != nil {
			return Found[V]{}, err
		}
		found.OK, found.Value, found.Time = true, e.Value, e.Time
	}
	return found, nil
}

// All yields the entries of a key: of windows one for each, of a map one for each sub-key, of versions the newest first. It
// ends with the first error.
func (s *Store[K, V]) All(ctx context.Context, key K, opts ...QueryOption) iter.Seq2[Entry[K, V], error] {
	q, err := newQuery(s.name, opts)
	if err == nil {
		q.Key, err = encode(s.key, key)
	}
	return s.pages(ctx, q, err)
}

// Scan yields the entries of all keys, task by task, each in the order of encoded entries; what it yields of one task may be of
// several positions, one for each page. It ends with the first error.
func (s *Store[K, V]) Scan(ctx context.Context, opts ...QueryOption) iter.Seq2[Entry[K, V], error] {
	q, err := newQuery(s.name, opts)
	return s.pages(ctx, q, err)
}

func (s *Store[K, V]) pages(ctx context.Context, q query.Query, err error) iter.Seq2[Entry[K, V], error] {
	return func(yield func(Entry[K, V], error) bool) {
		if err != nil {
			yield(Entry[K, V]{}, err)
			return
		}
		for more := true; more; more = q.Page != "" {
			a, err := s.queries.Do(ctx, q)
			if err != nil {
				yield(Entry[K, V]{}, fmt.Errorf("query store %s: %w", s.name, err))
				return
			}
			for i := range a.Rows {
				e, err := s.entry(&a.Rows[i])
				if !yield(e, err) || err != nil {
					return
				}
			}
			q.Page = a.Next
		}
	}
}

func (s *Store[K, V]) entry(r *query.Row) (e Entry[K, V], err error) {
	key, _ := r.Key.([]byte)
	if e.Key, err = s.key.Decode(key); err != nil {
		return e, fmt.Errorf("query store %s: decode a key: %w", s.name, err)
	}
	e.Time = r.Time
	if sub, ok := r.SubKey.([]byte); ok {
		e.SubKey = sub
	}
	value, _ := r.Value.([]byte)
	if e.Value, err = s.value.Decode(value); err != nil {
		return e, fmt.Errorf("query store %s: decode a value: it is of another codec, or the step keeps it in a form of its own: %w", s.name, err)
	}
	return e, nil
}
