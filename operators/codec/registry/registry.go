// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/streamd/streamd/operators/codec"
)

// Registry is a schema registry.
type Registry struct {
	client     *sr.Client
	err        error
	urls       string
	lookUpOnly bool
	pause      time.Duration // before the second attempt
}

// attempts are how often a request is made at the start of a process. With pauses that double from firstPause they
// bridge the restart of a registry's leader.
const (
	attempts   = 5
	firstPause = 500 * time.Millisecond
)

// New describes how to reach a registry, by the options of franz-go's client: sr.URLs, sr.BasicAuth, sr.DialTLSConfig
// and so on. It asks nothing of the registry. Without sr.URLs it is at http://localhost:8081. Options that
// do not fit are reported when a pipeline is built that uses it.
func New(opts ...sr.ClientOpt) *Registry {
	r := &Registry{pause: firstPause}
	if r.client, r.err = sr.NewClient(opts...); r.err != nil {
		return r
	}
	if urls, ok := r.client.OptValue(sr.URLs).([]string); ok {
		r.urls = strings.Join(urls, ", ")
	}
	return r
}

// LookUpOnly makes the registry one in which a pipeline registers nothing: schemas that it writes by must be there
// already. It returns r.
func (r *Registry) LookUpOnly() *Registry {
	r.lookUpOnly = true
	return r
}

// failed says what was tried, where, and what to do.
func (r *Registry) failed(err error, format string, args ...any) error {
	todo := "check that the registry is up and that this process may reach it"
	if e, ok := errors.AsType[*sr.ResponseError](err); ok {
		switch code := e.StatusCode; {
		case code == http.StatusUnauthorized || code == http.StatusForbidden:
			todo = "check the credentials and what they allow"
		case code == http.StatusConflict:
			todo = "the registry has rules which versions may follow each other: change the type, or the subject's compatibility level"
		case code == http.StatusNotFound && r.lookUpOnly:
			todo = "register it, or leave out LookUpOnly"
		case code < http.StatusInternalServerError && code != http.StatusTooManyRequests:
			todo = "the registry's own text says what it expects"
		}
	}
	if unavailable(err) {
		err = fmt.Errorf("%w: %w", codec.ErrUnavailable, err)
	}
	return fmt.Errorf("schema registry %s: %s: %w; %s", r.urls, fmt.Sprintf(format, args...), err, todo)
}

// unavailable says whether an error is of the registry or the way to it, rather than its answer to what was asked.
func unavailable(err error) bool {
	e, ok := errors.AsType[*sr.ResponseError](err)
	if !ok {
		return true
	}
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	default:
		return e.StatusCode >= http.StatusInternalServerError
	}
}

// notFound says whether the registry does not know what was asked for.
func notFound(err error) bool {
	e, ok := errors.AsType[*sr.ResponseError](err)
	return ok && e.StatusCode == http.StatusNotFound
}

// retry tries again while the registry is away.
func (r *Registry) retry(ctx context.Context, try func() error) error {
	pause := r.pause
	for n := 1; ; n++ {
		err := try()
		if err == nil || n == attempts || !unavailable(err) {
			return err
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return err
		}
	}
}

// register returns the id of a schema under a subject, where that is allowed after registering it, and the schema as
// the registry was asked for it. What the schema refers to is put under subjects of the same names, as other clients do.
func (r *Registry) register(ctx context.Context, subject string, s codec.Schema) (id int, asked sr.Schema, err error) {
	asked.Schema = s.Text
	if err := asked.Type.UnmarshalText([]byte(s.Kind)); err != nil {
		return 0, asked, fmt.Errorf("schema of kind %q: %w", s.Kind, err)
	}
	for _, ref := range s.References {
		_, referred, err := r.register(ctx, ref.Name, ref.Schema)
		if err != nil {
			return 0, asked, err
		}
		found, err := r.lookUp(ctx, ref.Name, referred)
		if err != nil {
			return 0, asked, err
		}
		asked.References = append(asked.References, sr.SchemaReference{Name: ref.Name, Subject: ref.Name, Version: found.Version})
	}
	if r.lookUpOnly {
		found, err := r.lookUp(ctx, subject, asked)
		return found.ID, asked, err
	}
	err = r.retry(ctx, func() (err error) {
		id, err = r.client.RegisterSchema(ctx, subject, asked, -1, -1)
		return err
	})
	if err != nil {
		return 0, asked, r.failed(err, "register the schema of subject %q", subject)
	}
	return id, asked, nil
}

// lookUp finds a schema under a subject.
func (r *Registry) lookUp(ctx context.Context, subject string, s sr.Schema) (found sr.SubjectSchema, err error) {
	err = r.retry(ctx, func() (err error) {
		found, err = r.client.LookupSchema(ctx, subject, s)
		return err
	})
	if err != nil {
		return found, r.failed(err, "look up the schema of subject %q", subject)
	}
	return found, nil
}

// newest returns the newest schema of a subject; found is false if there is none yet.
func (r *Registry) newest(ctx context.Context, subject string) (s sr.SubjectSchema, found bool, err error) {
	err = r.retry(ctx, func() (err error) {
		s, err = r.client.SchemaByVersion(ctx, subject, -1)
		return err
	})
	if notFound(err) {
		return s, false, nil
	}
	if err != nil {
		return s, false, r.failed(err, "look up the newest version of subject %q", subject)
	}
	return s, true, nil
}

// complete fetches what a schema refers to.
func (r *Registry) complete(ctx context.Context, s sr.Schema) (codec.Schema, error) {
	full := codec.Schema{Kind: codec.SchemaKind(s.Type.String()), Text: s.Schema}
	for _, ref := range s.References {
		found, err := r.client.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err != nil {
			return full, r.failed(err, "fetch version %d of subject %q", ref.Version, ref.Subject)
		}
		referred, err := r.complete(ctx, found.Schema)
		if err != nil {
			return full, err
		}
		full.References = append(full.References, codec.SchemaReference{Name: ref.Name, Schema: referred})
	}
	return full, nil
}
