// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// State is what a worker holds of a task.
type State struct {
	DB   *statestore.DB
	Role Role
	// Behind says how far a standby is behind the task's owner. It is not called for owners.
	Behind func() Behind
}

// Role is what a worker is for a task.
type Role string

// The roles of a worker that answers.
const (
	Owner   Role = "owner"
	Standby Role = "standby"
)

// Behind says how far a standby is behind.
type Behind struct {
	Records int64         `json:"records"` // of the changelog, not yet applied
	For     time.Duration `json:"-"`       // since it was last up with the owner
}

// errLater says that the state has not come as far as the caller wants yet.
var errLater = errors.New("the state has not reached the position asked for")

// read answers for one task from its state here, once that has come as far as the query wants.
func (s *Service) read(ctx context.Context, q *Query, id partition.TaskID, st State) (*Answer, error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	app := s.worker.Application()
	a := &Answer{Store: q.store.Name, Part: Part{Task: id, Worker: s.worker.Endpoint(), Role: st.Role}}
	err := st.DB.View(func(v *statestore.View) error {
		p, err := positionOf(v, app.Topic)
		if err != nil {
			return err
		}
		a.Position, a.AsOf = p.Position, s.now().UTC()
		a.epochs = map[partition.TaskID]uint64{id: p.Epoch}
		a.Token = token(app.Incarnation, a.epochs)
		if !q.Min.reached(id, p) {
			return errLater
		}
		r := reader{ctx: ctx, q: q, id: id, view: v, at: p, now: a.AsOf, left: s.limits.MaxBytes, a: a}
		return r.read()
	})
	if st.Role == Standby {
		behind := st.Behind()
		a.Staleness = &Staleness{Records: behind.Records, Seconds: behind.For.Seconds()}
	}
	return a, err
}

// reader takes the rows of one answer from a view.
type reader struct {
	ctx  context.Context
	q    *Query
	id   partition.TaskID
	view *statestore.View
	at   at
	now  time.Time
	left int64 // bytes that the answer may still take
	seen int   // entries that were looked at
	a    *Answer
}

// enough is how many entries a scan looks at for one page: it ends there even if few of them were wanted.
const enough = 100_000

func (r *reader) read() error {
	if r.q.AsOf != nil {
		return r.readAsOf()
	}
	rows, ended := r.view.Select(r.q.entries())
	for key, value := range rows {
		if len(r.a.Rows) == r.q.Limit || r.seen == enough {
			r.a.more = true
			break
		}
		if r.seen++; r.seen%256 == 0 && r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		err := r.add(r.q.store, key, value)
		if errors.Is(err, errFull) {
			r.a.more = true
			break
		}
		if err != nil {
			return err
		}
		r.a.last = append(r.a.last[:0], key...)
	}
	return ended()
}

// readAsOf finds the version of a row that was the row at a time.
func (r *reader) readAsOf() error {
	s, t := r.q.store, r.q.AsOf.UnixMilli()
	if reach := operators.Later(r.at.reached, -s.Keeps.Milliseconds()); r.at.reached > operators.MinTime && t < reach {
		return invalid("store %s looks back to %s, which is %v before its watermark; as-of asks for what was before that", s.Name, time.UnixMilli(reach).UTC().Format(time.RFC3339Nano), s.Keeps)
	}
	for _, part := range []struct {
		s *store
		r statestore.Range
	}{
		{s, statestore.Range{Store: statestore.StoreID(s.ID), Key: r.q.Key}},
		{s.versions, statestore.Range{Store: statestore.StoreID(s.versions.ID), Key: r.q.Key, SubFrom: topology.AppendVersionTime(nil, t)}},
	} {
		rows, ended := r.view.Select(part.r)
		for key, value := range rows {
			row, err := part.s.in(r.q.Raw).Row(r.id, key, value)
			if err != nil {
				return err
			}
			if row.Timed && row.Time.After(*r.q.AsOf) {
				break // it is newer
			}
			if row.Value == nil {
				return nil // deleted
			}
			row.SubKey = nil
			return r.take(row)
		}
		if err := ended(); err != nil {
			return err
		}
	}
	return nil
}

// add takes an entry, unless its value has expired or is a deletion.
func (r *reader) add(s *store, key, value []byte) error {
	row, err := s.in(r.q.Raw).Row(r.id, key, value)
	if err != nil {
		return err
	}
	if s.Kind == topology.VersionedTableStore && row.Value == nil || r.expired(s, &row) {
		return nil
	}
	return r.take(row)
}

// expired says whether a value with a TTL does not live any more: as steps would find at the position of the answer.
func (r *reader) expired(s *store, row *inspect.Row) bool {
	if s.TTL == "" || s.Keeps == 0 || !row.Timed {
		return false
	}
	now := r.at.reached
	if s.TTL == topology.ProcessingTimeTTL {
		now = r.now.UnixMilli()
	}
	return operators.Later(row.Time.UnixMilli(), s.Keeps.Milliseconds()) <= now
}

func (r *reader) take(row inspect.Row) error {
	out := Row{Row: row, raw: r.q.Raw}
	if !r.q.Raw {
		out.text = row.AppendJSON(nil, false)
	}
	r.left -= out.size()
	if r.left < 0 && len(r.a.Rows) > 0 {
		return errFull // it opens the next page
	}
	if r.left < 0 {
		return &api.Problem{Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge, Detail: "the entry alone is larger than query.max-bytes allows an answer to be: raise that, or read it from a checkpoint"}
	}
	r.a.Rows = append(r.a.Rows, out)
	return nil
}

// errFull ends the reading of a page.
var errFull = errors.New("the page is full")
