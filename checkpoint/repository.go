// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

const (
	// DefaultGrace is the grace time of garbage collection unless WithGrace says otherwise.
	DefaultGrace = 6 * time.Hour
	// defaultParallel is how many files of one checkpoint travel at once. Each costs a copy buffer.
	defaultParallel = 8
	// maxDocumentBytes bounds documents other than manifests.
	maxDocumentBytes = 16 << 20
)

// Repository is one application's checkpoints on an object store. Safe for concurrent use.
type Repository struct {
	store    objstore.Store
	app      string
	grace    time.Duration
	parallel int
	seed     maphash.Seed
	mu       struct {
		sync.Mutex
		latest    map[int]int64                           // newest round seen, by incarnation: where LatestRound begins to look
		condemned map[life]map[string]map[uint64]struct{} // lists of condemned objects, by their names: hashes by seed
	}
}

// RepositoryOption changes a setting of NewRepository.
type RepositoryOption func(*Repository)

// WithGrace sets how long an object that no manifest names is kept. It must be the same in all processes
// of the application, and at least twice as long as the slowest upload or restore.
func WithGrace(d time.Duration) RepositoryOption {
	return func(r *Repository) { r.grace = d }
}

// WithParallel sets how many files of one checkpoint travel at once, default 8.
func WithParallel(n int) RepositoryOption {
	return func(r *Repository) { r.parallel = max(n, 1) }
}

// NewRepository opens an application's checkpoints. It does nothing to the store; an application name
// that CheckID refuses makes every call fail with ErrInvalid.
func NewRepository(store objstore.Store, app string, options ...RepositoryOption) *Repository {
	r := &Repository{store: store, app: app, grace: DefaultGrace, parallel: defaultParallel}
	for _, option := range options {
		option(r)
	}
	r.seed = maphash.MakeSeed()
	r.mu.latest, r.mu.condemned = map[int]int64{}, map[life]map[string]map[uint64]struct{}{}
	return r
}

// App is the application's name.
func (r *Repository) App() string { return r.app }

// StoreTime reads the store's clock, by writing a scratch object and looking at its time. Its precision
// is the store's, on S3 a second.
func (r *Repository) StoreTime(ctx context.Context) (time.Time, error) {
	if err := CheckID(r.app); err != nil {
		return time.Time{}, err
	}
	name := clockName(r.app)
	if err := r.store.Put(ctx, name, strings.NewReader("now")); err != nil {
		return time.Time{}, fmt.Errorf("read the object store's time: %w", err)
	}
	info, err := r.store.Stat(ctx, name)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the object store's time: %w", err)
	}
	return info.Modified, nil
}

func (r *Repository) life(incarnation int) (life, error) {
	if err := CheckID(r.app); err != nil {
		return life{}, err
	}
	if incarnation < 1 {
		return life{}, fmt.Errorf("%w: incarnation %d is not positive", ErrInvalid, incarnation)
	}
	return life{r.app, incarnation}, nil
}

func (r *Repository) lifeRound(incarnation int, round int64) (life, error) {
	if round < 1 {
		return life{}, fmt.Errorf("%w: round %d is not positive", ErrInvalid, round)
	}
	return r.life(incarnation)
}

// createDocument creates a document; an existing one is objstore.ErrExists.
func (r *Repository) createDocument(ctx context.Context, name, kind string, body any) error {
	document, _, err := encode(kind, body)
	if err != nil {
		return err
	}
	return r.store.Create(ctx, name, bytes.NewReader(document))
}

// mark creates an object that whoever comes first creates. One that stands is fine; created says whether it is this call's.
func (r *Repository) mark(ctx context.Context, name, content string) (created bool, err error) {
	err = r.store.Create(ctx, name, strings.NewReader(content))
	if errors.Is(err, objstore.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

// readDocument reads a document into body. An absent one is objstore.ErrNotFound.
func (r *Repository) readDocument(ctx context.Context, name, kind string, body any) error {
	document, err := objstore.ReadAll(ctx, r.store, name, maxDocumentBytes)
	if errors.Is(err, objstore.ErrTooLarge) || errors.Is(err, objstore.ErrDamaged) {
		return fmt.Errorf("%w: object %s: %w", ErrCorrupt, name, err)
	}
	if err != nil {
		return err
	}
	if _, err := decode(kind, document, body); err != nil {
		return fmt.Errorf("object %s: %w", name, err)
	}
	return nil
}

func (r *Repository) exists(ctx context.Context, name string) (bool, error) {
	_, err := r.store.Stat(ctx, name)
	if errors.Is(err, objstore.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
