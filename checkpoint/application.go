// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Application records how an application's state began. It is created once, by whichever worker comes
// first, and never changed.
type Application struct {
	App         string            `json:"app"`
	Incarnation int               `json:"incarnation"`        // from 1
	Fingerprint string            `json:"fingerprint"`        // of the topology
	Topology    string            `json:"topology,omitempty"` // its description; opaque here
	TopicIDs    map[string]string `json:"topicIDs,omitempty"`
	// InitialOffsets are committed for all input partitions before any processing, by topic and
	// partition.
	InitialOffsets map[string]map[int32]int64 `json:"initialOffsets,omitempty"`
	// Origin names the checkpoint that this life began from, as "application/incarnation@round"; empty where it
	// began with nothing.
	Origin  string    `json:"origin,omitempty"`
	Created time.Time `json:"created"` // by the creator's clock, informative
}

// LoadApplication reads the application's record. If there is none the error wraps ErrMissing.
func (r *Repository) LoadApplication(ctx context.Context) (Application, error) {
	if err := CheckID(r.app); err != nil {
		return Application{}, err
	}
	var a Application
	name := applicationName(r.app)
	err := r.readDocument(ctx, name, kindApplication, &a)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return Application{}, fmt.Errorf("load application %s: %w: %w", r.app, ErrMissing, err)
	case err != nil:
		return Application{}, fmt.Errorf("load application %s: %w", r.app, err)
	case a.App != r.app || a.Incarnation < 1:
		return Application{}, fmt.Errorf("load application %s: %w: object %s is of application %q, incarnation %d", r.app, ErrCorrupt, name, a.App, a.Incarnation)
	}
	return a, nil
}

// CreateApplication creates the application's record if there is none, and returns the one that stands.
// created says whether it is the caller's; after a crash or a lost reply it may be false although it is,
// so decisions rest on the winner, not on it.
func (r *Repository) CreateApplication(ctx context.Context, a Application) (winner Application, created bool, err error) {
	if err := CheckID(r.app); err != nil {
		return Application{}, false, err
	}
	if a.App != r.app || a.Incarnation < 1 {
		return Application{}, false, fmt.Errorf("create application %s: %w: record is of application %q, incarnation %d", r.app, ErrInvalid, a.App, a.Incarnation)
	}
	a.Created = storedTime(a.Created)
	err = r.createDocument(ctx, applicationName(r.app), kindApplication, a)
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return Application{}, false, fmt.Errorf("create application %s: %w", r.app, err)
	}
	created = err == nil
	winner, err = r.LoadApplication(ctx)
	return winner, created, err
}

// Initialized says whether the incarnation's initial offsets are known to be committed.
func (r *Repository) Initialized(ctx context.Context, incarnation int) (bool, error) {
	l, err := r.life(incarnation)
	if err != nil {
		return false, err
	}
	ok, err := r.exists(ctx, l.initialized())
	if err != nil {
		return false, fmt.Errorf("look whether application %s is initialized: %w", r.app, err)
	}
	return ok, nil
}

// MarkInitialized records that the incarnation's initial offsets are committed. May be repeated.
func (r *Repository) MarkInitialized(ctx context.Context, incarnation int) error {
	l, err := r.life(incarnation)
	if err != nil {
		return err
	}
	err = r.store.Create(ctx, l.initialized(), strings.NewReader("initialized\n"))
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("mark application %s as initialized: %w", r.app, err)
	}
	return nil
}

// storedTime is t as it comes back from a document: without monotonic reading and zone.
func storedTime(t time.Time) time.Time {
	return t.UTC().Round(0)
}
