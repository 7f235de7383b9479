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

// Application records how one life of an application began. It is created once, by whichever process comes first, and
// never changed; a rollback begins another life, whose incarnation is the next number.
type Application struct {
	App         string            `json:"app"`
	Incarnation int               `json:"incarnation"`        // from 1
	Fingerprint string            `json:"fingerprint"`        // of the topology
	Topology    string            `json:"topology,omitempty"` // its description; opaque here
	TopicIDs    map[string]string `json:"topicIDs,omitempty"`
	// InitialOffsets are committed for all input partitions before any processing, by topic and
	// partition.
	InitialOffsets map[string]map[int32]int64 `json:"initialOffsets,omitempty"`
	// Origin is the cut that this life began from; nil where it began with nothing.
	Origin  *Origin `json:"origin,omitempty"`
	Outputs Outputs `json:"outputs"`
	// Partitions is how many each repartition topic has, by the topology's name of it.
	Partitions map[string]int32 `json:"partitions,omitempty"`
	Created    time.Time        `json:"created"` // by the creator's clock, informative
}

// maxLives bounds what a hostile record can have others look for.
const maxLives = 10_000

func (a Application) validate() error {
	if err := CheckID(a.App); err != nil {
		return err
	}
	if a.Incarnation < 1 || a.Incarnation > maxLives {
		return fmt.Errorf("incarnation %d, allowed are 1 to %d", a.Incarnation, maxLives)
	}
	for topic, offsets := range a.InitialOffsets {
		for p, offset := range offsets {
			if p < 0 || offset < 0 {
				return fmt.Errorf("topic %.80q, partition %d begins at offset %d", topic, p, offset)
			}
		}
	}
	if strings.ContainsFunc(a.Outputs.Prefix, notNameRune) {
		return fmt.Errorf("prefix %.80q of outputs has characters other than letters, digits, '.', '_' and '-'", a.Outputs.Prefix)
	}
	if a.Origin == nil {
		return nil
	}
	if err := CheckID(a.Origin.App); err != nil {
		return err
	}
	if o := a.Origin; o.Round < 1 || o.Incarnation < 1 || o.App == a.App && o.Incarnation >= a.Incarnation {
		return fmt.Errorf("it begins from %v", o)
	}
	return nil
}

// Outputs says where a life of an application writes the user's output topics.
type Outputs struct {
	Prefix string `json:"prefix,omitempty"` // before the topics' names
	Muted  bool   `json:"muted,omitempty"`  // nothing is written
}

// LoadApplication reads the record of the application's newest life. If there is none the error wraps ErrMissing; if
// it is lost, as other objects of that life show, ErrCorrupt.
func (r *Repository) LoadApplication(ctx context.Context) (Application, error) {
	if err := CheckID(r.app); err != nil {
		return Application{}, err
	}
	for {
		newest, err := r.newestLife(ctx, r.app)
		if err != nil {
			return Application{}, fmt.Errorf("load application %s: %w", r.app, err)
		}
		rec, err := r.LoadLife(ctx, newest)
		if err == nil {
			newest++
		} else if !errors.Is(err, ErrMissing) {
			return rec, err
		}
		// The record is the first object of a life. One that is lost must not make an older life of the newest one, nor
		// a new application of an old one.
		next := life{r.app, newest}
		left, lerr := r.anyOf(ctx, next)
		if lerr != nil {
			return Application{}, fmt.Errorf("load application %s: %w", r.app, lerr)
		}
		if left == "" {
			return rec, err
		}
		begun, lerr := r.exists(ctx, next.application())
		if lerr != nil {
			return Application{}, fmt.Errorf("load application %s: %w", r.app, lerr)
		}
		if !begun {
			return Application{}, fmt.Errorf("load application %s: %w: object %s is gone, and others of that life are there, as %s", r.app, ErrCorrupt, next.application(), left)
		}
	}
}

// anyOf returns the name of any object of a life; empty if there is none.
func (r *Repository) anyOf(ctx context.Context, l life) (string, error) {
	for info, err := range r.store.List(ctx, l.root()) {
		return info.Name, err
	}
	return "", nil
}

// newestLife is the number of an application's newest life, 1 if there is no second. Lives are numbered without gaps and
// never deleted one by one.
func (r *Repository) newestLife(ctx context.Context, app string) (int, error) {
	for newest := 1; ; newest++ {
		if ok, err := r.exists(ctx, life{app, newest + 1}.application()); !ok || err != nil {
			return newest, err
		}
	}
}

// LoadLife reads the record of one life of the application. If there is none the error wraps ErrMissing.
func (r *Repository) LoadLife(ctx context.Context, incarnation int) (Application, error) {
	l, err := r.life(incarnation)
	if err != nil {
		return Application{}, err
	}
	return r.loadLife(ctx, l)
}

func (r *Repository) loadLife(ctx context.Context, l life) (Application, error) {
	var a Application
	name := l.application()
	err := r.readDocument(ctx, name, kindApplication, &a)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return Application{}, fmt.Errorf("load application %s: %w: %w", l.app, ErrMissing, err)
	case err != nil:
		return Application{}, fmt.Errorf("load application %s: %w", l.app, err)
	case a.App != l.app || a.Incarnation != l.incarnation:
		return Application{}, fmt.Errorf("load application %s: %w: object %s is of application %q, incarnation %d", l.app, ErrCorrupt, name, a.App, a.Incarnation)
	}
	return a, nil
}

// CreateApplication creates the record of a life if there is none, and returns the one that stands. created says whether it is the caller's; after a crash or a lost reply it may be false although it is,
// so decisions rest on the winner, not on it.
func (r *Repository) CreateApplication(ctx context.Context, a Application) (winner Application, created bool, err error) {
	if err := CheckID(r.app); err != nil {
		return Application{}, false, err
	}
	if a.App != r.app {
		return Application{}, false, fmt.Errorf("create application %s: %w: record is of application %q", r.app, ErrInvalid, a.App)
	}
	if err := a.validate(); err != nil {
		return Application{}, false, fmt.Errorf("create application %s: %w: %w", r.app, ErrInvalid, err)
	}
	a.Created = storedTime(a.Created)
	err = r.createDocument(ctx, life{r.app, a.Incarnation}.application(), kindApplication, a)
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return Application{}, false, fmt.Errorf("create application %s: %w", r.app, err)
	}
	created = err == nil
	winner, err = r.LoadLife(ctx, a.Incarnation)
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
	if _, err := r.mark(ctx, l.initialized(), "initialized\n"); err != nil {
		return fmt.Errorf("mark application %s as initialized: %w", r.app, err)
	}
	return nil
}

// storedTime is t as it comes back from a document: without monotonic reading and zone.
func storedTime(t time.Time) time.Time {
	return t.UTC().Round(0)
}
